// Pictures, videos and the camera, as pixels. What goes wrong is an Error with a message for people.

/** Decode a picture file, upright and without a conversion of its colours, as OpenCV does. */
export async function decodePicture(file) {
  try {
    return await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  } catch {
    throw new Error(`${file.name} is not a picture that this browser can read.`);
  }
}

/** Start a video file. */
export async function openVideo(file) {
  const video = newVideo();
  video.src = URL.createObjectURL(file);
  try {
    await video.play();
  } catch {
    closeVideo(video);
    throw new Error(`${file.name} is not a video that this browser can play.`);
  }
  return video;
}

/** Start the camera, that at the back of a phone. */
export async function openCamera() {
  if (!navigator.mediaDevices) {
    throw new Error("Browsers give the camera only to pages from localhost or over https://.");
  }
  const video = newVideo();
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    if (error.name === "NotAllowedError") {
      throw new Error("The camera was refused. Allow it beside the address of the page, then try again.");
    }
    if (error.name === "NotFoundError") throw new Error("There is no camera.");
    throw new Error(`The camera cannot be used (${error.message || error.name}). Does another program use it?`);
  }
  await video.play();
  return video;
}

/** Stop a video, and release its file or the camera. */
export function closeVideo(video) {
  video.pause();
  video.srcObject?.getTracks().forEach((track) => track.stop());
  if (video.src) URL.revokeObjectURL(video.src);
}

/** A copy of a picture, or of the frame that a video shows, and its pixels. */
export function takePixels(source) {
  const canvas = document.createElement("canvas");
  canvas.width = source.videoWidth ?? source.width;
  canvas.height = source.videoHeight ?? source.height;
  // Kept in main memory, where the pixels are read.
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(source, 0, 0);
  return { picture: canvas, pixels: context.getImageData(0, 0, canvas.width, canvas.height) };
}

function newVideo() {
  const video = document.createElement("video");
  video.muted = true; // a video with sound would need another click
  video.playsInline = true;
  return video;
}
