// The photo with its landmarks. Hover, focus and the arrow keys show their names; dragging draws a box.

import { extent, html, pointed, radius, scale, solidity, svg } from "./drawing.js";

const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
const DRAG = 6; // screen pixels; anything shorter is a click

export class Picture {
  /** on: { point(index or null), box([x, y, width, height]) }, called when the user chooses a landmark or draws a box */
  constructor(view, tip, model, on) {
    Object.assign(this, { view, tip, model, on, chosen: null, drag: null });
    view.addEventListener("keydown", (event) => this.#key(event));
    view.addEventListener("pointerdown", (event) => this.#press(event));
    view.addEventListener("pointermove", (event) => this.#move(event));
    view.addEventListener("pointerup", (event) => this.#release(event));
    view.addEventListener("pointercancel", () => this.#release(null));
    new ResizeObserver(() => this.#fit()).observe(view);
  }

  show(answer, box, zoomed) {
    this.answer = answer;
    this.view.replaceChildren();
    svg("image", { href: answer.picture, width: answer.width, height: answer.height, preserveAspectRatio: "none" }, this.view);
    // For landmarks 0 is the centre of the first pixel; for the drawing it is that pixel's edge.
    this.places = answer.points.map(([x, y]) => [x + 0.5, y + 0.5]);
    for (const kind of ["line halo", "line"]) {
      for (const [a, b] of this.model.edges) this.#line(kind, a, b);
    }
    this.dots = this.places.map((place, index) => this.#dot(place, index));
    this.ring = svg("circle", { class: "ring", visibility: "hidden" }, this.view);
    this.spots = this.places.map((place, index) => this.#spot(place, index));
    this.spots[0].setAttribute("tabindex", "0");
    this.box = svg("rect", { class: "box", visibility: "hidden" }, this.view);
    if (box) this.#outline({ x: box[0] + 0.5, y: box[1] + 0.5, width: box[2], height: box[3] });
    this.zoom(zoomed);
    this.choose(null);
  }

  /** Show the whole photo, or the landmarks with some room around them. */
  zoom(zoomed) {
    const { width, height } = this.answer;
    let frame = { x: 0, y: 0, width, height };
    if (zoomed) {
      const { x, y, width: w, height: h } = extent(this.places);
      const room = 0.2 * Math.max(w, h);
      const [left, top] = [Math.max(0, x - room), Math.max(0, y - room)];
      frame = { x: left, y: top, width: Math.min(width, x + w + room) - left, height: Math.min(height, y + h + room) - top };
      if (!(frame.width > 0 && frame.height > 0)) frame = { x: 0, y: 0, width, height };
    }
    this.frame = frame;
    this.view.setAttribute("viewBox", `${frame.x} ${frame.y} ${frame.width} ${frame.height}`);
    this.#fit();
  }

  /** Show the name of one landmark, or of none if the index is null. */
  choose(index) {
    this.chosen = index;
    const spot = index === null ? null : this.spots[index];
    this.ring.setAttribute("visibility", spot ? "visible" : "hidden");
    this.tip.hidden = !spot;
    if (spot) {
      for (const key of ["cx", "cy"]) this.ring.setAttribute(key, spot.getAttribute(key));
      this.ring.setAttribute("r", 1.6 * this.unit);
      this.tip.replaceChildren(this.model.names[index], html("span", {}, `confidence ${this.answer.confidence[index].toFixed(2)}`));
      this.#place(spot);
    }
    this.on.point(index);
  }

  #place(spot) {
    const [stage, at] = [this.tip.parentElement.getBoundingClientRect(), spot.getBoundingClientRect()];
    const half = this.tip.offsetWidth / 2 + 8;
    const x = at.left + at.width / 2 - stage.left;
    const above = at.top - stage.top - 4;
    this.tip.style.left = `${Math.min(Math.max(x, half), stage.width - half)}px`;
    this.tip.style.top = `${above > this.tip.offsetHeight + 4 ? above : at.bottom - stage.top + this.tip.offsetHeight + 4}px`;
  }

  #line(kind, a, b) {
    const [[x1, y1], [x2, y2]] = [this.places[a], this.places[b]];
    svg("line", { class: kind, x1, y1, x2, y2, stroke: this.model.colours[a] }, this.view);
  }

  #dot([cx, cy], index) {
    const opacity = solidity(this.answer.confidence[index]);
    return svg("circle", { class: "dot", cx, cy, fill: this.model.colours[index], opacity }, this.view);
  }

  #spot([cx, cy], index) {
    const label = `${this.model.names[index]}, confidence ${this.answer.confidence[index].toFixed(2)}`;
    const spot = svg("circle", { class: "spot", cx, cy, tabindex: -1, role: "img", "aria-label": label }, this.view);
    spot.dataset.index = index;
    for (const [start, end] of [["pointerenter", "pointerleave"], ["focus", "blur"]]) {
      spot.addEventListener(start, () => this.drag || this.choose(index));
      spot.addEventListener(end, () => this.choose(null));
    }
    return spot;
  }

  /** Dots grow with the box of the landmarks, but stay visible and out of the way on any screen. */
  #fit() {
    if (!this.answer || !this.view.clientWidth) return;
    const pixel = scale(this.view, this.frame);
    const { width, height } = extent(this.places);
    this.unit = Math.min(Math.max(0.009 * Math.hypot(width, height), 2.4 * pixel), 7 * pixel);
    this.dots.forEach((dot, index) => dot.setAttribute("r", radius(this.unit, this.answer.confidence[index])));
    for (const spot of this.spots) spot.setAttribute("r", Math.max(1.8 * this.unit, 7 * pixel));
  }

  #key(event) {
    const step = STEPS[event.key];
    if (!step || !event.target.dataset.index) return;
    event.preventDefault();
    const next = this.spots.at((Number(event.target.dataset.index) + step) % this.spots.length);
    for (const spot of this.spots) spot.setAttribute("tabindex", spot === next ? "0" : "-1");
    next.focus();
  }

  #press(event) {
    if (!this.answer || event.button || (event.pointerType === "touch" && !this.view.classList.contains("drawing"))) return;
    this.drag = { from: this.#at(event), screen: [event.clientX, event.clientY], drawn: null };
  }

  #move(event) {
    if (this.drag && !event.buttons) this.#release(null); // it was let go outside of the view
    if (!this.drag) return;
    const { from, screen } = this.drag;
    if (Math.hypot(event.clientX - screen[0], event.clientY - screen[1]) < DRAG) return;
    this.view.setPointerCapture(event.pointerId);
    this.choose(null);
    this.drag.drawn = extent([from, this.#at(event)]);
    this.#outline(this.drag.drawn);
  }

  #release(event) {
    const drawn = event && this.drag?.drawn;
    this.drag = null;
    if (drawn?.width > 0 && drawn.height > 0) this.on.box([drawn.x - 0.5, drawn.y - 0.5, drawn.width, drawn.height]);
  }

  #outline(rectangle) {
    for (const [key, value] of Object.entries(rectangle)) this.box.setAttribute(key, value);
    this.box.setAttribute("visibility", "visible");
  }

  #at(event) {
    const [x, y] = pointed(this.view, event);
    return [Math.min(Math.max(x, 0), this.answer.width), Math.min(Math.max(y, 0), this.answer.height)];
  }
}
