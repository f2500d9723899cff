"""Quantises a float32 graph: pairs of QuantizeLinear and DequantizeLinear around what runtimes compute in 8 bits.

Runtimes fuse such pairs with the nodes between them into integer kernels; what has none around it stays in float.
`onnxruntime.quantization` inserts such pairs too, but keeps the activations of all images in memory and knows no
placement for OpenVINO. With the same layers in float, both lose about as little (docs/export.md, INT8).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from jaxtyping import Float, Int
from onnx import helper, numpy_helper

from yolox_jax.config import ConfigError
from yolox_jax.export.onnx import OPSET, build_onnx, save_onnx
from yolox_jax.export.onnx_calibration import Images, measure_ranges
from yolox_jax.export.quantization import FLOAT_LAYERS, Quantization
from yolox_jax.export.settings import ExportSettings
from yolox_jax.models import YOLOX

Range = tuple[float, float]

_INTEGER_OPERATORS = ("Conv", "Sigmoid", "Mul", "Add", "LeakyRelu", "Concat", "MaxPool", "Resize")
"""Those that ONNX Runtime computes in 8 bits."""
_SAME_RANGE = ("MaxPool", "Resize")
"""Those whose outputs are some of their inputs."""
_SIGMOID = "any sigmoid"
"""Stands for the range from 0 to 1."""
_SMALLEST_SCALE = 1e-12
"""For what is 0 throughout."""
_LARGEST_BIAS = 2**30
"""In int32, with room for the products that are added to it."""


def export_quantized(
    model: YOLOX,
    path: str | Path,
    settings: ExportSettings,
    quantization: Quantization,
    images: Images,
    *,
    opset: int = OPSET,
) -> Path:
    """Write an ONNX file as `export_onnx` does, with the network in 8 bits. Equal images give equal files.

    Args:
        model: is not changed.
        path: the file to write.
        settings: with the precision int8.
        quantization: what is quantised, and how.
        images: letterboxed as for inference; read twice.
        opset: version of the ONNX operators, at least 13.

    Raises:
        ConfigError: as `export_onnx`; there are no images, or `float_layers` names a layer that the network lacks.
    """
    float_model = build_onnx(model, settings, opset=opset)
    return save_onnx(quantize(float_model, quantization, images), Path(path))


def quantize(model: onnx.ModelProto, quantization: Quantization, images: Images) -> onnx.ModelProto:
    """Return a quantised copy of a float32 model from `build_onnx`; see `export_quantized`."""
    plan = _plan(model.graph, quantization)
    measured = sorted({plan.range_of.get(name, name) for name in plan.activations} - {_SIGMOID})
    ranges = {_SIGMOID: (0.0, 1.0), **measure_ranges(model, measured, images, quantization)}
    parameters = {name: _scale_and_zero_point(ranges[plan.range_of.get(name, name)]) for name in plan.activations}
    return _insert(model, plan, parameters)


class _Plan(NamedTuple):
    """What is to be quantised."""

    nodes: set[str]
    """Names of the nodes that compute in 8 bits."""
    activations: tuple[str, ...]
    """Values that are quantised: what these nodes read and, for ONNX Runtime, what they write."""
    only_inside: bool
    """Whether nodes in float read the values from before quantisation."""
    range_of: Mapping[str, str]
    """Activations that have the range of another one, or of a sigmoid."""


def _plan(graph: onnx.GraphProto, quantization: Quantization) -> _Plan:
    for layer in set(quantization.float_layers) - set(FLOAT_LAYERS):
        if not any(node.name == layer or node.name.startswith(f"{layer}.") for node in graph.node):
            raise ConfigError(
                f"--float-layers {layer}: no layer of the network has this name or begins with it. Layers have the "
                f"names of the weights, such as {FLOAT_LAYERS[0]}"
            )
    operators = _INTEGER_OPERATORS if quantization.runtime == "onnxruntime" else ("Conv",)
    prefixes = ("backbone.", "head.", *["decode/"] * quantization.quantizes_decoding())
    nodes = [
        node
        for node in graph.node
        if node.op_type in operators and node.name.startswith(prefixes) and not quantization.keeps(node.name)
    ]
    if not nodes:
        raise ConfigError("--float-layers leaves nothing to quantise. Name fewer layers, or export in float16")
    constants = {constant.name for constant in graph.initializer} | {""}
    read = [name for node in nodes for name in node.input if name not in constants]
    written = [node.output[0] for node in nodes] if quantization.runtime == "onnxruntime" else []
    range_of: dict[str, str] = {}
    for node in nodes:
        if node.op_type == "Sigmoid":
            range_of[node.output[0]] = _SIGMOID
        if node.op_type in _SAME_RANGE:
            range_of[node.output[0]] = range_of.get(node.input[0], node.input[0])
    activations = tuple(dict.fromkeys([*read, *written]))
    return _Plan({node.name for node in nodes}, activations, quantization.runtime == "openvino", range_of)


def _scale_and_zero_point(limits: Range) -> tuple[np.float32, np.uint8]:
    """Of uint8, so that 0 is represented exactly, as padding requires."""
    low, high = min(limits[0], 0.0), max(limits[1], 0.0)
    scale = np.float32(max((high - low) / 255, _SMALLEST_SCALE))
    return scale, np.uint8(np.clip(round(-low / float(scale)), 0, 255))


def _insert(
    model: onnx.ModelProto, plan: _Plan, parameters: Mapping[str, tuple[np.float32, np.uint8]]
) -> onnx.ModelProto:
    """Return a copy with the pairs inserted, and weights and biases in integers."""
    quantized = onnx.ModelProto()
    quantized.CopyFrom(model)
    graph = quantized.graph
    constants = {constant.name: constant for constant in graph.initializer}
    written = {output for node in graph.node if node.name in plan.nodes for output in node.output}
    nodes: list[onnx.NodeProto] = []
    for original in graph.node:
        node = onnx.NodeProto()  # nodes of the graph end with it
        node.CopyFrom(original)
        inside = node.name in plan.nodes
        for place, name in enumerate(original.input):
            if name in parameters and (inside or (name in written and not plan.only_inside)):
                node.input[place] = f"{name}/dequantized"
        if inside and node.op_type == "Conv":
            source, *names = original.input
            weight, bias = (numpy_helper.to_array(constants.pop(name)) for name in names)
            integers = _integer_weights(weight, bias, float(parameters[source][0]))
            for place, (name, (values, scales)) in enumerate(zip(names, integers, strict=True), start=1):
                zeros = np.zeros(len(scales), values.dtype)
                constants |= _constants(name, values=values, scale=scales, zero_point=zeros)
                nodes.append(_dequantize(name, axis=0))
                node.input[place] = f"{name}/dequantized"
        nodes.append(node)
        for output in node.output:
            if output in parameters:
                scale, zero_point = parameters[output]
                constants |= _constants(output, scale=scale, zero_point=zero_point)
                inputs = [output, f"{output}/scale", f"{output}/zero_point"]
                nodes.append(helper.make_node("QuantizeLinear", inputs, [f"{output}/values"], f"{output}/q"))
                nodes.append(_dequantize(output))
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(constants.values())
    return quantized


def _integer_weights(
    weight: Float[np.ndarray, "O I h w"], bias: Float[np.ndarray, " O"], input_scale: float
) -> Sequence[tuple[Int[np.ndarray, "..."], Float[np.ndarray, " O"]]]:
    """Weights in int8 and biases in int32, each with a scale for each filter; that of a bias follows from the others.

    The scale of a filter is larger where its bias would not fit: beside such a bias, its weights hardly count.
    """
    largest = np.abs(weight).max(axis=(1, 2, 3)) / 127
    needed = np.abs(bias) / (input_scale * _LARGEST_BIAS)
    scales = np.maximum(np.maximum(largest, needed), _SMALLEST_SCALE).astype(np.float32)
    values = np.clip(np.round(weight / scales[:, None, None, None]), -127, 127).astype(np.int8)
    bias_scales = scales * np.float32(input_scale)
    return (values, scales), (np.round(bias / bias_scales.astype(np.float64)).astype(np.int32), bias_scales)


def _constants(name: str, **arrays: np.ndarray | np.generic) -> dict[str, onnx.TensorProto]:
    names = {f"{name}/{part}": array for part, array in arrays.items()}
    return {name: numpy_helper.from_array(np.asarray(array), name) for name, array in names.items()}


def _dequantize(name: str, **attributes: int) -> onnx.NodeProto:
    inputs = [f"{name}/values", f"{name}/scale", f"{name}/zero_point"]
    return helper.make_node("DequantizeLinear", inputs, [f"{name}/dequantized"], f"{name}/dq", **attributes)
