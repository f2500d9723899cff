// Makes the input of the network from an image: scaled by one ratio to fit, and padded at the right or the bottom.

import { resizeLinear } from "./resize.js";

/**
 * Letterbox an image.
 *
 * @param {{data: Uint8ClampedArray, width: number, height: number}} image - RGBA, as a canvas returns it.
 * @param {number} inputWidth - of the network's input, as the next.
 * @param {number} inputHeight
 * @param {number} padding - grey level of the rest.
 * @returns {{pixels: Uint8Array, ratio: number}} BGR of the input size, row by row, and the ratio of new to old sides,
 *   which the network divides its boxes by.
 */
export function letterbox(image, inputWidth, inputHeight, padding) {
  const ratio = Math.min(inputHeight / image.height, inputWidth / image.width);
  // A very long image would otherwise get a side of 0 px.
  const width = Math.max(Math.trunc(image.width * ratio), 1);
  const height = Math.max(Math.trunc(image.height * ratio), 1);
  const isFit = width === image.width && height === image.height;
  const rgba = isFit ? image.data : resizeLinear(image.data, image.width, image.height, width, height);
  const pixels = new Uint8Array(3 * inputWidth * inputHeight).fill(padding);
  for (let y = 0; y < height; y++) {
    let [from, to] = [4 * width * y, 3 * inputWidth * y];
    for (let x = 0; x < width; x++, from += 4, to += 3) {
      pixels[to] = rgba[from + 2];
      pixels[to + 1] = rgba[from + 1];
      pixels[to + 2] = rgba[from];
    }
  }
  return { pixels, ratio };
}
