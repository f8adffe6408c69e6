// The page: takes photos, asks the server about them, and shows the answers.

import { html } from "./drawing.js";
import { Picture } from "./picture.js";
import * as server from "./server.js";
import { Styles } from "./styles.js";

const part = (id) => document.getElementById(id);
const model = await server.model().catch((error) => void fault(error.message));
const picture = new Picture(part("view"), part("tip"), model, { point: describe, box: (box) => look({ ...shown, box }) });
const styles = new Styles(part("drawn"), model);
let shown = null; // the photo on the page: { blob, name, box, sample }
let answer = null;
let asked = 0; // counts the questions, so that a late answer to an earlier one is ignored
let turn = 0;

function fault(sentence) {
  part("fault").textContent = sentence;
  part("fault").hidden = !sentence;
}

function busy(state, words = "") {
  part("stage").setAttribute("aria-busy", state);
  if (words) part("status").textContent = words;
}

async function look(photo) {
  if (photo.blob.size > model.largest) {
    return fault(`${photo.name} is larger than ${Math.floor(model.largest / 2 ** 20)} MB; choose a smaller photo`);
  }
  const mine = ++asked;
  fault("");
  busy(true, `Looking at ${photo.name} …`);
  try {
    const found = await server.landmarks(photo.blob, photo.name, photo.box, part("search").checked);
    if (mine === asked) show(photo, found);
  } catch (error) {
    if (mine === asked) refuse(error.message);
  }
  if (mine === asked) busy(false);
}

function refuse(sentence) {
  fault(sentence);
  part("status").textContent = answer ? `Still showing ${shown.name}.` : "";
  if (answer) picture.show(answer, shown.box, part("zoom").checked);
}

function show(photo, found) {
  [shown, answer] = [photo, found];
  part("stage").classList.remove("empty");
  part("drop").hidden = true;
  part("view").removeAttribute("hidden");
  for (const element of document.querySelectorAll(".before, .after")) element.hidden = element.matches(".before");
  part("forget").hidden = !photo.box;
  part("strange").hidden = found.plausible;
  const milliseconds = Math.max(1, Math.round(1000 * found.seconds));
  part("status").textContent = `${found.name}, ${found.width} × ${found.height}: ${found.points.length} landmarks in ${milliseconds} ms`;
  picture.show(found, photo.box, part("zoom").checked);
  for (const button of part("samples").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", button.dataset.name === photo.sample);
  }
  table(found);
  downloads(found);
  part("styles").hidden = !found.crop;
  if (found.crop) restyle();
}

function table(found) {
  const rows = found.points.map(([x, y], index) => {
    const cells = [x.toFixed(1), y.toFixed(1), found.confidence[index].toFixed(2)].map((text) => html("td", {}, text));
    const row = html("tr", {}, html("th", { scope: "row" }, model.names[index]), ...cells);
    row.addEventListener("pointerenter", () => picture.choose(index));
    row.addEventListener("pointerleave", () => picture.choose(null));
    return row;
  });
  part("rows").replaceChildren(...rows);
}

function downloads(found) {
  const stem = found.name.replace(/\.[^.]*$/, "");
  for (const [kind, text] of Object.entries(found.files)) {
    URL.revokeObjectURL(part(kind).href);
    part(kind).href = URL.createObjectURL(new Blob([text]));
    part(kind).download = `${stem}.${kind}`;
  }
}

async function restyle() {
  const [mine, crop, confidence] = [asked, answer.crop, answer.confidence];
  part("other").disabled = true;
  part("styles").setAttribute("aria-busy", "true");
  try {
    const drawn = await server.styles(crop.shape, turn);
    if (mine === asked) styles.show(crop, confidence, drawn.images);
  } catch (error) {
    if (mine === asked) fault(error.message);
  }
  part("other").disabled = false;
  part("styles").setAttribute("aria-busy", "false");
}

function describe(index) {
  styles.choose(index);
  const detail = part("detail");
  if (index === null) {
    const mean = answer.confidence.reduce((sum, value) => sum + value, 0) / answer.confidence.length;
    return detail.replaceChildren(...description("All landmarks", mean, "Point at one, or use Tab and the arrow keys."));
  }
  const [x, y] = answer.points[index];
  detail.replaceChildren(...description(model.names[index], answer.confidence[index], `x ${x.toFixed(1)}, y ${y.toFixed(1)}`));
}

function description(title, confidence, words) {
  const meter = html("meter", { min: 0, max: 1, value: confidence, "aria-label": "confidence" });
  return [html("dt", {}, title), html("dd", {}, words), html("dd", {}, `confidence ${confidence.toFixed(2)}`, meter)];
}

function take(file) {
  if (file) look({ blob: file, name: file.name || "pasted", box: null });
}

function offer(name, index) {
  const image = html("img", { src: `thumbnails/${index}`, alt: name, width: 64, height: 64 });
  const button = html("button", { type: "button", "aria-pressed": "false", title: name, "data-name": name }, image);
  button.addEventListener("click", async () => {
    const blob = await server.sample(index).catch((error) => void fault(error.message));
    if (blob) look({ blob, name, box: null, sample: name });
  });
  return html("li", {}, button);
}

function listen() {
  part("file").addEventListener("change", (event) => {
    take(event.target.files[0]);
    event.target.value = ""; // so that the same file can be chosen again
  });
  part("stage").addEventListener("click", () => answer || part("file").click());
  document.addEventListener("paste", (event) => take([...event.clipboardData.files][0]));
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("over");
    take(event.dataTransfer.files[0]);
  });
  part("search").addEventListener("change", () => look(shown));
  part("zoom").addEventListener("change", (event) => picture.zoom(event.target.checked));
  part("drawing").addEventListener("change", (event) => part("view").classList.toggle("drawing", event.target.checked));
  part("forget").addEventListener("click", () => look({ ...shown, box: null }));
  part("marked").addEventListener("change", (event) => part("drawn").classList.toggle("plain", !event.target.checked));
  part("other").addEventListener("click", () => {
    turn += 1;
    restyle();
  });
}

if (model) {
  document.title = `${model.title} – brule`;
  part("title").textContent = model.title;
  part("facts").textContent = `· input ${model.image_size} × ${model.image_size} pixels · ${model.mode} training`;
  part("stage").classList.add("empty");
  part("samples").replaceChildren(...model.samples.map(offer));
  part("offered").hidden = !model.samples.length;
  listen();
}
