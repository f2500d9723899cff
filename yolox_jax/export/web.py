"""Exports a network as a folder with a page that detects in the browser: in pictures, videos and the camera.

The folder needs a static server and nothing else. What the page detects in stays on the machine that shows it.
"""

import shutil
from pathlib import Path

from yolox_jax.config import ConfigError
from yolox_jax.data.letterbox import PADDING
from yolox_jax.data.pixel_format import BGR8
from yolox_jax.export.onnx import export_onnx
from yolox_jax.export.onnxruntime_web import copy_runtime
from yolox_jax.export.settings import ExportSettings
from yolox_jax.files import package_version, write_json
from yolox_jax.models import YOLOX

PAGE = Path(__file__).with_name("web")
"""The page: HTML, style and plain JavaScript modules, copied as they are."""


def export_web(model: YOLOX, folder: Path, settings: ExportSettings, *, runtime: Path) -> Path:
    """Write the folder: `index.html` with its modules, the network, its description, and ONNX Runtime Web.

    The description, `network.json`, tells the page what `yolox_jax.export.onnx.export_onnx` writes into the metadata of
    the file: `variant`, `class_names`, `input_size` (height, width), `padding`, `score_threshold`, `precision` and
    `producer`.

    Args:
        model: is not changed.
        folder: created if needed. The files of an earlier export are replaced.
        settings: as for `export_onnx`; the batch must be 1, and the file must return detections.
        runtime: from `yolox_jax.export.onnxruntime_web.find_runtime`.

    Returns:
        The path of the ONNX file in the folder.

    Raises:
        ConfigError: as `export_onnx`, or the network takes other images than browsers have.
    """
    if settings.pixels(model) != BGR8:
        raise ConfigError(
            f"--format web needs a network for images of {BGR8}, which browsers have; this one takes "
            f"{settings.pixels(model)}. Export it as onnx or stablehlo"
        )
    description = {
        "variant": model.variant,
        "class_names": settings.class_names,
        "input_size": settings.input_size,
        "padding": PADDING,
        "score_threshold": settings.score_threshold,
        "precision": settings.precision,
        "producer": f"yolox_jax {package_version()}",
    }
    path = export_onnx(model, folder / "network.onnx", settings)
    write_json(folder / "network.json", description, indent=2)
    shutil.copytree(PAGE, folder, dirs_exist_ok=True)
    (folder / "onnxruntime").mkdir(exist_ok=True)
    copy_runtime(runtime, folder / "onnxruntime")
    return path
