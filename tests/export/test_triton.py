"""Models for the Triton Inference Server: their configuration, and the program that asks for detections."""

import warnings
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

import yolox_jax.export
from alone import printed_detections, run_alone
from fake_triton import FakeTriton
from file_server import serve
from yolox_jax.config import ConfigError
from yolox_jax.export.onnx_runner import OnnxDetector
from yolox_jax.export.settings import ExportSettings
from yolox_jax.export.triton import export_triton, model_config
from yolox_jax.export.triton_runner import TritonDetector
from yolox_jax.export.yolox_detection import ModelFileError

NAMES = ("red", 'a "bird"', "blue")
SETTINGS = {"input_size": (64, 96), "score_threshold": 0.01, "max_detections": 20}
IMAGE = np.random.default_rng(0).integers(0, 255, (80, 90, 3), np.uint8)
DATA_TYPES = {"TYPE_UINT8": np.uint8, "TYPE_INT32": np.int32, "TYPE_FP32": np.float32}


def config_of(network: Path) -> dict:
    model = onnx.load(network)
    return model_config(model.graph, "birds", {entry.key: entry.value for entry in model.metadata_props}, 4)


@pytest.fixture(scope="module", params=[None, False], ids=["detections", "predictions"])
def network(request, model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("repository") / "birds"
    settings = ExportSettings(NAMES, nms=request.param, **SETTINGS)
    return export_triton(model, folder, settings, max_batch_size=4)


def test_the_configuration_declares_what_the_network_takes_and_returns(network):
    config, graph = config_of(network), onnx.load(network).graph
    assert network.parts[-3:] == ("birds", "1", "model.onnx") and config["max_batch_size"] == 4
    for declared, values in ((config["input"], graph.input), (config["output"], graph.output)):
        assert [field["name"] for field in declared] == [value.name for value in values]
        for field, value in zip(declared, values, strict=True):
            kind = value.type.tensor_type
            assert DATA_TYPES[field["data_type"]] == onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
            batch, *sides = kind.shape.dim
            assert batch.dim_param == "batch" and len(field["dims"]) > 0
            shape = field.get("reshape", {"shape": field["dims"]})["shape"]
            assert shape == [side.dim_value for side in sides] and np.prod(shape) == np.prod(field["dims"])
    assert (network.parents[1] / "labels.txt").read_text().splitlines() == list(NAMES)


def test_tritons_own_parser_reads_the_configuration(network):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an older version of protocol buffers
        protocol = pytest.importorskip("tritonclient.grpc.model_config_pb2", reason="needs tritonclient[grpc]")
    from google.protobuf import json_format, text_format

    parsed = text_format.Parse((network.parents[1] / "config.pbtxt").read_text(), protocol.ModelConfig())
    found = json_format.MessageToDict(parsed, preserving_proto_field_name=True)
    expected = config_of(network)
    expected["parameters"] = {entry["key"]: entry["value"] for entry in expected["parameters"]}
    for field in (*expected["input"], *expected["output"]):
        field["dims"] = list(map(str, field["dims"]))  # as JSON has 64 bits
        if "reshape" in field:
            field["reshape"] = {}  # JSON leaves out what is empty
            message = next(one for one in (*parsed.input, *parsed.output) if one.name == field["name"])
            assert message.HasField("reshape")
    assert found == expected and parsed.HasField("dynamic_batching")


def test_the_program_finds_what_the_runner_of_the_network_finds(network, tmp_path):
    expected = OnnxDetector(network)(IMAGE)
    assert len(expected[0]) > 3
    cv2.imwrite(str(tmp_path / "image.png"), IMAGE)
    with serve(FakeTriton(network, config_of(network))) as server:
        found = TritonDetector(server.url)(IMAGE)
        done = run_alone("triton", tmp_path, server.url, "image.png")
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert done.returncode == 0, done.stderr
    printed = printed_detections(done.stdout)
    assert [one.class_name for one in printed] == [NAMES[index] for index in expected[2]]
    np.testing.assert_allclose([one.box for one in printed], expected[0], atol=0.06)


def test_requests_are_those_of_tritons_own_client(network):
    client = pytest.importorskip("tritonclient.http", reason="needs tritonclient[http]")
    images, ratios = np.zeros((1, 64, 96, 3), np.uint8), np.full((1, 1), 0.5, np.float32)
    given = [client.InferInput("images", images.shape, "UINT8"), client.InferInput("ratios", ratios.shape, "FP32")]
    given = given[: len(onnx.load(network).graph.input)]
    for tensor, array in zip(given, (images, ratios), strict=False):
        tensor.set_data_from_numpy(array)
    with serve(FakeTriton(network, config_of(network))) as server:
        address = server.url.split("/")[2]
        theirs = client.InferenceServerClient(address).infer("birds", given)
        arrays = dict(zip(("images", "ratios"), (images, ratios), strict=True))
        ours = TritonDetector(server.url).infer({tensor.name(): arrays[tensor.name()] for tensor in given})
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs.as_numpy(name))


def test_what_the_server_refuses_is_said(network):
    refused = pytest.raises(ModelFileError, match="fish/config: .*unknown model /v2/models/fish")
    with serve(FakeTriton(network, config_of(network))) as server, refused:
        TritonDetector(server.url.replace("birds", "fish"))
    with pytest.raises(ModelFileError, match="birds/config cannot be reached"):
        TritonDetector(server.url, timeout_s=1)
    with pytest.raises(ModelFileError, match="birds/config cannot be reached: unknown url type"):
        TritonDetector("birds")


def test_a_folder_with_something_else_is_not_replaced(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty. Pass a new folder, or that of an earlier --format triton"):
        yolox_jax.export("none.pth", tmp_path, format="triton")
