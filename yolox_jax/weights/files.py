"""Reads and writes files of weights: the original's .pth, .safetensors, .npz, or a run directory."""

import dataclasses
import json
import logging
import shlex
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy
from jaxtyping import Shaped

from yolox_jax.config.files import RUN_SETTINGS, run_holding
from yolox_jax.files import atomic_write, expand_home
from yolox_jax.weights.errors import WeightsError
from yolox_jax.weights.names import without_prefix
from yolox_jax.weights.pth import read_pth

logger = logging.getLogger("yolox_jax.weights")

_METADATA_KEY = "__metadata__"
_RUN_WEIGHTS = ("best/weights.safetensors", "last/weights.safetensors")


@dataclasses.dataclass(frozen=True)
class WeightsFile:
    """The content of a file of weights."""

    state_dict: dict[str, np.ndarray]
    """Arrays with the original's names and layouts."""
    metadata: dict[str, str]
    """variant, num_classes, class_names (a JSON list), input_size (JSON, [height, width]), anchors
    (JSON, [[width, height], ...], for a network with anchor boxes). Empty for .pth files."""


def read_weights(path: str | Path) -> WeightsFile:
    """Read weights, without executing anything that the file contains.

    Prefixes such as `module.`, which training on several GPUs adds to names, are removed with a warning.

    Args:
        path: .pth or .pt, .safetensors, .npz, or a run directory (its best weights, else its last).

    Raises:
        FileNotFoundError: the file does not exist, or the run directory contains no weights.
        WeightsError: the file has another format, is damaged, or is a .pth that contains anything but data.
    """
    path = find_weights(path)
    file = _read(path)
    try:
        state_dict, remark = without_prefix(file.state_dict)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    if remark is not None:
        logger.warning("%s: %s", path, remark)
    return dataclasses.replace(file, state_dict=state_dict)


def find_weights(path: str | Path) -> Path:
    """Return the file that `read_weights` reads.

    Raises:
        FileNotFoundError: the file does not exist, or the run directory contains no weights.
    """
    path = expand_home(path)
    if path.is_dir():
        return _weights_of_run(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no weights file {path}{hint_at_run(path)}")
    return path


def hint_at_run(path: Path) -> str:
    """How to end an error about weights that are not there: with the run directory to pass, if they are in one."""
    run = run_holding(path)
    return "" if run is None else f". {run} is a run directory: pass {run} itself to use its best weights"


def _read(path: Path) -> WeightsFile:
    if path.suffix in (".pth", ".pt"):
        return WeightsFile(read_pth(path), {})
    if path.suffix == ".safetensors":
        return _with_checked_metadata(path, _read_safetensors(path))
    if path.suffix == ".npz":
        return _with_checked_metadata(path, _read_npz(path))
    raise WeightsError(f"{path}: weights must be a .pth, .pt, .safetensors or .npz file, or a run directory")


def save_weights(
    path: str | Path, state_dict: Mapping[str, Shaped[np.ndarray, "..."]], metadata: Mapping[str, str]
) -> None:
    """Write weights to a .safetensors or .npz file, atomically.

    Args:
        path: the file to write; its folder is created if needed.
        state_dict: arrays with the original's names and layouts, as from `export_state_dict`.
        metadata: stored with the arrays, see `WeightsFile`.

    Raises:
        WeightsError: the file has another suffix.
    """
    path = Path(path)
    if path.suffix not in (".safetensors", ".npz"):
        raise WeightsError(f"{path}: weights can be written to .safetensors or .npz only")
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {key: np.ascontiguousarray(array) for key, array in state_dict.items()}
    with atomic_write(path) as temporary:
        if path.suffix == ".safetensors":
            # Not save_file, whose files only their owner may read.
            temporary.write_bytes(_sort_metadata(safetensors.numpy.save(arrays, dict(metadata))))
        else:
            np.savez(temporary, allow_pickle=False, **arrays, **{_METADATA_KEY: np.array(json.dumps(dict(metadata)))})


def _sort_metadata(content: bytes) -> bytes:
    """Sort the metadata of a safetensors file. Its order is random, so that equal weights give different files."""
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # arrays start at a multiple of 8
    return len(text).to_bytes(8, "little") + text + content[start:]


def _weights_of_run(directory: Path) -> Path:
    for name in _RUN_WEIGHTS:
        if (directory / name).is_file():
            return directory / name
    if (directory / RUN_SETTINGS).is_file():
        raise FileNotFoundError(
            f"{directory} is a run without weights: its first evaluation writes them. If the run was stopped before, "
            f"resume it with `yolox-jax train --config {shlex.quote(str(directory))} --resume`"
        )
    raise FileNotFoundError(
        f"{directory} is not a run directory with weights: it contains neither {' nor '.join(_RUN_WEIGHTS)}"
        f"{hint_at_run(directory)}"
    )


def _with_checked_metadata(path: Path, file: WeightsFile) -> WeightsFile:
    """Check the keys that we interpret, since other programs may use the same keys."""
    for key, is_valid, expected in (
        ("class_names", _is_list_of_names, "a JSON list of names"),
        ("input_size", _is_size, "a JSON list of height and width in px"),
        ("anchors", _is_list_of_sizes, "a JSON list of widths and heights in px"),
    ):
        if key in file.metadata:
            value = file.metadata[key]
            try:
                valid = is_valid(json.loads(value))
            except (TypeError, ValueError):
                valid = False
            if not valid:
                raise WeightsError(f"{path}: {key} in its metadata must be {expected}; got {value!r}")
    return file


def _is_list_of_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_size(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(side) is int for side in value)


def _is_list_of_sizes(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(size, list) and len(size) == 2 and all(type(side) in (int, float) and side > 0 for side in size)
        for size in value
    )


def _read_safetensors(path: Path) -> WeightsFile:
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            keys = file.keys()
            return WeightsFile({key: file.get_tensor(key) for key in keys}, file.metadata() or {})
    except safetensors.SafetensorError as error:
        raise WeightsError(f"{path} is damaged or not a safetensors file: {error}") from error


def _read_npz(path: Path) -> WeightsFile:
    with path.open("rb") as opened:
        try:
            with np.load(opened, allow_pickle=False) as file:
                arrays = dict(file)
            metadata = json.loads(str(arrays.pop(_METADATA_KEY, "{}")))
        except Exception as error:  # a damaged header can fail in any way
            raise WeightsError(f"{path} is damaged or not an .npz file of arrays: {error}") from error
    return WeightsFile(arrays, metadata)
