"""Random shifts of hue, saturation and value (docs/yolox.md, 7.5)."""

from typing import Any

import cv2
import numpy as np
from jaxtyping import Int16, UInt, UInt8, UInt16

from yolox_jax.config import SCALE_OF_16_BITS


def draw_shifts(rng: np.random.Generator, gains: tuple[float, float, float]) -> Int16[np.ndarray, "3"]:
    """Draw shifts of hue, saturation and value, uniform in ±gain; each is zero half of the time."""
    shifts = rng.uniform(-1.0, 1.0, 3) * gains * rng.integers(0, 2, 3)
    return shifts.astype(np.int16)  # truncates towards zero


def shift_hsv(
    image: UInt[np.ndarray, "H W C"],
    shifts: Int16[np.ndarray, "3"],
    out: UInt[np.ndarray, "H W 3"] | None = None,
) -> UInt[np.ndarray, "H W 3"]:
    """Add to hue (modulo 180, OpenCV's circle), saturation and value (clipped to 0..255) of a BGR or BGRA image.

    Args:
        image: is not modified; its values may have 8 or 16 bits.
        shifts: from `draw_shifts`; in 16 bits, saturation and value change by the same share of their range.
        out: array for the result; None allocates one.
    """
    if image.dtype == np.uint8:
        return _shift_8_bits(image, shifts, out)
    shifted = _shift_16_bits(image, shifts)
    if out is None:
        return shifted
    out[:] = shifted
    return out


def _shift_8_bits(
    image: UInt8[np.ndarray, "H W C"], shifts: Int16[np.ndarray, "3"], out: UInt8[np.ndarray, "H W 3"] | None
) -> UInt8[np.ndarray, "H W 3"]:
    hue, saturation, value = map(int, shifts)
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
    # OpenCV's uint8 arithmetic saturates at 0 and 255, and takes a seventh of the time of a lookup table.
    more: Any = (0, max(saturation, 0), max(value, 0), 0)
    less: Any = (0, max(-saturation, 0), max(-value, 0), 0)
    if any(more):
        cv2.add(hsv, more, dst=hsv)
    if any(less):
        cv2.subtract(hsv, less, dst=hsv)
    if hue:
        table = np.arange(256, dtype=np.uint8)
        table[:180] = (np.arange(180) + hue) % 180
        hues = cv2.LUT(cv2.extractChannel(hsv, 0), table)
        cv2.insertChannel(hues, hsv, 0)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR, dst=out)


def _shift_16_bits(image: UInt16[np.ndarray, "H W C"], shifts: Int16[np.ndarray, "3"]) -> UInt16[np.ndarray, "H W 3"]:
    # OpenCV converts 16 bits as floats only: hue from 0 to 360, saturation from 0 to 1, value as its input.
    white = 255 * SCALE_OF_16_BITS
    hsv = cv2.cvtColor(image.astype(np.float32) / white, cv2.COLOR_BGR2HSV)
    hue, saturation, value = map(float, shifts)
    hsv[..., 0] = (hsv[..., 0] + 2 * hue) % 360
    hsv[..., 1:] = np.clip(hsv[..., 1:] + np.array([saturation / 255, value / 255], np.float32), 0, 1)
    return np.round(cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR) * white).astype(np.uint16)
