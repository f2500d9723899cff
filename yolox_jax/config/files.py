"""Config files: finding and loading them."""

import json
import runpy
from pathlib import Path
from typing import Any

import yolox_jax
from yolox_jax.config import Config, ConfigError
from yolox_jax.config.checks import check_config
from yolox_jax.config.serialization import config_from_dict, config_to_dict, nearest

RUN_SETTINGS = "config.json"
"""Every setting of a run, in its folder."""


def shipped_configs() -> dict[str, Path]:
    """The configs that come with the package, by name: those of the checkout, or of the wheel."""
    package = Path(yolox_jax.__file__).parent
    folder = package / "configs" if (package / "configs").is_dir() else package.parent / "configs"
    return {path.stem: path for path in sorted(folder.glob("*.py"))}


def load_config(path_or_name: str | Path) -> Config:
    """Runs a config file, or reads the settings of a run, and returns the checked config.

    Args:
        path_or_name: A Python file with a function `get_config() -> Config`, the name of a shipped config, such as
            `yolox_s`, or a run directory or its `config.json`.

    Raises:
        ConfigError: There is no such file or name, the file fails (its own error is the cause), or its settings cannot
            work.
    """
    path = find_config(str(path_or_name))
    values = _read(path) if path.suffix == ".json" else config_to_dict(_run(path))
    try:
        # A list becomes a tuple, 5 epochs of warm-up 5.0, and what is newer than a run has its default.
        config = config_from_dict(values)
        check_config(config)
    except ConfigError as error:
        raise ConfigError(f"config file {path}: {error}") from None
    return config


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_bytes())
    except ValueError as error:
        raise ConfigError(f"config file {path} is no valid JSON: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"config file {path} holds no settings of a run")
    return values


def _run(path: Path) -> Config:
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
    return config


def find_config(path_or_name: str) -> Path:
    """The file that `load_config` takes.

    A shipped name stands for that config even where a run of this name lies in the current folder: `./NAME` is the run.

    Raises:
        ConfigError: There is none.
    """
    shipped = shipped_configs()
    path = Path(path_or_name)
    if path.is_file():
        return path
    if path_or_name in shipped:
        return shipped[path_or_name]
    if (path / RUN_SETTINGS).is_file():
        return path / RUN_SETTINGS
    raise ConfigError(
        f"there is no config {path_or_name}{nearest(path.stem, shipped)} "
        f"Give the path of a config file or of a run, or one of the shipped names: {', '.join(shipped)}"
    )


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
