"""Which settings can work, each alone and together."""

import dataclasses
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

from yolox_jax.config import STRIDE, Config, ConfigError
from yolox_jax.config.serialization import config_from_dict, config_to_dict, flag, typed

# What a number may be; a field of several numbers must hold it for each. Every number in `Config` is in one of these
# (a test holds that) except the sizes, which `_size_problems` checks.
_AT_LEAST_ONE = {
    "data.max_boxes",
    "data.num_threads",
    "data.augment.max_aspect",
    "schedule.epochs",
    "assignment.max_dynamic_k",
    "train.batch_size",
    "train.multiscale_interval",
    "train.log_interval",
    "train.keep_checkpoints",
    "train.loss_scale_growth_steps",
    "train.accumulation_steps",
    "evaluation.interval",
    "evaluation.batch_size",
    "evaluation.max_detections",
}
_ABOVE_ZERO = {
    "data.augment.mosaic_scale",
    "data.augment.mixup_scale",
    "optimizer.lr_per_image",
    "assignment.center_radius",
    "train.ema_ramp_steps",
    "train.loss_scale",
}
_ZERO_OR_MORE = {
    "data.num_workers",
    "data.augment.degrees",
    "data.augment.translate",
    "data.augment.shear_degrees",
    "data.augment.hsv_gains",
    "data.augment.min_side_px",
    "data.augment.min_final_side_px",
    "schedule.warmup_epochs",
    "schedule.no_aug_epochs",
    "optimizer.weight_decay",
    "optimizer.clip_norm",
    "train.checkpoint_steps",
    "train.checkpoint_minutes",
    "assignment.iou_cost",
    "assignment.outside_cost",
    "loss.iou_weight",
    "loss.objectness_weight",
    "loss.classification_weight",
    "loss.l1_weight",
    "evaluation.num_pictures",
    "evaluation.patience",
    "seed",
}
_ZERO_TO_ONE = {
    "data.augment.mosaic_probability",
    "data.augment.mixup_probability",
    "data.augment.hsv_probability",
    "data.augment.flip_probability",
    "data.augment.min_visible",
    "schedule.min_lr_ratio",
    "evaluation.score_threshold",
}
_ABOVE_ZERO_TO_ONE = {"evaluation.iou_threshold", "data.train.fraction", "data.val.fraction"}
_ZERO_TO_BELOW_ONE = {"optimizer.momentum", "train.ema_decay"}
_RANGES = {"data.augment.mosaic_scale", "data.augment.mixup_scale"}


def rules_of(name: str) -> str:
    """The name of the setting whose rules hold for a setting: for one of a further data set, that of the first."""
    return re.sub(r"^data\.more_(train|val)\[\d+\]", r"data.\1", name)


def check_config(config: Config) -> None:
    """Checks that the settings can work, each alone and together.

    Raises:
        ConfigError: Lists every setting that cannot, by its name on the command line, with what would work.
    """
    # Types first, since the other checks compare numbers. A config file is not type-checked by Python.
    config_from_dict(config_to_dict(config))
    settings = dict(_leaves(config))
    problems = [problem for name, value in settings.items() if (problem := _number_problem(name, value))]
    problems += _size_problems("data.input_size", config.data.input_size)
    if config.train.multiscale_px is not None:
        problems += _size_problems("train.multiscale_px", config.train.multiscale_px)
        problems += _order_problems("train.multiscale_px", config.train.multiscale_px)
    for name in sorted(_RANGES):
        problems += _order_problems(name, settings[name])
    if not problems:
        problems = _schedule_problems(config)
    if len(problems) == 1:
        raise ConfigError(problems[0])
    if problems:
        raise ConfigError("\n  ".join([f"{len(problems)} settings cannot work:", *problems]))


def check_multiscale_range(config: Config) -> None:
    """Checks, for training alone, that the sizes trained at are about the one evaluated at.

    Raises:
        ConfigError: `data.input_size` was changed without `train.multiscale_px`.
    """
    height, range_px = config.data.input_size[0], config.train.multiscale_px
    if range_px is None or range_px[0] <= height <= range_px[1]:
        return
    around = max(STRIDE, height - 160), height + 160  # five strides, as the original (SPEC A3.6)
    raise ConfigError(
        f"--train.multiscale-px {typed(range_px)} leaves out the input height {height} of --data.input-size; "
        f"try --train.multiscale-px {typed(around)}, or --train.multiscale-px None for one size"
    )


def _leaves(section: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting with its dotted name."""
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        if dataclasses.is_dataclass(value):
            yield from _leaves(value, f"{prefix}{field.name}.")
        elif isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
            for place, item in enumerate(value):
                yield from _leaves(item, f"{prefix}{field.name}[{place}].")
        else:
            yield prefix + field.name, value


def _number_problem(name: str, value: Any) -> str | None:
    for names, holds, text in (
        (_AT_LEAST_ONE, lambda number: 1 <= number < math.inf, "1 or more"),
        (_ABOVE_ZERO, lambda number: 0 < number < math.inf, "above 0"),
        (_ZERO_OR_MORE, lambda number: 0 <= number < math.inf, "0 or more"),
        (_ZERO_TO_ONE, lambda number: 0 <= number <= 1, "from 0 to 1"),
        (_ABOVE_ZERO_TO_ONE, lambda number: 0 < number <= 1, "above 0 and at most 1"),
        (_ZERO_TO_BELOW_ONE, lambda number: 0 <= number < 1, "from 0 to below 1"),
    ):
        numbers = value if isinstance(value, tuple) else (value,)
        if rules_of(name) in names and not all(holds(number) for number in numbers):
            finite = "" if all(math.isfinite(number) for number in numbers) else "finite and "
            return f"{flag(name)} {typed(value)} cannot work: it must be {finite}{text}"
    return None


def _size_problems(name: str, sizes: tuple[int, int]) -> list[str]:
    if all(size > 0 and size % STRIDE == 0 for size in sizes):
        return []
    nearest = tuple(max(STRIDE, math.floor(size / STRIDE + 0.5) * STRIDE) for size in sizes)
    return [
        f"{flag(name)} {typed(sizes)} cannot work: sizes are multiples of {STRIDE}, the stride of the network; "
        f"the nearest are {flag(name)} {typed(nearest)}"
    ]


def _order_problems(name: str, bounds: tuple[int, int] | tuple[float, float]) -> list[str]:
    low, high = bounds
    if low <= high:
        return []
    return [
        f"{flag(name)} {typed(bounds)} cannot work: the smaller comes first, as in {flag(name)} {typed((high, low))}"
    ]


def _schedule_problems(config: Config) -> list[str]:
    epochs, warmup, no_aug = config.schedule.epochs, config.schedule.warmup_epochs, config.schedule.no_aug_epochs
    if warmup + no_aug < epochs:
        return []
    # The shares of the published schedule: 5 and 15 of 300 epochs.
    return [
        f"--schedule.warmup-epochs {warmup:g} and --schedule.no-aug-epochs {no_aug} leave nothing of "
        f"--schedule.epochs {epochs}: together they must be less. "
        f"For {epochs} epochs try --schedule.warmup-epochs {epochs / 60:.2g} --schedule.no-aug-epochs {epochs // 20}"
    ]


PRECISIONS = ("float32", "bfloat16", "float16")
"""What a network can compute in."""


def check_thresholds(score_threshold: float, iou_threshold: float) -> None:
    """Raise ConfigError where a threshold cannot work."""
    if not 0 <= score_threshold <= 1:
        raise ConfigError(f"score threshold {score_threshold}: it lies between 0 and 1")
    if not 0 < iou_threshold <= 1:
        raise ConfigError(f"IoU threshold {iou_threshold}: it lies above 0 and up to 1")


def check_counts(batch_size: int, max_detections: int) -> None:
    """Raise ConfigError where a call of the network would have nothing to do."""
    if batch_size < 1 or max_detections < 1:
        raise ConfigError(f"batch size {batch_size}, most detections {max_detections}: both must be at least 1")


def check_precision(precision: str) -> None:
    """Raise ConfigError where a network cannot compute so."""
    if precision not in PRECISIONS:
        raise ConfigError(f"precision {precision!r}: choose one of {', '.join(PRECISIONS)}")


def check_scales(scales: Sequence[float]) -> None:
    """Raise ConfigError where an image cannot be seen at these factors of the input size."""
    if not scales or not all(math.isfinite(scale) and scale > 0 for scale in scales):
        raise ConfigError(f"scales {list(scales)}: give one or more factors above 0, such as 1.0 and 1.25")


def check_input_size(size: Any) -> None:
    """Raise ConfigError where a network cannot take images of this height and width in px."""
    if not isinstance(size, Sequence) or len(size) != 2:
        raise ConfigError(f"input size {size!r}: give height and width, such as (640, 640)")
    height, width = size
    if height < STRIDE or width < STRIDE or height % STRIDE or width % STRIDE:
        raise ConfigError(f"input size {height} x {width}: height and width must be multiples of {STRIDE} px")


def check_class_names(class_names: Sequence[str], num_classes: int) -> None:
    """Raise ConfigError where names and classes differ in number."""
    if len(class_names) != num_classes:
        raise ConfigError(f"{len(class_names)} class names for a network with {num_classes} classes: name each of them")
