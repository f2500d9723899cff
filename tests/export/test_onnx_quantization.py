"""Quantisation of a small graph: what becomes integer, what stays float, and how close the outputs stay."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from yolox_jax.config import ConfigError
from yolox_jax.export.onnx_graph import Graph, Value
from yolox_jax.export.onnx_quantization import quantize
from yolox_jax.export.quantization import Quantization

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 255, (6, 16, 24, 3), np.uint8)
LAYERS = ("backbone.backbone.stem", "backbone.backbone.dark2.0", "backbone.deep", "head.cls_preds.0")


def network(*, batch: int | str = "batch", tiny_filter: bool = False) -> onnx.ModelProto:
    """Four convolutions of 3x3, named as those of a network, with SiLU behind the first three, a pool and a join."""
    rng = np.random.default_rng(1)
    graph = Graph("float32", 17)
    x = graph.cast(graph.add("Transpose", ["images"], "images/first", perm=[0, 3, 1, 2]), "float32", "images/pixels")
    channels = 3
    for name in LAYERS:
        weight = rng.normal(size=(8, channels, 3, 3)).astype(np.float32) * (0.01 if channels == 3 else 0.2)
        weight *= np.geomspace(0.01, 1, 8, dtype=np.float32)[:, None, None, None]
        bias = rng.normal(size=8).astype(np.float32)
        if tiny_filter and name == "backbone.deep":
            weight[0], weight[1], bias[:2] = 0, 1e-9, (0, 5)
        conv = f"{name}.conv"
        constants = [graph.weight(f"{conv}.weight", weight), graph.weight(f"{conv}.bias", bias)]
        x, channels = graph.add("Conv", [x, *constants], conv, kernel_shape=[3, 3], pads=[1] * 4), 8
        if name != LAYERS[-1]:
            x = graph.add("Mul", [x, graph.add("Sigmoid", [x], f"{name}.sigmoid")], f"{name}.silu")
        if name == "backbone.deep":
            pool = graph.add("MaxPool", [x], f"{name}.pool", kernel_shape=[3, 3], pads=[1] * 4)
            x, channels = graph.add("Concat", [x, pool], f"{name}.concat", axis=1), 16
    graph.add("Mul", [x, graph.constant("two", np.float32(2))], "predictions")
    images = Value("images", "uint8", (batch, 16, 24, 3))
    return graph.model([images], [Value("predictions", "float32", (batch, 8, 16, 24))], version="1", metadata={})


def run(model: onnx.ModelProto, images: np.ndarray = IMAGES) -> np.ndarray:
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"images": images})[0]


def quantized(model: onnx.ModelProto, **settings) -> onnx.ModelProto:
    return quantize(model, Quantization("photos", **settings), lambda: iter(IMAGES))


def convolutions_in_float(model: onnx.ModelProto) -> list[str]:
    nodes = [node for node in model.graph.node if node.op_type == "Conv"]
    return [node.name for node in nodes if not node.input[1].endswith("/dequantized")]


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_first_and_last_layers_stay_float_and_the_rest_is_integer(runtime):
    model = quantized(network(), runtime=runtime)
    assert convolutions_in_float(model) == [f"{LAYERS[index]}.conv" for index in (0, 1, 3)]
    stored = {one.name: numpy_helper.to_array(one).dtype for one in model.graph.initializer}
    assert stored["backbone.deep.conv.weight/values"] == np.int8
    assert stored["backbone.deep.conv.bias/values"] == np.int32
    assert {stored[f"{LAYERS[index]}.conv.weight"] for index in (0, 1, 3)} == {np.dtype(np.float32)}
    assert "backbone.deep.conv.weight" not in stored
    read = {node.name: node.input[0] for node in model.graph.node}
    assert read["predictions"] == "head.cls_preds.0.conv"
    assert read["head.cls_preds.0.conv"].endswith("/dequantized") == (runtime == "onnxruntime")
    assert not read["backbone.backbone.dark2.0.conv"].endswith("/dequantized")


def test_other_layers_can_be_chosen_or_none():
    assert convolutions_in_float(quantized(network(), float_layers=("backbone.deep",))) == ["backbone.deep.conv"]
    assert convolutions_in_float(quantized(network(), float_layers=())) == []


def test_each_filter_has_its_own_scale():
    model = network()
    stored = {one.name: numpy_helper.to_array(one) for one in quantized(model).graph.initializer}
    weight = next(one for one in model.graph.initializer if one.name == "backbone.deep.conv.weight")
    expected = np.abs(numpy_helper.to_array(weight)).max(axis=(1, 2, 3)) / 127
    np.testing.assert_allclose(stored["backbone.deep.conv.weight/scale"], expected, rtol=1e-6)
    np.testing.assert_array_equal(np.abs(stored["backbone.deep.conv.weight/values"]).max(axis=(1, 2, 3)), 127)


def test_a_range_is_the_percentile_of_all_values_in_all_images():
    model = network()
    model.graph.output.append(onnx.helper.make_tensor_value_info("backbone.deep.conv", onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    low, high = np.percentile(session.run(["backbone.deep.conv"], {"images": IMAGES})[0], [1, 99])
    stored = {one.name: numpy_helper.to_array(one) for one in quantized(network(), percentile=99).graph.initializer}
    scale, zero_point = (stored[f"backbone.deep.conv/{part}"] for part in ("scale", "zero_point"))
    assert scale == pytest.approx((high - low) / 255, rel=0.01)
    assert -scale * zero_point.astype(float) == pytest.approx(low, abs=1.5 * float(scale))


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("float_layers", [LAYERS[:2], ()])
def test_outputs_are_close_to_those_in_float(runtime, float_layers):
    expected = run(network())
    found = run(quantized(network(), runtime=runtime, float_layers=float_layers))
    assert 0 < np.abs(found - expected).mean() < 0.03 * expected.std()


def test_layers_pass_eight_bits_to_each_other_for_onnx_runtime_only(tmp_path):
    def kinds(runtime: str) -> set[str]:
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
        options.log_severity_level = 3  # it warns that such a file suits this machine only
        model = quantized(network(), runtime=runtime, float_layers=())
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return {node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node}

    fused = {"QLinearConv", "QLinearSigmoid", "QLinearMul", "QLinearConcat"}
    assert fused <= kinds("onnxruntime") and "Conv" not in kinds("onnxruntime")
    assert not fused & kinds("openvino")


def test_a_bias_beyond_the_range_of_integers_widens_the_scale_of_its_filter():
    model = network(tiny_filter=True)
    bias = next(one for one in model.graph.initializer if one.name == "backbone.deep.conv.bias")
    stored = {one.name: numpy_helper.to_array(one) for one in quantized(model).graph.initializer}
    values, scale = (stored[f"backbone.deep.conv.bias/{part}"] for part in ("values", "scale"))
    np.testing.assert_allclose(values.astype(np.float64) * scale, numpy_helper.to_array(bias), rtol=1e-3)


def test_equal_images_give_equal_files_and_a_fixed_batch_the_same_ranges():
    first, second, fixed = (quantized(network(batch=batch)) for batch in ("batch", "batch", 2))
    assert first.SerializeToString() == second.SerializeToString()
    assert list(fixed.graph.initializer) == list(first.graph.initializer)


def test_the_float_model_stays_as_it_was():
    model = network()
    before = model.SerializeToString()
    quantized(model)
    assert model.SerializeToString() == before


def test_what_cannot_be_quantised_is_named():
    with pytest.raises(ConfigError, match=r"--float-layers backbone\.dark9: no layer"):
        quantized(network(), float_layers=("backbone.dark9",))
    with pytest.raises(ConfigError, match="--float-layers leaves nothing to quantise"):
        quantized(network(), float_layers=("backbone", "head"))
    with pytest.raises(ConfigError, match="none of the images can be read"):
        quantize(network(), Quantization("photos"), lambda: iter(()))
    broken = network()
    weight = next(one for one in broken.graph.initializer if one.name == "backbone.deep.conv.weight")
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(np.nan), weight.name))
    with pytest.raises(ConfigError, match="not finite in the calibration images"):
        quantized(broken)
