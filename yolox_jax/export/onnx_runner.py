"""Runs a YOLOX network that yolox_jax exported to ONNX. Needs only numpy, opencv-python and a runtime.

Copy this file and yolox_detection.py to where the network is used. They can be run as a program:

    python onnx_runner.py yolox_s.onnx street.jpg --output drawn.jpg
    python onnx_runner.py yolox_s.onnx street.jpg --runtime openvino
    python onnx_runner.py without_suppression.onnx street.jpg --runtime tensorrt

    from onnx_runner import OnnxDetector
    detector = OnnxDetector("yolox_s.onnx")
    boxes, scores, classes = detector(cv2.imread("street.jpg"))
    names = [detector.class_names[index] for index in classes]
"""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np

if __package__ == "yolox_jax.export":
    from yolox_jax.export.yolox_detection import ExportedDetector, ModelFileError, command_line, run
else:  # a copy, with a copy of yolox_detection.py beside it
    from yolox_detection import ExportedDetector, ModelFileError, command_line, run  # type: ignore

Runtime = Literal["onnxruntime", "openvino", "tensorrt"]


class OnnxDetector(ExportedDetector):
    """Finds objects in images of any size."""

    def __init__(
        self,
        path: str | Path,
        *,
        runtime: Runtime = "onnxruntime",
        providers: Sequence[str] | None = None,
        threads: int | None = None,
    ) -> None:
        """Load a file. Thresholds, class names and sizes come from its metadata.

        Args:
            path: a file from `yolox_jax.export`, with or without non-maximum suppression.
            runtime: the package that computes.
            providers: execution providers of ONNX Runtime; by default CUDA if its package has it, else the CPU.
            threads: threads of ONNX Runtime for a node; by default one for each core.

        Raises:
            FileNotFoundError: the file does not exist.
            ModelFileError: yolox_jax did not export the file, or this version of the runtime does not support it.
            ModuleNotFoundError: the runtime is not installed.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"there is no file {path}")
        self._network: _Network
        match runtime:
            case "openvino":
                self._network = _OpenVino(path)
            case "tensorrt":
                self._network = _TensorRt(Path(path))
            case "onnxruntime":
                self._network = _OnnxRuntime(path, providers, threads)
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
    def __init__(self, path: str | Path, providers: Sequence[str] | None, threads: int | None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0  # 0 is the default
        if providers is None:
            available = onnxruntime.get_available_providers()
            providers = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in available]
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=list(providers))
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


class _TensorRt:
    """An engine for the GPU of this machine. Building it takes minutes, so it is kept as NAME.engine.

    For batches of any size it takes one image at a time. It computes in the precision of the file.
    """

    def __init__(self, path: Path) -> None:
        try:
            import onnx
            import tensorrt
            from cuda.bindings import runtime as cuda
        except ModuleNotFoundError as error:
            raise ModelFileError(
                f"running {path} in TensorRT needs the package {error.name}: pip install tensorrt cuda-python onnx"
            ) from error
        self._cuda = cuda
        status, number = cuda.cudaGetDeviceCount()
        if not number:
            raise ModelFileError(
                f"TensorRT needs a GPU of NVIDIA with its driver; CUDA finds none here ({status.name})"
            )
        self.metadata = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
        # An end-to-end network has no suppression.
        if self.metadata.get("output") == "detections" and self.metadata.get("iou_threshold") != "1.0":
            raise ModelFileError(
                f"{path} contains non-maximum suppression, in operators that TensorRT does not support for all types. "
                "Export it with --no-nms; this program suppresses then"
            )
        logger = tensorrt.Logger(tensorrt.Logger.WARNING)
        plan = path.with_suffix(".engine")
        if not plan.is_file() or plan.stat().st_mtime < path.stat().st_mtime:
            plan.write_bytes(_build_engine(tensorrt, logger, path))
        # Without any of them, the others would be freed while they are needed.
        self._runtime = tensorrt.Runtime(logger)
        self._engine = self._runtime.deserialize_cuda_engine(plan.read_bytes())
        if self._engine is None:
            raise ModelFileError(f"{plan} was built for another GPU or version of TensorRT. Delete it")
        self._context = self._engine.create_execution_context()
        self._stream = self._call(cuda.cudaStreamCreate)
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        is_input = {name: self._engine.get_tensor_mode(name) == tensorrt.TensorIOMode.INPUT for name in names}
        self.batch_size: int | None = max(self._engine.get_tensor_shape("images")[0], 1)  # -1 stands for any
        for name in names:
            if is_input[name]:
                self._context.set_input_shape(name, (self.batch_size, *self._engine.get_tensor_shape(name)[1:]))
        self._outputs: dict[str, np.ndarray] = {}
        self._memory: dict[str, int] = {}
        for name in names:  # the shapes of outputs are known once those of all inputs are
            dtype = np.dtype(tensorrt.nptype(self._engine.get_tensor_dtype(name)))
            array = np.empty(tuple(self._context.get_tensor_shape(name)), dtype)
            self._memory[name] = self._call(cuda.cudaMalloc, array.nbytes)
            self._context.set_tensor_address(name, int(self._memory[name]))
            if not is_input[name]:
                self._outputs[name] = array

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        kinds = self._cuda.cudaMemcpyKind
        for name, array in inputs.items():
            given = np.ascontiguousarray(array)
            self._copy(self._memory[name], given.ctypes.data, given.nbytes, kinds.cudaMemcpyHostToDevice)
        if not self._context.execute_async_v3(int(self._stream)):
            raise RuntimeError("TensorRT could not run the network; it has printed why")
        self._call(self._cuda.cudaStreamSynchronize, self._stream)
        for name, array in self._outputs.items():
            self._copy(array.ctypes.data, self._memory[name], array.nbytes, kinds.cudaMemcpyDeviceToHost)
        return {name: array.copy() for name, array in self._outputs.items()}

    def _copy(self, target: int, source: int, size: int, kind: Any) -> None:
        self._call(self._cuda.cudaMemcpy, target, source, size, kind)

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function of CUDA, and return what it returns beside its status."""
        status, *results = function(*arguments)
        if status != self._cuda.cudaError_t.cudaSuccess:
            raise ModelFileError(f"{function.__name__} of CUDA failed: {status.name}")
        return results[0] if results else None


def _build_engine(tensorrt: Any, logger: Any, path: Path) -> bytes:
    """Build an engine in the types of the file, for one image where it takes any number."""
    builder = tensorrt.Builder(logger)
    network = builder.create_network(1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(path)):
        reason = parser.get_error(0).desc() if parser.num_errors else "it does not say why"
        raise ModelFileError(f"TensorRT {tensorrt.__version__} cannot read {path}: {reason}")
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    for index in range(network.num_inputs):
        images = network.get_input(index)
        if images.shape[0] < 0:
            profile.set_shape(images.name, *[(1, *images.shape[1:])] * 3)
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ModelFileError(f"TensorRT {tensorrt.__version__} cannot build {path}; it has printed why")
    return bytes(plan)


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
