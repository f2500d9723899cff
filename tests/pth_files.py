"""Files of weights made as torch.save makes them, without torch."""

import collections
import io
import pickle
import sys
import types
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest


class Storage(NamedTuple):
    kind: str
    key: str
    numbers: np.ndarray


class Tensor:
    """Pickled as torch pickles a tensor."""

    def __init__(self, storage: Storage, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0):
        self.arguments = (storage, offset, shape, strides, False, collections.OrderedDict())

    def __reduce__(self) -> Any:
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.arguments


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, *extra: object):
        super().__init__(file, protocol=2)
        self.extra = extra
        self.storages: dict[str, Storage] = {}

    def persistent_id(self, value: object) -> Any:
        if not isinstance(value, Storage):
            return None
        self.storages[value.key] = value
        kind = getattr(sys.modules["torch"], value.kind)
        return ("storage", kind, value.key, "cpu", value.numbers.size, *self.extra)


def pretend_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the names that a pickle of tensors refers to, which have to be there when it is written."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for kind in ("FloatStorage", "HalfStorage", "BFloat16Storage", "LongStorage"):
        setattr(torch, kind, type(kind, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2() -> None: ...

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    torch._utils = utils
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)


def save_zip(path: Path, content: object) -> Path:
    buffer = io.BytesIO()
    pickler = _Pickler(buffer)
    pickler.dump(content)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", buffer.getvalue())
        for storage in pickler.storages.values():
            archive.writestr(f"archive/data/{storage.key}", storage.numbers.tobytes())
    return path


def save_legacy(path: Path, content: object) -> Path:
    buffer = io.BytesIO()
    for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
        pickle.dump(value, buffer, protocol=2)
    pickler = _Pickler(buffer, None)
    pickler.dump(content)
    pickle.dump(sorted(pickler.storages), buffer, protocol=2)
    for key in sorted(pickler.storages):
        numbers = pickler.storages[key].numbers
        buffer.write(numbers.size.to_bytes(8, "little") + numbers.tobytes())
    path.write_bytes(buffer.getvalue())
    return path


def pth_of(arrays: Mapping[str, np.ndarray], folder: Path) -> bytes:
    """The content of a .pth file of float32 arrays; `folder` is where it is written on the way."""
    tensors = {}
    for number, (key, array) in enumerate(arrays.items()):
        strides = tuple(stride // array.itemsize for stride in array.strides)
        tensors[key] = Tensor(Storage("FloatStorage", str(number), array.ravel()), array.shape, strides)
    with pytest.MonkeyPatch.context() as monkeypatch:
        pretend_torch(monkeypatch)
        return save_zip(folder / "made.pth", {"model": tensors}).read_bytes()
