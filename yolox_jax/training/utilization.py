"""Which share of a device's peak a run makes use of."""

import jax

TRAINING_PASSES = 3
"""A backward pass costs about two forward ones."""

# Dense half-precision matrix peak of one device as jax counts them, in TFLOP/s, from the makers' data sheets. Looked
# up by the first name that is part of `device_kind`.
_PEAK_TFLOPS = {
    "V100": 125.0,
    "T4": 65.0,
    "A100": 312.0,
    "H100": 989.0,
    "H200": 989.0,
    "L40S": 362.0,
    "L4": 121.0,
    "TPU v3": 61.5,  # a core, half a chip
    "TPU v4": 275.0,
    "TPU v5 lite": 197.0,
    "TPU v5p": 459.0,
    "TPU v6 lite": 918.0,
}


def peak_tflops(device: jax.Device, precision: str) -> float | None:
    """The device's matrix peak in half precision; None where it is not known, or the run computes in float32."""
    if precision == "float32":
        return None
    return next((peak for name, peak in _PEAK_TFLOPS.items() if name in device.device_kind), None)


def utilization(gflops: float, images_per_second: float, peak: float, num_devices: int) -> float:
    """Share of the peak that training makes use of.

    Args:
        gflops: of one image forward.
        images_per_second: over all devices.
        peak: of one device, in TFLOP/s.
        num_devices: number of devices.
    """
    return TRAINING_PASSES * gflops * images_per_second / (1000 * peak * num_devices)
