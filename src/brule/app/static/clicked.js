// What has been clicked: K names, their edges and pairs, and on every photo K places or gaps. No drawing, no server.

const SWAP = { left: "right", right: "left" };
const KEPT = 200; // steps that can be undone

/** A name with the words left and right exchanged, in lower case. */
export const mirror = (name) => name.toLowerCase().split(/([^a-z]+)/).map((word) => SWAP[word] ?? word).join("");

const same = ([a, b], c, d) => (a === c && b === d) || (a === d && b === c);

export class Clicked {
  /** told: what the server told; changed(photo): called after each change, with the photo to show or null */
  constructor(told, changed) {
    const { names, edges, pairs, normaliser, shapes, photos, most } = told;
    Object.assign(this, { photos, most, changed, past: [], future: [], key: null });
    this.now = { names, edges, pairs, normaliser, shapes: shapes.map((shape) => shape ?? names.map(() => null)) };
  }

  get names() {
    return this.now.names;
  }

  shape(photo) {
    return this.now.shapes[photo];
  }

  count(photo) {
    return this.shape(photo).filter(Boolean).length;
  }

  whole(photo) {
    return this.names.length > 0 && this.count(photo) === this.names.length;
  }

  /** Points are still being invented: no other photo has any. */
  growing(photo) {
    return this.now.shapes.every((shape, other) => other === photo || !shape.some(Boolean));
  }

  /** The first point that this photo lacks, or null. */
  missing(photo) {
    const index = this.shape(photo).indexOf(null);
    return index < 0 ? null : index;
  }

  partner(index) {
    const pair = this.now.pairs.find((each) => each.includes(index));
    return pair ? pair[pair[0] === index ? 1 : 0] : null;
  }

  /** Set a point of a photo, or move it. Moves with the same `key` are one step for undo. */
  place(photo, index, place, key = null) {
    this.#edit(photo, (next) => (next.shapes[photo][index] = place), key);
  }

  /** A new point after all others, placed on this photo if a place is given. Returns its index. */
  add(photo, place = null) {
    const index = this.names.length;
    if (index >= this.most) throw new Error(`There are ${this.most} points already; more cannot be kept.`);
    let number = index + 1;
    while (this.names.includes(String(number))) number += 1;
    this.#edit(photo, (next) => {
      next.names.push(String(number));
      next.shapes.forEach((shape, other) => shape.push(other === photo ? place : null));
    });
    return index;
  }

  /** Take a point off this photo; if no other photo has any points, the point is gone altogether. */
  take(photo, index) {
    if (this.growing(photo)) return this.remove(photo, index);
    this.#edit(photo, (next) => (next.shapes[photo][index] = null));
  }

  /** Remove a point from all photos. */
  remove(photo, index) {
    const kept = (ends) => !ends.includes(index);
    const moved = (ends) => ends.map((end) => (end > index ? end - 1 : end));
    this.#edit(photo, (next) => {
      next.names.splice(index, 1);
      for (const shape of next.shapes) shape.splice(index, 1);
      next.edges = next.edges.filter(kept).map(moved);
      next.pairs = next.pairs.filter(kept).map(moved);
      next.normaliser = next.normaliser && kept(next.normaliser) ? moved(next.normaliser) : null;
    });
  }

  /** What is wrong with a name for this point, as a sentence, or "". */
  objection(index, name) {
    if (!name) return "A point needs a name.";
    const other = this.names.indexOf(name);
    return other < 0 || other === index ? "" : `Point ${other + 1} is called ${name} already; choose another name.`;
  }

  /** Letters typed one after the other are one step for undo. */
  rename(index, name) {
    if (name !== this.names[index]) this.#edit(null, (next) => (next.names[index] = name), `name ${index}`);
  }

  /** A name is complete: what it says of left and right makes a pair, or parts one that it made before. */
  settle(index, before) {
    const [name, partner] = [this.names[index], this.partner(index)];
    this.key = null;
    const fits = (a, b) => mirror(a) !== a.toLowerCase() && mirror(a) === b.toLowerCase();
    const made = partner !== null && fits(before, this.names[partner]) && !fits(name, this.names[partner]);
    const other = this.names.findIndex((each, k) => k !== index && fits(name, each) && this.partner(k) === null);
    if (!made && (partner !== null || other < 0)) return;
    this.#edit(null, (next) => {
      if (made) next.pairs = next.pairs.filter((pair) => !pair.includes(index));
      if (other >= 0) next.pairs.push([index, other]);
    }, "settle");
    this.key = null;
  }

  /** Join two points by an edge, or part them. Returns whether they are joined now. */
  toggleEdge(a, b) {
    const joined = this.now.edges.some((edge) => same(edge, a, b));
    this.#edit(null, (next) => {
      next.edges = joined ? next.edges.filter((edge) => !same(edge, a, b)) : [...next.edges, [a, b]];
    });
    return !joined;
  }

  /** Let a mirror swap two points, or no longer. Returns whether it does now. */
  togglePair(a, b) {
    const paired = this.partner(a) === b;
    this.#edit(null, (next) => {
      next.pairs = next.pairs.filter((pair) => !pair.includes(a) && !pair.includes(b));
      if (!paired) next.pairs.push([a, b]);
    });
    return !paired;
  }

  undo() {
    this.#step(this.past, this.future);
  }

  redo() {
    this.#step(this.future, this.past);
  }

  /** Where the points would lie on this photo if they lay as on the first whole one: [[x, y], …], or null.
   *
   * It is turned, scaled and moved to fit the points that are there (least squares), else laid over the photo. */
  ghost(photo) {
    const from = this.now.shapes.findIndex((_, other) => other !== photo && this.photos[other].size && this.whole(other));
    if (from < 0) return null;
    const [shape, known, here] = [this.shape(from), this.shape(photo), this.photos[photo].size];
    const [w, h] = this.photos[from].size;
    const scale = Math.min(here[0] / w, here[1] / h);
    const laid = shape.map(([x, y]) => [here[0] / 2 + scale * (x - w / 2), here[1] / 2 + scale * (y - h / 2)]);
    const pairs = laid.flatMap((place, index) => (known[index] ? [[place, known[index]]] : []));
    if (!pairs.length) return laid;
    const mean = (which, axis) => pairs.reduce((sum, pair) => sum + pair[which][axis], 0) / pairs.length;
    const [[px, py], [qx, qy]] = [0, 1].map((which) => [mean(which, 0), mean(which, 1)]);
    let [real, imaginary, spread] = [0, 0, 0];
    for (const [[x, y], [u, v]] of pairs) {
      real += (x - px) * (u - qx) + (y - py) * (v - qy);
      imaginary += (x - px) * (v - qy) - (y - py) * (u - qx);
      spread += (x - px) ** 2 + (y - py) ** 2;
    }
    const [c, s] = spread > 0 && Math.hypot(real, imaginary) > 0 ? [real / spread, imaginary / spread] : [1, 0];
    return laid.map(([x, y]) => [qx + c * (x - px) - s * (y - py), qy + s * (x - px) + c * (y - py)]);
  }

  /** What the server keeps. */
  plain() {
    return { ...this.now, shapes: this.now.shapes.map((shape) => (shape.some(Boolean) ? shape : null)) };
  }

  #edit(photo, change, key = null) {
    const next = structuredClone(this.now);
    change(next);
    if (key === null || key !== this.key) {
      this.past.push({ state: this.now, photo });
      if (this.past.length > KEPT) this.past.shift();
    }
    this.future = [];
    this.key = key;
    this.now = next;
    this.changed(null);
  }

  #step(from, to) {
    const step = from.pop();
    if (!step) return;
    to.push({ state: this.now, photo: step.photo });
    this.now = step.state;
    this.key = null;
    this.changed(step.photo);
  }
}
