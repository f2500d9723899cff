"""Published weights by name, with a server on this machine in the place of the original's."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from file_server import Server, file, serve, status
from pth_files import pth_of
from yolox_jax.inference.detector import Detector
from yolox_jax.models import create_model
from yolox_jax.weights import (
    WeightsError,
    download,
    export_state_dict,
    load_weights,
    published,
    published_weights,
    read_weights,
    resolve,
)
from yolox_jax.weights.coco_names import COCO_NAMES

FETCH = "import sys; from yolox_jax.weights import published_weights; print(published_weights(sys.argv[1]))"


def _tensors(*, width: int = 16, classes: int = 80, value: float = 1.0) -> dict[str, np.ndarray]:
    """As many tensors as it takes to know a nano by."""
    shapes = {
        "backbone.backbone.stem.conv.conv.weight": (width, 12, 3, 3),
        "backbone.backbone.dark2.1.m.0.conv1.conv.weight": (width, width, 1, 1),
        "head.cls_convs.0.0.dconv.conv.weight": (64, 1, 3, 3),
        "head.cls_preds.0.weight": (classes, 64, 1, 1),
    }
    return {key: np.full(shape, value, np.float32) for key, shape in shapes.items()}


@pytest.fixture
def nano(tmp_path) -> bytes:
    return pth_of(_tensors() | {"head.bn.num_batches_tracked": np.ones(1, np.float32)}, tmp_path)


@pytest.fixture
def server():
    with serve(Server()) as server:
        yield server


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path, server) -> Path:
    """An empty cache, and the server as the mirror."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("YOLOX_JAX_OFFLINE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("YOLOX_JAX_WEIGHTS_URL", f"{server.url}/mirror/")
    monkeypatch.setattr(download, "WAITS_S", (0.0,))
    monkeypatch.setattr(download, "TIMEOUT_S", 5.0)
    return tmp_path / "cache" / "yolox_jax" / "weights"


def names_in(cache: Path) -> set[str]:
    return {path.name for path in cache.iterdir()} - {"yolox_nano.lock"}


def test_the_first_call_downloads_and_converts_and_later_calls_send_no_request(server, cache, nano, monkeypatch):
    server.answers = [file(nano)]
    seen = []
    path = published_weights("yolox_nano", on_progress=lambda *counts: seen.append(counts))
    assert seen[-1] == (len(nano), len(nano))
    assert server.requests == ["/mirror/yolox_nano.pth"]
    assert path == cache / "yolox_nano.safetensors"
    read = read_weights(path)
    assert read.state_dict.keys() == _tensors().keys()
    for key, array in _tensors().items():
        np.testing.assert_array_equal(read.state_dict[key], array)
    assert json.loads(read.metadata["class_names"]) == list(COCO_NAMES)
    assert json.loads(read.metadata["input_size"]) == [416, 416]
    monkeypatch.setenv("YOLOX_JAX_OFFLINE", "1")
    assert published_weights("yolox_nano") == path
    assert len(server.requests) == 1
    assert names_in(cache) == {"yolox_nano.safetensors", "yolox_nano.json"}, "nothing else is kept"


def test_they_come_from_the_release_of_the_original(server, monkeypatch):
    asked = []

    def refuse(url, path, **_):
        asked.append(url)
        raise WeightsError(f"{url} is away")

    monkeypatch.delenv("YOLOX_JAX_WEIGHTS_URL")
    monkeypatch.setattr(published, "download", refuse)
    for variant in ("yolox_x", "yolox_darknet53"):
        with pytest.raises(WeightsError, match="is away"):
            published_weights(variant)
    release = "https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0"
    assert asked == [f"{release}/yolox_x.pth", f"{release}/yolox_darknet.pth"]


def test_an_unknown_name_is_refused_with_the_known_ones(server):
    with pytest.raises(WeightsError, match="'yolox_z'. Choose one of yolox_nano, .*yolox_darknet53"):
        published_weights("yolox_z")
    assert server.requests == []


def test_offline_no_request_is_sent_and_the_way_out_is_named(server, cache, nano, monkeypatch):
    server.answers = [file(nano)]
    monkeypatch.setenv("YOLOX_JAX_OFFLINE", "1")
    with pytest.raises(WeightsError) as caught:
        published_weights("yolox_nano")
    assert server.requests == []
    by_hand = cache / "yolox_nano.pth"
    for part in ("YOLOX_JAX_OFFLINE", f"{server.url}/mirror/yolox_nano.pth", str(by_hand), "YOLOX_JAX_WEIGHTS_URL"):
        assert part in str(caught.value)
    by_hand.write_bytes(nano)
    assert published_weights("yolox_nano").is_file()
    assert by_hand.read_bytes() == nano, "it is the user's"


@pytest.mark.parametrize("content", ["a page", "cut", "other", "three classes"])
def test_another_file_than_the_published_one_is_refused_and_not_recorded(server, cache, nano, tmp_path, content):
    contents = {
        "a page": (b"<html>hello</html>", "damaged or was not written by torch.save"),
        "cut": (nano[: len(nano) // 2], "truncated"),
        "other": (pth_of(_tensors(width=24), tmp_path), "these are not weights of a YOLOX variant"),
        "three classes": (
            pth_of(_tensors(classes=3), tmp_path),
            "yolox_nano with 3 classes, not of yolox_nano with 80",
        ),
    }
    sent, why = contents[content]
    server.answers = [file(sent, length=None)]
    with pytest.raises(WeightsError, match=rf"(?s){server.url}/mirror/yolox_nano.pth is not the .*{why}") as caught:
        published_weights("yolox_nano")
    assert "yolox_nano-" not in str(caught.value), "the folder that is gone is not named"
    assert names_in(cache) == set()
    server.answers = [file(nano)]
    assert published_weights("yolox_nano").is_file()


def test_weights_of_another_variant_are_refused(server, cache, nano):
    server.answers = [file(nano)]
    with pytest.raises(WeightsError, match="weights of yolox_nano with 80 classes, not of yolox_tiny"):
        published_weights("yolox_tiny")


@pytest.mark.parametrize("answer", [status(404), status(500), status(302, "http://127.0.0.1:1/w")])
def test_a_failed_download_leaves_nothing_and_names_the_way_out(server, cache, answer):
    server.answers = [answer]
    with pytest.raises(WeightsError, match=rf"{server.url}/mirror/yolox_nano.pth .* to {cache}/yolox_nano.pth"):
        published_weights("yolox_nano")
    assert names_in(cache) == set()


def test_weights_that_changed_on_disk_are_refused_until_deleted(server, cache, nano):
    server.answers = [file(nano)]
    path = published_weights("yolox_nano")
    content = bytearray(path.read_bytes())
    times = path.stat()
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(WeightsError, match=rf"{path} is damaged or was changed"):
        published_weights("yolox_nano")
    path.unlink()
    assert published_weights("yolox_nano") == path
    assert len(server.requests) == 2


def test_another_file_than_the_first_is_refused_until_its_record_is_deleted(server, cache, nano, tmp_path, monkeypatch):
    server.answers = [file(nano)]
    path = published_weights("yolox_nano")
    path.unlink()
    server.answers = [file(pth_of(_tensors(value=2.0), tmp_path))]
    monkeypatch.setenv("YOLOX_JAX_WEIGHTS_URL", f"{server.url}/elsewhere")
    with pytest.raises(WeightsError) as caught:
        published_weights("yolox_nano")
    record = cache / "yolox_nano.json"
    for part in ("/elsewhere/yolox_nano.pth", "/mirror/yolox_nano.pth", f"delete {record}"):
        assert part in str(caught.value)
    assert not path.exists()
    record.unlink()
    assert read_weights(published_weights("yolox_nano")).state_dict["head.cls_preds.0.weight"].max() == 2


@pytest.mark.parametrize("content", ["", "{", "[]", '{"sha256": 3}'])
def test_a_damaged_record_is_named(server, cache, nano, content):
    server.answers = [file(nano)]
    published_weights("yolox_nano")
    (cache / "yolox_nano.json").write_text(content)
    with pytest.raises(WeightsError, match=rf"{cache}/yolox_nano.json is damaged. Delete it"):
        published_weights("yolox_nano")


def test_a_cache_that_cannot_be_written_is_named_before_anything_is_fetched(server, tmp_path, monkeypatch):
    (tmp_path / "yolox_jax").mkdir()
    (tmp_path / "yolox_jax/weights").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match=rf"cannot be stored in {tmp_path}/yolox_jax/weights: .*XDG_CACHE_HOME"):
        published_weights("yolox_nano")
    assert server.requests == []


def test_a_disk_that_fills_up_leaves_nothing(server, cache, nano, monkeypatch):
    def fail(path, *_):
        path.write_bytes(b"a part")
        raise OSError(28, "No space left on device")

    server.answers = [file(nano)]
    with monkeypatch.context() as patch:
        patch.setattr(published, "save_weights", fail)
        with pytest.raises(WeightsError, match="cannot be stored in .*: No space left on device. Free disk space"):
            published_weights("yolox_nano")
    assert names_in(cache) == set()
    assert published_weights("yolox_nano").is_file()


def test_threads_download_once(server, cache, nano):
    server.answers = [file(nano, pause_s=0.02)]
    paths = []
    threads = [threading.Thread(target=lambda: paths.append(published_weights("yolox_nano"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert paths == [cache / "yolox_nano.safetensors"] * 4
    assert len(server.requests) == 1


def test_of_two_processes_one_downloads_and_the_files_of_a_killed_one_are_removed(server, cache, nano):
    def start() -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-c", FETCH, "yolox_nano"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    server.answers = [file(nano, pause_s=1.0), file(nano, pause_s=0.1)]
    with start() as killed:
        deadline = time.monotonic() + 60
        while not list(cache.glob(".yolox_nano-*/yolox_nano.pth")) and time.monotonic() < deadline:
            time.sleep(0.05)
        with start() as first, start() as second:
            time.sleep(1.5)
            killed.send_signal(signal.SIGKILL)
            killed.communicate()
            outcomes = [process.communicate(timeout=60) for process in (first, second)]
    assert [out.strip() for out, _ in outcomes] == [str(cache / "yolox_nano.safetensors")] * 2, outcomes
    assert len(server.requests) == 2, "one of the killed process, one of the others together"
    assert names_in(cache) == {"yolox_nano.safetensors", "yolox_nano.json"}


def test_a_process_killed_while_weights_are_replaced_leaves_nothing_that_counts(server, cache, nano, monkeypatch):
    server.answers = [file(nano)]
    path = published_weights("yolox_nano")
    path.unlink()

    replace = Path.replace

    def replace_and_die(temporary, target):
        replace(temporary, target)
        if target == path:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace_and_die)
        with pytest.raises(KeyboardInterrupt):
            published_weights("yolox_nano")
    path.write_bytes(b"of the killed process")
    published_weights("yolox_nano")
    assert read_weights(path).state_dict.keys() == _tensors().keys()


def test_a_name_comes_before_a_folder_and_a_path_is_a_path(server, cache, nano, tmp_path, monkeypatch, caplog):
    server.answers = [file(nano)]
    assert resolve("yolox_nano") == cache / "yolox_nano.safetensors"
    assert "./yolox_nano" not in caplog.text
    monkeypatch.chdir(tmp_path)
    Path("yolox_nano").mkdir()
    assert resolve("yolox_nano") == cache / "yolox_nano.safetensors"
    assert "yolox_nano means the published weights; pass ./yolox_nano for the local" in caplog.text
    assert resolve("./yolox_nano") == resolve(Path("yolox_nano")) == Path("yolox_nano")
    assert resolve("nowhere/yolox_nano.pth") == Path("nowhere/yolox_nano.pth")
    with pytest.raises(FileNotFoundError, match="no weights yolox-s.*: no such file .* yolox_nano, "):
        resolve("yolox-s")


def test_a_detector_and_a_model_take_published_weights_by_name(server, tmp_path):
    model = create_model("yolox_nano", 80, seed=3)
    state_dict = export_state_dict(model)
    server.answers = [file(pth_of(state_dict, tmp_path))]
    detector = Detector("yolox_nano")
    assert (detector.variant, detector.class_names, detector.input_size) == ("yolox_nano", COCO_NAMES, (416, 416))
    assert Detector(weights="yolox_nano").variant == "yolox_nano"
    other = create_model("yolox_nano", 80, seed=4)
    load_weights(other, "yolox_nano")
    for key, array in export_state_dict(other).items():
        np.testing.assert_array_equal(array, state_dict[key])
    assert len(server.requests) == 1
