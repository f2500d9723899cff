"""Runs a YOLOX network that yolox_jax exported to ONNX. Needs only numpy, opencv-python and onnxruntime or openvino.

Copy this file and yolox_detection.py to where the network is used. They can be run as a program:

    python onnx_runner.py yolox_s.onnx street.jpg --output drawn.jpg
    python onnx_runner.py yolox_s.onnx street.jpg --runtime openvino

    from onnx_runner import OnnxDetector
    detector = OnnxDetector("yolox_s.onnx")
    boxes, scores, classes = detector(cv2.imread("street.jpg"))
    names = [detector.class_names[index] for index in classes]
"""

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np

if __package__ == "yolox_jax.export":
    from yolox_jax.export.yolox_detection import ExportedDetector, ModelFileError, command_line, run
else:  # a copy, with a copy of yolox_detection.py beside it
    from yolox_detection import ExportedDetector, ModelFileError, command_line, run  # type: ignore

Runtime = Literal["onnxruntime", "openvino"]


class OnnxDetector(ExportedDetector):
    """Finds objects in images of any size."""

    def __init__(
        self, path: str | Path, *, runtime: Runtime = "onnxruntime", providers: Sequence[str] | None = None
    ) -> None:
        """Load a file. Thresholds, class names and sizes come from its metadata.

        Args:
            path: a file from `yolox_jax.export`, with or without non-maximum suppression.
            runtime: the package that computes.
            providers: execution providers of ONNX Runtime; by default CUDA if its package has it, else the CPU.

        Raises:
            FileNotFoundError: the file does not exist.
            ModelFileError: yolox_jax did not export the file, or this version of the runtime does not support it.
            ModuleNotFoundError: the runtime is not installed.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"there is no file {path}")
        self._network: _Network = _OpenVino(path) if runtime == "openvino" else _OnnxRuntime(path, providers)
        super().__init__(path, self._network.metadata)
        self._suppression_inside = self.metadata["output"] == "detections"
        self._batch_size = self._network.batch_size or 1

    def detect(self, letterboxed: np.ndarray, ratio: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Run the network, and suppress what overlaps if the file does not."""
        images = np.repeat(letterboxed[None], self._batch_size, axis=0)
        if not self._suppression_inside:
            return self.suppress(self._network.run({"images": images})["predictions"][0], ratio)
        outputs = self._network.run({"images": images, "ratios": np.full(self._batch_size, ratio, np.float32)})
        count = outputs["count"][0]
        return outputs["boxes"][0, :count], outputs["scores"][0, :count], outputs["classes"][0, :count]


class _Network(Protocol):
    """A file that a runtime has loaded."""

    metadata: dict[str, str]
    batch_size: int | None
    """Images per call; None for any number."""

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Compute all outputs, by name."""


class _OnnxRuntime:
    def __init__(self, path: str | Path, providers: Sequence[str] | None) -> None:
        import onnxruntime

        if providers is None:
            available = onnxruntime.get_available_providers()
            providers = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in available]
        try:
            self._session = onnxruntime.InferenceSession(str(path), providers=list(providers))
        except Exception as error:  # the exceptions of ONNX Runtime have no common base class
            raise ModelFileError(_explain(path, str(error), onnxruntime.__version__)) from error
        self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        batch_size = self._session.get_inputs()[0].shape[0]
        self.batch_size = batch_size if isinstance(batch_size, int) else None

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        names = [output.name for output in self._session.get_outputs()]
        return dict(zip(names, self._session.run(names, dict(inputs)), strict=True))


class _OpenVino:
    def __init__(self, path: str | Path) -> None:
        # Importing openvino would report its use to Intel, from a forked process, if it found this package.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
        import openvino

        core = openvino.Core()
        try:
            model = core.read_model(path)
            # The type of the file. By itself, OpenVINO computes in bfloat16 on processors that can.
            self._compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise ModelFileError(f"OpenVINO {openvino.__version__} cannot load {path}: {reason}") from error
        stored = model.rt_info["framework"] if model.has_rt_info("framework") else {}
        self.metadata = {name: entry.astype(str) for name, entry in stored.items()}
        batch_size = model.inputs[0].partial_shape[0]
        self.batch_size = None if batch_size.is_dynamic else batch_size.get_length()

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {output.any_name: value for output, value in self._compiled(dict(inputs)).items()}


def _explain(path: str | Path, reason: str, version: str) -> str:
    """Translate an error of ONNX Runtime into what to do."""
    for what, pattern in (
        ("opset", r"Opset (\d+) is under development.*till opset (\d+)"),
        ("IR version", r"IR version: (\d+), max supported IR version: (\d+)"),
    ):
        if found := re.search(pattern, reason):
            return (
                f"{path} has {what} {found[1]}, but ONNX Runtime {version} supports up to {found[2]}. Install a newer "
                "onnxruntime, or export with a lower opset"
            )
    return f"ONNX Runtime {version} cannot load {path}: {reason.splitlines()[0]}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the detections in an image, and optionally draw them. Returns the exit code."""
    parser = command_line(".onnx")
    parser.add_argument(
        "--runtime", choices=get_args(Runtime), default="onnxruntime", help="what computes (default: onnxruntime)"
    )
    options = parser.parse_args(arguments)
    return run(options, lambda: OnnxDetector(options.model, runtime=options.runtime))


if __name__ == "__main__":
    raise SystemExit(main())
