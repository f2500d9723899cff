"""Input of inference: images, folders, videos, cameras and streams."""
