"""The reader of .pth files, on files made here as torch.save makes them."""

import argparse
import collections
import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pth_files import Storage, Tensor, pretend_torch, save_legacy, save_zip
from yolox_jax.weights import WeightsError
from yolox_jax.weights.pth import read_pth


@pytest.fixture(autouse=True)
def fake_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_torch(monkeypatch)


def _state_dict() -> tuple[dict[str, Tensor], dict[str, np.ndarray]]:
    values = np.arange(12, dtype=np.float32) / 7
    shared = Storage("FloatStorage", "0", values)
    brain = (values.view(np.uint32) >> 16).astype(np.uint16)
    tensors = {
        "whole": Tensor(shared, (3, 4), (4, 1)),
        "transposed": Tensor(shared, (4, 3), (1, 4)),
        "part": Tensor(shared, (2, 2), (4, 1), offset=5),
        "half": Tensor(Storage("HalfStorage", "1", values.astype(np.float16)), (12,), (1,)),
        "brain": Tensor(Storage("BFloat16Storage", "2", brain), (12,), (1,)),
        "count": Tensor(Storage("LongStorage", "3", np.array([41], np.int64)), (), ()),
    }
    arrays = {
        "whole": values.reshape(3, 4),
        "transposed": values.reshape(3, 4).T,
        "part": values[5:].reshape(-1)[[0, 1, 4, 5]].reshape(2, 2),
        "half": values.astype(np.float16),
        "brain": (brain.astype(np.uint32) << 16).view(np.float32),
        "count": np.array(41),
    }
    return tensors, arrays


@pytest.mark.parametrize("save", [save_zip, save_legacy])
def test_tensors_of_every_kind_are_read_with_their_strides(tmp_path: Path, save: Any):
    tensors, arrays = _state_dict()
    read = read_pth(save(tmp_path / "w.pth", collections.OrderedDict(tensors)))
    assert read.keys() == arrays.keys()
    for key, array in arrays.items():
        assert read[key].dtype == array.dtype
        np.testing.assert_array_equal(read[key], array)
    assert np.abs(read["brain"] - arrays["whole"].ravel()).max() < 0.01


def test_a_training_checkpoint_gives_its_model(tmp_path: Path):
    tensors, arrays = _state_dict()
    optimizer = {"state": {0: {"momentum_buffer": tensors["half"]}}, "param_groups": [{"lr": 0.1, "params": [0, 1]}]}
    checkpoint = {"start_epoch": 3, "best_ap": np.float64(0.4), "model": tensors, "optimizer": optimizer}
    assert read_pth(save_zip(tmp_path / "w.pth", checkpoint)).keys() == arrays.keys()


@pytest.mark.parametrize("save", [save_zip, save_legacy])
def test_a_file_that_holds_code_is_refused_by_name_and_not_run(tmp_path: Path, save: Any):
    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "ran",)

    tensors, _ = _state_dict()
    with pytest.raises(WeightsError, match=r"w\.pth: the file asks for (pathlib\.Path|builtins\.getattr|__builtin__)"):
        read_pth(save(tmp_path / "w.pth", {"model": tensors, "evil": Evil()}))
    assert not (tmp_path / "ran").exists()


def test_a_bare_pickle_that_calls_the_system_is_refused(tmp_path: Path):
    path = tmp_path / "w.pth"
    path.write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    with pytest.raises(WeightsError, match=r"asks for os\.system"):
        read_pth(path)


@pytest.mark.parametrize(
    ("shape", "strides", "offset"), [((13,), (1,), 0), ((2,), (12,), 0), ((4,), (-1,), 3), ((12,), (0,), 12)]
)
def test_a_tensor_outside_of_its_storage_is_refused(
    tmp_path: Path, shape: tuple[int, ...], strides: tuple[int, ...], offset: int
):
    tensor = Tensor(Storage("FloatStorage", "0", np.zeros(12, np.float32)), shape, strides, offset)
    with pytest.raises(WeightsError, match="a tensor"):
        read_pth(save_zip(tmp_path / "w.pth", {"x": tensor}))


def test_a_file_cannot_change_the_reader(tmp_path: Path):
    """A pickle may set attributes of classes and functions that it gets: here `array` of the class of tensors."""
    before = read_pth(save_zip(tmp_path / "w.pth", _state_dict()[0]))
    path = tmp_path / "evil.pth"
    for name, attribute in (("torch._utils\n_rebuild_tensor_v2", "array"), ("_codecs\nencode", "__defaults__")):
        path.write_bytes(f"c{name}\n(N(dV{attribute}\nctorch\nSize\nstb.".encode())
        with pytest.raises(WeightsError, match="evil.pth"):
            read_pth(path)
    after = read_pth(tmp_path / "w.pth")
    assert all(np.array_equal(after[key], array) for key, array in before.items())


def test_a_small_file_of_nested_lists_is_not_expanded(tmp_path: Path):
    nested: list[Any] = []
    for _ in range(60):
        nested = [nested, nested]
    checkpoint = {"model": _state_dict()[0], "nested": nested}
    assert read_pth(save_zip(tmp_path / "w.pth", checkpoint)).keys() == _state_dict()[1].keys()


def test_object_scalars_are_refused(tmp_path: Path):
    path = tmp_path / "w.pth"
    path.write_bytes(b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR.")
    with pytest.raises(WeightsError, match="scalar of type 'O8'"):
        read_pth(path)


@pytest.mark.parametrize("save", [save_zip, save_legacy])
@pytest.mark.parametrize("share", [0.2, 0.9])
def test_a_truncated_file_is_named(tmp_path: Path, save: Any, share: float):
    path = save(tmp_path / "short.pth", _state_dict()[0])
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(WeightsError, match=r"short\.pth.*(truncated|damaged)"):
        read_pth(path)


@pytest.mark.parametrize("content", [[1, 2], {"model": {"a": 1}}, {"epoch": 3}])
def test_a_file_without_tensors_is_refused(tmp_path: Path, content: object):
    with pytest.raises(WeightsError, match=r"w\.pth: it contains .*state dict"):
        read_pth(save_zip(tmp_path / "w.pth", content))


class Config:
    """Of a package that is not known."""


@pytest.mark.parametrize("save", [save_zip, save_legacy])
def test_harmless_values_beside_the_weights_are_left_out(tmp_path: Path, save: Any):
    tensors, arrays = _state_dict()
    nested = collections.defaultdict(list)
    nested["x"] += [1]
    checkpoint = {
        "start_epoch": 3,
        "counter": collections.Counter("aab"),
        "default": nested,
        "set": {1, 2},
        "frozen": frozenset("ab"),
        "deque": collections.deque([1, 2], maxlen=3),
        "date": datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC),
        "took": datetime.timedelta(seconds=3),
        "arguments": argparse.Namespace(path=Path("a"), size=slice(1, 2)),
        "array": np.arange(3.0),
        "scalar": np.float32(0.5),
        "model": collections.OrderedDict(tensors),
    }
    assert read_pth(save(tmp_path / "w.pth", checkpoint)).keys() == arrays.keys()


def test_values_of_unknown_classes_are_still_refused_by_name(tmp_path: Path):
    with pytest.raises(WeightsError, match=r"asks for .*test_pth\.Config, .*Save the state dict alone"):
        read_pth(save_zip(tmp_path / "w.pth", {"model": _state_dict()[0], "config": Config()}))


@pytest.mark.parametrize("wrap", [["state_dict"], ["model_state_dict"], ["ema"], ["model", "module"], ["ema", "model"]])
def test_the_usual_keys_of_checkpoints_are_known(tmp_path: Path, wrap: list[str]):
    tensors, arrays = _state_dict()
    content: Any = tensors
    for key in reversed(wrap):
        content = {key: content, "epoch": 1}
    assert read_pth(save_zip(tmp_path / "w.pth", content)).keys() == arrays.keys()


def test_of_several_state_dicts_the_one_taken_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    tensors, _ = _state_dict()
    read = read_pth(save_zip(tmp_path / "w.pth", {"ema": {"b": tensors["half"]}, "model": {"a": tensors["whole"]}}))
    assert read.keys() == {"a"}
    assert "w.pth: read the weights under 'model'; it also holds some under ema" in caplog.text


def test_a_file_without_weights_names_its_keys(tmp_path: Path):
    with pytest.raises(WeightsError, match=r"Its keys are epoch, optimizer"):
        read_pth(save_zip(tmp_path / "w.pth", {"epoch": 1, "optimizer": {"lr": 0.1}}))
