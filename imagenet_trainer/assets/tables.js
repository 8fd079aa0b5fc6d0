"use strict";
/* Sorting and filtering of the tables of a page. No library, no network.
   All text is set as text, never as HTML. */

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

const formatted = new Intl.NumberFormat("en").format;
const MOST_ROWS = 1000; // shown at a time: laying out 20,000 rows takes a browser seconds

/* Show the rows that contain the text in the table's field, up to MOST_ROWS; return their number.
   The full names of a class are the title of its cell. Rows of empty classes only on request. */
function reveal(table, wanted, withEmpty) {
  let found = 0;
  for (const row of table.tBodies[0].rows) {
    const titles = [...row.querySelectorAll("[title]")].map((one) => one.title).join(" ");
    const fits = (withEmpty || row.dataset.empty === undefined)
      && (!wanted || `${row.textContent} ${titles}`.toLowerCase().includes(wanted));
    found += fits;
    row.hidden = !fits || found > MOST_ROWS;
  }
  return found;
}

/* The number by which a cell is sorted: its data-value, or the one that its text begins with. */
function numberIn(cell) {
  const value = cell.dataset.value === undefined
    ? parseFloat(cell.textContent.replaceAll(",", "").replace("−", "-")) : Number(cell.dataset.value);
  return Number.isNaN(value) ? null : value;
}

function sortable(table) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  const isText = (column) => heads[column].classList.contains("word")
    && ![...body.rows].some((row) => row.cells[column].dataset.value !== undefined);
  heads.forEach((head, column) => head.firstChild.addEventListener("click", () => {
    const words = isText(column), before = head.getAttribute("aria-sort");
    // First click: numbers in descending order, text in ascending order. Empty cells are last.
    const ascending = before ? before === "descending" : words;
    const rows = [...body.rows].map((row) => [words ? row.cells[column].textContent : numberIn(row.cells[column]), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) { return (a === null) - (b === null); }
      return (words ? a.localeCompare(b, "en", { numeric: true }) : a - b) * (ascending ? 1 : -1);
    });
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const sorted = document.createDocumentFragment();
    rows.forEach(([, row]) => sorted.append(row));
    body.append(sorted);
    refresh();
  }));
  const refresh = table.dataset.searched ? searchable(table) : () => {};
}

function searchable(table) {
  const field = element("input", { type: "search" }), status = element("span", { role: "status" });
  const empty = element("input", { type: "checkbox" }), bar = element("div", { className: "search" });
  const refresh = () => {
    const wanted = field.value.trim().toLowerCase(), found = reveal(table, wanted, empty.checked), all = table.tBodies[0].rows.length;
    status.textContent = wanted ? `${formatted(found)} of ${formatted(all)}` : "";
    if (found > MOST_ROWS) { status.textContent += ` (the first ${formatted(MOST_ROWS)} of ${formatted(found)} are shown)`; }
  };
  field.addEventListener("input", refresh);
  empty.addEventListener("change", refresh);
  bar.append(element("label", {}, "Rows that contain", field));
  if (table.querySelector("tr[data-empty]")) { bar.append(element("label", {}, empty, "also classes without images")); }
  bar.append(status);
  table.parentElement.before(bar);
  refresh();
  return refresh;
}

document.querySelectorAll("table.sortable").forEach(sortable);
