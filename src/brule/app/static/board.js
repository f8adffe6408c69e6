// The photo with its points, as large as the user wants it. Says what was clicked, dragged and typed, and changes nothing.

import { pointed, scale, svg } from "./drawing.js";

const ARROWS = { ArrowRight: [1, 0], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowUp: [0, -1] };
const REACH = { mouse: 9, pen: 12, touch: 20 }; // screen pixels around a point that belong to it
const DRAG = { mouse: 4, pen: 5, touch: 9 }; // screen pixels; anything shorter is a click
const CLOSEST = 12; // pixels of the photo across the view, at least
const NAMED = 14; // up to this number of points the picture shows their names, else their numbers

export class Board {
  /** on: { place([x, y]), pick(index or null), move(index, [x, y], key), take(index), fault(sentence) } */
  constructor(view, on) {
    Object.assign(this, { view, on, scene: null, frame: null, hover: null, cross: null, press: null, strokes: 0 });
    this.fingers = new Map();
    for (const [kind, act] of [["down", this.#down], ["move", this.#move], ["up", this.#up], ["cancel", this.#cancel]]) {
      view.addEventListener(`pointer${kind}`, (event) => this.scene && act.call(this, event));
    }
    view.addEventListener("pointerleave", () => this.#point(null));
    view.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    view.addEventListener("keydown", (event) => this.scene && this.#key(event));
    view.addEventListener("focus", () => this.#draw());
    view.addEventListener("blur", () => this.#aim(null));
    new ResizeObserver(() => this.#draw()).observe(view);
  }

  /** scene: { photo, href, size, names, shape, colours, edges, pairs, ghost, want, chosen, linking, label } */
  show(scene) {
    if (!this.scene || scene.photo !== this.scene.photo) {
      this.frame = { x: 0, y: 0, width: scene.size[0], height: scene.size[1] };
      [this.hover, this.cross, this.press] = [null, null, null];
      this.view.replaceChildren();
      const place = { width: scene.size[0], height: scene.size[1], preserveAspectRatio: "none", href: scene.href };
      svg("image", place, this.view).addEventListener("error", () => this.on.fault(scene.label));
      this.layer = svg("g", {}, this.view);
    }
    this.scene = scene;
    this.#draw();
  }

  /** Enlarge by a factor, around a place of the photo or around what is looked at. 0: the whole photo. */
  zoom(factor, around = this.cross ?? this.scene.shape[this.scene.chosen] ?? null) {
    const [width, height] = this.scene.size;
    const { frame } = this;
    if (!factor) {
      this.frame = { x: 0, y: 0, width, height };
      return this.#draw();
    }
    const across = Math.min(width, Math.max(Math.min(CLOSEST, width), frame.width / factor));
    const scale = across / frame.width;
    const [x, y] = around ? [around[0] + 0.5, around[1] + 0.5] : [frame.x + frame.width / 2, frame.y + frame.height / 2];
    this.#look(x - scale * (x - frame.x), y - scale * (y - frame.y), across);
  }

  #look(x, y, across) {
    const [width, height] = this.scene.size;
    const tall = (across * height) / width;
    const within = (value, most) => Math.min(Math.max(value, 0), most);
    this.frame = { x: within(x, width - across), y: within(y, height - tall), width: across, height: tall };
    this.#draw();
  }

  /** Photo pixels that one screen pixel stands for. */
  get #pixel() {
    return scale(this.view, this.frame);
  }

  #draw() {
    if (!this.scene) return;
    const { frame, scene, layer } = this;
    this.view.setAttribute("viewBox", `${frame.x} ${frame.y} ${frame.width} ${frame.height}`);
    this.view.classList.toggle("zoomed", frame.width < scene.size[0]);
    this.view.classList.toggle("picking", scene.linking !== null);
    this.view.classList.toggle("over", this.hover !== null);
    const unit = this.#pixel;
    layer.replaceChildren();
    if (scene.ghost) this.#ghost(unit);
    for (const kind of ["halo", "edge"]) {
      for (const [a, b] of scene.edges) this.#line(kind, scene.shape[a], scene.shape[b], scene.colours[a]);
    }
    if (scene.linking === "pairs") for (const [a, b] of scene.pairs) this.#line("link", scene.shape[a], scene.shape[b]);
    const placed = scene.shape.map((_, index) => index).filter((index) => scene.shape[index]);
    for (const index of placed) this.#label(index, unit);
    for (const index of placed) this.#dot(scene.shape[index], index, unit);
    if (this.cross && document.activeElement === this.view) this.#crosshair(unit);
  }

  #ghost(unit) {
    const { scene } = this;
    const group = svg("g", { class: "ghost" }, this.layer);
    const open = (index) => !scene.shape[index];
    for (const [a, b] of scene.edges) if (open(a) || open(b)) this.#line("edge", scene.ghost[a], scene.ghost[b], "#fff", group);
    scene.ghost.forEach(([x, y], index) => {
      if (open(index)) svg("circle", { class: "dot", cx: x + 0.5, cy: y + 0.5, r: 3 * unit }, group);
    });
    if (scene.want === null) return;
    const [x, y] = scene.ghost[scene.want];
    svg("circle", { class: "want", cx: x + 0.5, cy: y + 0.5, r: 11 * unit }, this.layer);
    this.#word(x, y, scene.names[scene.want], unit, 15);
  }

  #line(kind, from, to, stroke = "#fff", parent = this.layer) {
    if (!from || !to) return;
    svg("line", { class: kind, x1: from[0] + 0.5, y1: from[1] + 0.5, x2: to[0] + 0.5, y2: to[1] + 0.5, stroke }, parent);
  }

  #dot([x, y], index, unit) {
    const { scene } = this;
    const [cx, cy] = [x + 0.5, y + 0.5];
    svg("circle", { class: "dot", cx, cy, r: 4.5 * unit, fill: scene.colours[index] }, this.layer);
    svg("circle", { class: "spot", cx, cy, r: REACH.touch * unit }, this.layer);
    if (index === scene.chosen || index === this.hover) svg("circle", { class: "ring", cx, cy, r: 9 * unit }, this.layer);
  }

  #label(index, unit) {
    const { scene } = this;
    const named = index === scene.chosen || index === this.hover || scene.names.length <= NAMED;
    this.#word(...scene.shape[index], named ? scene.names[index] : String(index + 1), unit, 9);
  }

  /** A word on the right of a place, or on the left if it would leave the view or cover a point there. */
  #word(x, y, text, unit, beside) {
    const [size, reach] = [12.5 * unit, (beside + 8 * text.length) * unit];
    const covered = this.scene.shape.some((place) => place && place[0] > x && place[0] < x + reach && Math.abs(place[1] - y) < size);
    const [middle, half] = [this.frame.x + this.frame.width / 2, (unit * this.view.clientWidth) / 2];
    const left = x + reach > middle + half || (covered && x - reach > middle - half);
    const at = { x: x + 0.5 + (left ? -beside : beside) * unit, y: y + 0.5 + 0.35 * size, "text-anchor": left ? "end" : "start" };
    svg("text", { ...at, "font-size": size, "stroke-width": 3 * unit }, this.layer).textContent = text;
  }

  #crosshair(unit) {
    const [x, y] = [this.cross[0] + 0.5, this.cross[1] + 0.5];
    for (const [dx, dy] of [[14, 0], [0, 14]]) {
      for (const side of [-1, 1]) {
        const from = { x1: x + (side * dx * unit) / 4, y1: y + (side * dy * unit) / 4 };
        svg("line", { class: "cross", ...from, x2: x + side * dx * unit, y2: y + side * dy * unit }, this.layer);
      }
    }
  }

  #at(event) {
    const [x, y] = pointed(this.view, event);
    return [x - 0.5, y - 0.5];
  }

  /** A place that lies in the photo, to a hundredth of a pixel. */
  #inside([x, y]) {
    const within = (value, size) => Math.round(100 * Math.min(Math.max(value, -0.5), size - 0.5)) / 100;
    return [within(x, this.scene.size[0]), within(y, this.scene.size[1])];
  }

  #hit([x, y], kind) {
    let [best, near] = [null, (REACH[kind] ?? REACH.mouse) * this.#pixel];
    this.scene.shape.forEach((place, index) => {
      const distance = place ? Math.hypot(place[0] - x, place[1] - y) : Infinity;
      if (distance <= near) [best, near] = [index, distance];
    });
    return best;
  }

  #point(index) {
    if (index === this.hover) return;
    this.hover = index;
    this.#draw();
  }

  #aim(place) {
    this.cross = place;
    this.#draw();
  }

  #down(event) {
    if (event.button) return;
    this.fingers.set(event.pointerId, event);
    if (this.fingers.size > 1) return this.#pinch();
    const place = this.#at(event);
    const index = this.#hit(place, event.pointerType);
    this.strokes += 1;
    this.press = { index, place, event, moved: false, frame: this.frame, grab: index === null ? null : this.scene.shape[index] };
    this.cross = null;
  }

  #move(event) {
    if (this.press && !event.buttons) this.#cancel(event); // it was let go outside of the view
    if (this.fingers.has(event.pointerId)) this.fingers.set(event.pointerId, event);
    if (this.fingers.size > 1) return this.#pinch();
    const { press } = this;
    if (!press) return event.pointerType === "mouse" ? this.#point(this.#hit(this.#at(event), "mouse")) : undefined;
    const far = Math.hypot(event.clientX - press.event.clientX, event.clientY - press.event.clientY);
    if (!press.moved && far < (DRAG[event.pointerType] ?? DRAG.mouse)) return;
    if (!press.moved) this.view.setPointerCapture(event.pointerId);
    press.moved = true;
    const [x, y] = this.#at(event);
    if (press.index !== null && this.scene.linking === null) {
      this.view.classList.add("dragging");
      const place = [press.grab[0] + x - press.place[0], press.grab[1] + y - press.place[1]];
      this.on.move(press.index, this.#inside(place), `drag ${this.strokes}`);
    } else if (press.index === null) {
      this.#look(this.frame.x + press.place[0] - x, this.frame.y + press.place[1] - y, this.frame.width);
    }
  }

  #up(event) {
    const { press } = this;
    this.#cancel(event);
    if (!press || press.moved || event.button) return;
    this.view.focus({ preventScroll: true });
    if (press.index !== null) return this.on.pick(press.index);
    const [x, y] = press.place;
    const [width, height] = this.scene.size;
    if (this.scene.linking !== null || x < -0.5 || y < -0.5 || x > width - 0.5 || y > height - 0.5) return this.on.pick(null);
    this.on.place(this.#inside(press.place), event.pointerType);
  }

  #cancel(event) {
    this.fingers.delete(event.pointerId);
    if (this.fingers.size < 2) this.between = null;
    this.press = null;
    this.view.classList.remove("dragging");
  }

  /** Two fingers: what lay between them stays there. */
  #pinch() {
    this.press = null;
    const [one, other] = [...this.fingers.values()];
    const middle = { clientX: (one.clientX + other.clientX) / 2, clientY: (one.clientY + other.clientY) / 2 };
    const apart = Math.max(1, Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY));
    if (this.between) {
      this.zoom(apart / this.between.apart, this.between.place);
      const [x, y] = this.#at(middle);
      const [u, v] = this.between.place;
      this.#look(this.frame.x + u - x, this.frame.y + v - y, this.frame.width);
    }
    this.between = { apart, place: this.#at(middle) };
  }

  #wheel(event) {
    if (!this.scene) return;
    event.preventDefault();
    const lines = event.deltaMode ? 16 : 1;
    this.zoom(Math.exp(-0.0016 * Math.max(-240, Math.min(240, lines * event.deltaY))), this.#at(event));
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { scene } = this;
    const chosen = scene.chosen !== null && scene.shape[scene.chosen] ? scene.chosen : null;
    if (ARROWS[event.key]) this.#arrow(ARROWS[event.key], event.shiftKey ? 10 : 1, scene.linking === null ? chosen : null);
    else if (event.key === "Enter" || event.key === " ") this.#enter();
    else if (event.key === "Delete" || event.key === "Backspace") chosen === null || this.on.take(chosen);
    else if (event.key === "Escape") this.on.pick(null);
    else return;
    event.preventDefault();
  }

  #arrow([dx, dy], steps, chosen) {
    const step = steps * this.#pixel;
    if (chosen !== null) {
      const [x, y] = this.scene.shape[chosen];
      return this.on.move(chosen, this.#inside([x + step * dx, y + step * dy]), `arrow ${this.scene.photo} ${chosen}`);
    }
    const { x, y, width, height } = this.frame;
    const ghost = this.scene.want === null ? null : this.scene.ghost?.[this.scene.want];
    const from = this.cross ?? ghost ?? [x + width / 2, y + height / 2];
    this.#aim(this.#inside([from[0] + step * dx, from[1] + step * dy]));
  }

  #enter() {
    if (!this.cross) return this.#arrow([0, 0], 0, null);
    const index = this.#hit(this.cross, "mouse");
    if (this.scene.linking !== null || index !== null) return this.on.pick(index);
    this.on.place(this.cross, "keys");
  }
}
