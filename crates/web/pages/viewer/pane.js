// One place on the screen in which a series is looked at: a canvas, what is written on it, and how it is looked at.

import { person, text } from "./dicom.js";
import { element } from "./dom.js";
import { paint, presets, range } from "./window.js";

const RENDER_SETTLE_MS = 200;
const MAX_SCALE = 40;

export class Pane {
  // `changed` is called after every change that a toolbar shows.
  constructor(loader, changed) {
    this.loader = loader;
    this.changed = changed;
    this.canvas = element("canvas", { tabindex: "0", role: "img", "aria-label": "No image yet" });
    this.corners = {};
    for (const where of ["top left", "top right", "bottom left", "bottom right"]) {
      this.corners[where] = element("div", { class: `corner ${where}`, "aria-hidden": "true" });
    }
    this.word = element("p", { class: "word", role: "status" });
    this.slide = element("input", { class: "slide", type: "range", min: "1", step: "1", "aria-label": "Image" });
    this.paper = element("section", { class: "paper", tabindex: "0", hidden: true });
    this.root = element("div", { class: "pane" }, this.canvas, ...Object.values(this.corners), this.word, this.slide, this.paper);
    this.picture = document.createElement("canvas");
    this.slide.addEventListener("input", () => this.go(Number(this.slide.value) - 1));
    loader.listeners.add(this.heard = (frame) => {
      if (frame === this.frame) this.refresh();
    });
    this.observer = new ResizeObserver((entries) => this.fill(entries[entries.length - 1]));
    this.clear();
    // In pixels of the screen, where browsers tell: a canvas of another size would be smoothed, not shown.
    try {
      this.observer.observe(this.canvas, { box: "device-pixel-content-box" });
    } catch {
      this.observer.observe(this.canvas);
    }
  }

  fill({ devicePixelContentBoxSize: exact, contentRect }) {
    const ratio = devicePixelRatio || 1;
    const [width, height] = exact ? [exact[0].inlineSize, exact[0].blockSize] : [Math.round(contentRect.width * ratio), Math.round(contentRect.height * ratio)];
    Object.assign(this.canvas, { width, height });
    this.draw();
  }

  clear() {
    this.stack = null;
    this.series = null;
    this.index = 0;
    this.shown = null;
    this.direction = 1;
    this.playing = false;
    this.look();
  }

  look() {
    this.view = { scale: null, x: 0, y: 0, inverted: false, window: null };
    this.base = null;
  }

  close() {
    this.loader.leave(this);
    this.loader.listeners.delete(this.heard);
    this.observer.disconnect();
    this.root.remove();
  }

  get frame() {
    return this.stack?.frames[this.index] ?? null;
  }

  // Shows a series; `series` is its data set from the search, `paper` what stands there instead of pictures.
  open(series, stack, paper) {
    this.clear();
    this.series = series;
    this.stack = stack;
    this.paper.replaceChildren();
    this.paper.hidden = !paper;
    if (paper) this.paper.append(paper);
    this.slide.hidden = stack.length < 2;
    this.slide.max = String(Math.max(stack.length, 1));
    this.wipe();
    if (stack.length) this.go(0);
    else this.loader.want(this, []);
    this.say(stack.length || paper ? "" : "This series holds no picture.");
    this.changed();
  }

  say(word, bad = false) {
    this.word.textContent = word;
    this.word.classList.toggle("bad", bad);
  }

  go(index) {
    if (!this.stack?.length) return;
    const to = Math.min(Math.max(index, 0), this.stack.length - 1);
    if (to !== this.index) this.direction = to > this.index ? 1 : -1;
    this.index = to;
    this.slide.value = String(to + 1);
    this.loader.want(this, this.stack.around(to, this.direction, this.playing), this.wanted());
    this.refresh();
  }

  step(by) {
    if (!this.stack) return;
    const { length } = this.stack;
    this.go(this.playing ? (this.index + by + length) % length : this.index + by);
  }

  // Whether the next image of a cine is here: it plays at the network's pace.
  get isNextHere() {
    return Boolean(this.stack?.length) && this.loader.take(this.stack.frames[(this.index + 1) % this.stack.length]) !== null;
  }

  // Paints what is here of the frame that is looked at. What is not here yet leaves the image before, under its own number.
  refresh() {
    const { frame } = this;
    if (!frame) return;
    const failure = this.loader.failure(frame);
    const pixels = failure ? null : this.loader.take(frame);
    if (pixels) {
      this.paintPicture(frame, pixels);
      this.shown = { frame, index: this.index };
      this.say("");
    } else if (failure) {
      this.wipe();
      const request = failure.request ? ` (request ${failure.request})` : "";
      this.say(`Image ${this.index + 1} cannot be shown. ${failure.message}${request}`, true);
    } else if (!this.shown) {
      this.say("Loading…");
    }
    this.draw();
    this.changed();
  }

  wipe() {
    this.shown = null;
    this.picture.width = 0;
    this.draw();
  }

  // The window in use: what was chosen, or what the frame brings along, or the values of the first frame seen.
  wanted() {
    if (this.view.window) return this.view.window;
    if (!this.frame?.image.isMono) return null;
    const first = presets(this.frame.image, text(this.series, "00080060"))[0];
    return first.full || !(first.table || this.frame.image.centers.length) ? this.base : first;
  }

  full(frame, pixels) {
    const { low, high } = range(pixels.raw, frame.image);
    return { center: (low + high) / 2 + 0.5, width: Math.max(high - low + 1, 1) };
  }

  paintPicture(frame, pixels) {
    const { image } = frame;
    this.kind = pixels.raw ? "grey" : pixels.windowed !== undefined && image.isMono ? "rendered" : "colour";
    if (pixels.bitmap) {
      this.picture.width = pixels.bitmap.width;
      this.picture.height = pixels.bitmap.height;
      const context = this.picture.getContext("2d");
      context.filter = this.view.inverted ? "invert(1)" : "none";
      context.drawImage(pixels.bitmap, 0, 0);
      return;
    }
    this.picture.width = image.columns;
    this.picture.height = image.rows;
    let rgba = pixels.rgba;
    if (pixels.raw) {
      let window = this.wanted();
      if (!window) window = this.base = this.full(frame, pixels);
      if (window.full) window = this.full(frame, pixels);
      this.used = window;
      rgba = paint(pixels.raw, image, { ...window, inverted: this.view.inverted });
    } else if (this.view.inverted) {
      rgba = rgba.map((value, at) => (at % 4 === 3 ? value : 255 - value));
    }
    this.picture.getContext("2d").putImageData(new ImageData(rgba, image.columns, image.rows), 0, 0);
  }

  // Screen pixels for one image pixel when the whole image is seen.
  get fit() {
    const { width, height } = this.picture;
    if (!width) return 1;
    return Math.min(this.canvas.width / width, this.canvas.height / (height * this.aspect));
  }

  get aspect() {
    return this.shown?.frame.image.aspect ?? 1;
  }

  get scale() {
    return this.view.scale ?? this.fit;
  }

  draw() {
    const { width, height } = this.canvas;
    const context = this.canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, width, height);
    if (this.picture.width) {
      const { scale } = this;
      const size = [this.picture.width * scale, this.picture.height * scale * this.aspect];
      const left = Math.round((width - size[0]) / 2 + this.view.x);
      const top = Math.round((height - size[1]) / 2 + this.view.y);
      context.imageSmoothingEnabled = scale !== 1 && scale < 4;
      context.imageSmoothingQuality = "high";
      context.drawImage(this.picture, left, top, size[0], size[1]);
    }
    this.write();
  }

  write() {
    const put = (where, lines) => {
      this.corners[where].textContent = lines.filter(Boolean).join("\n");
    };
    if (!this.shown) {
      for (const where of Object.keys(this.corners)) put(where, []);
      this.canvas.setAttribute("aria-label", "No image yet");
      return;
    }
    const { frame, index } = this.shown;
    const { image } = frame;
    const number = (value) => String(Math.round(value * 100) / 100);
    const window = this.kind === "colour" ? null : this.used ?? this.wanted();
    const windowed = window && !window.table ? `C ${number(window.center)}  W ${number(window.width)}` : window?.table ? "Table as sent" : "";
    const late = this.index === index ? "" : `Loading ${this.index + 1}…`;
    const place = text(frame.set, "00201041");
    put("top left", [text(frame.set, "0008103E") || text(frame.set, "00080060"), person(frame.set, "00100010")]);
    put("top right", [`${image.columns} × ${image.rows}`, place && `at ${number(Number(place))} mm`]);
    put("bottom left", [windowed, this.view.inverted ? "inverted" : "", frame.rendered ? "rendered by the vault" : ""]);
    put("bottom right", [late, `${index + 1} / ${this.stack.length}`, `${Math.round(this.scale * 100)} %`]);
    this.canvas.setAttribute("aria-label", `Image ${index + 1} of ${this.stack.length}. ${windowed}`);
  }

  // Changes of how it is looked at.

  setWindow(window) {
    this.view.window = window;
    if (this.frame?.rendered) {
      clearTimeout(this.settle);
      this.settle = setTimeout(() => {
        for (const frame of this.stack.frames) if (frame.rendered) this.loader.forget(frame);
        this.go(this.index);
      }, RENDER_SETTLE_MS);
    }
    this.refresh();
  }

  // Moves the window; the steps follow its width, so that narrow windows move finely.
  dragWindow(wider, brighter) {
    const now = this.used ?? this.wanted();
    if (!now || now.table || this.kind === "colour") return;
    const pace = Math.max(now.width, 1) / 300;
    const width = Math.max(1, now.width + wider * pace);
    this.setWindow({ center: now.center + brighter * pace, width });
  }

  get presets() {
    return this.frame?.image.isMono ? presets(this.frame.image, text(this.series, "00080060")) : [];
  }

  // Zooms so that the point under (x, y), in screen pixels of the canvas, stays where it is.
  zoom(factor, x = this.canvas.width / 2, y = this.canvas.height / 2) {
    const before = this.scale;
    const after = Math.min(Math.max(before * factor, this.fit / 8), MAX_SCALE);
    const [cx, cy] = [x - this.canvas.width / 2, y - this.canvas.height / 2];
    this.view.x = cx - ((cx - this.view.x) * after) / before;
    this.view.y = cy - ((cy - this.view.y) * after) / before;
    this.view.scale = after;
    this.draw();
  }

  pan(x, y) {
    this.view.x += x;
    this.view.y += y;
    this.draw();
  }

  setScale(scale) {
    Object.assign(this.view, { scale, x: 0, y: 0 });
    this.draw();
  }

  invert() {
    this.view.inverted = !this.view.inverted;
    this.refresh();
  }

  // As it was opened, and what failed is tried again.
  reset() {
    this.look();
    if (this.stack) for (const frame of this.stack.frames) if (this.loader.failure(frame)) this.loader.forget(frame);
    this.go(this.index);
  }
}
