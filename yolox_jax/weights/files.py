"""Files that hold weights: the original's .pth, .safetensors, .npz, or a run directory."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy
from jaxtyping import Shaped

from yolox_jax.files import atomic_write
from yolox_jax.weights.errors import WeightsError
from yolox_jax.weights.pth import read_pth

_METADATA_KEY = "__metadata__"
_RUN_WEIGHTS = ("best/weights.safetensors", "last/weights.safetensors")


@dataclasses.dataclass(frozen=True)
class WeightsFile:
    """What a file of weights holds."""

    state_dict: dict[str, np.ndarray]
    """Original names and layouts."""
    metadata: dict[str, str]
    """Ours: variant, num_classes, class_names (a JSON list), input_size (JSON, [height, width]). Empty for a .pth."""


def read_weights(path: str | Path) -> WeightsFile:
    """Read weights; nothing that the file holds is executed.

    Args:
        path: .pth or .pt, .safetensors, .npz, or a run directory, of which the best weights are read, or else the last.

    Raises:
        FileNotFoundError: if there is no such file, or no weights in the run directory.
        WeightsError: if the file is of another kind, damaged, or a .pth that holds anything but data.
    """
    path = Path(path)
    if path.is_dir():
        path = _weights_of_run(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no weights file {path}")
    if path.suffix in (".pth", ".pt"):
        return WeightsFile(read_pth(path), {})
    if path.suffix == ".safetensors":
        return _with_checked_metadata(path, _read_safetensors(path))
    if path.suffix == ".npz":
        return _with_checked_metadata(path, _read_npz(path))
    raise WeightsError(f"{path}: weights are read from .pth, .pt, .safetensors, .npz or a run directory")


def save_weights(
    path: str | Path, state_dict: Mapping[str, Shaped[np.ndarray, "..."]], metadata: Mapping[str, str]
) -> None:
    """Write weights to a .safetensors or .npz file, whole or not at all.

    Args:
        path: where to; its folder is made.
        state_dict: original names and layouts, as from `export_state_dict`.
        metadata: kept beside the arrays, see `WeightsFile`.

    Raises:
        WeightsError: for another suffix.
    """
    path = Path(path)
    if path.suffix not in (".safetensors", ".npz"):
        raise WeightsError(f"{path}: weights are written to .safetensors or .npz")
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {key: np.ascontiguousarray(array) for key, array in state_dict.items()}
    with atomic_write(path) as temporary:
        if path.suffix == ".safetensors":
            # Not save_file, whose files only their owner may read.
            temporary.write_bytes(_in_order(safetensors.numpy.save(arrays, dict(metadata))))
        else:
            np.savez(temporary, allow_pickle=False, **arrays, **{_METADATA_KEY: np.array(json.dumps(dict(metadata)))})


def _in_order(content: bytes) -> bytes:
    """A safetensors file with its metadata in order, which otherwise differs from file to file of the same weights."""
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # arrays begin at a multiple of 8
    return len(text).to_bytes(8, "little") + text + content[start:]


def _weights_of_run(directory: Path) -> Path:
    for name in _RUN_WEIGHTS:
        if (directory / name).is_file():
            return directory / name
    raise FileNotFoundError(
        f"{directory} is no run directory with weights: it has neither {' nor '.join(_RUN_WEIGHTS)}"
    )


def _with_checked_metadata(path: Path, file: WeightsFile) -> WeightsFile:
    """Other programs may have written the keys that ours have."""
    for key, is_right, what in (
        ("class_names", _is_list_of_names, "a JSON list of names"),
        ("input_size", _is_size, "a JSON list of height and width in px"),
    ):
        if key in file.metadata:
            value = file.metadata[key]
            try:
                right = is_right(json.loads(value))
            except (TypeError, ValueError):
                right = False
            if not right:
                raise WeightsError(f"{path}: its metadata has {key} {value!r}, which is not {what}")
    return file


def _is_list_of_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_size(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(side) is int for side in value)


def _read_safetensors(path: Path) -> WeightsFile:
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            keys = file.keys()
            return WeightsFile({key: file.get_tensor(key) for key in keys}, file.metadata() or {})
    except safetensors.SafetensorError as error:
        raise WeightsError(f"{path} is damaged or no safetensors file: {error}") from error


def _read_npz(path: Path) -> WeightsFile:
    with path.open("rb") as opened:
        try:
            with np.load(opened, allow_pickle=False) as file:
                arrays = dict(file)
            metadata = json.loads(str(arrays.pop(_METADATA_KEY, "{}")))
        except Exception as error:  # a damaged header can fail in any way
            raise WeightsError(f"{path} is damaged or no .npz file of arrays: {error}") from error
    return WeightsFile(arrays, metadata)
