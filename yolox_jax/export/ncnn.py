"""Exports a network to ncnn, which runs on phones and small boards, by converting its ONNX graph with pnnx.

ncnn stores a network in two files: `NAME.param`, the layers as text, and `NAME.bin`, the weights. A third one,
`NAME.json`, has the metadata that other formats hold inside.
"""

import importlib.util
import io
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

from yolox_jax.config import ConfigError

if importlib.util.find_spec("onnx") is None or importlib.util.find_spec("ncnn") is None:
    raise ConfigError("export to ncnn needs the packages onnx and ncnn: pip install 'yolox-jax[ncnn]'")

import numpy as np
import onnx

from yolox_jax.export.onnx import OPSET
from yolox_jax.export.onnx_graph import Graph, Value
from yolox_jax.export.onnx_network import write_network
from yolox_jax.export.onnx_raw import write_raw
from yolox_jax.export.settings import ExportSettings
from yolox_jax.files import package_version, write_json
from yolox_jax.models import YOLOX, fold_batch_norm

FLOAT32_ONLY = "31=7"
"""Parameter of a layer: ncnn must not use float16, in arithmetic or storage (bits 0 and 1), or bfloat16 (bit 2). By
default it computes in float16 on ARM, whatever the weights are stored in."""
FLOAT16_TAG = (0x01306B47).to_bytes(4, "little")
"""Stands before weights that are stored in float16; four zeros before those in float32."""
LOAD = "import ncnn, sys; net = ncnn.Net(); sys.exit(any((net.load_param(sys.argv[1]), net.load_model(sys.argv[2]))))"


def export_ncnn(model: YOLOX, path: str | Path, settings: ExportSettings) -> Path:
    """Write the three files of a model in evaluation mode, and load them with ncnn.

    Input `images`: [channels, H, W] from 0 to 255, BGR, letterboxed; images of 16 bits are divided by 257.

    Output `raw`: [5 + C, A] as every model of this package has it (`yolox_jax.models.YOLOX`): tx, ty, tw, th, the logit
    of the objectness and those of the classes, for all anchors level by level and row by row. It is decoded outside,
    because ncnn computes in float16 where it can, which has steps of 0.5 px at 512 px. `ncnn_runner.py` does so, and
    suppresses.

    The metadata are those of `yolox_jax.export.onnx.export_onnx`, with `output` "raw", `strides` (of the levels) and
    `boxes_per_cell`.

    Args:
        model: is not changed.
        path: the .param file to write; its folder is created if needed. Existing files are replaced once the new ones
            are complete.
        settings: shapes, precision and thresholds. float32 makes ncnn compute in it everywhere. With float16, the
            weights are stored so, and ncnn computes in what it chooses on a machine.

    Returns:
        `path`.

    Raises:
        ConfigError: a setting is invalid, weights are too large for float16, pnnx is missing, or pnnx or ncnn refuses
            the network.
    """
    settings.check(model)
    pnnx = _find_pnnx()
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = settings.metadata(model) | {
        "output": "raw",
        "strides": json.dumps(model.strides),
        "boxes_per_cell": json.dumps(model.boxes_per_cell),
    }
    with tempfile.TemporaryDirectory(prefix=f".{path.stem}-", dir=path.parent) as folder:
        param, weights = _convert(pnnx, _onnx_graph(model, settings), Path(folder), settings.precision)
        _check_loads(param, weights)
        for source, target in ((weights, path.with_suffix(".bin")), (param, path)):
            source.replace(target)
    write_json(path.with_suffix(".json"), metadata, indent=2)
    return path


def _find_pnnx() -> Path:
    """The program in the package pnnx, which is not imported, because that would import PyTorch."""
    spec = importlib.util.find_spec("pnnx")
    program = "pnnx.exe" if sys.platform == "win32" else "pnnx"
    for folder in spec.submodule_search_locations or () if spec is not None else ():
        if (Path(folder) / program).is_file():
            return Path(folder) / program
    raise ConfigError(
        "export to ncnn needs the converter pnnx: pip install --no-deps pnnx (without --no-deps it brings PyTorch, "
        "which this conversion does not use)"
    )


def _onnx_graph(model: YOLOX, settings: ExportSettings) -> onnx.ModelProto:
    """The network from pixels to its raw output, in float32."""
    folded = fold_batch_norm(model)
    if settings.precision == "float16":
        write_network(Graph("float16", OPSET), folded, "images")  # raises if a weight is beyond its range
    graph = Graph("float32", OPSET)
    levels = write_network(graph, folded, "images")
    raw = write_raw(
        graph,
        levels,
        settings.input_size,
        model.num_classes,
        strides=model.strides,
        anchor_boxes=model.anchor_boxes,
        end_to_end=model.end_to_end,
    )
    images = Value("images", "float32", (1, model.channels, *settings.input_size))
    output = Value(raw.value, "float32", (1, 5 + model.num_classes, raw.num_anchors))
    return graph.model([images], [output], version=package_version(), metadata={})


def _convert(pnnx: Path, model: onnx.ModelProto, folder: Path, precision: str) -> tuple[Path, Path]:
    """Return the .param and the .bin file, written into the folder."""
    onnx.save_model(model, folder / "network.onnx")
    param, weights = folder / "network.ncnn.param", folder / "network.ncnn.bin"
    command = [str(pnnx), "network.onnx", "fp16=0"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode or not (param.is_file() and weights.is_file()):
        raise ConfigError(f"pnnx cannot convert the network (exit code {done.returncode}): {_last_lines(done)}")
    if precision == "float16":
        weights.write_bytes(_in_float16(param.read_text(), weights.read_bytes()))
    param.write_text(_named(param.read_text(), layer_end="" if precision == "float16" else f" {FLOAT32_ONLY}"))
    return param, weights


def _in_float16(param: str, weights: bytes) -> bytes:
    """Round the kernels of a .bin file, layer by layer; biases stay float32, as in files of pnnx.

    pnnx can do so too, but makes numbers below 6e-5 zero. In the published YOLOX-nano they are a sixth of the first
    kernel, which multiplies pixels up to 255.
    """
    file, parts = io.BytesIO(weights), []
    for layer in param.splitlines()[2:]:
        kind, *words = layer.split()
        number = {key: value for key, _, value in (word.partition("=") for word in words) if value}
        if kind.startswith("Convolution"):
            tag = file.read(4)
            kernel = np.frombuffer(file.read(4 * int(number["6"])), np.float32).astype(np.float16).tobytes()
            bias = file.read(4 * int(number["0"]))
            assert tag == bytes(4) and number["5"] == "1", f"{layer} has no bias, or is not in float32"
            parts += [FLOAT16_TAG, kernel, bytes(-len(kernel) % 4), bias]
        elif kind == "MemoryData":
            parts.append(file.read(4 * math.prod(int(number.get(key, 1)) for key in ("0", "1", "2"))))
    assert not file.read(), "there are layers with weights besides convolutions and constants"
    return b"".join(parts)


def _named(param: str, *, layer_end: str) -> str:
    """Give the input and the output their names instead of in0 and out0, and end the line of each layer."""
    magic, counts, *layers = param.splitlines()
    names = {"in0": "images", "out0": "raw"}
    lines = [" ".join(names.get(word, word) for word in layer.split()) + layer_end for layer in layers]
    return "\n".join([magic, counts, *lines]) + "\n"


def _check_loads(param: Path, weights: Path) -> None:
    """Load the files in another process, because ncnn prints what it refuses."""
    command = [sys.executable, "-c", LOAD, str(param), str(weights)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigError(f"ncnn cannot load the converted network: {_last_lines(done)}")


def _last_lines(done: subprocess.CompletedProcess[str], most: int = 3) -> str:
    lines = (done.stderr + done.stdout).strip().splitlines()
    return "; ".join(lines[-most:]) or "it printed nothing"
