// The page of shapes: which photo is shown, what a click on it means, the list of points, and what is said about it all.

import { Board } from "./board.js";
import { Clicked } from "./clicked.js";
import { html } from "./drawing.js";
import { Keeper } from "./keeper.js";
import { ask } from "./server.js";

const part = (id) => document.getElementById(id);
const many = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;
const told = await ask("sheet").catch((error) => void fault(error.message));
let photo = 0;
let mode = "points";
let chosen = null; // a point with a ring around it; in the other modes the first of two
let want = null; // the point that was asked for out of turn
let clicked, board, keeper;

function fault(sentence) {
  part("fault").textContent = sentence;
  part("fault").hidden = !sentence;
}

function say(words) {
  if (part("status").textContent !== words) part("status").textContent = words;
}

/** The point that the next click sets, or null. */
const next = () => (want !== null && !clicked.shape(photo)[want] ? want : clicked.missing(photo));

function changed(place) {
  if (place !== null && place !== photo && told.photos[place].shown) open(place);
  if (chosen !== null && chosen >= clicked.names.length) chosen = null;
  if (want !== null && want >= clicked.names.length) want = null;
  keeper.save(clicked.plain());
  show();
}

function open(index) {
  photo = index;
  [chosen, want] = [null, null];
  history.replaceState(null, "", `#${index + 1}`);
  fault("");
  show();
  part("photos").children[index]?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

/** To the next photo that lacks points, or to the one before. */
function turn(step) {
  commit();
  const shown = told.photos.flatMap((one, index) => (one.shown ? [index] : []));
  const at = shown.indexOf(photo);
  const ring = shown.map((_, k) => shown.at((at + step * (k + 1)) % shown.length));
  const lacking = ring.find((index) => index !== photo && !clicked.whole(index));
  open(step > 0 ? lacking ?? ring[0] : ring[0]);
}

/** A name that is being typed is complete. */
function commit() {
  if (document.activeElement?.matches?.(".points input")) document.activeElement.blur();
}

// What is shown.

function tints() {
  const tint = (index) => `hsl(${Math.round((index * 137.5 + 200) % 360)} 85% 66%)`;
  return clicked.names.map((_, index) => tint(Math.min(index, clicked.partner(index) ?? index)));
}

function show() {
  const colours = tints();
  const { edges, pairs } = clicked.now;
  const linking = mode === "points" ? null : mode;
  board.show({
    photo, href: `photos/${photo}`, size: told.photos[photo].size, names: clicked.names, shape: clicked.shape(photo), colours,
    edges, pairs, ghost: linking ? null : clicked.ghost(photo), want: linking ? null : next(), chosen, linking,
    label: `${told.photos[photo].name}: the picture cannot be read any more; put it back and reload this page.`,
  });
  strip();
  list(colours);
  say(prompt());
  part("where").textContent = told.photos[photo].name;
  part("more").hidden = clicked.growing(photo) || mode !== "points";
  part("undo").disabled = !clicked.past.length;
  part("redo").disabled = !clicked.future.length;
  document.querySelector(`[name="mode"][value="${mode}"]`).checked = true;
}

function prompt() {
  const [names, missing] = [clicked.names, next()];
  if (mode !== "points") {
    const [one, join] = mode === "edges" ? ["edge", "joins"] : ["pair", "pairs"];
    if (clicked.count(photo) < 2) return "Click at least two points first.";
    if (chosen === null) return mode === "edges" ? "Click two points to join them." : "Click two points that a mirror swaps.";
    return `From ${names[chosen]} to …? A second click ${join} them; the same ${one} again takes it away.`;
  }
  if (missing !== null) return `Now click: ${names[missing]} (${clicked.count(photo) + 1} of ${names.length})`;
  if (!names.length) return "Click the first point.";
  if (clicked.growing(photo)) return `Click point ${names.length + 1}, or go to the next picture.`;
  const left = told.photos.filter((one, index) => one.shown && !clicked.whole(index)).length;
  const all = `All ${many(names.length, "point")} are there.`;
  return left ? `${all} Next picture: N` : `${all} No picture is left.`;
}

function strip() {
  [...part("photos").children].forEach((item, index) => {
    if (item.hidden) return;
    const [count, whole, { name }] = [clicked.count(index), clicked.whole(index), told.photos[index]];
    const badge = whole ? "✓" : count ? `${count}/${clicked.names.length}` : "";
    const button = item.firstChild;
    button.classList.toggle("whole", whole);
    button.setAttribute("aria-current", index === photo);
    button.setAttribute("aria-label", `${name}: ${whole ? "all points" : `${count} of ${many(clicked.names.length, "point")}`}`);
    button.lastChild.textContent = badge;
  });
}

function list(colours) {
  const rows = part("points");
  while (rows.children.length > clicked.names.length) rows.lastChild.remove();
  while (rows.children.length < clicked.names.length) rows.append(row(rows.children.length));
  [...rows.children].forEach((item, index) => {
    const [number, name, mate, away] = item.children;
    const partner = clicked.partner(index);
    item.style.setProperty("--tint", colours[index]);
    item.classList.toggle("placed", Boolean(clicked.shape(photo)[index]));
    item.classList.toggle("chosen", index === chosen || (chosen === null && mode === "points" && index === next()));
    number.setAttribute("aria-label", `Choose ${clicked.names[index]}`);
    away.setAttribute("aria-label", `Remove ${clicked.names[index]} from all pictures`);
    mate.textContent = partner === null ? "" : `⇄ ${partner + 1}`;
    mate.title = partner === null ? "" : `A mirror swaps it with ${clicked.names[partner]}.`;
    if (name.getAttribute("aria-invalid") !== "true" && name.value.trim() !== clicked.names[index]) name.value = clicked.names[index];
  });
}

function row(index) {
  const number = html("button", { type: "button", class: "number" }, String(index + 1));
  const name = html("input", {
    "aria-label": `Name of point ${index + 1}`, maxlength: 80, autocomplete: "off", autocapitalize: "off", spellcheck: "false",
  });
  const away = html("button", { type: "button", class: "away", title: "Remove it from all pictures" }, "×");
  number.addEventListener("click", () => {
    if (!clicked.shape(photo)[index]) return askFor(index);
    pick(index);
    part("view").focus({ preventScroll: true }); // which hears the arrows and Delete
  });
  away.addEventListener("click", () => clicked.remove(photo, index));
  let before = "";
  name.addEventListener("focus", () => (before = clicked.names[index]));
  name.addEventListener("input", () => {
    const text = name.value.trim().replace(/\s+/g, " ");
    const wrong = clicked.objection(index, text);
    name.setAttribute("aria-invalid", Boolean(wrong));
    fault(wrong && text ? wrong : "");
    if (!wrong) clicked.rename(index, text);
  });
  name.addEventListener("blur", () => {
    if (index >= clicked.names.length) return; // it was removed meanwhile
    name.removeAttribute("aria-invalid");
    name.value = clicked.names[index];
    fault("");
    if (before !== clicked.names[index]) clicked.settle(index, before);
  });
  name.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === "Escape") part("view").focus({ preventScroll: true });
  });
  return html("li", {}, number, name, html("span", { class: "mate" }), away);
}

// What the user does.

function askFor(index) {
  if (mode !== "points") return fault(`${clicked.names[index]} is not on this picture yet.`);
  [want, chosen] = [index, null];
  part("view").focus({ preventScroll: true });
  show();
}

function place(at, by) {
  commit();
  fault("");
  const [index, before] = [next(), chosen];
  [want, chosen] = [null, null];
  if (index !== null) return clicked.place(photo, index, at);
  if (!clicked.growing(photo)) {
    show();
    return before === null ? say("All points are there. Drag one to move it, or go to the next picture.") : undefined;
  }
  try {
    const added = clicked.add(photo, at);
    const name = part("points").children[added].children[1];
    if (by === "mouse") { // whoever has a mouse has a keyboard: the name can be typed at once
      name.focus({ preventScroll: true });
      name.select();
    }
    part("points").scrollTop = part("points").scrollHeight;
  } catch (error) {
    fault(error.message);
  }
}

function pick(index) {
  commit();
  fault("");
  if (mode === "points" || index === null || chosen === null || chosen === index) {
    chosen = index === chosen && mode !== "points" ? null : index;
    return show();
  }
  const from = chosen;
  chosen = null;
  const [now, words] = mode === "edges" ? [clicked.toggleEdge(from, index), ["joined", "no longer joined"]]
    : [clicked.togglePair(from, index), ["a pair", "no longer a pair"]];
  say(`${clicked.names[from]} and ${clicked.names[index]} are ${words[now ? 0 : 1]}.`);
}

function choose(step) {
  const placed = clicked.names.map((_, index) => index).filter((index) => clicked.shape(photo)[index]);
  if (!placed.length) return;
  const at = placed.indexOf(chosen);
  chosen = at < 0 ? placed.at(step > 0 ? 0 : -1) : placed.at((at + step) % placed.length);
  part("view").focus({ preventScroll: true });
  show();
  say(`${clicked.names[chosen]} is chosen.`);
}

function into(name) {
  commit();
  [mode, chosen] = [name, null];
  fault("");
  show();
}

const KEYS = {
  n: () => turn(1), N: () => turn(-1), p: () => into("points"), e: () => into("edges"), m: () => into("pairs"),
  "+": () => board.zoom(1.5), "=": () => board.zoom(1.5), "-": () => board.zoom(1 / 1.5), 0: () => board.zoom(0),
  ",": () => choose(-1), ".": () => choose(1),
};

function key(event) {
  const step = { z: event.shiftKey ? "redo" : "undo", y: "redo" }[event.key.toLowerCase()];
  if ((event.ctrlKey || event.metaKey) && step) {
    event.preventDefault();
    document.activeElement?.removeAttribute?.("aria-invalid");
    fault("");
    return clicked[step]();
  }
  const typing = event.target.matches?.("input:not([type=radio])");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
}

function kept({ out, whole, drafts }) {
  part("again").hidden = true;
  const half = drafts ? `; ${many(drafts, "picture")} half done` : "";
  part("kept").textContent = `Saved in ${out}: ${many(whole, "shape")} of ${many(clicked.names.length, "point")}${half}.`;
}

function failed(error, lasting) {
  part("again").hidden = lasting;
  part("kept").textContent = lasting ? "Not saved." : "Not saved yet. Keep this page open; it tries again by itself.";
  fault(error.message);
}

function thumbnail({ name, shown }, index) {
  if (!shown) return html("li", { hidden: "" });
  const image = html("img", { src: `thumbnails/${index}`, alt: "", width: 68, height: 68 });
  const button = html("button", { type: "button", title: name }, image, html("span", { class: "badge" }));
  button.addEventListener("click", () => {
    commit();
    open(index);
  });
  return html("li", {}, button);
}

function listen() {
  document.addEventListener("keydown", key);
  addEventListener("pagehide", commit);
  for (const radio of document.querySelectorAll("[name=mode]")) radio.addEventListener("change", () => into(radio.value));
  for (const [id, act] of Object.entries({
    undo: () => clicked.undo(), redo: () => clicked.redo(), next: () => turn(1), again: () => keeper.again(),
    closer: () => board.zoom(1.5), farther: () => board.zoom(1 / 1.5), fit: () => board.zoom(0),
    more: () => clicked.add(photo),
  })) part(id).addEventListener("click", act);
}

if (told) {
  clicked = new Clicked(told, changed);
  keeper = new Keeper(told.revision, {
    kept: (answer) => {
      if (!part("again").hidden) fault("");
      kept(answer);
    },
    failed,
  });
  board = new Board(part("view"), {
    place, pick, fault, take: (index) => clicked.take(photo, index),
    move: (index, at, stroke) => {
      chosen = index;
      clicked.place(photo, index, at, stroke);
    },
  });
  part("photos").replaceChildren(...told.photos.map(thumbnail));
  const hidden = told.photos.filter((one) => !one.shown).length;
  if (hidden) part("others").textContent = `The file also holds ${many(hidden, "picture")} not given this time; they are kept.`;
  kept(told);
  listen();
  const asked = Number(location.hash.slice(1)) - 1;
  open(told.photos[asked]?.shown ? asked : 0);
}
