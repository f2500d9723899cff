"""Checks a config: the ranges of its settings, and settings that depend on each other."""

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Union

from yolox_jax.config import Config, ConfigError, ScheduleConfig
from yolox_jax.config.best_by import parse_best_by
from yolox_jax.config.class_weights import BALANCED, given_class_weights
from yolox_jax.config.levels import level_problem, rule_problem, size_problems
from yolox_jax.config.ranges import Ascending, MultiplesOf, Range
from yolox_jax.config.schedule import scale_schedule
from yolox_jax.config.serialization import config_from_dict, config_to_dict, flag, typed


def check_config(config: Config) -> None:
    """Checks every setting against its type and range, and the schedule as a whole.

    Raises:
        ConfigError: A setting is invalid. The message lists all such settings as flags, with their valid values.
    """
    # Check types first, since ranges compare numbers. Python does not check the types in a config file.
    config_from_dict(config_to_dict(config))
    problems = list(_range_problems(config, "")) or [
        *_schedule_problems(config),
        *_milestone_problems(config),
        *_level_problems(config),
        *_suppression_problems(config),
        *_drawing_problems(config),
        *_partner_problems(config),
        *_problem(lambda: config.loss.class_weights == BALANCED or given_class_weights(config.loss.class_weights)),
        *_problem(lambda: parse_best_by(config.evaluation.best_by)),
    ]
    if len(problems) == 1:
        raise ConfigError(problems[0])
    if problems:
        raise ConfigError("\n  ".join([f"{len(problems)} settings are invalid:", *problems]))


def check_multiscale_range(config: Config) -> None:
    """Checks that multi-scale training includes the input height used for evaluation.

    Raises:
        ConfigError: `data.input_size` was changed without `train.multiscale_px`.
    """
    height, range_px = config.data.input_size[0], config.train.multiscale_px
    if range_px is None or range_px[0] <= height <= range_px[1]:
        return
    stride = config.model.strides[-1]
    reach = -(-160 // stride) * stride  # five strides of 32, as in the original (docs/yolox.md, 7.6)
    around = max(stride, height - reach), height + reach
    raise ConfigError(
        f"--train.multiscale-px {typed(range_px)} must include the input height {height} of --data.input-size. "
        f"Pass --train.multiscale-px {typed(around)}, or --train.multiscale-px None to train at one size."
    )


def check_anchor_boxes(config: Config) -> None:
    """Checks that there are anchor boxes if the assignment rule needs them. `data anchors` finds them without this.

    Raises:
        ConfigError: there are none.
    """
    if config.assignment.rule == "yolov3" and not config.model.anchors:
        raise ConfigError(
            "--assignment.rule yolov3 needs anchor boxes: pass --model.anchors with the sizes that `yolox-jax data "
            "anchors` prints for your data, or those of configs/roadmap/yolov3_baseline.py"
        )


def _range_problems(section: Any, prefix: str) -> Iterator[str]:
    """Yields a message for each setting of a section that is out of range, including nested sections."""
    annotations = typing.get_type_hints(type(section), include_extras=True)
    for field in dataclasses.fields(section):
        name, value = prefix + field.name, getattr(section, field.name)
        if dataclasses.is_dataclass(value):
            yield from _range_problems(value, f"{name}.")
        elif isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
            for index, item in enumerate(value):
                yield from _range_problems(item, f"{name}[{index}].")
        elif problem := _range_problem(value, annotations[field.name]):
            yield f"{flag(name)} {problem}"


def _range_problem(value: Any, annotation: Any) -> str | None:
    """What is wrong with a value, phrased to follow the name of its setting; None if it is valid."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (Union, types.UnionType) and value is not None:
        return _range_problem(value, next(argument for argument in arguments if argument is not type(None)))
    if origin is tuple:
        kinds = [arguments[0]] * len(value) if arguments[1:] == (...,) else arguments
        for index, (item, argument) in enumerate(zip(value, kinds, strict=True), start=1):
            if problem := _range_problem(item, argument):
                # Values that are groups of values, such as the sizes of anchor boxes, tell which one is wrong.
                place = f"group {index}," if isinstance(item, tuple) else f"value {index}"
                return f"{typed(value)}: {place} {problem}"
    if origin is Annotated:
        inner, *ranges = arguments
        return _range_problem(value, inner) or _violation(value, [one for one in ranges if isinstance(one, Range)])
    return None


def _violation(value: Any, ranges: list[Range]) -> str | None:
    is_finite = not isinstance(value, float) or math.isfinite(value)
    broken = [one for one in ranges if not one.holds(value)]
    if is_finite and not broken:
        return None
    finite = "" if is_finite else "finite and "
    message = f"must be {finite}{' and '.join(map(str, ranges))}, got {typed(value)}"
    if broken and isinstance(broken[0], Ascending | MultiplesOf):
        return f"{message}; try {typed(broken[0].nearest(value))}"
    return message


def _schedule_problems(config: Config) -> list[str]:
    epochs, warmup, no_aug = config.schedule.epochs, config.schedule.warmup_epochs, config.schedule.no_aug_epochs
    if warmup + no_aug < epochs:
        return []
    better = scale_schedule(ScheduleConfig(), epochs)
    return [
        f"--schedule.warmup-epochs {warmup:g} and --schedule.no-aug-epochs {no_aug} must sum to less than "
        f"--schedule.epochs {epochs}. For {epochs} epochs, try --schedule.warmup-epochs {better.warmup_epochs:g} "
        f"--schedule.no-aug-epochs {better.no_aug_epochs}"
    ]


def _milestone_problems(config: Config) -> list[str]:
    """Milestones belong to one schedule, which needs them."""
    schedule, milestones = config.schedule, config.schedule.milestones
    if not milestones and schedule.name != "multistep":
        return []
    if schedule.name != "multistep":
        return [
            f"--schedule.milestones has no use with --schedule.name {schedule.name}. Pass --schedule.name multistep, "
            "or --schedule.milestones without values"
        ]
    if milestones and list(milestones) == sorted(set(milestones)) and milestones[-1] < schedule.epochs:
        return []
    example = typed([round(share * schedule.epochs, 2) for share in (0.6, 0.9)])
    got = typed(milestones) or "none"
    return [
        f"--schedule.name multistep needs --schedule.milestones: epochs in ascending order, below --schedule.epochs "
        f"{schedule.epochs}, such as {example}; got {got}"
    ]


def _level_problems(config: Config) -> list[str]:
    """Levels, sizes and anchor boxes must go together, and only one assignment rule uses anchor boxes."""
    if problem := level_problem(config.model) or rule_problem(config.model.strides, config.assignment.rule):
        return [problem]
    anchors, rule = config.model.anchors, config.assignment.rule
    if anchors and rule != "yolov3":
        return [
            f"--model.anchors has no use with --assignment.rule {rule}, which is anchor-free. Pass --assignment.rule "
            "yolov3, or --model.anchors without values for an anchor-free network"
        ]
    return list(size_problems(config))


def _suppression_problems(config: Config) -> list[str]:
    """An evaluation needs non-maximum suppression unless the network is end-to-end."""
    nms, end_to_end = config.evaluation.nms, config.model.end_to_end
    if nms is None or nms != end_to_end:
        return []
    why = "works without suppression" if end_to_end else "predicts each object several times"
    return [
        f"--evaluation.nms {nms} does not suit the network, which with --model.end-to-end {end_to_end} {why}. Leave "
        f"out --evaluation.nms, or use a network with --model.end-to-end {not end_to_end}"
    ]


def _drawing_problems(config: Config) -> list[str]:
    """Devices draw samples of 8 bits only."""
    if config.data.augment.on == "host" or config.data.bits == 8:
        return []
    return [
        f"--data.augment.on device draws images of 8 bits, but --data.bits is {config.data.bits}. Pass "
        "--data.augment.on host or --data.bits 8"
    ]


def _partner_problems(config: Config) -> list[str]:
    """A mosaic joins four images of a batch if it takes them from there."""
    batch_size, augment = config.train.batch_size, config.data.augment
    if batch_size >= 4 or augment.partners == "dataset" or augment.mosaic_probability == 0:
        return []
    return [
        f"--data.augment.partners batch joins four images of a batch, but --train.batch-size is {batch_size}. Pass a "
        "batch size of at least 4, or --data.augment.partners dataset"
    ]


def _problem(read: Callable[[], object]) -> list[str]:
    """What is wrong with a value that has to be read; whether there are such classes only the datasets know."""
    try:
        read()
    except ConfigError as error:
        return [str(error)]
    return []
