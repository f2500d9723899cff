// Computes the network, in a thread of its own so that the page keeps reacting.
//
// The page sends {load: "wasm" or "webgpu", description} once, then images as {image}. Each gets one answer, in order.

import { letterbox } from "./letterbox.js";

const RUNTIMES = { wasm: "./onnxruntime/ort.wasm.min.mjs", webgpu: "./onnxruntime/ort.webgpu.min.mjs" };

let ort, session, description;

addEventListener("message", async ({ data }) => {
  try {
    postMessage(data.load ? await load(data.load, data.description) : await detect(data.image));
  } catch (error) {
    postMessage({ error: String(error?.message ?? error) });
  }
});

async function load(backend, modelDescription) {
  description = modelDescription;
  ort = await import(RUNTIMES[backend]);
  ort.env.wasm.wasmPaths = new URL("./onnxruntime/", import.meta.url).href;
  // More would need headers for cross-origin isolation, which a plain static server does not send.
  ort.env.wasm.numThreads = 1;
  // A browser may otherwise keep the network of an earlier export.
  const response = await fetch("./network.onnx", { cache: "no-cache" });
  if (!response.ok) throw new Error(`network.onnx cannot be loaded: the server answered ${response.status}`);
  const model = new Uint8Array(await response.arrayBuffer());
  // Errors alone: on WebGPU it is no news that the processor computes the suppression.
  session = await ort.InferenceSession.create(model, { executionProviders: [backend], logSeverityLevel: 3 });
  // The first run prepares kernels; what fails there does so now.
  await detect({ data: new Uint8ClampedArray(4), width: 1, height: 1 });
  return { loaded: backend };
}

/** Detections in an RGBA image, best first, as `ImageDetections.to_dicts` of Python returns them, but not rounded. */
async function detect(image) {
  const start = performance.now();
  const [height, width] = description.input_size;
  const { pixels, ratio } = letterbox(image, width, height, description.padding);
  const outputs = await session.run({
    images: new ort.Tensor("uint8", pixels, [1, height, width, 3]),
    ratios: new ort.Tensor("float32", [ratio], [1]),
  });
  const detections = [];
  for (let index = 0; index < outputs.count.data[0]; index++) {
    const box = Array.from(outputs.boxes.data.subarray(4 * index, 4 * index + 4));
    // Weights of a run that diverged can give infinite boxes.
    if (!box.every(Number.isFinite)) continue;
    const label = outputs.classes.data[index];
    const score = outputs.scores.data[index];
    detections.push({ class: description.class_names[label], class_index: label, score, box_xyxy: box });
  }
  return { detections, milliseconds: performance.now() - start };
}
