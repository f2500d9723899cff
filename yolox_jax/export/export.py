"""Exports the network in a file of weights; the suffix of the output chooses the format."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yolox_jax.config import ConfigError
from yolox_jax.export.settings import ExportSettings
from yolox_jax.files import ensure_writable_folder
from yolox_jax.inference.options import chosen_names, chosen_size
from yolox_jax.weights import read_model


@dataclasses.dataclass(frozen=True)
class Exported:
    """The network in an exported file."""

    variant: str
    num_classes: int
    settings: ExportSettings


def export(
    weights: str | Path,
    output: str | Path,
    *,
    input_size: tuple[int, int] | None = None,
    platforms: Sequence[str] | None = None,
    opset: int | None = None,
    **settings: Any,
) -> Exported:
    """Exports a network as one file, from a batch of uint8 images to detections.

    Args:
        weights: A .pth, .safetensors or .npz file, a run directory, or the name of published weights.
        output: The file to write: .stablehlo or .onnx. Its folder is created if it does not exist.
        input_size: Height and width of the network input in px, multiples of 32; by default the size stored with the
            weights, otherwise the published one of the variant.
        platforms: StableHLO: what the file can run on; by default CPUs, CUDA GPUs and TPUs.
        opset: ONNX: version of the operator set, 13 or newer; 17 by default.
        **settings: Other fields of `ExportSettings`, such as `precision`, `batch` or `nms`.

    Raises:
        ConfigError: A setting is invalid, belongs to another format, or the output cannot be written.
        FileNotFoundError, WeightsError: As `yolox_jax.weights.read_model`.
    """
    output = Path(output)
    if output.suffix not in (".stablehlo", ".onnx"):
        raise ConfigError(f"the output must be a file name that ends in .stablehlo or .onnx, got {output}")
    if platforms is not None and output.suffix != ".stablehlo":
        raise ConfigError(f"platforms apply only to .stablehlo files, not to {output}")
    if opset is not None and output.suffix != ".onnx":
        raise ConfigError(f"the opset applies only to .onnx files, not to {output}")
    ensure_writable_folder(output.parent, "the folder of the output,")
    model, metadata = read_model(weights)
    export_settings = ExportSettings(
        class_names=chosen_names(None, metadata, model.num_classes),
        input_size=chosen_size(input_size, metadata, model.variant),
        **settings,
    )
    # Imported here, because either format needs packages of its own.
    if output.suffix == ".stablehlo":
        from yolox_jax.export.stablehlo import PLATFORMS, export_stablehlo

        export_stablehlo(model, output, export_settings, platforms=PLATFORMS if platforms is None else platforms)
    else:
        from yolox_jax.export.onnx import OPSET, export_onnx

        export_onnx(model, output, export_settings, opset=OPSET if opset is None else opset)
    return Exported(model.variant, model.num_classes, export_settings)
