"""The help of commands with a config: the common settings, or all that the command uses."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from yolox_jax.cli.flags import Flag, docstrings, flags_of
from yolox_jax.cli.help import print_help
from yolox_jax.config import Config

COMMON = {
    "Data": (
        *(
            f"data.{split}.{name}"
            for split in ("train", "val")
            for name in ("format", "images", "annotations", "split")
        ),
        "data.classes",
        "data.input_size",
        "data.num_workers",
    ),
    "Model": ("model.variant", "model.weights", "model.freeze"),
    "Training": (
        "schedule.epochs",
        "schedule.warmup_epochs",
        "schedule.no_aug_epochs",
        "train.batch_size",
        "optimizer.lr",
        "train.precision",
        "train.multiscale_px",
        "seed",
    ),
    "Evaluation": (
        "evaluation.interval",
        "evaluation.patience",
        "evaluation.batch_size",
        "evaluation.score_threshold",
        "evaluation.iou_threshold",
    ),
}
"""The settings that `--help` shows, by heading; `--help-all` shows all."""

STEP_SETTINGS = (
    "model.variant",
    "model.strides",
    "model.freeze",
    "data.input_size",
    "data.channels",
    "data.bits",
    "data.max_boxes",
    "data.augment.on",
    "optimizer.name",
    "train.batch_size",
    "train.precision",
    "train.accumulation_steps",
    "train.rematerialise",
    "train.sync_batch_norm",
    "train.fused_conv",
    "train.deterministic",
)
"""The settings that decide what a training step costs, for the commands that measure it."""

RARE_ARGUMENTS = ("extend", "hours", "distributed", "coordinator", "num_processes", "process_id")
"""Arguments of commands that only `--help-all` shows."""

RARE_FOR_TRAINING = ("evaluation.batch_size", "evaluation.score_threshold", "evaluation.iou_threshold")
"""Common settings that only `--help-all` shows where training settings are shown too."""


def print_settings_help(
    own: Sequence[Flag],
    config: Config,
    *,
    prog: str,
    description: str,
    config_name: str | None,
    uses: Sequence[str],
    brief: bool,
) -> None:
    """Prints the help of a command with a config.

    Args:
        own: The arguments of the command itself, with `--config`.
        config: Provides the defaults.
        prog: The name of the program.
        description: What the command does.
        config_name: The name of the config; None for the schema, whose values are not shown.
        uses: The settings that the command uses: their names, or those of whole sections.
        brief: Show only the common settings, and only the first sentence on each of them.
    """
    used = [one for one in flags_of(Config, config, switches=False) if _is_used(one.name, uses)]
    if config_name is None:
        used = [dataclasses.replace(one, default=None) for one in used]
        note = "Add --config CONFIG to see the values of its settings."
    else:
        note = f"The defaults of settings are those of {config_name}."
    groups: dict[str, Sequence[Flag]] = {"Options": [one for one in own if not brief or one.name not in RARE_ARGUMENTS]}
    groups |= _common(used) if brief else _by_section(used)
    shown = sum(map(len, groups.values()))
    hidden = len(own) + len(used) - shown
    footer = (
        f"{prog} --help-all lists {hidden} more options and describes each in full." if brief and hidden > 0 else ""
    )
    print_help(prog, description, groups, notes=[note], footer=footer, brief=COMMON if brief else ())


def _is_used(name: str, uses: Sequence[str]) -> bool:
    return any(not use or name == use or name.startswith(f"{use}.") for use in uses)


def _common(used: Sequence[Flag]) -> Mapping[str, Sequence[Flag]]:
    by_name = {one.name: one for one in used}
    groups = {heading: [by_name[name] for name in names if name in by_name] for heading, names in COMMON.items()}
    if groups["Training"]:
        groups["Evaluation"] = [one for one in groups["Evaluation"] if one.name not in RARE_FOR_TRAINING]
    data = groups["Data"]
    if any(one.name.startswith("data.train.") for one in data):
        val = [one for one in data if one.name.startswith("data.val.")]
        groups["Data"] = (
            [_the_same(val) if one is val[0] else one for one in data if one not in val[1:]] if val else data
        )
    return groups


def _the_same(val: Sequence[Flag]) -> Flag:
    """One row for the flags of the validation data, which mean what those of the training data mean."""
    names = ", ".join(one.name.rpartition(".")[2] for one in val)
    return dataclasses.replace(
        val[0], name="data.val.*", metavar="...", default=None, description=f"The same for validation: {names}."
    )


def _by_section(used: Sequence[Flag]) -> Mapping[str, Sequence[Flag]]:
    """The flags by the section of the config that they belong to."""
    groups: dict[str, list[Flag]] = {}
    for one in used:
        section = one.name.rpartition(".")[0]
        groups.setdefault(_heading(section) if section else "Settings of the whole run", []).append(one)
    return groups


def _heading(name: str) -> str:
    """The name of a section and its meaning, from the docstring of the field or, without one, of the class."""
    section: Any = Config()
    about = ""
    for part in name.split("."):
        about = docstrings(section.__class__).get(part, "")
        section = getattr(section, part)
    about = about or type(section).__doc__ or ""
    return f"{name}: {about.partition('.')[0]}"
