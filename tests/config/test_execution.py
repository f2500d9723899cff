"""Config files that import modules from their folder."""

import importlib
import sys
from pathlib import Path

import pytest

from yolox_jax.config import ConfigError
from yolox_jax.config.files import load_config

IMPORTING = """
from common import SEED
from yolox_jax.config import Config
def get_config():
    from parts.more import EXTRA
    return Config(seed=SEED + EXTRA)
"""


def write_configs(folder: Path, seed: int) -> Path:
    (folder / "parts").mkdir(parents=True)
    (folder / "parts" / "more.py").write_text(f"EXTRA = {seed}\n")
    (folder / "common.py").write_text(f"SEED = {10 * seed}\n")
    path = folder / "mine.py"
    path.write_text(IMPORTING)
    return path


def test_configs_import_what_lies_beside_them_and_nothing_of_it_stays(tmp_path: Path) -> None:
    paths = [write_configs(tmp_path / str(seed), seed) for seed in (1, 2)]
    modules, path = dict(sys.modules), list(sys.path)
    assert [load_config(one).seed for one in (*paths, paths[0])] == [11, 22, 11]
    assert sys.path == path
    assert not {"common", "parts", "parts.more"} & sys.modules.keys() - modules.keys()


def test_module_of_the_program_with_the_same_name_is_neither_used_nor_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "program").mkdir()
    (tmp_path / "program" / "common.py").write_text("SEED = 5000\n")
    monkeypatch.syspath_prepend(str(tmp_path / "program"))
    common = importlib.import_module("common")
    try:
        assert load_config(write_configs(tmp_path / "configs", 3)).seed == 33
        assert sys.modules["common"] is common
    finally:
        del sys.modules["common"]


def test_relative_path_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_configs(tmp_path / "configs", 4)
    monkeypatch.chdir(tmp_path / "configs")
    assert load_config("mine.py").seed == 44


def test_config_beside_the_package_shares_its_classes(tmp_path: Path) -> None:
    (tmp_path / "yolox_jax").mkdir()
    (tmp_path / "yolox_jax" / "__init__.py").write_text("raise AssertionError\n")
    assert load_config(write_configs(tmp_path / "configs", 1)).seed == 11
    (tmp_path / "mine.py").write_text(
        "from yolox_jax.config import Config\ndef get_config():\n    return Config(seed=3)\n"
    )
    assert load_config(tmp_path / "mine.py").seed == 3


def test_failed_config_leaves_no_modules_either(tmp_path: Path) -> None:
    path = write_configs(tmp_path, 1)
    path.write_text("import common\nraise ValueError('no')\n")
    with pytest.raises(ConfigError, match=r"ValueError: no \(line 2\)"):
        load_config(path)
    assert "common" not in sys.modules and str(tmp_path) not in sys.path
