"""Finds and loads config files."""

import dataclasses
import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from yolox_jax.config import Config, ConfigError, DatasetConfig
from yolox_jax.config.checks import check_config
from yolox_jax.config.execution import run_config_file
from yolox_jax.config.names import is_known_name, warn_if_shadowed
from yolox_jax.config.recipes import coco_dataset
from yolox_jax.config.run_paths import find_data_of_run
from yolox_jax.config.serialization import config_from_dict, config_to_dict, nearest
from yolox_jax.files import expand_home

logger = logging.getLogger("yolox_jax")

RUN_SETTINGS = "config.json"
"""File in a run directory that holds the config of the run."""

VERSION = "config_version"
"""Key in that file beside the settings. Absent before version 2, where `model.freeze backbone` froze the neck too."""

WORKING_DIRECTORY = "working_directory"
"""Key in that file: the folder that the run was started in, which its relative paths start from. Absent before version
2."""

EXTENSIONS = "extensions"
"""Key in that file: where the run went on with other settings. Absent if it never did."""

_SUBFOLDER = re.compile("([^/]+)/.*")
_CHOICES = "Pass the path of a config file or run directory, or the name of a shipped config: "


def shipped_configs() -> dict[str, Path]:
    """The configs that come with the package, from the checkout or the wheel.

    Returns:
        Paths by name: the path below `configs/` without its suffix, such as `yolox_s` or `roadmap/simota`.
    """
    package = Path(__file__).parents[1]
    folder = package / "configs" if (package / "configs").is_dir() else package.parent / "configs"
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.py"))}


def listed_configs() -> str:
    """The names of the shipped configs for a message, those of a folder as `folder/...`."""
    return ", ".join(dict.fromkeys(_SUBFOLDER.sub(r"\1/...", name) for name in shipped_configs()))


def load_config(path_or_name: str | Path) -> Config:
    """Loads and checks a config.

    Args:
        path_or_name: The name of a shipped config, such as `yolox_s`; a Python file with a function
            `get_config() -> Config`; or a run directory or its `config.json`. A name takes precedence over a run
            directory of the same name: pass `./yolox_s` for the run.

    Raises:
        ConfigError: There is no such name or file, the file fails (its own error is the cause), or a setting is
            invalid.
    """
    path = find_config(path_or_name)
    is_run = path.suffix == ".json"
    if is_known_name(path_or_name, shipped_configs()):
        warn_if_shadowed(str(path_or_name), "the shipped config")
    values = _read(path) if is_run else config_to_dict(run_config_file(path))
    try:
        # Lists become tuples, integers become floats where needed, and settings newer than a run get their defaults.
        config = config_of_run(values) if is_run else config_from_dict(values)
        check_config(config)
    except ConfigError as error:
        raise ConfigError(f"config file {path}: {error}") from None
    if not is_run:
        return config
    origin = values.get(WORKING_DIRECTORY)
    origin = origin if isinstance(origin, str) else None
    return find_data_of_run(_without_unused_coco_paths(config), path.parent, origin=origin)


def run_settings(config: Config, extensions: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """The content of a run's `config.json`; `config_of_run` is the inverse."""
    about = {VERSION: 2, WORKING_DIRECTORY: str(Path.cwd())} | ({EXTENSIONS: list(extensions)} if extensions else {})
    return {**about, **config_to_dict(config)}


def config_of_run(values: dict[str, Any]) -> Config:
    """The config of a run from the content of its `config.json`, of this version or an older one.

    Raises:
        ConfigError: A setting does not exist, or a value has the wrong type.
    """
    config = config_from_dict(
        {name: value for name, value in values.items() if name not in (VERSION, WORKING_DIRECTORY, EXTENSIONS)}
    )
    frozen = config.model.freeze
    if VERSION not in values and "backbone" in frozen and "neck" not in frozen:
        logger.warning("read --model.freeze backbone as backbone and neck, as the version that wrote it did")
        config = dataclasses.replace(config, model=dataclasses.replace(config.model, freeze=(*frozen, "neck")))
    return config


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_bytes())
    except ValueError as error:
        raise ConfigError(f"config file {path} is not valid JSON: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"config file {path} must hold the settings of a run as a JSON object")
    return values


def _without_unused_coco_paths(config: Config) -> Config:
    """Clears paths of COCO on datasets of other formats, where earlier versions recorded them as defaults."""

    def cleared(dataset: DatasetConfig, coco: DatasetConfig) -> DatasetConfig:
        if dataset.format == "coco":
            return dataset
        images = "" if dataset.images == coco.images else dataset.images
        annotations = "" if dataset.annotations == coco.annotations else dataset.annotations
        return dataclasses.replace(dataset, images=images, annotations=annotations)

    train = cleared(config.data.train, coco_dataset("train2017"))
    val = cleared(config.data.val, coco_dataset("val2017"))
    return dataclasses.replace(config, data=dataclasses.replace(config.data, train=train, val=val))


def run_holding(path: Path) -> Path | None:
    """The run directory that a file or folder belongs to, which need not exist; None if there is none."""
    return next((folder for folder in (path.parent, path.parent.parent) if (folder / RUN_SETTINGS).is_file()), None)


def find_config(path_or_name: str | Path) -> Path:
    """The file that `load_config` reads.

    Raises:
        ConfigError: There is no such name or file.
    """
    shipped = shipped_configs()
    if is_known_name(path_or_name, shipped):
        return shipped[str(path_or_name)]
    path = expand_home(path_or_name)
    if path.is_file():
        return path
    if (path / RUN_SETTINGS).is_file():
        return path / RUN_SETTINGS
    if in_folder := [name for name in shipped if name.startswith(f"{str(path_or_name).rstrip('/')}/")]:
        raise ConfigError(f"{path_or_name} is a folder of shipped configs. Pass one of them: {', '.join(in_folder)}")
    if path.is_dir():
        raise ConfigError(f"{path} is not a run directory: it has no {RUN_SETTINGS}. {_CHOICES}{listed_configs()}")
    hint = nearest(path.stem, shipped)
    raise ConfigError(f"there is no config {path_or_name}{hint} {_CHOICES}{listed_configs()}")
