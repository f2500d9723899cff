// The network as the page sees it: an image in, detections out.

/** Whether WebAssembly has the vector instructions that ONNX Runtime Web is compiled to. */
export function hasSimd() {
  // A module with the single function `() => i8x16.popcnt(i8x16.splat(0))`.
  const program = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253,
    98, 11];
  return typeof WebAssembly === "object" && WebAssembly.validate(new Uint8Array(program));
}

/** Whether the browser gives access to a graphics card. */
export async function hasWebGpu() {
  try {
    return Boolean(await navigator.gpu?.requestAdapter());
  } catch {
    return false;
  }
}

export class Detector {
  /**
   * Load the network.
   *
   * @param {"wasm" | "webgpu"} backend - what computes.
   * @param {object} description - content of network.json.
   * @throws {Error} - the files cannot be loaded, or the backend cannot compute the network.
   */
  static async load(backend, description) {
    const detector = new Detector();
    try {
      await detector.#ask({ load: backend, description });
    } catch (error) {
      detector.close();
      throw error;
    }
    return detector;
  }

  #worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  #waiting = []; // for answers, which come in the order of the questions
  #last; // promise of the last of them

  constructor() {
    this.#worker.onmessage = ({ data }) => {
      const { resolve, reject } = this.#waiting.shift();
      if (data.error) reject(new Error(data.error));
      else resolve(data);
    };
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#waiting.shift()?.reject(new Error(event.message || "worker.js cannot be loaded"));
    };
  }

  /**
   * Detect objects.
   *
   * @param {ImageData} image - its pixels move to the worker and are gone afterwards.
   * @returns {Promise<{detections: object[], milliseconds: number}>} best first, and the time of resizing and network.
   */
  detect(image) {
    return this.#ask({ image: { data: image.data, width: image.width, height: image.height } }, [image.data.buffer]);
  }

  /** Release the network, after the answer to what was asked before. */
  async close() {
    await Promise.allSettled([this.#last]);
    this.#worker.terminate();
  }

  #ask(message, transferred = []) {
    this.#last = new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#worker.postMessage(message, transferred);
    });
    return this.#last;
  }
}
