// Creates elements, and says how a landmark is drawn: the clearer the detector sees it, the larger and more solid.

const SVG = "http://www.w3.org/2000/svg";

export function svg(name, attributes, parent) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  parent?.append(element);
  return element;
}

export function html(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** Photo pixels that one screen pixel stands for, in a view that shows `frame` of the photo whole. */
export function scale(view, frame) {
  const { width, height } = view.getBoundingClientRect();
  return Math.max(frame.width / Math.max(width, 1), frame.height / Math.max(height, 1));
}

/** Where a pointer is in the photo; 0 is the edge of the first pixel. */
export function pointed(view, event) {
  const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(view.getScreenCTM().inverse());
  return [x, y];
}

export const radius = (unit, confidence) => unit * (0.6 + 0.6 * confidence);
export const solidity = (confidence) => 0.45 + 0.55 * confidence;

/** The smallest box around points [[x, y], …]: { x, y, width, height }. */
export function extent(points) {
  const xs = points.map((point) => point[0]);
  const ys = points.map((point) => point[1]);
  const x = Math.min(...xs);
  const y = Math.min(...ys);
  return { x, y, width: Math.max(...xs) - x, height: Math.max(...ys) - y };
}
