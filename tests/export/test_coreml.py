"""Core ML packages: what they contain, and what the operations in them compute by their definition.

No Apple machine has run one. The saved program is read back and computed here with jax and NumPy.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest

from lively import lively_model
from roadmap_networks import SIZE, pictures, roadmap_model, varied
from yolox_jax.config import ConfigError
from yolox_jax.export.exporter import export
from yolox_jax.export.onnx import build_onnx
from yolox_jax.export.settings import ExportSettings

coremltools = pytest.importorskip("coremltools")

from coremltools.converters.mil.frontend.milproto.load import load  # noqa: E402 (needs the package)

from yolox_jax.export.coreml import export_coreml  # noqa: E402

NAMES = ("red", "green", "blue")
SETTINGS = ExportSettings(NAMES, SIZE, batch=1, nms=False)

pytestmark = pytest.mark.filterwarnings("ignore")  # of coremltools


def saved_program(path: Path) -> tuple[Any, Any]:
    """The description of a package, and its main function with the weights."""
    package = coremltools.models.MLModel(str(path), skip_model_load=True)
    spec = package.get_spec()
    program = load(spec, spec.specificationVersion, package.weights_dir)
    return spec, program.functions["main"]


def compute(function: Any, images: np.ndarray) -> np.ndarray:
    """Run a function, each operation as the reference of Core ML defines it."""
    return np.asarray(jax.jit(lambda pixels: output_of(function, pixels))(images.astype(np.float32)))


def output_of(function: Any, images: jax.Array) -> jax.Array:
    values: dict[str, jax.Array] = {next(iter(function.inputs)): images}

    def value(variable: Any) -> Any:
        if isinstance(variable, tuple | list):
            return [value(one) for one in variable]
        return values.get(variable.name, variable.val)

    for operation in function.operations:
        if operation.op_type == "const":
            continue
        given = {name: value(variable) for name, variable in operation.inputs.items() if variable is not None}
        results = apply(operation.op_type, given)
        for variable, result in zip(operation.outputs, results, strict=True):
            assert tuple(variable.shape) == result.shape
            values[variable.name] = result
    return values[function.outputs[0].name]


def apply(kind: str, given: dict[str, Any]) -> list[jax.Array]:
    x = given.get("x")
    if "pad" in given:
        padding = ((0, 0), (0, 0), tuple(given["pad"][:2].tolist()), tuple(given["pad"][2:].tolist()))
        strides = tuple(given["strides"].tolist())
    match kind:
        case "conv":
            product = jax.lax.conv_general_dilated(
                x, given["weight"], strides, padding[2:], feature_group_count=int(given["groups"])
            )
            return [product + given["bias"][:, None, None].astype(x.dtype)]
        case "max_pool":
            window = (1, 1, *given["kernel_sizes"].tolist())
            low = np.array(-np.inf, x.dtype)
            return [jax.lax.reduce_window(x, low, jax.lax.max, window, (1, 1, *strides), padding)]
        case "upsample_nearest_neighbor":
            return [x.repeat(int(given["scale_factor_height"]), 2).repeat(int(given["scale_factor_width"]), 3)]
        case "split":
            return jnp.split(x, np.cumsum(given["split_sizes"])[:-1], axis=int(given["axis"]))
        case "concat":
            return [jnp.concatenate(given["values"], axis=int(given["axis"]))]
        case "reshape":
            return [x.reshape(given["shape"])]
        case "transpose":
            return [jnp.transpose(x, given["perm"])]
        case "cast":
            return [x.astype({"fp16": np.float16, "fp32": np.float32}[given["dtype"]])]
        case "add":
            return [x + given["y"]]
        case "sub":
            return [x - given["y"]]
        case "mul":
            return [x * given["y"]]
        case "real_div":
            return [x / given["y"]]
        case "exp":
            return [jnp.exp(x)]
        case "sigmoid":
            return [1 / (1 + jnp.exp(-x))]
        case "silu":
            return [x / (1 + jnp.exp(-x))]
        case "reduce_log_sum_exp":
            return [jax.scipy.special.logsumexp(x, axis=tuple(given["axes"]), keepdims=True)]
    raise AssertionError(f"{kind} has no definition here")


def predictions(model: Any, settings: ExportSettings, images: np.ndarray) -> np.ndarray:
    """Those of the ONNX file."""
    session = onnxruntime.InferenceSession(build_onnx(model, settings).SerializeToString())
    return session.run(None, {"images": images})[0]


@pytest.mark.parametrize("name", ["plain", pytest.param("coupled_anchors_end_to_end", marks=pytest.mark.slow)])
def test_operations_of_the_saved_program_compute_the_predictions_of_onnx(tmp_path, name):
    model = varied(lively_model(seed=1)) if name == "plain" else roadmap_model(name)
    spec, function = saved_program(export_coreml(model, tmp_path / "m.mlpackage", SETTINGS))
    expected = predictions(model, SETTINGS, pictures(1))
    found = compute(function, pictures(1))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    assert np.ptp(expected[0, :, 4]) > 0.01
    assert [one.name for one in spec.description.input] == ["images"]
    assert [one.name for one in spec.description.output] == ["predictions"]
    assert list(spec.description.input[0].type.multiArrayType.shape) == [1, *SIZE, 3]
    metadata = dict(spec.description.metadata.userDefined)
    assert (json.loads(metadata["class_names"]), metadata["output"]) == (list(NAMES), "predictions")


@pytest.mark.slow
def test_float16_halves_the_weights_and_decodes_in_float32(tmp_path):
    model = varied(lively_model(seed=1))
    path = export_coreml(model, tmp_path / "m.mlpackage", dataclasses.replace(SETTINGS, precision="float16"))
    _, function = saved_program(path)
    kinds = {
        operation.op_type: np.asarray(operation.inputs["weight"].val).dtype
        for operation in function.operations
        if operation.op_type == "conv"
    }
    assert kinds == {"conv": np.float16}
    last = [operation for operation in function.operations if operation.op_type in ("exp", "transpose")][-2:]
    assert {coremltools.converters.mil.mil.types.builtin_to_string(one.outputs[0].dtype) for one in last} == {"fp32"}
    expected = predictions(model, SETTINGS, pictures(1))
    found = compute(function, pictures(1))
    np.testing.assert_allclose(found[..., 4:], expected[..., 4:], atol=0.02)


def test_what_does_not_suit_core_ml_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="--runner applies only to"):
        export("none.pth", tmp_path / "m.mlpackage", format="coreml", runner=True)
    (tmp_path / "other.mlpackage").mkdir()
    (tmp_path / "other.mlpackage" / "mine").touch()
    with pytest.raises(ConfigError, match=r"other\.mlpackage is not empty"):
        export("none.pth", tmp_path / "other.mlpackage", format="coreml")
