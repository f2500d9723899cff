// OpenCV's bilinear resizing (INTER_LINEAR) of 8-bit images, to the grey level.
//
// Networks are trained on images that OpenCV resized, and the canvas of a browser resizes differently. OpenCV computes
// in integers: weights have 11 bits, and the vertical pass drops bits of the products that are therefore dropped here.

const WEIGHT_ONE = 2048;

/**
 * Resize an image.
 *
 * @param {Uint8Array | Uint8ClampedArray} pixels - RGBA, row by row.
 * @param {number} width - of the image, as the next.
 * @param {number} height
 * @param {number} newWidth
 * @param {number} newHeight
 * @returns {Uint8Array} RGBA of the new size.
 */
export function resizeLinear(pixels, width, height, newWidth, newHeight) {
  const columns = taps(width, newWidth);
  const rows = taps(height, newHeight);
  const resized = new Uint8Array(4 * newWidth * newHeight);
  // The two rows of the image that a new row lies between, resized horizontally; most serve several new rows.
  let upper = { place: -1, values: new Int32Array(4 * newWidth) };
  let lower = { place: -1, values: new Int32Array(4 * newWidth) };
  for (let y = 0; y < newHeight; y++) {
    if (lower.place === rows.first[y]) [upper, lower] = [lower, upper];
    for (const [row, place] of [[upper, rows.first[y]], [lower, rows.second[y]]]) {
      if (row.place === place) continue;
      resizeRow(pixels.subarray(4 * width * place, 4 * width * (place + 1)), columns, row.values);
      row.place = place;
    }
    const [upperWeight, lowerWeight] = [rows.firstWeight[y], rows.secondWeight[y]];
    const start = 4 * newWidth * y;
    for (let i = 0; i < 4 * newWidth; i++) {
      const above = ((upper.values[i] >> 4) * upperWeight) >> 16;
      const below = ((lower.values[i] >> 4) * lowerWeight) >> 16;
      resized[start + i] = (above + below + 2) >> 2;
    }
  }
  return resized;
}

function resizeRow(row, columns, values) {
  for (let x = 0; x < columns.first.length; x++) {
    const [first, second] = [4 * columns.first[x], 4 * columns.second[x]];
    const [firstWeight, secondWeight] = [columns.firstWeight[x], columns.secondWeight[x]];
    for (let channel = 0; channel < 4; channel++) {
      values[4 * x + channel] = row[first + channel] * firstWeight + row[second + channel] * secondWeight;
    }
  }
}

/** The two pixels that each new pixel lies between, along one axis, and their weights. */
function taps(length, newLength) {
  const first = new Int32Array(newLength);
  const second = new Int32Array(newLength);
  const firstWeight = new Int32Array(newLength);
  const secondWeight = new Int32Array(newLength);
  const scale = 1 / (newLength / length);
  for (let i = 0; i < newLength; i++) {
    const position = Math.fround((i + 0.5) * scale - 0.5);
    const whole = Math.floor(position);
    const fraction = Math.fround(position - whole);
    first[i] = Math.min(Math.max(whole, 0), length - 1);
    second[i] = Math.min(Math.max(whole + 1, 0), length - 1);
    firstWeight[i] = roundHalfToEven(Math.fround(1 - fraction) * WEIGHT_ONE);
    secondWeight[i] = roundHalfToEven(fraction * WEIGHT_ONE);
  }
  return { first, second, firstWeight, secondWeight };
}

function roundHalfToEven(value) {
  const nearest = Math.round(value); // halves go up
  return nearest - value === 0.5 && nearest % 2 === 1 ? nearest - 1 : nearest;
}
