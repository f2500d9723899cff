"""Files for TensorRT: operators and types that its ONNX parser supports, as far as can be said without a GPU."""

import json
import sys
import types
from pathlib import Path

import onnx
import pytest

from exported import export_onnx
from lively import lively_model
from roadmap_networks import SIZE, roadmap_model
from yolox_jax.export.onnx import OPSET
from yolox_jax.export.onnx_runner import OnnxDetector
from yolox_jax.export.yolox_detection import ModelFileError
from yolox_jax.models import YOLOX

SUPPORTED = json.loads(Path(__file__).with_name("tensorrt_operators.json").read_text())
TYPES = {"FLOAT": "FP32", "FLOAT16": "FP16", "BFLOAT16": "BF16"}
SETTINGS = {"input_size": SIZE, "class_names": ("red", "green", "blue")}


@pytest.fixture(scope="module")
def end_to_end() -> YOLOX:
    return roadmap_model("coupled_anchors_end_to_end")


def unsupported(path: Path) -> set[tuple[str, str]]:
    """The operators with the types of their data that TensorRT's table does not have."""
    model = onnx.shape_inference.infer_shapes(onnx.load(path), strict_mode=True)
    graph = model.graph
    kinds = {array.name: array.data_type for array in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kinds[value.name] = value.type.tensor_type.elem_type
    found = set()
    for node in graph.node:
        # Parameters of an operator, such as a shape, come after its data; a condition comes before.
        for name in node.input[: 2 if node.op_type == "Where" else 1]:
            kind = onnx.TensorProto.DataType.Name(kinds[name])
            if TYPES.get(kind, kind) not in SUPPORTED["types"].get(node.op_type, "").split():
                found.add((node.op_type, kind))
    return found


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_files_without_suppression_have_supported_operators(model, tmp_path, precision):
    path = export_onnx(model, tmp_path / "m.onnx", nms=False, precision=precision, **SETTINGS)
    assert not unsupported(path)
    assert SUPPORTED["lowest_opset"] <= OPSET <= SUPPORTED["highest_opset"]


def test_files_of_end_to_end_networks_have_supported_operators(end_to_end, tmp_path):
    path = export_onnx(end_to_end, tmp_path / "m.onnx", **SETTINGS)
    assert not unsupported(path)
    graph = onnx.load(path).graph
    constants = {array.name: onnx.numpy_helper.to_array(array) for array in graph.initializer}
    (top,) = (node for node in graph.node if node.op_type == "TopK")
    assert constants[top.input[1]] <= SUPPORTED["largest_k_of_topk"]


@pytest.mark.slow
def test_darknet_has_supported_operators(tmp_path):
    path = export_onnx(lively_model(2, "yolox_darknet53"), tmp_path / "m.onnx", nms=False, **SETTINGS)
    assert not unsupported(path)


def test_suppression_has_operators_that_are_not_and_is_refused(model, tmp_path, monkeypatch):
    path = export_onnx(model, tmp_path / "m.onnx", **SETTINGS)
    assert unsupported(path) == {("CumSum", "INT64"), ("NonZero", "BOOL")}
    with_packages(monkeypatch, gpus=1)
    with pytest.raises(ModelFileError, match="contains non-maximum suppression.*Export it with --no-nms"):
        OnnxDetector(path, runtime="tensorrt")


def test_what_is_missing_is_named(model, tmp_path, monkeypatch):
    path = export_onnx(model, tmp_path / "m.onnx", nms=False, **SETTINGS)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(ModelFileError, match="needs the package tensorrt: pip install tensorrt cuda-python onnx"):
        OnnxDetector(path, runtime="tensorrt")
    with_packages(monkeypatch, gpus=0)
    with pytest.raises(ModelFileError, match=r"needs a GPU of NVIDIA with its driver.*\(cudaErrorNoDevice\)"):
        OnnxDetector(path, runtime="tensorrt")


def with_packages(monkeypatch: pytest.MonkeyPatch, *, gpus: int) -> None:
    """Let the imports succeed, and CUDA find some GPUs."""
    success, none = types.SimpleNamespace(name="cudaSuccess"), types.SimpleNamespace(name="cudaErrorNoDevice")
    runtime = types.SimpleNamespace(cudaGetDeviceCount=lambda: (success, gpus) if gpus else (none, None))
    bindings = types.SimpleNamespace(runtime=runtime)
    for name, module in {"tensorrt": types.SimpleNamespace(), "cuda.bindings": bindings}.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "cuda", types.SimpleNamespace(bindings=bindings))
