// The page: what people choose, and what they see.

import { Detector, hasSimd, hasWebGpu } from "./detector.js";
import { classColour, drawDetections } from "./draw.js";
import { closeVideo, decodePicture, openCamera, openVideo, takePixels } from "./sources.js";

const BACKENDS = { wasm: "WebAssembly", webgpu: "WebGPU" };
const element = (id) => document.getElementById(id);

let description; // content of network.json
let detector;
let backend;
let video = null; // the video or camera that runs
let shown = null; // {name, picture, detections, milliseconds}
let choice = 0; // counts what people chose, so that an older answer does not replace a newer one

async function start() {
  if (!hasSimd()) {
    throw new Error("This browser has no WebAssembly SIMD, which the network needs. Use a browser from 2023 or later.");
  }
  const response = await fetch("./network.json", { cache: "no-cache" });
  if (!response.ok) throw new Error(`network.json cannot be loaded: the server answered ${response.status}.`);
  description = await response.json();
  const [height, width] = description.input_size;
  document.title = description.variant;
  element("title").textContent = description.variant;
  element("network").textContent =
    `${description.class_names.length} classes, input ${height}x${width} px (height x width), ${description.precision}`;
  element("score").min = element("score").value = description.score_threshold;
  showThreshold();
  await useBackend("wasm");
  element("hint").textContent = "Drop a picture or a video here.";
  for (const id of ["file", "camera", "score", "backend"]) element(id).disabled = false;
}

/** Load the network for a backend; without a usable graphics card, for the processor. */
async function useBackend(wanted) {
  const old = detector;
  element("summary").dataset.state = "loading";
  element("summary").textContent = `Loading the network for ${BACKENDS[wanted]} …`;
  try {
    if (wanted === "webgpu" && !(await hasWebGpu())) throw new Error("this browser offers none");
    detector = await Detector.load(wanted, description);
    backend = wanted;
  } catch (error) {
    if (wanted === "wasm") throw new Error(`The network cannot be loaded: ${error.message}`);
    say(`WebGPU cannot be used (${error.message}); WebAssembly is used instead.`);
    detector = old;
  }
  if (detector !== old) old?.close();
  element("backend").value = backend;
  element("summary").dataset.state = "ready";
  element("summary").textContent = `Ready, on ${BACKENDS[backend]}.`;
}

async function openFile(file) {
  const mine = newChoice();
  const name = file.name.replace(/\.\w+$/, "");
  if (file.type.startsWith("video/")) {
    await watch(await openVideo(file), name, mine);
    return;
  }
  const picture = await decodePicture(file);
  element("summary").textContent = "Detecting …";
  if (mine === choice) await detectIn(picture, name, mine);
}

async function detectIn(source, name, mine) {
  const { picture, pixels } = takePixels(source);
  const answer = await detector.detect(pixels);
  if (mine !== choice) return;
  shown = { name, picture, ...answer };
  show();
}

/** Detect in one frame after the other, as fast as the network allows, until something else is chosen. */
async function watch(started, name, mine) {
  if (mine !== choice) {
    closeVideo(started);
    return;
  }
  video = started;
  const pause = element("pause");
  pause.hidden = false;
  while (mine === choice) {
    pause.textContent = video.paused || video.ended ? "Play" : "Pause";
    if (!video.paused && video.videoWidth) await detectIn(video, name, mine);
    await new Promise(requestAnimationFrame);
  }
}

/** Forget what was chosen before. */
function newChoice() {
  say("");
  if (video !== null) closeVideo(video);
  video = null;
  element("pause").hidden = true;
  choice += 1;
  return choice;
}

function show() {
  const detections = found();
  const canvas = element("canvas");
  element("hint").hidden = true;
  canvas.hidden = false;
  element("stage").classList.add("filled");
  drawDetections(canvas, shown.picture, detections);
  const objects = `${detections.length} ${detections.length === 1 ? "object" : "objects"}`;
  canvas.ariaLabel = `The picture with ${objects}`;
  element("detections").replaceChildren(...detections.map(tableRow));
  element("summary").textContent = `${objects}, ${shown.milliseconds.toFixed(0)} ms per image on ${BACKENDS[backend]}`;
  element("summary").dataset.state = "done";
  element("rows").hidden = element("save").hidden = false;
}

/** The detections that the threshold leaves. */
function found() {
  const threshold = Math.fround(element("score").value);
  return shown.detections.filter(({ score }) => score >= threshold);
}

function tableRow(detection) {
  const row = document.createElement("tr");
  const swatch = document.createElement("span");
  swatch.className = "swatch";
  swatch.style.background = classColour(detection.class_index);
  const box = detection.box_xyxy.map(Math.round).join(", ");
  for (const text of [detection.class, detection.score.toFixed(3), box]) row.insertCell().textContent = text;
  row.cells[0].prepend(swatch);
  return row;
}

function showThreshold() {
  element("score-value").textContent = Number(element("score").value).toFixed(2);
}

/** Show a message, or with an empty text none. */
function say(text) {
  element("message").textContent = text;
  element("message").hidden = !text;
}

/** An event listener that shows what went wrong. */
function reporting(listener) {
  return async (event) => {
    try {
      await listener(event);
    } catch (error) {
      say(error.message);
      element("summary").textContent = "";
      if (shown !== null) show();
      else if (detector === undefined) element("hint").hidden = true; // it says that the network is being loaded
    }
  };
}

element("file").addEventListener("change", reporting(async ({ target }) => {
  const [file] = target.files;
  target.value = ""; // so that the same file can be chosen again
  if (file) await openFile(file);
}));
element("camera").addEventListener("click", reporting(async () => {
  const mine = newChoice();
  await watch(await openCamera(), "camera", mine);
}));
element("pause").addEventListener("click", reporting(async () => {
  if (video.paused || video.ended) await video.play();
  else video.pause();
}));
element("backend").addEventListener("change", reporting(async ({ target }) => {
  say("");
  await useBackend(target.value);
  if (video === null && shown !== null) await detectIn(shown.picture, shown.name, choice);
}));
element("save").addEventListener("click", () => {
  const link = document.createElement("a");
  link.download = `${shown.name}.json`;
  link.href = URL.createObjectURL(new Blob([JSON.stringify(found(), null, 1)], { type: "application/json" }));
  link.click();
  URL.revokeObjectURL(link.href);
});
element("score").addEventListener("input", () => {
  showThreshold();
  if (shown !== null) show();
});
addEventListener("resize", () => {
  if (shown !== null) show();
});
addEventListener("dragover", (event) => {
  event.preventDefault();
  element("stage").classList.add("dragged");
});
addEventListener("dragleave", () => element("stage").classList.remove("dragged"));
addEventListener("drop", reporting(async (event) => {
  event.preventDefault();
  element("stage").classList.remove("dragged");
  const [file] = event.dataTransfer.files;
  if (file && !element("file").disabled) await openFile(file);
}));
reporting(start)();
