"""Builds a TFLite file operator by operator, with the classes that the schema of the format generates."""

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from jaxtyping import Shaped

ELEMENT_TYPES = {
    "uint8": schema.TensorType.UINT8,
    "uint16": schema.TensorType.UINT16,
    "int32": schema.TensorType.INT32,
    "float16": schema.TensorType.FLOAT16,
    "float32": schema.TensorType.FLOAT32,
}
# Version 3 of the format, the only one in use.
_FORMAT_VERSION, _FORMAT_IDENTIFIER = 3, b"TFL3"
# In the field that older runtimes read the number of an operator from, a byte; larger numbers follow in another.
_LARGEST_OLD_CODE = 127


class LiteRtGraph:
    """Operators in the order of computation, and their tensors, which are referred to by number."""

    def __init__(self) -> None:
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: dict[tuple[str, int], int] = {}
        self._buffers: list[Any] = [schema.BufferT()]  # The first one is that of all tensors without constant values.

    def tensor(self, name: str, shape: Sequence[int], element_type: str = "float32") -> int:
        """Add a tensor that an operator computes, or an input."""
        return self._append(name, shape, element_type, buffer=0)

    def constant(self, name: str, array: Shaped[np.ndarray, "..."]) -> int:
        """Add a tensor with these values."""
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
        self._buffers.append(buffer)
        return self._append(name, array.shape, str(array.dtype), buffer=len(self._buffers) - 1)

    def add(
        self, operator: str, inputs: Sequence[int], output: int, options: Any = None, *, version: int = 1, **values: Any
    ) -> int:
        """Add an operator and return its output.

        Args:
            operator: its name in the schema, such as "CONV_2D".
            inputs: tensors.
            output: a tensor.
            options: the class of its options in the schema, if it has any.
            version: the first version of the operator that does what is asked for.
            **values: fields of its options. All others are 0.
        """
        node = schema.OperatorT()
        node.opcodeIndex = self._codes.setdefault((operator, version), len(self._codes))
        node.inputs, node.outputs = list(inputs), [output]
        if options is not None:
            node.builtinOptionsType = getattr(schema.BuiltinOptions, options.__name__.removesuffix("T"))
            node.builtinOptions = options()
            for field, value in values.items():
                assert hasattr(node.builtinOptions, field), f"{options.__name__} has no field {field}"
                setattr(node.builtinOptions, field, value)
        self._operators.append(node)
        return output

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Return the shape of a tensor."""
        return tuple(self._tensors[tensor].shape)

    def serialize(self, inputs: Sequence[int], outputs: dict[str, int], description: str) -> bytes:
        """Return the file.

        Args:
            inputs: tensors; their names are those of the inputs.
            outputs: tensors by the name of the output, which they get.
            description: for people.
        """
        for name, tensor in outputs.items():
            self._tensors[tensor].name = name
        graph = schema.SubGraphT()
        graph.name = "yolox"
        graph.tensors, graph.operators = self._tensors, self._operators
        graph.inputs, graph.outputs = list(inputs), list(outputs.values())
        model = schema.ModelT()
        model.version, model.description = _FORMAT_VERSION, description
        model.operatorCodes = [_operator_code(*code) for code in self._codes]
        model.subgraphs, model.buffers = [graph], self._buffers
        model.signatureDefs = [self._signature(graph)]
        builder = flatbuffers.Builder()
        builder.Finish(model.Pack(builder), _FORMAT_IDENTIFIER)
        return bytes(builder.Output())

    def _append(self, name: str, shape: Sequence[int], element_type: str, *, buffer: int) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name, list(shape), ELEMENT_TYPES[element_type]
        tensor.buffer, tensor.hasRank = buffer, True
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def _signature(self, graph: Any) -> Any:
        """Names of inputs and outputs, by which programs call the network."""
        signature = schema.SignatureDefT()
        signature.signatureKey = "serving_default"
        signature.inputs = [self._entry(tensor) for tensor in graph.inputs]
        signature.outputs = [self._entry(tensor) for tensor in graph.outputs]
        return signature

    def _entry(self, tensor: int) -> Any:
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = self._tensors[tensor].name, tensor
        return entry


def _operator_code(operator: str, version: int) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode, code.version = getattr(schema.BuiltinOperator, operator), version
    code.deprecatedBuiltinCode = min(code.builtinCode, _LARGEST_OLD_CODE)
    return code
