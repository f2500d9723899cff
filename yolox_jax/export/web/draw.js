// Draws detections on a picture, in the colours of `predict`.

const LINE_WIDTH = 2; // in px of the screen, as the next
const FONT_SIZE = 13;
const GOLDEN_RATIO = 0.618034;

/** CSS colour of a class. Hues are a golden angle apart; classes with similar hues differ in tone. */
export function classColour(classIndex) {
  const hue = 360 * ((0.02 + classIndex * GOLDEN_RATIO) % 1);
  const [saturation, lightness] = [[82, 55], [100, 75], [100, 35]][classIndex % 3];
  return `hsl(${hue} ${saturation}% ${lightness}%)`;
}

/** Draw a picture and its detections, the best on top, in the size of the picture. */
export function drawDetections(canvas, picture, detections) {
  canvas.width = picture.width;
  canvas.height = picture.height;
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0);
  // The page scales the canvas; lines and text look the same at every scale.
  const scale = canvas.width / (canvas.clientWidth || canvas.width);
  context.lineWidth = LINE_WIDTH * scale;
  context.font = `600 ${FONT_SIZE * scale}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  for (const { class: name, class_index, score, box_xyxy } of detections.toReversed()) {
    const [x1, y1, x2, y2] = box_xyxy.map((edge, i) => Math.min(Math.max(edge, 0), i % 2 ? canvas.height : canvas.width));
    context.strokeStyle = context.fillStyle = classColour(class_index);
    context.strokeRect(x1, y1, x2 - x1, y2 - y1);
    const text = `${name} ${score.toFixed(2)}`;
    const height = 1.4 * FONT_SIZE * scale;
    const width = context.measureText(text).width + FONT_SIZE * scale * 0.6;
    const left = Math.max(Math.min(x1 - context.lineWidth / 2, canvas.width - width), 0);
    const top = y1 >= height ? y1 - height : y1;
    context.fillRect(left, top, width, height);
    context.fillStyle = class_index % 3 === 2 ? "white" : "black";
    context.fillText(text, left + FONT_SIZE * scale * 0.3, top + height / 2);
  }
}
