"""Exports a network to LiteRT (TFLite), for phones and boards, from a uint8 image to the predictions of all anchors."""

import dataclasses
import json
import zipfile
from pathlib import Path

from yolox_jax.config import ConfigError

try:
    import ai_edge_litert  # noqa: F401
    import onnx  # noqa: F401
except ModuleNotFoundError as error:
    raise ConfigError(f"export to LiteRT needs the package {error.name}: pip install 'yolox-jax[litert]'") from error

from yolox_jax.export.litert_network import translate
from yolox_jax.export.onnx import build_onnx
from yolox_jax.export.settings import ExportSettings
from yolox_jax.files import atomic_write
from yolox_jax.models import YOLOX

METADATA = "metadata.json"
"""In the archive at the end of the file."""


def export_litert(model: YOLOX, path: str | Path, settings: ExportSettings) -> Path:
    """Write a .tflite file of a model in evaluation mode.

    Its input and output are the same as those of `yolox_jax.export.onnx.export_onnx` for one image with `nms=False`:
    `images` [1, H, W, 3] and `predictions` float32 [1, A, 5 + C]. Its only signature names them. The file contains no
    suppression, which operators of LiteRT cannot do by classes.

    After the network, the file is a zip archive of `metadata.json`, with the metadata that an ONNX file has. That is
    where TFLite files carry other files: runtimes do not read so far, and zip programs look from the end.

    In float16, the kernels are stored in float16. What they are computed with is up to the runtime: float32 on a CPU,
    float16 on the GPU of a phone.

    Args:
        model: is not changed.
        path: the file to write; its folder is created if needed. An existing file is replaced once the new one is
            complete.
        settings: size, precision and thresholds, with a batch of 1 and `nms=False`.

    Returns:
        `path`.

    Raises:
        ConfigError: a setting is invalid, or weights are too large for float16.
    """
    graph = build_onnx(model, dataclasses.replace(settings, precision="float32"))
    network = translate(graph, half_weights=settings.precision == "float16")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_bytes(network)
        with zipfile.ZipFile(temporary, "a") as archive:
            # ZipInfo has a fixed date, so that the same network gives the same file.
            metadata = json.dumps(settings.metadata(model), indent=2, ensure_ascii=False)
            archive.writestr(zipfile.ZipInfo(METADATA), metadata)
    return path
