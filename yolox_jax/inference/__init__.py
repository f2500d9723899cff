"""Inference: images and videos in, detections out."""
