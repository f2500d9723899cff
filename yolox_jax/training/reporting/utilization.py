"""Model FLOPs utilization: the fraction of a device's peak that training achieves."""

TRAINING_PASSES = 3
"""Cost of a training step in forward passes: a backward pass costs about as much as two of them."""

# Dense half-precision matrix peak of one device as jax counts devices, in TFLOP/s, from the vendors' data sheets.
_GPU_TFLOPS = {"A100": 312.0, "L4": 121.0, "L40S": 362.0}
_FLOAT16_ONLY_TFLOPS = {"V100": 125.0, "T4": 65.0}
_SXM_TFLOPS = {"H100": 989.0, "H200": 989.0}
_TPU_TFLOPS = {"TPU v4": 275.0, "TPU v5 lite": 197.0, "TPU v5": 459.0, "TPU v5p": 459.0, "TPU v6 lite": 918.0}


def peak_tflops(device_kind: str, precision: str) -> float | None:
    """Matrix peak of a device in `precision`, in TFLOP/s; None if unknown, and for float32.

    >>> peak_tflops("Tesla V100-SXM2-16GB", "float16")
    125.0
    """
    if precision == "float32":
        return None
    peaks = dict(_GPU_TFLOPS)
    if precision == "float16":
        peaks |= _FLOAT16_ONLY_TFLOPS
    if "HBM3" in device_kind or device_kind == "NVIDIA H200":  # PCIe cards are slower
        peaks |= _SXM_TFLOPS
    if "MIG" in device_kind:  # a slice of a GPU
        return None
    words = device_kind.replace("-", " ").split()
    return _TPU_TFLOPS.get(device_kind) or next((peaks[word] for word in words if word in peaks), None)


def utilization(gflops: float, images_per_second: float, peak: float, num_devices: int) -> float:
    """Fraction of the peak that training achieves.

    Args:
        gflops: GFLOPs of the forward pass for one image.
        images_per_second: throughput of all devices together.
        peak: peak of one device, in TFLOP/s.
        num_devices: number of devices.
    """
    return TRAINING_PASSES * gflops * images_per_second / (1000 * peak * num_devices)
