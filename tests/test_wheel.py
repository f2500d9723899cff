"""The wheel in an empty folder, without the checkout, and what installers read of the package."""

import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest
from packaging.version import InvalidVersion, Version

CHECKOUT = Path(__file__).parents[1]


def run(folder: Path, *words: str) -> str:
    """What a command says when run in a folder; its failure fails the test."""
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment that holds the wheel, and of this environment the packages it depends on."""
    folder = tmp_path_factory.mktemp("wheel")
    run(folder, sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(CHECKOUT))
    (wheel,) = folder.glob("yolox_jax-*.whl")
    venv.create(folder / "env", with_pip=False)
    (site,) = (folder / "env" / "lib").glob("python*/site-packages")
    run(folder, sys.executable, "-m", "pip", "--python", str(folder / "env"), "install", "-q", "--no-deps", str(wheel))
    # A .pth file adds a folder without reading the .pth files in it, so the checkout is not found through it.
    (site / "dependencies.pth").write_text(str(Path(pytest.__file__).parents[1]))
    return folder / "env" / "bin"


@pytest.mark.parametrize(
    "extra", tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
)
def test_names_of_extras_are_no_versions(extra: str) -> None:
    """pip 25.1, as it comes with Python 3.13, compares them as versions if they are, and installs nothing."""
    with pytest.raises(InvalidVersion):
        Version(extra)


@pytest.mark.slow
def test_wheel_trains_the_quickstart_without_the_checkout(installed: Path, tmp_path: Path) -> None:
    where = run(tmp_path, str(installed / "python"), "-c", "import yolox_jax; print(yolox_jax.__file__)")
    assert str(installed.parent) in where
    words = "train --config quickstart --workdir run --schedule.epochs 1 --schedule.warmup-epochs 0"
    words += f" --schedule.no-aug-epochs 0 --data.train.images {tmp_path}/shapes --data.val.images {tmp_path}/shapes"
    run(tmp_path, str(installed / "yolox-jax"), *words.split())
    assert (tmp_path / "run" / "last" / "weights.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "variant"), [("yolox_x", "yolox_x"), ("roadmap/simota", "yolox_darknet53")])
def test_wheel_knows_the_shipped_configs(installed: Path, tmp_path: Path, name: str, variant: str) -> None:
    text = run(tmp_path, str(installed / "yolox-jax"), "train", "--config", name, "--help")
    assert f"default: {variant}" in text


@pytest.mark.slow
def test_wheel_contains_the_web_page(installed: Path) -> None:
    (page,) = installed.parent.glob("lib/python*/site-packages/yolox_jax/export/web")
    files = {path.name for path in (CHECKOUT / "yolox_jax/export/web").iterdir()}
    assert {path.name for path in page.iterdir()} == files and "index.html" in files
