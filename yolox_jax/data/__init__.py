"""From annotation files to batches of uint8 images and boxes; NumPy and OpenCV only, nothing of jax."""
