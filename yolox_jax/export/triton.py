"""Exports a network as a model of NVIDIA's Triton Inference Server, which batches the images of all its clients.

The server runs the ONNX file with its backend for ONNX Runtime, on a GPU if there is one.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from yolox_jax.config import ConfigError

try:
    import onnx
    from onnx import TensorProto
except ModuleNotFoundError as error:
    raise ConfigError("export to Triton needs the package onnx: pip install 'yolox-jax[onnx]'") from error

from yolox_jax.export.onnx import build_onnx, save_onnx
from yolox_jax.export.settings import ExportSettings
from yolox_jax.models import YOLOX

MAX_BATCH_SIZE = 8
"""Most images that the server computes at once, unless another number is given."""
_DATA_TYPES = {
    TensorProto.UINT8: "TYPE_UINT8",
    TensorProto.UINT16: "TYPE_UINT16",
    TensorProto.INT32: "TYPE_INT32",
    TensorProto.FLOAT: "TYPE_FP32",
}


def export_triton(
    model: YOLOX, folder: Path, settings: ExportSettings, *, max_batch_size: int = MAX_BATCH_SIZE
) -> Path:
    """Write the folder of a model, for a model repository: `config.pbtxt`, `labels.txt` and `1/model.onnx`.

    Inputs and outputs are those of `yolox_jax.export.onnx.export_onnx`. In requests, `ratios` and `count` are [N, 1],
    because Triton has no tensors with a batch axis only. The configuration contains the metadata of the ONNX file, so
    that clients need nothing but the address of the server.

    Args:
        model: is not changed.
        folder: created if needed; its name becomes that of the model. The files of an earlier export are replaced.
        settings: as for `export_onnx`; the batch must be None.
        max_batch_size: most images that the server computes at once.

    Returns:
        The path of the ONNX file in the folder.

    Raises:
        ConfigError: as `export_onnx`.
    """
    network = build_onnx(model, settings)
    path = save_onnx(network, folder / "1" / "model.onnx")
    config = model_config(network.graph, folder.absolute().name, settings.metadata(model), max_batch_size)
    (folder / "config.pbtxt").write_text(_to_text(config), encoding="utf-8")
    (folder / "labels.txt").write_text("".join(f"{name}\n" for name in settings.class_names), encoding="utf-8")
    return path


def model_config(graph: onnx.GraphProto, name: str, metadata: Mapping[str, str], max_batch_size: int) -> dict[str, Any]:
    """Return the fields of Triton's `ModelConfig`."""
    return {
        "name": name,
        "backend": "onnxruntime",
        "max_batch_size": max_batch_size,
        "input": [_tensor(value) for value in graph.input],
        "output": [_tensor(value) for value in graph.output],
        "dynamic_batching": {},
        "parameters": [{"key": key, "value": {"string_value": value}} for key, value in metadata.items()],
    }


def _tensor(value: onnx.ValueInfoProto) -> dict[str, Any]:
    """The fields of an input or output, whose shapes are without the batch axis."""
    dims = [side.dim_value for side in value.type.tensor_type.shape.dim[1:]]
    fields = {"name": value.name, "data_type": _DATA_TYPES[value.type.tensor_type.elem_type], "dims": dims or [1]}
    return fields if dims else {**fields, "reshape": {"shape": []}}


def _to_text(fields: Mapping[str, Any], indent: str = "") -> str:
    """Write fields in the text format of protocol buffers."""
    lines = []
    for name, value in fields.items():
        messages = value if isinstance(value, list) and value and isinstance(value[0], dict) else [value]
        for one in messages:
            if isinstance(one, dict):
                lines.append(f"{indent}{name} {{\n{_to_text(one, indent + '  ')}{indent}}}\n")
            else:  # JSON writes numbers, lists and strings alike, but an enumerator has no quotes
                text = one if name == "data_type" else json.dumps(one, ensure_ascii=False)
                lines.append(f"{indent}{name}: {text}\n")
    return "".join(lines)
