"""Files of weights: round trips and what is refused."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from yolox_jax.weights import WeightsError, read_weights, resolve, save_weights

ARRAYS = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3).T, "b": np.array([1, 2])}
METADATA = {"variant": "yolox_nano", "class_names": '["Käfer", "b"]'}


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_arrays_and_metadata_come_back(tmp_path: Path, suffix: str):
    path = tmp_path / "new" / f"w{suffix}"
    save_weights(path, ARRAYS, METADATA)
    (tmp_path / "other").touch()
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode, "as readable as any new file"
    read = read_weights(path)
    assert read.metadata == METADATA
    assert read.state_dict.keys() == ARRAYS.keys()
    for key, array in ARRAYS.items():
        assert read.state_dict[key].dtype == array.dtype
        np.testing.assert_array_equal(read.state_dict[key], array)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_an_npz_of_other_origin_has_no_metadata(tmp_path: Path):
    np.savez(tmp_path / "w.npz", **ARRAYS)
    read = read_weights(tmp_path / "w.npz")
    assert (read.state_dict.keys(), read.metadata) == (ARRAYS.keys(), {})


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_a_truncated_file_is_named(tmp_path: Path, suffix: str):
    path = tmp_path / f"short{suffix}"
    save_weights(path, ARRAYS, METADATA)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(WeightsError, match=rf"short\{suffix} is damaged"):
        read_weights(path)


def test_an_npz_of_pickles_is_refused(tmp_path: Path):
    np.savez(tmp_path / "w.npz", a=np.array([{}], dtype=object))
    with pytest.raises(WeightsError, match=r"w\.npz is damaged or not an \.npz file of arrays"):
        read_weights(tmp_path / "w.npz")


def test_a_run_directory_gives_its_best_weights_or_else_its_last(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="not a run directory with weights"):
        read_weights(tmp_path)
    for name in ("last", "best"):
        save_weights(tmp_path / name / "weights.safetensors", ARRAYS, {"from": name})
        assert read_weights(tmp_path).metadata == {"from": name}


def test_run_that_was_stopped_before_its_first_evaluation_is_to_be_resumed(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=rf"resume it with `yolox-jax train --config {tmp_path} --resume`"):
        read_weights(tmp_path)


@pytest.mark.parametrize("name", ["best.pth", "best/epoch_3.pth", "checkpoints"])
def test_weights_that_are_not_in_a_run_directory_lead_to_the_directory(tmp_path: Path, name: str):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(FileNotFoundError, match=rf"pass {tmp_path} itself"):
        read_weights(tmp_path / name)


def test_a_missing_file_and_an_unknown_kind_are_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth"):
        read_weights(tmp_path / "nowhere.pth")
    (tmp_path / "w.onnx").touch()
    with pytest.raises(WeightsError, match=r"w\.onnx: weights must be a \.pth"):
        read_weights(tmp_path / "w.onnx")
    with pytest.raises(WeightsError, match=r"written to \.safetensors or \.npz only"):
        save_weights(tmp_path / "w.pth", ARRAYS, {})


def test_files_that_only_look_like_npz_are_named(tmp_path: Path):
    np.save(tmp_path / "one.npy", np.zeros(3))
    damaged, good = tmp_path / "damaged.npz", tmp_path / "good.npz"
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    np.savez(good, weight=np.zeros(3))
    damaged.write_bytes(good.read_bytes().replace(b"'descr'", b"(((scr'"))
    for path in (tmp_path / "one.npz", damaged):
        with pytest.raises(WeightsError, match=rf"{path.name} is damaged or not an \.npz file"):
            read_weights(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [("class_names", "person,dog"), ("class_names", "[1, 2]"), ("input_size", "640"), ("input_size", "[640]")],
)
def test_metadata_of_other_programs_is_named(tmp_path: Path, key: str, value: str):
    path = tmp_path / "w.safetensors"
    save_weights(path, {"weight": np.zeros(3, np.float32)}, {key: value})
    with pytest.raises(WeightsError, match=rf"w\.safetensors: {key} in its metadata must be a JSON list .*; got '"):
        read_weights(path)


@pytest.mark.parametrize("suffix", [".pth", ".npz"])
def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path: Path, suffix: str, monkeypatch):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(b"content")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PermissionError):
        read_weights(path)


def test_the_same_weights_make_the_same_file(tmp_path: Path):
    """Saved by several processes, since the order of some maps is drawn anew in each."""
    program = (
        "import sys, numpy as np; from pathlib import Path; from yolox_jax.weights import save_weights; "
        "save_weights(Path(sys.argv[1]), {'a': np.arange(3.0), 'b': np.ones((2, 2), np.float32)}, "
        "{name: name for name in 'pqrstuvw'})"
    )
    paths = [tmp_path / f"{number}.safetensors" for number in range(3)]
    for path in paths:
        subprocess.run([sys.executable, "-c", program, path], check=True)
    assert len({path.read_bytes() for path in paths}) == 1
    assert read_weights(paths[0]).metadata == {name: name for name in "pqrstuvw"}


def test_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    save_weights(tmp_path / "w.safetensors", {"a": np.zeros(2, np.float32)}, {})
    assert resolve("~/w.safetensors") == tmp_path / "w.safetensors"
    assert list(read_weights("~/w.safetensors").state_dict) == ["a"]
