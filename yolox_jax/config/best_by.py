"""What `evaluation.best_by` may name: the figure that decides which weights of a run are the best."""

import dataclasses

from yolox_jax.config.serialization import nearest
from yolox_jax.config.settings import ConfigError

COCO_FIGURES = (
    "AP",
    "AP50",
    "AP75",
    "AP_small",
    "AP_medium",
    "AP_large",
    "AR_1",
    "AR_10",
    "AR_100",
    "AR_small",
    "AR_medium",
    "AR_large",
)
"""The twelve COCO figures in the order of pycocotools."""

DEFAULT = "AP"


@dataclasses.dataclass(frozen=True)
class BestBy:
    """A figure, as a fraction of which more is better."""

    name: str
    """As in the setting."""
    class_name: str | None = None
    """The class whose AP it is; None for figures of all classes."""
    precision: float | None = None
    """The precision at which it is the recall."""


def parse_best_by(name: str) -> BestBy:
    """Read the name of a figure.

    >>> parse_best_by("recall@0.9").precision
    0.9

    Raises:
        ConfigError: there is no such figure; the message lists them.
    """
    if name in (*COCO_FIGURES, "F1"):
        return BestBy(name)
    kind, separator, of = name.partition(":")
    if (kind, separator) == ("AP", ":") and of:
        return BestBy(name, class_name=of)
    kind, separator, of = name.partition("@")
    if (kind, separator) == ("recall", "@"):
        try:
            precision = float(of)
        except ValueError:
            precision = 0.0
        if 0 < precision <= 1:
            return BestBy(name, precision=precision)
        raise ConfigError(f"--evaluation.best-by {name}: the precision must be above 0 and at most 1, as in recall@0.9")
    hint = nearest(name, (*COCO_FIGURES, "F1", "recall@0.9"))
    raise ConfigError(
        f"--evaluation.best-by: there is no figure {name}{hint} Pass one of {', '.join(COCO_FIGURES)}; AP:NAME for the "
        "AP of a class; F1; or recall@P for the highest recall with a precision of at least P, such as recall@0.9"
    )
