"use strict";
/* The interactive parts of a report: the confusion matrix, sorting, filtering. No library, no network.
   All text is set as text, never as HTML. */

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/* Integers from "2:AAEA": the number of bytes of each, and base64. */
function integersOf(text) {
  const buffer = Uint8Array.from(atob(text.slice(2)), (letter) => letter.charCodeAt(0)).buffer;
  return new { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array }[text[0]](buffer);
}

const formatted = new Intl.NumberFormat("en").format;

/* ---- the counts ------------------------------------------------------------------------------ */

/* A matrix in one order of its classes. Only cells that are not zero are stored, by row. */
class Counts {
  constructor(sparse, order) {
    this.order = order;
    for (const name of ["rows", "columns", "counts"]) { this[name] = integersOf(sparse[name]); }
    this.positionOf = new Uint32Array(order.length);
    order.forEach((label, position) => { this.positionOf[label] = position; });
  }

  /* Call visit(row, column, count) for the cells in rows top <= row < bottom, left <= column < right. */
  each(top, bottom, left, right, visit) {
    for (let row = top; row < bottom; row++) {
      const label = this.order[row], end = this.rows[label + 1];
      for (let i = this.rows[label]; i < end; i++) {
        const column = this.positionOf[this.columns[i]];
        if (column >= left && column < right) { visit(row, column, this.counts[i]); }
      }
    }
  }

  within(top, bottom, left, right) {
    let sum = 0;
    this.each(top, bottom, left, right, (row, column, count) => { sum += count; });
    return sum;
  }
}

/* From counts to levels between 0 and 1: the share of the non-zero cells with at most that count,
   stretched so that the least count has 0 and the greatest 1 (histogram equalisation). */
function equalised(values) {
  const frequency = new Map();
  let total = 0;
  for (const value of values) {
    if (value > 0) { frequency.set(value, (frequency.get(value) || 0) + 1); total++; }
  }
  const counts = [...frequency.keys()].sort((a, b) => a - b), levels = new Map();
  let below = 0;
  const first = counts.length ? frequency.get(counts[0]) / total : 0;
  for (const count of counts) {
    below += frequency.get(count);
    levels.set(count, counts.length > 1 ? (below / total - first) / (1 - first) : 1);
  }
  return { counts, levels };
}

function colourScale(colours) {
  const stops = colours.map((text) => [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16)));
  return (level) => {
    const x = level * (stops.length - 1), i = Math.min(Math.floor(x), stops.length - 2);
    return stops[i].map((value, part) => Math.round(value + (x - i) * (stops[i + 1][part] - value)));
  };
}

/* ---- the matrix ------------------------------------------------------------------------------ */

const MOST_NAMED = 45; // classes whose names are shown
const FONT = "12px system-ui, sans-serif";

class MatrixView {
  constructor(data) {
    this.data = data;
    this.n = data.names.length;
    this.canvas = document.getElementById("matrix-canvas");
    this.mark = document.getElementById("matrix-mark");
    this.tip = document.getElementById("matrix-tip");
    this.status = document.getElementById("matrix-status");
    this.matrix = this.order = this.palette = 0;
    this.top = this.left = 0; // the part that is shown: its first row and column,
    this.length = this.n; // and how many classes
    this.focus = null; // [row, column] selected by key or click
    this.controls();
    this.listen();
    this.recount();
  }

  controls() {
    const bar = document.getElementById("matrix-controls");
    const choice = (label, key, options) => {
      const select = element("select", { id: `matrix-${key}` });
      options.forEach((one, index) => select.append(element("option", { value: index, textContent: one.title })));
      select.addEventListener("change", () => {
        const selected = this.focus && this.focus.map((position) => this.labels[position]);
        this[key] = Number(select.value);
        if (key === "palette") { this.draw(); return; }
        this.recount();
        if (selected) { this.choose(...selected.map((label_) => this.labels.indexOf(label_)), true); }
      });
      bar.append(element("label", {}, label, select));
    };
    choice("Counts", "matrix", this.data.matrices);
    choice("Order", "order", this.data.orders);
    choice("Colours", "palette", this.data.palettes);
    const button = (label, action) => {
      const made = element("button", { type: "button", textContent: label });
      made.addEventListener("click", action);
      bar.append(made);
    };
    button("Zoom in", () => this.zoom(0.5));
    button("Zoom out", () => this.zoom(2));
    button("Whole matrix", () => this.whole());
    const list = element("datalist", { id: "matrix-classes" });
    this.data.names.forEach((name) => list.append(element("option", { value: name })));
    const find = element("input", { type: "search", id: "matrix-find", size: 18 });
    find.setAttribute("list", "matrix-classes");
    find.addEventListener("change", () => this.find(find.value));
    bar.append(element("label", {}, "Find class", find), list);
    this.legend = element("canvas", { id: "matrix-legend" });
    this.legend.setAttribute("role", "img");
    document.getElementById("matrix-frame").before(this.legend);
  }

  listen() {
    const canvas = this.canvas;
    canvas.addEventListener("pointermove", (event) => this.hover(event));
    canvas.addEventListener("pointerleave", () => { this.tip.hidden = true; this.draft = null; this.drawMark(); });
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointerup", (event) => this.release(event));
    canvas.addEventListener("dblclick", () => this.whole());
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("wheel", (event) => {
      if (document.activeElement !== canvas && !event.ctrlKey) { return; }
      event.preventDefault();
      this.zoom(event.deltaY < 0 ? 0.8 : 1.25, this.cellAt(event));
    }, { passive: false });
    new ResizeObserver(() => { if (this.width !== this.frameWidth()) { this.draw(); } }).observe(canvas.parentElement);
  }

  frameWidth() { return Math.floor(this.canvas.parentElement.getBoundingClientRect().width); }

  recount() {
    this.labels = this.data.orders[this.order].order;
    this.counts = new Counts(this.data.matrices[this.matrix], this.labels);
    this.draw();
  }

  /* ---- drawing ---- */

  draw() {
    this.width = this.frameWidth();
    const ratio = window.devicePixelRatio || 1;
    // CSS pixels: a margin for names on the left and below, and a matrix that fits the window.
    this.margin = Math.min(170, Math.floor(this.width / 3));
    this.side = Math.max(100, Math.min(800, this.width - this.margin - 4, Math.max(480, window.innerHeight - 60)));
    const height = this.side + this.margin - 20;
    for (const canvas of [this.canvas, this.mark]) {
      canvas.width = this.width * ratio;
      canvas.height = height * ratio;
      canvas.style.width = `${this.width}px`;
      canvas.style.height = `${height}px`;
    }
    const context = this.canvas.getContext("2d");
    const pixels = Math.floor(this.side * ratio);
    this.bins = Math.min(this.length, pixels);
    const { picture, scale } = this.shade();
    context.imageSmoothingEnabled = false;
    context.drawImage(picture, this.margin * ratio, 0, pixels, pixels);
    context.scale(ratio, ratio);
    this.writeCounts(context, scale);
    this.name(context);
    this.drawLegend(scale, ratio);
    this.drawMark();
    const part = this.length === this.n ? "all" : `${this.length} of ${this.n}`;
    this.canvas.setAttribute("aria-label", `Confusion matrix, ${part} classes shown`);
  }

  edge(bin) { return Math.floor(bin * this.length / this.bins); }

  /* The part that is shown, with counts summed into as many cells as there are pixels. */
  shade() {
    const bins = this.bins, values = new Float64Array(bins * bins), binOf = new Uint32Array(this.length);
    for (let i = 0; i < bins; i++) { binOf.fill(i, this.edge(i), this.edge(i + 1)); }
    this.counts.each(this.top, this.top + this.length, this.left, this.left + this.length, (row, column, count) => {
      values[binOf[row - this.top] * bins + binOf[column - this.left]] += count;
    });
    const scale = equalised(values), colour = colourScale(this.data.palettes[this.palette].colours);
    const colours = new Map(scale.counts.map((count) => [count, colour(scale.levels.get(count))]));
    const picture = element("canvas", { width: bins, height: bins });
    const context = picture.getContext("2d"), image = context.createImageData(bins, bins);
    for (let i = 0; i < values.length; i++) {
      if (values[i] > 0) { image.data.set(colours.get(values[i]), 4 * i); }
      image.data[4 * i + 3] = 255;
    }
    context.putImageData(image, 0, 0);
    return { picture, scale };
  }

  /* The counts as text, where cells are large enough. */
  writeCounts(context, scale) {
    const unit = this.side / this.length, colour = colourScale(this.data.palettes[this.palette].colours);
    if (unit < 26) { return; }
    context.font = FONT;
    context.textAlign = "center";
    context.textBaseline = "middle";
    this.counts.each(this.top, this.top + this.length, this.left, this.left + this.length, (row, column, count) => {
      if (context.measureText(formatted(count)).width > unit - 4) { return; }
      const [red, green, blue] = colour(scale.levels.get(count));
      context.fillStyle = 0.21 * red + 0.72 * green + 0.07 * blue > 110 ? "black" : "white";
      context.fillText(formatted(count), this.margin + (column - this.left + 0.5) * unit, (row - this.top + 0.5) * unit);
    });
  }

  name(context) {
    context.textAlign = "start";
    context.textBaseline = "alphabetic";
    context.font = FONT;
    context.fillStyle = context.strokeStyle = "#1f2933";
    context.lineWidth = 1;
    if (this.length <= MOST_NAMED) {
      const step = this.side / this.length;
      for (let i = 0; i < this.length; i++) {
        this.write(context, this.data.names[this.labels[this.top + i]], (i + 0.5) * step, 0, Math.min(12, step));
        this.write(context, this.data.names[this.labels[this.left + i]], (i + 0.5) * step, 1, Math.min(12, step));
      }
      return;
    }
    const spans = this.data.orders[this.order].spans;
    [this.top, this.left].forEach((first, across) => {
      if (spans.length) { this.nameSpans(context, spans, first, across); } else { this.number(context, first, across); }
    });
  }

  /* Names and lines of groups; the longest ones first if there is little room. */
  nameSpans(context, spans, first, across) {
    const unit = this.side / this.length, used = [];
    spans.map(([begin, end, name]) => [Math.max(begin - first, 0), Math.min(end - first, this.length), name])
      .filter(([begin, end]) => (end - begin) * unit >= 4)
      .sort((a, b) => (b[1] - b[0]) - (a[1] - a[0]))
      .forEach(([begin, end, name]) => {
        const middle = (begin + end) / 2 * unit;
        if (used.some((other) => Math.abs(other - middle) < 13)) { return; }
        used.push(middle);
        this.line(context, begin * unit + 1, end * unit - 1, across);
        this.write(context, name, middle, across, 12);
      });
  }

  number(context, first, across) {
    const step = [10, 20, 50, 100, 200, 500].find((one) => this.length / one <= 12) || 1000;
    for (let i = Math.ceil(first / step) * step; i < first + this.length; i += step) {
      this.write(context, `${i}`, (i - first + 0.5) * this.side / this.length, across, 12);
    }
  }

  line(context, from, to, across) {
    context.beginPath();
    if (across) {
      context.moveTo(this.margin + from, this.side + 4);
      context.lineTo(this.margin + to, this.side + 4);
    } else {
      context.moveTo(this.margin - 4, from);
      context.lineTo(this.margin - 4, to);
    }
    context.stroke();
  }

  /* A name to the left of the matrix, or rotated below it. */
  write(context, text, along, across, size) {
    context.save();
    context.font = FONT.replace("12", Math.max(7, Math.floor(size)));
    let shown = text;
    while (shown.length > 1 && context.measureText(shown).width > this.margin - 32) { shown = `${shown.replace(/…$/, "").slice(0, -1)}…`; }
    context.textAlign = "right";
    context.textBaseline = "middle";
    if (across) {
      context.translate(this.margin + along, this.side + 9);
      context.rotate(-Math.PI / 2);
    } else {
      context.translate(this.margin - 9, along);
    }
    context.fillText(shown, 0, 0);
    context.restore();
  }

  drawLegend(scale, ratio) {
    const width = Math.min(420, this.width), height = 36, legend = this.legend;
    Object.assign(legend, { width: width * ratio, height: height * ratio });
    Object.assign(legend.style, { width: `${width}px`, height: `${height}px` });
    const context = legend.getContext("2d");
    context.scale(ratio, ratio);
    const colour = colourScale(this.data.palettes[this.palette].colours), left = 40, span = width - left - 40;
    context.fillStyle = "black";
    context.fillRect(0, 2, 14, 14);
    for (let x = 0; x < span; x++) {
      context.fillStyle = `rgb(${colour(x / (span - 1)).join(" ")})`;
      context.fillRect(left + x, 2, 1.5, 14);
    }
    context.fillStyle = "#1f2933";
    context.font = FONT;
    context.fillText("0", 3, 32);
    const shown = [];
    [...scale.counts.slice(-1), ...scale.counts].forEach((count) => {
      const x = left + (scale.counts.length > 1 ? scale.levels.get(count) : 1) * span;
      if (shown.some((other) => Math.abs(other - x) < 30)) { return; }
      shown.push(x);
      context.fillText(formatted(count), x, 32);
      context.fillRect(x, 16, 1, 5);
    });
    const [least, most] = [scale.counts[0], scale.counts[scale.counts.length - 1]];
    legend.setAttribute("aria-label", scale.counts.length ? `Colours of counts from ${least} to ${most}; zero is black` : "All counts are zero");
  }

  /* The layer above the matrix: the selected cell, and the rectangle that is being dragged. */
  drawMark() {
    const ratio = window.devicePixelRatio || 1, context = this.mark.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this.mark.width, this.mark.height);
    const box = (x, y, width, height) => {
      for (const [colour, wide] of [["black", 4], ["white", 2]]) {
        context.strokeStyle = colour;
        context.lineWidth = wide;
        context.strokeRect(x, y, width, height);
      }
    };
    if (this.focus) {
      const unit = this.side / this.length, [row, column] = this.focus;
      const y = (row - this.top) * unit, x = (column - this.left) * unit;
      if (x >= 0 && y >= 0 && x < this.side && y < this.side) { box(this.margin + x - 1, y - 1, Math.max(unit, 4) + 2, Math.max(unit, 4) + 2); }
    }
    if (this.draft) { box(this.draft.x, this.draft.y, this.draft.size, this.draft.size); }
  }

  /* ---- text about a cell ---- */

  /* Row and column under the pointer, or null outside the matrix. */
  cellAt(event) {
    const area = this.canvas.getBoundingClientRect();
    const x = event.clientX - area.left - this.margin, y = event.clientY - area.top;
    if (x < 0 || y < 0 || x >= this.side || y >= this.side) { return null; }
    const position = (along, first) => {
      const bin = Math.floor(along / this.side * this.bins);
      return [first + this.edge(bin), first + this.edge(bin + 1)];
    };
    const rows = position(y, this.top), columns = position(x, this.left);
    return { row: rows[0], column: columns[0], rows, columns };
  }

  text({ rows, columns }) {
    const names = ([first, end]) => {
      const shown = this.labels.slice(first, end).map((label) => this.data.names[label]);
      return shown.length > 3 ? `${shown[0]} to ${shown[shown.length - 1]} (${shown.length} classes)` : shown.join(", ");
    };
    const count = this.counts.within(...rows, ...columns);
    const images = this.labels.slice(...rows).reduce((sum, label) => sum + this.data.images[label], 0);
    const group = this.data.groups.length && rows[1] - rows[0] === 1 ? ` · ${this.data.groups[this.labels[rows[0]]]}` : "";
    const share = images ? `, ${(100 * count / images).toFixed(1)} % of ${formatted(images)} ${images === 1 ? "image" : "images"}` : "";
    return `true: ${names(rows)}${group}\npredicted: ${names(columns)}\n${formatted(count)}${share}`;
  }

  hover(event) {
    if (this.pressed) { this.drag(event); }
    const cell = this.cellAt(event);
    this.tip.hidden = !cell;
    if (!cell) { return; }
    this.tip.textContent = this.text(cell);
    const area = this.canvas.getBoundingClientRect(), x = event.clientX - area.left, y = event.clientY - area.top;
    this.tip.style.left = `${x + 16 + 300 > this.width ? Math.max(0, x - 16 - this.tip.offsetWidth) : x + 16}px`;
    this.tip.style.top = `${y + 16}px`;
  }

  choose(row, column, reveal) {
    this.focus = [row, column];
    if (reveal) {
      const into = (first, position) => Math.min(Math.max(first, position - this.length + 1), position);
      const top = into(this.top, row), left = into(this.left, column);
      if (top !== this.top || left !== this.left) { this.show(top, left, this.length); }
    }
    this.drawMark();
    this.status.textContent = this.text({ rows: [row, row + 1], columns: [column, column + 1] }).replace(/\n/g, "; ");
  }

  /* ---- moving ---- */

  show(top, left, length) {
    this.length = Math.max(Math.min(2, this.n), Math.min(this.n, Math.round(length)));
    const into = (first) => Math.max(0, Math.min(this.n - this.length, Math.round(first)));
    this.top = into(top);
    this.left = into(left);
    this.draw();
  }

  whole() { this.show(0, 0, this.n); }

  /* Around the given cell, the selected one, or the middle. */
  zoom(factor, around) {
    const [row, column] = around ? [around.row, around.column]
      : this.focus || [this.top + this.length / 2, this.left + this.length / 2];
    let length = Math.round(this.length * factor);
    if (length === this.length) { length += factor < 1 ? -1 : 1; }
    length = Math.max(Math.min(2, this.n), Math.min(this.n, length));
    const keep = around ? length / this.length : 0; // the cell under the pointer stays there
    const first = (position, from) => around ? position + 0.5 - (position + 0.5 - from) * keep : position + 0.5 - length / 2;
    this.show(first(row, this.top), first(column, this.left), length);
  }

  find(name) {
    const label = this.data.names.findIndex((one) => one.toLowerCase() === name.trim().toLowerCase());
    if (label < 0) { this.status.textContent = name ? `No class is named ${name}.` : ""; return; }
    const position = this.labels.indexOf(label), length = Math.min(this.n, 30);
    this.show(position - length / 2, position - length / 2, length);
    this.choose(position, position, true);
  }

  press(event) {
    const cell = this.cellAt(event);
    if (!cell || event.button) { return; }
    this.pressed = { x: event.offsetX, y: event.offsetY, cell };
    this.canvas.setPointerCapture(event.pointerId);
  }

  drag(event) {
    const size = Math.max(Math.abs(event.offsetX - this.pressed.x), Math.abs(event.offsetY - this.pressed.y));
    const x = event.offsetX < this.pressed.x ? this.pressed.x - size : this.pressed.x;
    const y = event.offsetY < this.pressed.y ? this.pressed.y - size : this.pressed.y;
    this.draft = size > 6 ? { x, y, size } : null;
    this.drawMark();
  }

  release() {
    const { pressed, draft } = this;
    this.pressed = this.draft = null;
    if (!pressed) { return; }
    const unit = this.length / this.side;
    if (draft) {
      this.show(this.top + Math.floor(draft.y * unit), this.left + Math.floor((draft.x - this.margin) * unit), Math.ceil(draft.size * unit));
    } else {
      this.choose(pressed.cell.row, pressed.cell.column, false);
    }
  }

  key(event) {
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const inside = (position) => Math.max(0, Math.min(this.n - 1, position));
    if (event.ctrlKey || event.metaKey || event.altKey) { return; }
    this.tip.hidden = true;
    if (event.key in moves) {
      const [down, right] = moves[event.key];
      if (event.shiftKey) {
        const step = Math.max(1, Math.floor(this.length / 4));
        this.show(this.top + down * step, this.left + right * step, this.length);
      } else {
        const [row, column] = this.focus || [this.top - down, this.left - right];
        this.choose(inside(row + down), inside(column + right), true);
      }
    } else if (event.key === "+" || event.key === "=") {
      this.zoom(0.5);
    } else if (event.key === "-" || event.key === "−") {
      this.zoom(2);
    } else if (event.key === "0" || event.key === "Escape") {
      this.whole();
    } else {
      return;
    }
    event.preventDefault();
  }
}

/* ---- tables ---------------------------------------------------------------------------------- */

const MOST_ROWS = 1000; // shown at a time: laying out 20,000 rows takes a browser seconds

/* Show the rows that contain the text in the table's field, up to MOST_ROWS; return their number. */
function reveal(table, wanted) {
  let found = 0;
  for (const row of table.tBodies[0].rows) {
    const fits = !wanted || row.textContent.toLowerCase().includes(wanted);
    found += fits;
    row.hidden = !fits || found > MOST_ROWS;
  }
  return found;
}

function sortable(table) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  const valueOf = (row, column) => {
    const cell = row.cells[column];
    if (heads[column].classList.contains("word")) { return cell.textContent; }
    return cell.dataset.value === undefined ? null : Number(cell.dataset.value);
  };
  heads.forEach((head, column) => head.firstChild.addEventListener("click", () => {
    const words = head.classList.contains("word"), before = head.getAttribute("aria-sort");
    // First click: numbers in descending order, text in ascending order. Empty cells are last.
    const ascending = before ? before === "descending" : words;
    const rows = [...body.rows].map((row) => [valueOf(row, column), row]);
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
  const refresh = () => {
    const wanted = field.value.trim().toLowerCase(), found = reveal(table, wanted), all = table.tBodies[0].rows.length;
    status.textContent = wanted ? `${formatted(found)} of ${formatted(all)}` : "";
    if (found > MOST_ROWS) { status.textContent += ` (the first ${formatted(MOST_ROWS)} of ${formatted(found)} are shown)`; }
  };
  field.addEventListener("input", refresh);
  table.parentElement.before(element("label", { className: "search" }, "Rows that contain", field, status));
  refresh();
  return refresh;
}

document.querySelectorAll("table.sortable").forEach(sortable);
new MatrixView(JSON.parse(document.getElementById("data").textContent));
