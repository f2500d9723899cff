"""Builds an ONNX graph node by node."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from jaxtyping import Shaped
from onnx import TensorProto, helper, numpy_helper

from yolox_jax.config import ConfigError

ELEMENT_TYPES = {
    "bool": TensorProto.BOOL,
    "uint8": TensorProto.UINT8,
    "uint16": TensorProto.UINT16,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "float16": TensorProto.FLOAT16,
    "float32": TensorProto.FLOAT,
}


class Value(NamedTuple):
    """An input or output of the whole graph."""

    name: str
    element_type: str
    """A key of `ELEMENT_TYPES`."""
    shape: tuple[int | str, ...]
    """A string names an axis of any length."""


class Graph:
    """Nodes in the order of computation, and their constants.

    A value has the name of the node or constant that it comes from.
    """

    def __init__(self, precision: str, opset: int):
        self.precision = precision
        self.opset = opset
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def add(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Add a node and return its output."""
        self._nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def add_many(
        self, operator: str, inputs: Sequence[str], name: str, outputs: Sequence[str], **attributes: Any
    ) -> list[str]:
        """Add a node with several outputs, called `name/output`, and return them."""
        names = [f"{name}/{output}" for output in outputs]
        self._nodes.append(helper.make_node(operator, list(inputs), names, name=name, **attributes))
        return names

    def constant(self, name: str, array: Shaped[np.ndarray, "..."] | np.generic) -> str:
        """Add a constant of the array's type."""
        self._constants[name] = numpy_helper.from_array(np.asarray(array, order="C"), name)
        return name

    def integers(self, *values: int) -> str:
        """Add a list of int64, such as a shape or axes. Equal lists share one constant."""
        return self.constant("/".join(["integers", *map(str, values)]), np.array(values, np.int64))

    def weight(self, name: str, array: Shaped[np.ndarray, "..."]) -> str:
        """Add a constant in the precision of the graph.

        Raises:
            ConfigError: the array has values beyond the range of this precision.
        """
        with np.errstate(over="ignore"):
            rounded = array.astype(self.precision)
        if not np.isfinite(rounded).all():
            raise ConfigError(
                f"{name} has values up to {np.abs(array).max():.3g}, beyond the range of {self.precision}. Check the "
                "weights, or export in float32"
            )
        return self.constant(name, rounded)

    def cast(self, value: str, element_type: str, name: str) -> str:
        """Convert to another type of `ELEMENT_TYPES`."""
        return self.add("Cast", [value], name, to=ELEMENT_TYPES[element_type])

    def reduce(self, operator: str, value: str, axis: int, name: str) -> str:
        """Add a reduction, such as ReduceMax, along an axis, which is kept with length 1."""
        if self.opset < 18:  # since then the axes are an input
            return self.add(operator, [value], name, axes=[axis], keepdims=1)
        return self.add(operator, [value, self.integers(axis)], name, keepdims=1)

    def model(
        self, inputs: Sequence[Value], outputs: Sequence[Value], *, version: str, metadata: Mapping[str, str]
    ) -> onnx.ModelProto:
        """Return the finished model."""
        graph = helper.make_graph(
            self._nodes,
            "yolox",
            [_declaration(value) for value in inputs],
            [_declaration(value) for value in outputs],
            list(self._constants.values()),
        )
        opsets = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(
            graph,
            opset_imports=opsets,
            # The default, the newest version, would exclude older runtimes.
            ir_version=helper.find_min_ir_version_for(opsets),
            producer_name="yolox_jax",
            producer_version=version,
        )
        helper.set_model_props(model, dict(metadata))
        return model


def _declaration(value: Value) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(value.name, ELEMENT_TYPES[value.element_type], value.shape)
