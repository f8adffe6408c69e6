// The strip below the photo: its crop, the crop as the generator restores it, and the same landmarks in other styles.

import { html, radius, solidity, svg } from "./drawing.js";

export class Styles {
  constructor(list, model) {
    Object.assign(this, { list, model, rings: [] });
  }

  show(crop, confidence, images) {
    const tiles = [[crop.image, "the photo"], [crop.restored, "redrawn in its style"]];
    images.forEach((image, index) => tiles.push([image, `style ${index + 1}`]));
    this.rings = [];
    this.list.replaceChildren(...tiles.map(([image, words]) => this.#tile(image, words, crop.shape, confidence)));
  }

  /** Put a ring around one landmark in every image, or around none if the index is null. */
  choose(index) {
    for (const [ring, shape] of this.rings) {
      ring.setAttribute("visibility", index === null ? "hidden" : "visible");
      if (index !== null) ["cx", "cy"].forEach((key, axis) => ring.setAttribute(key, shape[index][axis]));
    }
  }

  #tile(image, words, shape, confidence) {
    const view = svg("svg", { viewBox: "0 0 1 1", role: "img", "aria-label": words });
    svg("image", { href: image, width: 1, height: 1 }, view);
    shape.forEach(([cx, cy], index) => {
      const look = { r: radius(0.013, confidence[index]), opacity: solidity(confidence[index]), fill: this.model.colours[index] };
      svg("circle", { class: "dot", cx, cy, ...look }, view);
    });
    this.rings.push([svg("circle", { class: "ring", r: 0.035, visibility: "hidden" }, view), shape]);
    return html("li", {}, view, html("p", {}, words));
  }
}
