"""Translates the ONNX graph of a network, up to the predictions of all anchors, to operators of LiteRT.

ONNX computes channels first, LiteRT channels last. Every value with three or more axes therefore has its second axis
last here, save the inputs and outputs of the graph, which are as in ONNX.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from jaxtyping import Float
from onnx import helper, numpy_helper

from yolox_jax.config import ConfigError
from yolox_jax.export.litert_graph import LiteRtGraph

# Operators that compute each element by itself: their names in LiteRT, and their options.
_ELEMENTWISE = {
    "Add": ("ADD", schema.AddOptionsT),
    "Cast": ("CAST", schema.CastOptionsT),
    "Div": ("DIV", schema.DivOptionsT),
    "Exp": ("EXP", schema.ExpOptionsT),
    "LeakyRelu": ("LEAKY_RELU", schema.LeakyReluOptionsT),
    "Mul": ("MUL", schema.MulOptionsT),
    "Neg": ("NEG", schema.NegOptionsT),
    "Sigmoid": ("LOGISTIC", None),
}


def translate(model: onnx.ModelProto, *, half_weights: bool = False) -> bytes:
    """Return a TFLite file that computes what a model in ONNX computes.

    Args:
        model: from `yolox_jax.export.onnx.build_onnx`, with a fixed batch size and `nms=False`.
        half_weights: store the kernels of convolutions in float16, which halves the file.

    Raises:
        ConfigError: a kernel has values beyond the range of float16.
    """
    translation = _Translation(onnx.shape_inference.infer_shapes(model, strict_mode=True), half_weights)
    for node in model.graph.node:
        translation.write(node)
    tensors = translation.tensors
    return translation.graph.serialize(
        [tensors[value.name] for value in model.graph.input],
        {value.name: tensors[value.name] for value in model.graph.output},
        f"{model.producer_name} {model.producer_version}",
    )


class _Translation:
    """The part of a graph that is translated, and what is known of its values."""

    def __init__(self, model: onnx.ModelProto, half_weights: bool) -> None:
        self.graph = LiteRtGraph()
        self.tensors: dict[str, int] = {}
        """By the name of the value in ONNX."""
        self._half_weights = half_weights
        source = model.graph
        self._arrays = {array.name: numpy_helper.to_array(array) for array in source.initializer}
        self._shapes = {name: array.shape for name, array in self._arrays.items()}
        for value in (*source.input, *source.value_info, *source.output):
            self._shapes[value.name] = tuple(side.dim_value for side in value.type.tensor_type.shape.dim)
        self._as_in_onnx = {value.name for value in (*source.input, *source.output)}
        for value in source.input:
            element_type = str(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
            self.tensors[value.name] = self.graph.tensor(value.name, self._shapes[value.name], element_type)

    def write(self, node: onnx.NodeProto) -> None:
        """Add the operators for a node."""
        attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
        match node.op_type:
            case "Conv":
                self._conv(node, attributes)
            case "MaxPool":
                self._max_pool(node, attributes)
            case "Resize":
                self._upsample(node)
            case "Concat":
                axis = self._order(node.output[0]).index(attributes["axis"])
                self._add("CONCATENATION", list(node.input), node, schema.ConcatenationOptionsT, axis=axis)
            case "Split":
                self._split(node, attributes["axis"])
            case "Transpose":
                self._transpose(node, attributes["perm"])
            case "Reshape":
                self._reshape(node)
            case "ReduceLogSumExp":
                self._log_sum_exp(node, attributes)
            case elementwise if elementwise in _ELEMENTWISE:
                name, options = _ELEMENTWISE[elementwise]
                if node.input[0] in self._as_in_onnx:  # pixels, before their channels are moved
                    self._as_in_onnx.update(node.output)
                values = {"alpha": attributes["alpha"]} if elementwise == "LeakyRelu" else {}
                self._add(name, list(node.input), node, options, **values)
            case _:
                raise TypeError(f"{node.name} is a {node.op_type}, which cannot be exported to LiteRT")

    def _conv(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        x, weight, bias = node.input
        x_tensor, padding = self._pad(self._tensor(x), attributes)
        height, width = attributes["strides"]
        strides = {"strideH": height, "strideW": width, "dilationHFactor": 1, "dilationWFactor": 1}
        kernel = self._arrays[weight]  # [outputs, inputs of a group, h, w]
        if attributes["group"] == 1:
            filters = self._weight(weight, kernel.transpose(0, 2, 3, 1))
            operator, options, values = "CONV_2D", schema.Conv2DOptionsT, {}
        elif kernel.shape[1] == 1 and attributes["group"] == len(kernel):
            filters = self._weight(weight, kernel.transpose(1, 2, 3, 0))
            operator, options, values = "DEPTHWISE_CONV_2D", schema.DepthwiseConv2DOptionsT, {"depthMultiplier": 1}
        else:
            raise TypeError(f"{node.name} has {attributes['group']} groups, which cannot be exported to LiteRT")
        inputs = [x_tensor, filters, self._tensor(bias)]
        self._add(operator, inputs, node, options, padding=padding, **strides, **values)

    def _weight(self, name: str, kernel: Float[np.ndarray, "O h w I"]) -> int:
        """Add a kernel. LiteRT has no convolutions of mixed types, so one in float16 is converted before its use."""
        if not self._half_weights:
            return self.graph.constant(name, kernel)
        with np.errstate(over="ignore"):
            half = kernel.astype(np.float16)
        if not np.isfinite(half).all():
            raise ConfigError(
                f"{name} has values up to {np.abs(kernel).max():.3g}, beyond the range of float16. Check the weights, "
                "or export in float32"
            )
        widened = self.graph.tensor(f"{name}/float32", kernel.shape)
        # Version 3 is the first for float16.
        inputs = [self.graph.constant(name, half)]
        return self.graph.add("DEQUANTIZE", inputs, widened, schema.DequantizeOptionsT, version=3)

    def _max_pool(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        x, padding = self._pad(self._tensor(node.input[0]), attributes)
        assert padding == schema.Padding.SAME, f"{node.name}: zeros would take part in the maximum"
        (height, width), (stride_y, stride_x) = attributes["kernel_shape"], attributes["strides"]
        sizes = {"filterHeight": height, "filterWidth": width, "strideH": stride_y, "strideW": stride_x}
        self._add("MAX_POOL_2D", [x], node, schema.Pool2DOptionsT, padding=padding, **sizes)

    def _pad(self, x: int, attributes: dict[str, Any]) -> tuple[int, int]:
        """Return the tensor, padded with zeros where the operator cannot pad it alike, and how the operator pads it.

        With SAME, LiteRT divides what is missing between the two ends, the larger half last, which for a kernel of 3
        and a stride of 2 is 0 and 1 instead of 1 and 1.
        """
        top, left, bottom, right = attributes["pads"]
        sides = zip(self.graph.shape(x)[1:3], attributes["kernel_shape"], attributes["strides"], strict=True)
        missing = [max((-(-side // stride) - 1) * stride + size - side, 0) for side, size, stride in sides]
        if [(top, bottom), (left, right)] == [(number // 2, number - number // 2) for number in missing]:
            return x, schema.Padding.SAME
        batch, height, width, channels = self.graph.shape(x)
        padded = self.graph.tensor("padded", (batch, top + height + bottom, left + width + right, channels))
        ends = np.array([(0, 0), (top, bottom), (left, right), (0, 0)], np.int32)
        self.graph.add("PAD", [x, self.graph.constant("padding", ends)], padded, schema.PadOptionsT)
        return padded, schema.Padding.VALID

    def _upsample(self, node: onnx.NodeProto) -> None:
        size = np.array(self._shapes[node.output[0]][2:], np.int32)
        inputs = [self._tensor(node.input[0]), self.graph.constant(f"{node.name}/size", size)]
        self._add("RESIZE_NEAREST_NEIGHBOR", inputs, node, schema.ResizeNearestNeighborOptionsT)

    def _split(self, node: onnx.NodeProto, axis: int) -> None:
        whole = self._tensor(node.input[0])
        begin = np.zeros(len(self.graph.shape(whole)), np.int32)
        for name in node.output:
            size = np.array(self._stored_shape(name), np.int32)
            constants = [
                self.graph.constant(f"{name}/{what}", array.copy())
                for what, array in (("begin", begin), ("size", size))
            ]
            self.tensors[name] = self.graph.add("SLICE", [whole, *constants], self._result(name), schema.SliceOptionsT)
            begin[self._order(name).index(axis)] += self._shapes[name][axis]

    def _transpose(self, node: onnx.NodeProto, permutation: Sequence[int]) -> None:
        before, after = self._order(node.input[0]), self._order(node.output[0])
        axes = [before.index(permutation[axis]) for axis in after]
        x = self._tensor(node.input[0])
        self.tensors[node.output[0]] = self._permuted(x, axes, node.name)

    def _reshape(self, node: onnx.NodeProto) -> None:
        (x, _), (y,) = node.input, node.output
        tensor = self._tensor(x)
        if self._shapes[x][1] == self._shapes[y][1]:  # the rest is in the same order, whether before or after it
            self.tensors[y] = self._reshaped(tensor, self._stored_shape(y), y)
            return
        order = self._order(x)
        channels_first = self._permuted(
            tensor, [order.index(axis) for axis in range(len(order))], f"{y}/channels_first"
        )
        reshaped = self._reshaped(channels_first, self._shapes[y], f"{y}/reshaped")
        self.tensors[y] = self._permuted(reshaped, self._order(y), y)

    def _log_sum_exp(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        """Add the sum of exponentials relative to the largest, which cannot overflow."""
        (x,), (y,) = node.input, node.output
        tensor = self._tensor(x)
        (axis,) = attributes["axes"]
        axes = self.graph.constant(f"{y}/axes", np.array([self._order(x).index(axis)], np.int32))

        def add(operator: str, inputs: list[int], shaped_as: str, options: Any, **values: Any) -> int:
            output = self.graph.tensor(f"{y}/{operator}".lower(), self._stored_shape(shaped_as))
            return self.graph.add(operator, inputs, output, options, **values)

        largest = add("REDUCE_MAX", [tensor, axes], y, schema.ReducerOptionsT, keepDims=True)
        relative = add("SUB", [tensor, largest], x, schema.SubOptionsT)
        powers = add("EXP", [relative], x, schema.ExpOptionsT)
        total = add("SUM", [powers, axes], y, schema.ReducerOptionsT, keepDims=True)
        self._add("ADD", [add("LOG", [total], y, None), largest], node, schema.AddOptionsT)

    def _add(
        self, operator: str, inputs: Sequence[int | str], node: onnx.NodeProto, options: Any, **values: Any
    ) -> None:
        """Add an operator for the only output of a node."""
        tensors = [self._tensor(value) if isinstance(value, str) else value for value in inputs]
        (output,) = node.output
        self.tensors[output] = self.graph.add(operator, tensors, self._result(output), options, **values)

    def _permuted(self, x: int, axes: Sequence[int], name: str) -> int:
        if list(axes) == sorted(axes):
            return x
        shape = self.graph.shape(x)
        output = self.graph.tensor(name, [shape[axis] for axis in axes])
        inputs = [x, self.graph.constant(f"{name}/axes", np.array(axes, np.int32))]
        return self.graph.add("TRANSPOSE", inputs, output, schema.TransposeOptionsT)

    def _reshaped(self, x: int, shape: Sequence[int], name: str) -> int:
        inputs = [x, self.graph.constant(f"{name}/shape", np.array(shape, np.int32))]
        return self.graph.add(
            "RESHAPE", inputs, self.graph.tensor(name, shape), schema.ReshapeOptionsT, newShape=list(shape)
        )

    def _tensor(self, name: str) -> int:
        """Return the tensor of a value; that of a constant is added where it is first used."""
        if name not in self.tensors:
            array = self._arrays[name]
            self.tensors[name] = self.graph.constant(name, array.transpose(self._order(name)))
        return self.tensors[name]

    def _result(self, name: str) -> int:
        return self.graph.tensor(name, self._stored_shape(name))

    def _stored_shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._shapes[name][axis] for axis in self._order(name))

    def _order(self, name: str) -> list[int]:
        """Return the axes of a value in ONNX, in the order in which its tensor has them here."""
        rank = len(self._shapes[name])
        if rank < 3 or name in self._as_in_onnx:
            return list(range(rank))
        return [0, *range(2, rank), 1]
