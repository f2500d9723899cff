"""Reads PyTorch's .pth files, without torch and without executing what they contain.

A .pth is a pickle whose tensors refer to storages: raw numbers stored separately. A pickle can call any Python
function by its name. This reader allows only the names that make up tensors, plain containers, NumPy scalars and some
harmless values, and replaces them by its own functions.
"""

import collections
import functools
import inspect
import io
import logging
import math
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Shaped

from yolox_jax.text import shortened
from yolox_jax.weights.errors import WeightsError
from yolox_jax.weights.harmless_globals import HARMLESS_GLOBALS, Sealed

logger = logging.getLogger("yolox_jax.weights")

_STORAGES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
_STATE_DICTS = (
    "model",
    "ema",
    "state_dict",
    "model_state_dict",
    "model_state",
    "ema_state_dict",
    "state_dict_ema",
    "net",
    "module",
)
"""Keys of checkpoints that hold the state dict, the preferred first. The original's "model" holds averaged weights."""
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001


def read_pth(path: Path) -> dict[str, np.ndarray]:
    """Read the tensors of a state dict, or of the one in a training checkpoint.

    In a checkpoint they are looked for under "model", or else "ema", "state_dict" and similar keys. Supports both
    formats of torch.save, the zip archive and the older sequence of pickles. bfloat16, which NumPy does not have,
    becomes float32; other types are kept.

    Raises:
        WeightsError: the file is damaged, has no state dict, or refers to anything but data (named in the message).
    """
    try:
        with path.open("rb") as file:
            content = _read_zip(file) if zipfile.is_zipfile(file) else _read_legacy(file)
        if not isinstance(content, Mapping):
            raise WeightsError(f"it contains a {type(content).__name__}, not a state dict")
        key, tensors = _find_tensors(content)
        if not tensors:
            raise WeightsError(
                f"it contains no state dict: there are no tensors at the top level or under {', '.join(_STATE_DICTS)}. "
                f"Its keys are {shortened([str(key) for key in content], 6)}"
            )
        others = [name for name in _STATE_DICTS if name != key and _find_tensors({name: content.get(name)})[1]]
        if key is not None and others:
            logger.warning("%s: read the weights under %r; it also holds some under %s", path, key, ", ".join(others))
        return {name: tensor.array() for name, tensor in tensors.items()}
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    except OSError:  # such as missing permission: the file is not damaged
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        raise WeightsError(
            f"{path} is damaged or was not written by torch.save ({type(error).__name__}: {error}). Download or copy "
            "it again"
        ) from error


def _find_tensors(content: Mapping[Any, Any], depth: int = 3) -> tuple[str | None, "dict[str, _Tensor]"]:
    """The tensors of a state dict, which may lie under one of the usual keys, and that key."""
    for key in _STATE_DICTS if depth else ():
        if isinstance(content.get(key), Mapping) and (found := _find_tensors(content[key], depth - 1)[1]):
            return key, found
    return None, {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, _Tensor)}


class _Storage:
    """A flat array that tensors are views of. In the older format, its numbers follow the pickle."""

    __slots__ = ("kind", "length", "numbers")  # a pickle can set attributes, but replace no method

    def __init__(self, kind: str, length: int):
        self.kind = kind
        self.length = length
        self.numbers: np.ndarray | None = None

    @property
    def itemsize(self) -> int:
        return 2 if self.kind == "bfloat16" else np.dtype(self.kind).itemsize

    def fill(self, data: bytes, byteorder: Literal["<", ">"] = "<") -> None:
        if len(data) != self.length * self.itemsize:
            raise WeightsError(
                f"the file is truncated: a tensor has {len(data)} of {self.length * self.itemsize} bytes"
            )
        if self.kind == "bfloat16":  # the upper half of a float32
            self.numbers = (np.frombuffer(data, f"{byteorder}u2").astype(np.uint32) << 16).view(np.float32)
        else:
            stored = np.frombuffer(data, np.dtype(self.kind).newbyteorder(byteorder))
            self.numbers = stored.astype(self.kind)


class _Tensor(metaclass=Sealed):
    """A tensor as the pickle describes it, before its storage has been read."""

    __slots__ = ("offset", "shape", "storage", "strides")

    def __init__(self, storage: Any, offset: Any, shape: Any, strides: Any, *_: object):
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def array(self) -> Shaped[np.ndarray, "..."]:
        numbers, shape, strides = self.storage.numbers, tuple(self.shape), tuple(self.strides)
        if not isinstance(numbers, np.ndarray):
            raise WeightsError("the numbers of a tensor are missing")
        # Without these checks, strides could make NumPy read outside the storage, or a small file could fill memory.
        # They are here because a pickle can change attributes after __init__.
        if not all(isinstance(number, int) and number >= 0 for number in (self.offset, *shape, *strides)):
            raise WeightsError(f"a tensor has offset {self.offset}, shape {shape} and strides {strides}")
        last = self.offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        if 0 not in shape and (last >= numbers.size or math.prod(shape) > numbers.size):
            raise WeightsError(f"a tensor of shape {list(shape)} reaches beyond its storage of {numbers.size} numbers")
        byte_strides = [stride * numbers.itemsize for stride in strides]
        return np.lib.stride_tricks.as_strided(numbers[self.offset :], shape, byte_strides).copy()


class _ScalarType(metaclass=Sealed):
    """Replaces numpy.dtype, and allows only numbers."""

    def __init__(self, name: str, *_: object):
        self.type = np.dtype(name)
        if self.type.kind not in "fiub":
            raise WeightsError(f"it contains a NumPy scalar of type {name!r}; only numbers are supported")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ("<", ">"):
            self.type = self.type.newbyteorder(state[1])


def _scalar(kind: _ScalarType, data: bytes) -> np.generic:
    return np.frombuffer(data, kind.type)[0]


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise WeightsError(f"it contains bytes encoded as {encoding!r}; only latin1 is supported")
    return text.encode("latin1")


def _rebuild_parameter(tensor: _Tensor, *_: object) -> _Tensor:
    return tensor


_GLOBALS: dict[str, Any] = {
    **HARMLESS_GLOBALS,
    "collections.OrderedDict": collections.OrderedDict,
    "torch._utils._rebuild_tensor_v2": _Tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch.Size": tuple,
    "numpy.dtype": _ScalarType,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
    "_codecs.encode": _encode,
    **{f"torch.{name}": kind for name, kind in _STORAGES.items()},
}


class _Unpickler(pickle.Unpickler):
    """Allows the names in `_GLOBALS` and refuses all others."""

    def __init__(self, file: io.BufferedIOBase, load_storage: Callable[[tuple[Any, ...]], _Storage]):
        super().__init__(file, encoding="utf-8")
        self.load_storage = load_storage

    def find_class(self, module: str, name: str) -> Any:
        full_name = f"{module}.{name}"
        if full_name not in _GLOBALS:
            raise WeightsError(
                f"the file asks for {full_name}, which is neither a tensor nor a plain container. It may contain code "
                "and was not loaded. Save the state dict alone, or convert the file to .safetensors if you trust it"
            )
        found = _GLOBALS[full_name]
        # A pickle can set attributes of what it gets, also of functions.
        return functools.partial(found) if inspect.isfunction(found) else found

    def persistent_load(self, pid: Any) -> _Storage:
        if not (isinstance(pid, tuple) and pid and pid[0] == "storage" and pid[1] in _STORAGES.values()):
            raise WeightsError(f"it refers to something other than a storage of numbers: {pid!r}")
        return self.load_storage(pid)


def _read_zip(file: io.BufferedIOBase) -> Any:
    with zipfile.ZipFile(file) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl") or name == "data.pkl"]
        if len(pickles) != 1:
            raise WeightsError("it is a zip archive that was not written by torch.save: it has no data.pkl")
        root = pickles[0].removesuffix("data.pkl")
        big = f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder") == b"big"
        storages: dict[str, _Storage] = {}

        def load_storage(pid: tuple[Any, ...]) -> _Storage:
            _, kind, key, _, length = pid
            if key not in storages:
                storages[key] = _Storage(kind, length)
                storages[key].fill(archive.read(f"{root}data/{key}"), ">" if big else "<")
            return storages[key]

        return _Unpickler(io.BytesIO(archive.read(pickles[0])), load_storage).load()


def _read_legacy(file: io.BufferedIOBase) -> Any:
    """Read a sequence of pickles: magic number, version, system, content, keys of the storages; then the storages."""
    file.seek(0)
    if file.read(2) == b"PK":
        raise WeightsError("the file is truncated: it is a zip archive without its end. Download or copy it again")
    file.seek(0)
    storages: dict[str, _Storage] = {}

    def load_storage(pid: tuple[Any, ...]) -> _Storage:
        _, kind, key, _, length, view = pid
        if view is not None:
            raise WeightsError("it has views of storages, which are not supported. Save it again with a newer torch")
        return storages.setdefault(key, _Storage(kind, length))

    def load() -> Any:
        return _Unpickler(file, load_storage).load()

    if load() != _LEGACY_MAGIC or load() != _LEGACY_PROTOCOL:
        raise WeightsError("it was not written by torch.save")
    system = load()
    if not system.get("little_endian", True):
        raise WeightsError("it was written on a big-endian machine. Save it again with a newer torch")
    content = load()
    for key in load():
        storage = storages[key]
        if int.from_bytes(file.read(8), "little") != storage.length:
            raise WeightsError("the file is damaged: a storage has the wrong length")
        storage.fill(file.read(storage.length * storage.itemsize))
    return content
