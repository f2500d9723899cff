"""Runs config files, which are Python and may import modules that lie beside them."""

import contextlib
import dataclasses
import importlib
import re
import runpy
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import yolox_jax.config as sections
from yolox_jax.config import Config, ConfigError
from yolox_jax.config.serialization import nearest


def run_config_file(path: Path) -> Config:
    """Runs a config file and returns the config that its `get_config()` returns.

    Raises:
        ConfigError: The file fails (its own error is the cause), or does not define such a function.
    """
    try:
        with _modules_beside(path):
            get_config = runpy.run_path(str(path)).get("get_config")
            if get_config is None:
                raise ConfigError(
                    f"config file {path} must define a function get_config() that returns a yolox_jax.config.Config"
                )
            config = get_config()
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"config file {path} failed: {type(error).__name__}: {error}{_line_in(error, path)}{_hint(error)}"
        ) from error
    if not isinstance(config, Config):
        raise ConfigError(f"get_config() in {path} must return a yolox_jax.config.Config, got {type(config).__name__}")
    return config


@contextlib.contextmanager
def _modules_beside(path: Path) -> Iterator[None]:
    """Lets the program import modules from the folder of a file, and forgets them afterwards.

    Two configs may thus each import a `common` of their own. Modules of the same name that the program imported from
    elsewhere are set aside meanwhile, except installed packages.
    """
    folder = path.resolve().parent
    loaded_before = {name.split(".")[0] for name in sys.modules}
    set_aside = {name: sys.modules.pop(name) for name in list(sys.modules) if _is_hidden_by(folder, name)}
    loaded_before -= set(set_aside)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # the config file may have removed it
            sys.path.remove(str(folder))
        for name, module in list(sys.modules.items()):
            if name.split(".")[0] not in loaded_before and folder in _places(module):
                del sys.modules[name]
        sys.modules.update(set_aside)


def _is_hidden_by(folder: Path, name: str) -> bool:
    """Whether a module was loaded from elsewhere, while the folder holds one of the same name."""
    top = name.split(".")[0]
    if top == "yolox_jax" or top in sys.stdlib_module_names or top not in sys.modules:
        return False
    if not (folder / f"{top}.py").is_file() and not (folder / top).is_dir():
        return False
    places = _places(sys.modules[top])
    installed = {Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")}
    return bool(places) and folder not in places and not installed & places


def _places(module: ModuleType) -> set[Path]:
    """The folders around the file of a module, or around the folders of a package without a file."""
    file = getattr(module, "__file__", None)
    paths = [file] if file else list(getattr(module, "__path__", ()))
    return {parent for path in paths for parent in Path(path).resolve().parents}


def _hint(error: Exception) -> str:
    """The closest setting, if the error is a misspelt one."""
    match = re.fullmatch(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'.*", str(error))
    section = getattr(sections, match[1], None) if match else None
    if match is None or not dataclasses.is_dataclass(section):
        return ""
    return nearest(match[2], (field.name for field in dataclasses.fields(section)))


def _line_in(error: BaseException, path: Path) -> str:
    """The line of the config file that raised an error, since users see no traceback."""
    if isinstance(error, SyntaxError):
        return ""  # its message has the line
    lines = []
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    return f" (line {lines[-1]})" if lines else ""
