"""Config files: finding and loading them, checking their settings, and the way to JSON and back."""

import dataclasses
import difflib
import math
import re
import runpy
import types
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, Union

import yolox_jax
from yolox_jax.config import STRIDE, Config, ConfigError

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


def flag(name: str) -> str:
    """The name of a setting as typed on the command line: `data.input_size` is `--data.input-size`."""
    return "--" + name.replace("_", "-")


def rules_of(name: str) -> str:
    """The name of the setting whose rules hold for a setting: for one of a further data set, that of the first."""
    return re.sub(r"^data\.more_(train|val)\[\d+\]", r"data.\1", name)


def shipped_configs() -> dict[str, Path]:
    """The configs that come with the package, by name: those of the checkout, or of the wheel."""
    package = Path(yolox_jax.__file__).parent
    folder = package / "configs" if (package / "configs").is_dir() else package.parent / "configs"
    return {path.stem: path for path in sorted(folder.glob("*.py"))}


def load_config(path_or_name: str | Path) -> Config:
    """Runs a config file and returns the checked config.

    Args:
        path_or_name: A Python file with a function `get_config() -> Config`, or the name of a shipped config, such as
            `yolox_s`.

    Raises:
        ConfigError: There is no such file or name, the file fails (its own error is the cause), or its settings cannot
            work.
    """
    path = _find_config(str(path_or_name))
    try:
        get_config = runpy.run_path(str(path)).get("get_config")
        if get_config is None:
            raise ConfigError(f"config file {path} has no function get_config(); it must return a yolox_jax Config")
        config = get_config()
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"config file {path} failed: {type(error).__name__}: {error}{_line_in(error, path)}"
        ) from error
    if not isinstance(config, Config):
        raise ConfigError(f"get_config() in {path} must return a yolox_jax.config.Config, not {type(config).__name__}")
    try:
        config = config_from_dict(config_to_dict(config))  # a list becomes a tuple, and 5 epochs of warm-up 5.0
        check_config(config)
    except ConfigError as error:
        raise ConfigError(f"config file {path}: {error}") from None
    return config


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
        f"--train.multiscale-px {_typed(range_px)} leaves out the input height {height} of --data.input-size; "
        f"try --train.multiscale-px {_typed(around)}, or --train.multiscale-px None for one size"
    )


def config_to_dict(config: Config) -> dict[str, Any]:
    """The config as JSON types: nested dicts, with lists for tuples. `config_from_dict` is the way back."""
    return typing.cast(dict[str, Any], _to_json(config))


def config_from_dict(values: dict[str, Any]) -> Config:
    """The config that `config_to_dict` turned into `values`. Settings that are not given have their defaults.

    Raises:
        ConfigError: A name is no setting, or a value has the wrong type.
    """
    config = _from_json(values, Config, "")
    assert isinstance(config, Config)
    return config


def _find_config(path_or_name: str) -> Path:
    shipped = shipped_configs()
    path = Path(path_or_name)
    if path.is_file():
        return path
    if path_or_name in shipped:
        return shipped[path_or_name]
    raise ConfigError(
        f"there is no config {path_or_name}{_nearest(path.stem, shipped)} "
        f"Give the path of a config file or one of the shipped names: {', '.join(shipped)}"
    )


def _nearest(name: str, known: Iterable[str]) -> str:
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]}?" if matches else "."


def _line_in(error: BaseException, path: Path) -> str:
    """Where in the config file an error arose, as the user gets no traceback."""
    if isinstance(error, SyntaxError):
        return ""  # its message has the line
    lines = []
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    return f" (line {lines[-1]})" if lines else ""


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
            return f"{flag(name)} {_typed(value)} cannot work: it must be {finite}{text}"
    return None


def _size_problems(name: str, sizes: tuple[int, int]) -> list[str]:
    if all(size > 0 and size % STRIDE == 0 for size in sizes):
        return []
    nearest = tuple(max(STRIDE, math.floor(size / STRIDE + 0.5) * STRIDE) for size in sizes)
    return [
        f"{flag(name)} {_typed(sizes)} cannot work: sizes are multiples of {STRIDE}, the stride of the network; "
        f"the nearest are {flag(name)} {_typed(nearest)}"
    ]


def _order_problems(name: str, bounds: tuple[int, int] | tuple[float, float]) -> list[str]:
    low, high = bounds
    if low <= high:
        return []
    return [
        f"{flag(name)} {_typed(bounds)} cannot work: the smaller comes first, as in {flag(name)} {_typed((high, low))}"
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


def _typed(value: Any) -> str:
    """A value as typed on the command line."""
    if isinstance(value, tuple | list):
        return " ".join(_typed(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _to_json(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [_to_json(item) for item in value]
    return value


def _from_json(value: Any, kind: Any, name: str) -> Any:
    """`value` as the type `kind`; `name` is the dotted name of the setting."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        return _section_from_json(value, typing.cast(type, kind), f"{name}." if name else "")
    if origin is Literal and value in arguments:
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _from_json(value, next(argument for argument in arguments if argument is not type(None)), name)
    if origin is tuple and isinstance(value, list) and arguments[1:] == (...,):
        names = [f"{name}[{place}]" if dataclasses.is_dataclass(arguments[0]) else name for place in range(len(value))]
        return tuple(_from_json(item, arguments[0], item_name) for item, item_name in zip(value, names, strict=True))
    if origin is tuple and isinstance(value, list) and len(value) == len(arguments):
        return tuple(_from_json(item, argument, name) for item, argument in zip(value, arguments, strict=True))
    if kind is float and type(value) in (int, float):
        return float(value)
    if kind in (int, bool, str) and type(value) is kind:
        return value
    raise ConfigError(
        f"{flag(name)} {_typed(value)} ({type(value).__name__}) cannot work: it must be {_describe(kind)}"
    )


def _section_from_json(values: dict[str, Any], section: type, prefix: str) -> Any:
    kinds = typing.get_type_hints(section)
    for key in values:
        if key not in kinds:
            raise ConfigError(
                f"there is no setting {prefix}{key}{_nearest(prefix + key, (prefix + kind for kind in kinds))}"
            )
    return section(**{key: _from_json(value, kinds[key], prefix + key) for key, value in values.items()})


def _describe(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(_describe(argument) for argument in arguments)
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin is tuple and arguments[1:] == (...,):
        return f"a list, of any length, of {_describe(arguments[0])}"
    if origin is tuple:
        return f"{len(arguments)} values: " + " ".join(_describe(argument) for argument in arguments)
    return {int: "a whole number", float: "a number", str: "text", bool: "True or False", type(None): "None"}.get(
        kind, str(kind)
    )
