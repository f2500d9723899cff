"""Stand-ins for what checkpoints hold besides weights, such as dates and counters.

The real classes are never called when a .pth file is read: most values are dropped, and a defaultdict becomes a plain
dict.
"""

from typing import Any

from yolox_jax.weights.errors import WeightsError


class Sealed(type):
    """Type of classes that a pickle cannot change: it can set attributes of whatever it gets, also of classes."""

    def __setattr__(cls, name: str, value: object) -> None:
        raise WeightsError(f"it sets {name} of a class. It may contain code and was not loaded")


class Ignored(metaclass=Sealed):
    """Replaces a value that is not a weight. It accepts whatever the pickle passes to it, and does nothing."""

    def __init__(self, *_: object, **__: object):
        pass

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, value: object) -> None:
        """Take an entry of a list or deque."""

    def extend(self, values: object) -> None:
        """Take entries of a list or deque."""

    def add(self, value: object) -> None:
        """Take an entry of a set."""


class PlainDict(dict[Any, Any], metaclass=Sealed):
    """Replaces a defaultdict, which would call a function for missing keys."""

    def __init__(self, *_: object):
        super().__init__()


_BUILTINS = (
    *("set", "frozenset", "slice", "range", "list", "dict", "tuple", "object"),
    *("int", "float", "str", "bool", "complex", "bytes", "bytearray"),
)
_PATHS = ["Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath"]
_DTYPES = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]
_IGNORED = (
    *(f"{module}.{name}" for module in ("builtins", "__builtin__") for name in _BUILTINS),
    *(f"{module}.{name}" for module in ("pathlib", "pathlib._local") for name in _PATHS),
    *(f"torch.{name}" for name in (*_DTYPES, "device")),
    *(f"datetime.{name}" for name in ("datetime", "date", "time", "timedelta", "timezone")),
    *(f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core")),
    *("numpy.ndarray", "collections.Counter", "collections.deque"),
    *("argparse.Namespace", "types.SimpleNamespace", "decimal.Decimal", "fractions.Fraction", "uuid.UUID"),
)

HARMLESS_GLOBALS: dict[str, Any] = {**dict.fromkeys(_IGNORED, Ignored), "collections.defaultdict": PlainDict}
"""The replacement of each global by its name in the pickle."""
