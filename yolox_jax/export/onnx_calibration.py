"""Measures the ranges of activations: runs the network in float on the user's images, in ONNX Runtime.

One image at a time, twice: first for the limits of each activation, then for the distribution between them. So the
memory does not grow with the number of images, as it does in `onnxruntime.quantization`, which keeps all activations.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import onnx
import onnxruntime
from jaxtyping import UInt

from yolox_jax.config import ConfigError
from yolox_jax.export.activation_ranges import Histogram, choose_range, count_values
from yolox_jax.export.quantization import Quantization

Images = Callable[[], Iterator[UInt[np.ndarray, "H W C"]]]
"""Starts from the first of the letterboxed images at each call."""


def measure_ranges(
    model: onnx.ModelProto, activations: Sequence[str], images: Images, quantization: Quantization
) -> dict[str, tuple[float, float]]:
    """Return the range of each activation over all images.

    Args:
        model: in float32; its first input are the images.
        activations: names of values in its graph.
        images: read twice.
        quantization: how ranges follow from distributions.

    Raises:
        ConfigError: there are no images, or an activation is not finite.
    """
    run = _runner(model, activations)
    lowest, highest = np.full(len(activations), np.inf), np.full(len(activations), -np.inf)
    for image in images():
        values = run(image)
        lowest = np.minimum(lowest, [value.min() for value in values])
        highest = np.maximum(highest, [value.max() for value in values])
    if np.isinf(lowest).all() and (lowest > highest).all():
        raise ConfigError(f"--calibrate {quantization.calibrate}: none of the images can be read")
    limits = list(zip(activations, lowest.tolist(), highest.tolist(), strict=True))
    for name, low, high in limits:
        if not np.isfinite([low, high]).all():
            raise ConfigError(f"{name} has values that are not finite in the calibration images. Check the weights")
    counts = [np.zeros(0, np.int64)] * len(activations)
    for number, image in enumerate(images()):
        for index, (value, (_, low, high)) in enumerate(zip(run(image), limits, strict=True)):
            counted = count_values(value, low, high)
            counts[index] = counts[index] + counted if number else counted
    return {
        name: choose_range(Histogram(low, high, count), quantization)
        for (name, low, high), count in zip(limits, counts, strict=True)
    }


def _runner(
    model: onnx.ModelProto, activations: Sequence[str]
) -> Callable[[UInt[np.ndarray, "H W C"]], list[np.ndarray]]:
    """A function from an image to the activations."""
    part = onnx.ModelProto()
    part.CopyFrom(model)
    last = max(index for index, node in enumerate(part.graph.node) if not set(activations).isdisjoint(node.output))
    del part.graph.node[last + 1 :], part.graph.input[1:], part.graph.output[:]
    part.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in activations
    )
    used = {name for node in part.graph.node for name in node.input}
    unused = [constant for constant in part.graph.initializer if constant.name not in used]
    for constant in unused:  # ONNX Runtime would warn of them
        part.graph.initializer.remove(constant)
    session = onnxruntime.InferenceSession(part.SerializeToString(), providers=["CPUExecutionProvider"])
    images = session.get_inputs()[0]
    batch = images.shape[0] if isinstance(images.shape[0], int) else 1

    def run(image: UInt[np.ndarray, "H W C"]) -> list[np.ndarray]:
        outputs = session.run(list(activations), {images.name: np.repeat(image[None], batch, axis=0)})
        return [output[:1] for output in outputs]

    return run
