/* The features of all images in two dimensions, coloured by class, group or error. */

/* Hues come near each other again after 5, 8, 13 and 21 numbers, so these differ in brightness or saturation. */
function hueOf(number) { return `hsl(${number * 137.5 % 360} ${number % 2 ? 90 : 50}% ${[50, 34, 68][number % 3]}%)`; }

/* What the points are coloured by: from an image to its colour, and what that means. */
function mapColours({ groups, names }, images) {
  const { top, k } = images.networks[0], numbers = new Map([...new Set(groups)].map((name, number) => [name, number]));
  const colours = [
    { title: "correct or wrong", of: (image) => images.isRight(image) ? "#4b8fd1" : "#e8730c", name: (image) => images.isRight(image) ? "correct" : "wrong" },
    { title: "class", of: (image) => hueOf(images.labels[image]), name: (image) => names[images.labels[image]] },
    { title: "predicted class", of: (image) => hueOf(top[image * k]), name: (image) => names[top[image * k]] },
    { title: "group", of: (image) => hueOf(numbers.get(groups[images.labels[image]])), name: (image) => groups[images.labels[image]] },
  ];
  return groups.length ? colours : colours.slice(0, -1);
}

const MOST_EXPLAINED = 30; // colours in the legend

class FeatureMap {
  constructor({ data, images, gallery }) {
    Object.assign(this, { data, images, gallery });
    this.x = integersOf(data.map.x);
    this.y = integersOf(data.map.y);
    this.canvas = document.getElementById("map-canvas");
    this.tip = document.getElementById("map-tip");
    const colours = mapColours(data, images);
    const select = element("select", { id: "map-colour" });
    colours.forEach((one, index) => select.append(element("option", { value: index, textContent: one.title })));
    select.addEventListener("change", () => this.draw());
    document.getElementById("map-controls").append(element("label", {}, "Colour by", select));
    this.colour = () => colours[select.value];
    this.legend = document.getElementById("map-legend");
    this.canvas.addEventListener("pointermove", (event) => this.hover(event));
    this.canvas.addEventListener("pointerleave", () => { this.tip.hidden = true; });
    this.canvas.addEventListener("click", (event) => {
      const [nearest] = this.near(event);
      if (nearest) { this.gallery.open({ title: "Images near this point", found: this.near(event, 24) }); }
    });
    new ResizeObserver(() => this.draw()).observe(this.canvas.parentElement);
  }

  draw() {
    const ratio = window.devicePixelRatio || 1, width = Math.floor(this.canvas.parentElement.clientWidth);
    this.side = Math.min(width, 700);
    this.canvas.width = this.canvas.height = this.side * ratio;
    this.canvas.style.width = this.canvas.style.height = `${this.side}px`;
    const context = this.canvas.getContext("2d"), { of, name } = this.colour(), known = new Map();
    context.scale(ratio, ratio);
    context.globalAlpha = 0.75;
    for (let image = 0; image < this.images.length; image++) {
      const wanted = of(image);
      if (!known.has(wanted)) { known.set(wanted, []); }
      known.get(wanted).push(image);
    }
    this.explain([...known].map(([wanted, list]) => [name(list[0]), wanted]));
    const size = this.images.length > 5000 ? 2 : 4;
    for (const [wanted, list] of known) {
      context.fillStyle = wanted;
      for (const image of list) { context.fillRect(...this.place(image).map((value) => value - size / 2), size, size); }
    }
  }

  /* The legend, from pairs of a name and its colour; none if there are too many. */
  explain(pairs) {
    const shown = pairs.length > MOST_EXPLAINED ? [] : pairs.sort((a, b) => a[0].localeCompare(b[0], "en"));
    this.legend.replaceChildren(...shown.map(([name, colour]) => {
      const square = element("span", { className: "square" });
      square.style.background = colour;
      return element("span", {}, square, name);
    }));
  }

  place(image) { return [this.x, this.y].map((values) => 8 + values[image] / 65535 * (this.side - 16)); }

  /* The images nearest to the pointer, at most this many, within 12 pixels for the first. */
  near(event, most = 1) {
    const area = this.canvas.getBoundingClientRect(), at = [event.clientX - area.left, event.clientY - area.top];
    const found = [];
    for (let image = 0; image < this.images.length; image++) {
      const [x, y] = this.place(image), distance = Math.hypot(x - at[0], y - at[1]);
      if (distance < (most > 1 ? 40 : 12)) { found.push([distance, image]); }
    }
    return found.sort((a, b) => a[0] - b[0]).slice(0, most).map(([, image]) => image);
  }

  hover(event) {
    const [image] = this.near(event), { top, k } = this.images.networks[0], area = this.canvas.getBoundingClientRect();
    this.tip.hidden = image === undefined;
    if (image === undefined) { return; }
    this.tip.textContent = `true: ${this.data.names[this.images.labels[image]]}\npredicted: ${this.data.names[top[image * k]]}`;
    this.tip.style.left = `${Math.max(0, Math.min(event.clientX - area.left + 14, this.side - this.tip.offsetWidth))}px`;
    this.tip.style.top = `${event.clientY - area.top + 14}px`;
  }
}

if (report.data.map) { report.map = new FeatureMap(report); }
