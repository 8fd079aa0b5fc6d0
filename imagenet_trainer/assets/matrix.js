/* The confusion matrix of a report: counted from the predictions, drawn, zoomed, searched. */

/* Integers from "2:AAEA": the number of bytes of each, and base64. "0:5" stands for 0, 1, 2, 3, 4. */
function integersOf(text) {
  if (text[0] === "0") { return Uint32Array.from({ length: Number(text.slice(2)) }, (_, index) => index); }
  const buffer = Uint8Array.from(atob(text.slice(2)), (letter) => letter.charCodeAt(0)).buffer;
  return new { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array, 8: Float64Array }[text[0]](buffer);
}

/* ---- the predictions --------------------------------------------------------------------------- */

/* Labels and predictions of all images, of one network or of two. */
class Images {
  constructor(data) {
    this.labels = integersOf(data.labels);
    this.keys = integersOf(data.keys);
    this.files = data.folder ? integersOf(data.files) : null;
    this.networks = data.networks.map((one) => ({
      title: one.title, k: one.k,
      top: integersOf(one.top), // the k most probable classes of each image, best first,
      probabilities: integersOf(one.probabilities), // and their probabilities in 65,535ths
      true: integersOf(one.true), // the probability of the label
    }));
    this.length = this.labels.length;
    this.classes = data.names.length;
    this.counts = new Uint32Array(this.classes); // images of each class
    for (const label of this.labels) { this.counts[label]++; }
    // The images sorted by label, and where each label begins.
    this.starts = new Uint32Array(this.classes + 1);
    this.counts.forEach((count, label) => { this.starts[label + 1] = this.starts[label] + count; });
    const next = this.starts.slice();
    this.sorted = new Uint32Array(this.length);
    this.labels.forEach((label, image) => { this.sorted[next[label]++] = image; });
  }

  isRight(image, network = 0) { const one = this.networks[network]; return one.top[image * one.k] === this.labels[image]; }

  /* The matrix of the k first predictions, as its non-zero cells by row: the sum over networks of
     their counts times their weights, [[network, weight], ...]. */
  matrix(weights, k) {
    const rows = new Uint32Array(this.classes + 1), columns = [], counts = [];
    const sums = new Int32Array(this.classes), seen = new Int32Array(this.classes).fill(-1);
    for (let label = 0; label < this.classes; label++) {
      const touched = [];
      for (let i = this.starts[label]; i < this.starts[label + 1]; i++) {
        for (const [network, weight] of weights) {
          const one = this.networks[network], first = this.sorted[i] * one.k;
          for (let at = first; at < first + Math.min(k, one.k); at++) {
            const column = one.top[at];
            if (seen[column] !== label) { seen[column] = label; sums[column] = 0; touched.push(column); }
            sums[column] += weight;
          }
        }
      }
      for (const column of touched.sort((a, b) => a - b)) {
        if (sums[column]) { columns.push(column); counts.push(sums[column]); }
      }
      rows[label + 1] = columns.length;
    }
    return { rows, columns, counts };
  }

  /* The images whose label is in `rows` and that have a class of `columns` among their first k
     predictions; null stands for all classes. */
  find({ rows = null, columns = null, k = 1, network = 0, wrong = false }) {
    const maskOf = (labels) => { const mask = new Uint8Array(this.classes); labels.forEach((one) => { mask[one] = 1; }); return mask; };
    const rowMask = rows && maskOf(rows), columnMask = columns && maskOf(columns), found = [];
    const one = this.networks[network], most = Math.min(k, one.k);
    for (let image = 0; image < this.length; image++) {
      if (rowMask && !rowMask[this.labels[image]]) { continue; }
      if (wrong && this.isRight(image, network)) { continue; }
      let fits = !columnMask;
      for (let at = image * one.k; !fits && at < image * one.k + most; at++) { fits = columnMask[one.top[at]] === 1; }
      if (fits) { found.push(image); }
    }
    return found;
  }
}

/* A matrix in one order of its classes, of which some may be missing. */
class Counts {
  constructor(cells, order, classes, diagonal) {
    Object.assign(this, cells);
    this.order = order;
    this.diagonal = diagonal;
    this.positionOf = new Int32Array(classes).fill(-1);
    order.forEach((label, position) => { this.positionOf[label] = position; });
  }

  /* Call visit(row, column, count) for the cells in rows top <= row < bottom, left <= column < right. */
  each(top, bottom, left, right, visit) {
    for (let row = top; row < bottom; row++) {
      const label = this.order[row], end = this.rows[label + 1];
      for (let i = this.rows[label]; i < end; i++) {
        const column = this.positionOf[this.columns[i]];
        if (column >= left && column < right && (this.diagonal || column !== row)) { visit(row, column, this.counts[i]); }
      }
    }
  }

  within(top, bottom, left, right) {
    let sum = 0;
    this.each(top, bottom, left, right, (row, column, count) => { sum += count; });
    return sum;
  }
}

/* ---- colours ----------------------------------------------------------------------------------- */

const SCALES = [
  { title: "equalised", of: equalised },
  { title: "linear", of: (values) => continuous(values, (value) => value) },
  { title: "logarithmic", of: (values, least) => continuous(values, (value) => Math.log1p(value / least)) },
];

/* From sizes to levels between 0 and 1: the share of the non-zero cells with at most that size,
   stretched so that the least has 0 and the greatest 1 (histogram equalisation). */
function equalised(values) {
  const frequency = new Map();
  for (const value of values) { frequency.set(value, (frequency.get(value) || 0) + 1); }
  const sizes = [...frequency.keys()].sort((a, b) => a - b), levels = new Map();
  let below = 0;
  const first = sizes.length ? frequency.get(sizes[0]) / values.length : 0;
  for (const size of sizes) {
    below += frequency.get(size);
    levels.set(size, sizes.length > 1 ? (below / values.length - first) / (1 - first) : 1);
  }
  return { ticks: sizes, level: (size) => levels.get(size) };
}

/* Levels in proportion to a growing function of the size; `least` is the smallest size. */
function continuous(values, form) {
  const most = values.reduce((a, b) => Math.max(a, b), 0), ticks = [];
  for (let step = 1e-4; step <= most; step *= 10) { ticks.push(step, 2 * step, 5 * step); }
  const whole = form(most) || 1;
  return { ticks: [...ticks.filter((one) => one >= most / 5000 && one < most), most].filter((one) => one > 0), level: (size) => form(size) / whole };
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
  /* `open` is called with a selection of images: see Images.find. */
  constructor(data, images, open) {
    Object.assign(this, { data, images, open });
    this.cells = []; // the cells of each matrix, once they are counted
    this.canvas = document.getElementById("matrix-canvas");
    this.mark = document.getElementById("matrix-mark");
    this.tip = document.getElementById("matrix-tip");
    this.status = document.getElementById("matrix-status");
    this.matrix = this.order = this.palette = this.scale = 0;
    this.shares = false; // of the class's images instead of counts
    this.diagonal = true;
    this.empty = images.counts.every((count) => count > 0); // also classes without images
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
      select.addEventListener("change", () => this.change(key, Number(select.value)));
      bar.append(element("label", {}, label, select));
    };
    choice("Counts", "matrix", this.data.matrices);
    choice("Order", "order", this.data.orders);
    choice("Scale", "scale", SCALES);
    choice("Colours", "palette", this.data.palettes);
    const check = (label, key) => {
      const box = element("input", { type: "checkbox", id: `matrix-${key}`, checked: this[key] });
      box.addEventListener("change", () => this.change(key, box.checked));
      bar.append(element("label", {}, box, label));
    };
    check("share of the true class", "shares");
    check("diagonal", "diagonal");
    if (!this.empty) { check("classes without images", "empty"); }
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

  change(key, value) {
    const selected = this.focus && this.focus.map((position) => this.labels[position]);
    this[key] = value;
    if (key === "palette" || key === "scale" || key === "shares") { this.draw(); return; }
    this.focus = null;
    this.recount();
    const positions = selected && selected.map((label) => this.labels.indexOf(label));
    if (positions && !positions.includes(-1)) { this.choose(...positions, true); }
  }

  listen() {
    const canvas = this.canvas;
    canvas.addEventListener("pointermove", (event) => this.hover(event));
    canvas.addEventListener("pointerleave", () => { this.tip.hidden = true; this.draft = null; this.drawMark(); });
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointerup", (event) => this.release(event));
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("wheel", (event) => {
      if (document.activeElement !== canvas && !event.ctrlKey) { return; }
      event.preventDefault();
      this.zoom(event.deltaY < 0 ? 0.8 : 1.25, this.cellAt(event));
    }, { passive: false });
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    new ResizeObserver(() => { if (this.width !== this.frameWidth()) { this.draw(); } }).observe(canvas.parentElement);
  }

  frameWidth() { return Math.floor(this.canvas.parentElement.getBoundingClientRect().width); }

  recount() {
    const order = this.data.orders[this.order], has = (label) => this.empty || this.images.counts[label] > 0;
    const before = this.n, kept = [0]; // the classes that are shown before each position
    order.order.forEach((label, position) => kept.push(kept[position] + has(label)));
    this.labels = order.order.filter(has);
    this.spans = order.spans.map(([begin, end, name]) => [kept[begin], kept[end], name]).filter(([begin, end]) => begin < end);
    this.n = this.labels.length;
    const { weights, k, signed } = this.data.matrices[this.matrix];
    this.signed = Boolean(signed);
    document.getElementById("matrix-palette").disabled = this.signed; // which has its own colours
    this.cells[this.matrix] = this.cells[this.matrix] || this.images.matrix(weights, k);
    this.counts = new Counts(this.cells[this.matrix], this.labels, this.images.classes, this.diagonal);
    if (this.n === before) { this.draw(); } else { this.whole(); }
  }

  /* ---- drawing ---- */

  draw() {
    this.width = this.frameWidth();
    const ratio = window.devicePixelRatio || 1;
    // CSS pixels: a margin for names on the left and below, and a matrix that fits the window.
    this.margin = this.marginOf(this.canvas.getContext("2d"));
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
    this.ink = getComputedStyle(document.documentElement).getPropertyValue("--ink");
    const picture = this.shade();
    context.imageSmoothingEnabled = false;
    context.drawImage(picture, this.margin * ratio, 0, pixels, pixels);
    context.scale(ratio, ratio);
    this.writeCounts(context);
    this.name(context);
    this.drawLegend(ratio);
    this.drawMark();
    const part = this.length === this.n ? "all" : `${this.length} of ${this.n}`;
    this.canvas.setAttribute("aria-label", `Confusion matrix, ${part} classes shown`);
  }

  /* As wide as the longest name that is shown, but at most a third of the width. */
  marginOf(context) {
    context.font = FONT;
    let names = this.spans.length ? this.spans.map(([, , name]) => name) : [`${this.n}`];
    if (this.length <= MOST_NAMED) {
      names = [this.top, this.left].flatMap((first) => this.labels.slice(first, first + this.length).map((label) => this.data.names[label]));
    }
    const longest = names.reduce((most, name) => Math.max(most, context.measureText(name).width), 0);
    return Math.min(170, Math.floor(this.width / 3), Math.ceil(longest) + 36);
  }

  edge(bin) { return Math.floor(bin * this.length / this.bins); }

  /* The part that is shown, with counts summed into as many cells as there are pixels. */
  shade() {
    const bins = this.bins, values = new Float64Array(bins * bins), binOf = new Uint32Array(this.length);
    for (let i = 0; i < bins; i++) { binOf.fill(i, this.edge(i), this.edge(i + 1)); }
    this.counts.each(this.top, this.top + this.length, this.left, this.left + this.length, (row, column, count) => {
      values[binOf[row - this.top] * bins + binOf[column - this.left]] += count;
    });
    if (this.shares) {
      const images = new Float64Array(bins);
      binOf.forEach((bin, position) => { images[bin] += this.images.counts[this.labels[this.top + position]]; });
      values.forEach((value, at) => { if (value) { values[at] = value / images[Math.floor(at / bins)]; } });
    }
    this.colourOf = this.colours(values);
    const picture = element("canvas", { width: bins, height: bins });
    const context = picture.getContext("2d"), image = context.createImageData(bins, bins), known = new Map();
    values.forEach((value, at) => {
      if (value) {
        if (!known.has(value)) { known.set(value, this.colourOf(value)); }
        image.data.set(known.get(value), 4 * at);
      }
      image.data[4 * at + 3] = 255;
    });
    context.putImageData(image, 0, 0);
    return picture;
  }

  /* A function from values to [red, green, blue]. Signed values have two palettes. */
  colours(values) {
    const sizes = values.filter((value) => value).map(Math.abs), least = sizes.reduce((a, b) => Math.min(a, b), Infinity);
    this.levels = SCALES[this.scale].of(sizes, least);
    const { colours, negative } = this.signed ? this.data.difference : this.data.palettes[this.palette];
    this.more = colourScale(colours);
    this.fewer = negative && colourScale(negative);
    return (value) => (value < 0 ? this.fewer : this.more)(this.levels.level(Math.abs(value)));
  }

  /* A count, or with `shares` a share, as text. */
  shown(value) {
    const sign = this.signed && value > 0 ? "+" : "";
    return sign + (this.shares ? `${Number((100 * value).toPrecision(2))} %` : formatted(Number(value.toPrecision(6))));
  }

  /* The counts as text, in a size in which all fit, if that is legible. */
  writeCounts(context) {
    const unit = this.side / this.length;
    if (unit < 26) { return; }
    context.font = FONT;
    const texts = [];
    let longest = 1;
    this.counts.each(this.top, this.top + this.length, this.left, this.left + this.length, (row, column, count) => {
      const value = this.shares ? count / this.images.counts[this.labels[row]] : count, text = this.shown(value);
      texts.push([row, column, value, text]);
      longest = Math.max(longest, context.measureText(text).width);
    });
    const size = Math.min(12, Math.floor(12 * (unit - 2) / longest));
    if (size < 8) { return; }
    context.font = FONT.replace("12", size);
    context.textAlign = "center";
    context.textBaseline = "middle";
    for (const [row, column, value, text] of texts) {
      const [red, green, blue] = this.colourOf(value);
      context.fillStyle = 0.21 * red + 0.72 * green + 0.07 * blue > 110 ? "black" : "white";
      context.fillText(text, this.margin + (column - this.left + 0.5) * unit, (row - this.top + 0.5) * unit);
    }
  }

  name(context) {
    context.textAlign = "start";
    context.textBaseline = "alphabetic";
    context.font = FONT;
    context.fillStyle = context.strokeStyle = this.ink;
    context.lineWidth = 1;
    if (this.length <= MOST_NAMED) {
      const step = this.side / this.length;
      for (let i = 0; i < this.length; i++) {
        this.write(context, this.data.names[this.labels[this.top + i]], (i + 0.5) * step, 0, Math.min(12, step));
        this.write(context, this.data.names[this.labels[this.left + i]], (i + 0.5) * step, 1, Math.min(12, step));
      }
      return;
    }
    [this.top, this.left].forEach((first, across) => {
      if (this.spans.length) { this.nameSpans(context, this.spans, first, across); } else { this.number(context, first, across); }
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

  drawLegend(ratio) {
    const width = Math.min(420, this.width), height = 36, legend = this.legend;
    Object.assign(legend, { width: width * ratio, height: height * ratio });
    Object.assign(legend.style, { width: `${width}px`, height: `${height}px` });
    const context = legend.getContext("2d");
    context.scale(ratio, ratio);
    const { ticks, level } = this.levels, left = 40, span = width - left - 40;
    context.fillStyle = "black";
    context.fillRect(0, 2, 14, 14);
    for (let x = 0; x < span; x++) {
      const at = this.signed ? 2 * x / (span - 1) - 1 : x / (span - 1);
      context.fillStyle = `rgb(${(at < 0 ? this.fewer : this.more)(Math.abs(at)).join(" ")})`;
      context.fillRect(left + x, 2, 1.5, 14);
    }
    context.fillStyle = this.ink;
    context.font = FONT;
    context.fillText("0", 3, 32);
    const signs = this.signed ? [1, -1] : [1], marks = [...ticks.slice(-1), ...ticks], used = [];
    for (const value of marks.flatMap((tick) => signs.map((sign) => sign * tick))) {
      const part = level(Math.abs(value)) * Math.sign(value), x = left + (this.signed ? (part + 1) / 2 : part) * span;
      if (used.some((other) => Math.abs(other - x) < 34)) { continue; }
      used.push(x);
      context.fillText(this.shown(value), x, 32);
      context.fillRect(x, 16, 1, 5);
    }
    legend.setAttribute("aria-label", ticks.length
      ? `Colours of ${this.shares ? "shares" : "counts"} from ${this.shown(this.signed ? -ticks[ticks.length - 1] : ticks[0])} to ${this.shown(ticks[ticks.length - 1])}; zero is black`
      : "All counts are zero");
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
    const count = this.counts.within(...rows, ...columns);
    const images = this.labels.slice(...rows).reduce((sum, label) => sum + this.images.counts[label], 0);
    const group = this.data.groups.length && rows[1] - rows[0] === 1 ? ` · ${this.data.groups[this.labels[rows[0]]]}` : "";
    // An image has several of its first five predictions in a range of classes, so they have no share of the images.
    const isShare = columns[1] - columns[0] === 1 || this.data.matrices[this.matrix].k === 1;
    const of = `of ${formatted(images)} ${images === 1 ? "image" : "images"}`;
    const share = images ? (isShare ? `, ${(100 * count / images).toFixed(1)} % ${of}` : ` predictions ${of}`) : "";
    return `true: ${this.names(rows)}${group}\npredicted: ${this.names(columns)}\n${this.signed && count > 0 ? "+" : ""}${formatted(count)}${share}`;
  }

  names([first, end]) {
    const shown = this.labels.slice(first, end).map((label) => this.data.names[label]);
    return shown.length > 3 ? `${shown[0]} to ${shown[shown.length - 1]} (${shown.length} classes)` : shown.join(", ");
  }

  /* ---- images ---- */

  /* The images of a part of the matrix: rows and columns as [first, end], null for all. */
  openImages(rows, columns) {
    const { weights, k } = this.data.matrices[this.matrix], labels = (range) => range && this.labels.slice(...range);
    const title = [rows && `true: ${this.names(rows)}`, columns && `predicted: ${this.names(columns)}`];
    this.open({ rows: labels(rows), columns: labels(columns), k, networks: weights.map(([network]) => network), title: title.filter(Boolean).join("; ") });
  }

  /* The class or group whose name is at a position beside the matrix: rows, or columns below it. */
  openSide(event) {
    const area = this.canvas.getBoundingClientRect(), unit = this.side / this.length;
    const x = event.clientX - area.left - this.margin, y = event.clientY - area.top;
    const [along, first] = x < 0 ? [y, this.top] : [x, this.left];
    if (along < 0 || along >= this.side || (x < 0) === (y >= this.side)) { return; }
    const at = first + Math.floor(along / unit), grouped = this.length > MOST_NAMED && this.spans;
    const range = grouped && grouped.length ? grouped.find(([begin, end]) => begin <= at && at < end) : [at, at + 1];
    if (range) { this.openImages(...(x < 0 ? [range.slice(0, 2), null] : [null, range.slice(0, 2)])); }
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
    if (position < 0) { this.status.textContent = `${name} has no images.`; return; }
    this.show(position - length / 2, position - length / 2, length);
    this.choose(position, position, true);
  }

  press(event) {
    const cell = this.cellAt(event);
    if (event.button) { return; }
    if (!cell) { this.openSide(event); return; }
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
      const { row, column, rows, columns } = pressed.cell;
      this.choose(row, column, false);
      this.openImages(rows, columns);
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
    } else if (event.key === "Enter" && this.focus) {
      this.openImages(...this.focus.map((position) => [position, position + 1]));
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
