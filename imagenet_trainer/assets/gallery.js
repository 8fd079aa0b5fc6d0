/* The images of a cell, a class or a group, and the list of those whose label is under review. */

const PAGE = 60; // images that are added at a time
const ORDERS = [
  { title: "highest loss first", key: (images, image) => images.networks[0].true[image] },
  { title: "surest prediction first", key: (images, image) => -images.networks[0].probabilities[image * images.networks[0].k] },
  { title: "least sure first", key: (images, image) => images.networks[0].probabilities[image * images.networks[0].k] },
  { title: "by key", key: (images, image) => images.keys[image] },
];
const CHANGE = { title: "greatest change first", key: (images, image) => -Math.abs(images.networks[1].true[image] - images.networks[0].true[image]) };
const SHOWN = [
  { title: "all", fits: () => true },
  { title: "errors", fits: (images, image) => !images.isRight(image) },
  { title: "correct", fits: (images, image) => images.isRight(image) },
];
const SHOWN_OF_TWO = [
  { title: "all", fits: () => true },
  { title: "gained", fits: (images, image) => !images.isRight(image) && images.isRight(image, 1) },
  { title: "lost", fits: (images, image) => images.isRight(image) && !images.isRight(image, 1) },
  { title: "both wrong", fits: (images, image) => !images.isRight(image) && !images.isRight(image, 1) },
  { title: "both correct", fits: (images, image) => images.isRight(image) && images.isRight(image, 1) },
];

function percentOf(value) { return `${(value / 655.35).toFixed(2)}\u00a0%`; }

class Gallery {
  constructor(data, images, review) {
    Object.assign(this, { data, images, review });
    this.dialog = document.getElementById("gallery");
    this.title = document.getElementById("gallery-title");
    this.status = document.getElementById("gallery-status");
    this.strip = document.getElementById("gallery-images");
    this.more = element("button", { type: "button", className: "more" });
    this.more.addEventListener("click", () => this.add());
    this.strip.after(this.more);
    document.getElementById("gallery-close").addEventListener("click", () => this.dialog.close());
    const bar = document.getElementById("gallery-controls");
    const choice = (label, options) => {
      const select = element("select", {});
      options.forEach((one, index) => select.append(element("option", { value: index, textContent: one.title })));
      select.addEventListener("change", () => this.refresh());
      bar.append(element("label", {}, label, select));
      return () => options[select.value];
    };
    const two = images.networks.length > 1;
    this.shown = choice("Show", two ? SHOWN_OF_TWO : SHOWN);
    this.order = choice("Order", two ? [CHANGE, ...ORDERS] : ORDERS);
    document.addEventListener("click", (event) => {
      const button = event.target.closest("button.open");
      if (button) { this.open(this.selection(button.dataset)); }
    });
  }

  /* What a button of the page opens. */
  selection({ true: label, predicted, group, wrong, change }) {
    const { names, groups } = this.data, only = (text) => text === undefined ? null : [Number(text)];
    const rows = group === undefined ? only(label) : [...groups.keys()].filter((one) => groups[one] === group);
    const name = group || names[label];
    let title = name ? `Images of ${name}` : "Images";
    if (predicted !== undefined) { title = name ? `${name} predicted as ${names[predicted]}` : `Taken for ${names[predicted]}`; }
    if (change) { title += `: ${change}`; }
    return { title, rows, columns: only(predicted), k: 1, networks: [0], wrong: wrong !== undefined, change };
  }

  /* Of several networks, those images that only one of them predicts so. */
  open({ title, networks = [0], change, found: given, ...selection }) {
    let found = given || this.images.find({ ...selection, network: networks[0] });
    if (networks.length > 1) {
      const [one, other] = [found, this.images.find({ ...selection, network: networks[1] })].map((list) => new Set(list));
      found = [...[...one].filter((image) => !other.has(image)), ...[...other].filter((image) => !one.has(image))];
    }
    if (change) {
      const winner = change === "gained" ? 1 : 0;
      found = found.filter((image) => this.images.isRight(image, winner) && !this.images.isRight(image, 1 - winner));
    }
    this.found = found;
    this.title.textContent = title;
    this.refresh();
    if (!this.dialog.open) { this.dialog.showModal(); }
    this.dialog.scrollTop = 0;
    this.title.focus();
  }

  refresh() {
    const { images } = this, { key } = this.order(), { fits } = this.shown();
    this.list = this.found.filter((image) => fits(images, image)).map((image) => [key(images, image), image]);
    this.list.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    this.strip.replaceChildren();
    this.status.textContent = `${formatted(this.list.length)} of ${formatted(this.found.length)} ${this.found.length === 1 ? "image" : "images"}`;
    this.add();
  }

  add() {
    const from = this.strip.childElementCount;
    for (const [, image] of this.list.slice(from, from + PAGE)) { this.strip.append(this.figure(image)); }
    const left = this.list.length - this.strip.childElementCount;
    this.more.hidden = !left;
    this.more.textContent = `Show ${formatted(Math.min(PAGE, left))} of ${formatted(left)} more`;
  }

  figure(image) {
    const { images, data } = this, name = data.names[images.labels[image]];
    const caption = element("figcaption", {}, "labelled ", element("b", { textContent: name }));
    for (const one of images.networks) {
      const list = element("ol", { className: "predictions" });
      for (let at = image * one.k; at < (image + 1) * one.k; at++) {
        const label = one.top[at], item = element("li", {}, `${data.names[label]} `, element("span", { textContent: percentOf(one.probabilities[at]) }));
        if (label === images.labels[image]) { item.className = "right"; item.append(element("span", { className: "hidden", textContent: " (the label)" })); }
        list.append(item);
      }
      if (images.networks.length > 1) { caption.append(element("small", { textContent: one.title })); }
      caption.append(list);
      const top = one.top.subarray(image * one.k, (image + 1) * one.k);
      if (!top.includes(images.labels[image])) { caption.append(element("small", { textContent: `the label: ${percentOf(one.true[image])}` })); }
    }
    caption.append(element("small", { textContent: `key ${images.keys[image]}` }));
    const figure = element("figure", {}, this.thumbnail(image, name), caption);
    this.review.attach(figure, image);
    return figure;
  }

  thumbnail(image, name) {
    const missing = element("span", { className: "missing", textContent: "no image" });
    const number = this.images.files ? this.images.files[image] : 0xffffffff;
    if (number === 0xffffffff) { return missing; }
    const digits = String(number).padStart(8, "0");
    const shown = element("img", { loading: "lazy", alt: `image ${this.images.keys[image]}, labelled ${name}`, src: `${this.data.folder}/${digits.slice(0, -3)}/${digits}.jpg` });
    shown.addEventListener("error", () => shown.replaceWith(missing));
    return element("div", { className: "thumbnail" }, shown);
  }
}

/* ---- review ------------------------------------------------------------------------------------ */

const VERDICTS = ["", "wrong label", "ambiguous"];

class Review {
  constructor(data, images) {
    Object.assign(this, { data, images });
    this.verdicts = new Map(); // image: [verdict, right class or null]
    this.status = document.getElementById("review-status");
    document.getElementById("review-save").addEventListener("click", () => this.save());
    document.getElementById("review-clear").addEventListener("click", () => { this.verdicts.clear(); this.changed(); });
    // The browser's storage, if it allows any to a page from disk, keeps the list until it is saved.
    this.key = `review ${data.digest}`;
    try {
      for (const [image, verdict] of JSON.parse(localStorage.getItem(this.key) || "[]")) { this.verdicts.set(image, verdict); }
    } catch { /* nothing is stored */ }
    for (const figure of document.querySelectorAll("figure[data-image]")) { this.attach(figure, Number(figure.dataset.image)); }
    this.count();
  }

  /* Add the controls to a figure of an image. */
  attach(figure, image) {
    const key = this.images.keys[image], select = element("select", {}), right = element("input", { type: "search", placeholder: "right class" });
    select.setAttribute("aria-label", `verdict on image ${key}`);
    right.setAttribute("aria-label", `right class of image ${key}`);
    right.setAttribute("list", "matrix-classes");
    VERDICTS.forEach((one) => select.append(element("option", { value: one, textContent: one || "not reviewed" })));
    const show = () => {
      const [verdict, label] = this.verdicts.get(image) || ["", null];
      select.value = verdict;
      right.hidden = verdict !== "wrong label";
      right.value = label === null ? "" : this.data.names[label];
    };
    select.addEventListener("change", () => {
      const { k, top } = this.images.networks[0], first = top[image * k];
      const guess = first === this.images.labels[image] ? null : first;
      if (select.value) { this.verdicts.set(image, [select.value, select.value === "wrong label" ? guess : null]); } else { this.verdicts.delete(image); }
      this.changed();
    });
    right.addEventListener("change", () => {
      const label = this.data.names.indexOf(right.value.trim());
      this.verdicts.set(image, ["wrong label", label < 0 ? null : label]);
      this.changed();
    });
    figure.append(element("div", { className: "review" }, select, right));
    figure.addEventListener("review", show);
    show();
  }

  changed() {
    document.querySelectorAll("figure").forEach((figure) => figure.dispatchEvent(new Event("review")));
    try { localStorage.setItem(this.key, JSON.stringify([...this.verdicts])); } catch { /* not allowed */ }
    this.count();
  }

  count() {
    const count = (verdict) => [...this.verdicts.values()].filter(([one]) => one === verdict).length;
    this.status.textContent = `${count("wrong label")} with a wrong label, ${count("ambiguous")} ambiguous`;
  }

  /* A CSV file; a spreadsheet must not take a name for a formula. */
  csv() {
    const cell = (value) => {
      const text = String(value), safe = /^[=+\-@]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
      return /[",\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
    };
    const rows = [["image", "key", "label", "label_name", "verdict", "class", "class_name"]];
    for (const image of [...this.verdicts.keys()].sort((a, b) => a - b)) {
      const [verdict, right] = this.verdicts.get(image), label = this.images.labels[image];
      rows.push([image, this.images.keys[image], label, this.data.names[label], verdict, right === null ? "" : right, right === null ? "" : this.data.names[right]]);
    }
    return rows.map((row) => `${row.map(cell).join(",")}\n`).join("");
  }

  save() {
    const link = element("a", { href: URL.createObjectURL(new Blob([this.csv()], { type: "text/csv" })), download: "review.csv" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }
}

/* ---- the page ---------------------------------------------------------------------------------- */

const report = {};
report.data = JSON.parse(document.getElementById("data").textContent);
report.images = new Images(report.data);
report.review = new Review(report.data, report.images);
report.gallery = new Gallery(report.data, report.images, report.review);
report.view = new MatrixView(report.data, report.images, (selection) => report.gallery.open(selection));
