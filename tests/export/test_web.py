"""The export as a web page: what the folder holds, what is refused, and where ONNX Runtime Web comes from."""

import json
import re
import tarfile
from pathlib import Path

import onnx
import pytest

import yolox_jax.export
from file_server import served
from yolox_jax.config import ConfigError
from yolox_jax.export import onnxruntime_web, web
from yolox_jax.export.onnxruntime_web import FILES, find_runtime
from yolox_jax.export.settings import ExportSettings
from yolox_jax.models import create_model
from yolox_jax.weights import export_state_dict, save_weights

SIZE = (64, 96)


@pytest.fixture(scope="module")
def weights(model, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    metadata = {"class_names": json.dumps(["red", "grün", "blue"]), "input_size": json.dumps(SIZE)}
    save_weights(path, export_state_dict(model), metadata)
    return path


@pytest.fixture
def runtime(tmp_path) -> Path:
    """An npm package as far as the export looks at it."""
    folder = tmp_path / "package"
    (folder / "dist").mkdir(parents=True)
    for name in FILES:
        (folder / "dist" / name).write_text(f"content of {name}")
    return folder


@pytest.fixture
def registry(runtime, tmp_path, monkeypatch):
    """A server with the package, and an empty cache."""
    (tmp_path / "registry").mkdir()
    package = tmp_path / "registry" / "package.tgz"
    with tarfile.open(package, "w:gz") as archive:
        archive.add(runtime, "package")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("YOLOX_JAX_OFFLINE")
    monkeypatch.setattr(onnxruntime_web, "INTEGRITY", onnxruntime_web._integrity(package))
    with served(tmp_path / "registry") as url:
        monkeypatch.setattr(onnxruntime_web, "URL", f"{url}package.tgz")
        yield package


def test_folder_holds_page_network_description_and_runtime(weights, runtime, tmp_path):
    options = {"score_threshold": 0.1, "onnxruntime_web": runtime}
    exported = yolox_jax.export(weights, tmp_path / "new" / "page", format="web", **options)
    folder = tmp_path / "new" / "page"
    assert (exported.path, exported.network, exported.runner) == (folder, folder / "network.onnx", None)
    copied = {path.name for path in web.PAGE.iterdir()}
    assert {path.name for path in folder.iterdir()} == copied | {"network.onnx", "network.json", "onnxruntime"}
    assert {path.name: path.read_text() for path in (folder / "onnxruntime").iterdir()} == {
        name: f"content of {name}" for name in FILES
    }
    description = json.loads((folder / "network.json").read_text(encoding="utf-8"))
    assert description["class_names"] == ["red", "grün", "blue"]
    assert description["input_size"] == [64, 96] and description["padding"] == 114
    assert description["score_threshold"] == 0.1 and description["variant"] == "yolox_nano"
    network = onnx.load(folder / "network.onnx")
    assert [size.dim_value for size in network.graph.input[0].type.tensor_type.shape.dim] == [1, 64, 96, 3]
    assert [output.name for output in network.graph.output] == ["boxes", "scores", "classes", "count"]
    # The folder of an earlier page is replaced.
    yolox_jax.export(weights, folder, format="web", input_size=(32, 32), onnxruntime_web=runtime / "dist")
    assert json.loads((folder / "network.json").read_text(encoding="utf-8"))["input_size"] == [32, 32]


def test_page_names_no_other_machine():
    for path in web.PAGE.iterdir():
        urls = set(re.findall(r"https?://[^\s'\"`<;]*", path.read_text(encoding="utf-8")))
        assert urls <= {"http://www.w3.org/2000/svg", "http://localhost:8000", "https://."}, path.name


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("page", {"format": "web", "nms": False}, "--no-nms does not apply to --format web"),
        ("page", {"format": "web", "batch": 2}, "--batch applies only to --format stablehlo or onnx"),
        ("page", {"format": "web", "runner": True}, "--runner applies only to --format stablehlo or onnx"),
        ("page", {"format": "web", "onnxruntime_web": "mine"}, "mine must be the npm package.*ort.wasm.min.mjs"),
        ("mine", {"format": "web"}, "mine is not empty"),
        ("mine/file", {"format": "web"}, "it is a file, not a folder"),
        ("page", {}, "must be a file name that ends in .stablehlo or .onnx"),
        ("m.onnx", {"onnxruntime_web": "mine"}, "--onnxruntime-web applies only to --format web"),
    ],
)
def test_refusals_are_named_and_nothing_is_written(weights, runtime, tmp_path, monkeypatch, path, options, message):
    (tmp_path / "work" / "mine").mkdir(parents=True)
    (tmp_path / "work" / "mine" / "file").write_text("mine")
    monkeypatch.chdir(tmp_path / "work")
    if options.get("format") == "web":
        options = {"onnxruntime_web": runtime, **options}
    with pytest.raises(ConfigError, match=message):
        yolox_jax.export(weights, path, **options)
    assert sorted(map(str, Path().rglob("*"))) == ["mine", "mine/file"]


def test_networks_for_images_that_browsers_do_not_have_are_refused(tmp_path):
    settings = ExportSettings(class_names=("a",), input_size=(64, 64), batch=1)
    with pytest.raises(
        ConfigError, match="images of 3 channels of 8 bits, which browsers have; this one takes 4 channels"
    ):
        web.export_web(create_model("yolox_nano", 1, channels=4), tmp_path / "page", settings, runtime=tmp_path)
    assert not (tmp_path / "page").exists()


def test_runtime_is_downloaded_once_and_its_integrity_checked_at_every_use(registry, tmp_path, monkeypatch):
    package = find_runtime(None)
    assert package.read_bytes() == registry.read_bytes()
    registry.unlink()
    assert find_runtime(None) == package
    (tmp_path / "copy").mkdir()
    onnxruntime_web.copy_runtime(package, tmp_path / "copy")
    assert {path.name: path.read_text() for path in (tmp_path / "copy").iterdir()} == {
        name: f"content of {name}" for name in FILES
    }
    package.write_bytes(package.read_bytes()[:-1])
    with pytest.raises(ConfigError, match="damaged or was changed. Delete it"):
        find_runtime(None)


def test_another_package_than_the_published_one_is_refused_and_not_kept(registry, tmp_path):
    registry.write_bytes(registry.read_bytes() + b"more")
    with pytest.raises(ConfigError, match="is not the published package: its integrity is sha512-.*--onnxruntime-web"):
        find_runtime(None)
    assert list((tmp_path / "cache").rglob("*.tgz")) == []


def test_errors_of_the_download_name_the_ways_out(registry, monkeypatch):
    registry.unlink()
    with pytest.raises(ConfigError, match="404.*Download http.*yourself to .*onnxruntime-web, or pass .*--onnxruntime"):
        find_runtime(None)
    monkeypatch.setenv("YOLOX_JAX_OFFLINE", "1")
    with pytest.raises(ConfigError, match="YOLOX_JAX_OFFLINE is set.*--onnxruntime-web"):
        find_runtime(None)
