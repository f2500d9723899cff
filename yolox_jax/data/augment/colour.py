"""Random shifts of hue, saturation and value (SPEC A3.4)."""

import cv2
import numpy as np
from jaxtyping import Int16, UInt8


def draw_shifts(rng: np.random.Generator, gains: tuple[float, float, float]) -> Int16[np.ndarray, "3"]:
    """Shifts of hue, saturation and value: uniform up to the gains either way, each switched off half of the time."""
    shifts = rng.uniform(-1.0, 1.0, 3) * gains * rng.integers(0, 2, 3)
    return shifts.astype(np.int16)  # towards zero


def shift_hsv(image: UInt8[np.ndarray, "H W 3"], shifts: Int16[np.ndarray, "3"]) -> UInt8[np.ndarray, "H W 3"]:
    """Add to hue (modulo 180, OpenCV's circle), saturation and value (clipped to 0..255) of a BGR image."""
    levels = np.arange(256)
    table = np.empty((1, 256, 3), np.uint8)
    table[0, :, 0] = (levels + int(shifts[0])) % 180
    table[0, :, 1] = np.clip(levels + int(shifts[1]), 0, 255)
    table[0, :, 2] = np.clip(levels + int(shifts[2]), 0, 255)
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
    return cv2.cvtColor(cv2.LUT(hsv, table), cv2.COLOR_HSV2BGR)
