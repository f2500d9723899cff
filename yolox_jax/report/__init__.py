"""Shows an evaluation as one HTML page.

>>> from yolox_jax.report import read_report_data, write_report
>>> write_report(read_report_data(Path("runs/x")), Path("runs/x/report"))  # doctest: +SKIP

The names are resolved on first use, so that drawing contact sheets of a dataset does not load jax and matplotlib.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yolox_jax.report.data import read_report_data as read_report_data
    from yolox_jax.report.write import write_report as write_report

_HOME = {"read_report_data": "yolox_jax.report.data", "write_report": "yolox_jax.report.write"}

__all__ = ["read_report_data", "write_report"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
