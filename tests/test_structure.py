"""The import rules: which packages may import which, and which dependencies the core needs."""

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from yolox_jax.cli.data import COMMANDS as DATA_COMMANDS
from yolox_jax.cli.main import COMMANDS

PACKAGE = Path(__file__).parents[1] / "yolox_jax"
FILES = sorted(PACKAGE.rglob("*.py"))

# From the bottom up; a room may import its own layer and those below. `data` has a rule of its own besides.
LAYERS = [
    {"config", "structures", "boxes", "anchors", "top_k", "files", "text"},
    {"data", "models", "assignment", "losses", "postprocess"},
    {"weights"},
    {"inference", "export"},
    {"evaluation"},
    {"training", "report"},
    {"cli", "__main__"},
]

# Packages that one place alone may know. The runners of exported files are programs of their own, made to be copied.
OWNERS: dict[str, str | tuple[str, ...]] = {
    "orbax": "training/checkpoints.py",
    "grain": "data/pipeline.py",
    "tensorflow_datasets": "data/sources/tfds_files.py",
    "wandb": "training/reporting/metric_writers.py",
    "mlflow": "training/reporting/metric_writers.py",
    "tyro": "cli/",
    "argparse": ("cli/", "export/yolox_detection.py"),
    "onnx": ("export/onnx", "export/coreml.py", "export/litert", "export/ncnn.py", "export/triton"),
    "coremltools": "export/coreml.py",
    "ai_edge_litert": "export/litert",
    "ncnn": "export/ncnn_runner.py",
    "onnxruntime": ("export/onnx_runner.py", "export/onnx_calibration.py"),
    "openvino": "export/onnx_runner.py",
}

CORE = ["models", "assignment", "losses", "postprocess", "training/step/"]
NOT_FOR_THE_CORE = [
    "grain",
    "orbax",
    "pycocotools",
    "cv2",
    "tyro",
    "tensorflow_datasets",
    "PIL",
    "matplotlib",
    "tensorboardX",
    "wandb",
    "mlflow",
    "safetensors",
    "onnx",
    "onnxruntime",
]

BLOCKED_IMPORTS = """
import importlib, importlib.abc, sys

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ModuleNotFoundError("blocked: " + name, name=name)

sys.meta_path.insert(0, Blocker())
for name in {modules}:
    importlib.import_module(name)
"""


def room(path: Path) -> str:
    """The first part of a path inside the package: `models` for models/head.py, `boxes` for boxes.py."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def layer(name: str) -> int:
    """The height of a room; a new one has to be given its place in LAYERS."""
    return next(height for height, rooms in enumerate(LAYERS) if name in rooms)


def imports(path: Path) -> Iterator[str]:
    """Full names of what a file imports, wherever in the file, as `yolox_jax.models.head`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def rooms_imported(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imports(path) if name.startswith("yolox_jax.")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    if path == PACKAGE / "__init__.py":
        return  # resolves the public names on first use
    for imported in rooms_imported(path):
        assert layer(imported) <= layer(room(path)), f"{path} may not import yolox_jax.{imported}"


def modules_imported(path: Path) -> Iterator[Path]:
    """The files of the package that a file imports when it is loaded, not those imported later inside a function."""
    for node in ast.parse(path.read_text()).body:
        for alias in node.names if isinstance(node, ast.ImportFrom) else ():
            for name in (f"{node.module}.{alias.name}", str(node.module)):  # a module of a package, or a name in one
                module = PACKAGE.parent / name.replace(".", "/")
                files = [file for file in (module.with_suffix(".py"), module / "__init__.py") if file in FILES]
                if files:
                    yield from files
                    break


def test_no_import_runs_in_a_circle() -> None:
    done: set[Path] = set()

    def visit(path: Path, trail: tuple[Path, ...]) -> None:
        assert path not in trail, " -> ".join(str(step.relative_to(PACKAGE)) for step in (*trail, path))
        if path not in done:
            for imported in modules_imported(path):
                visit(imported, (*trail, path))
            done.add(path)

    for path in FILES:
        visit(path, ())


def test_at_most_eight_modules_lie_outside_the_packages() -> None:
    loose = {path.stem for path in FILES if path.parent == PACKAGE} - {"__init__", "__main__"}
    assert len(loose) <= 8, loose


@pytest.mark.parametrize("path", [path for path in FILES if room(path) == "data"], ids=lambda path: path.name)
def test_data_knows_config_and_no_jax(path: Path) -> None:
    assert rooms_imported(path) <= {"data", "config", "files", "text"}
    assert {name.split(".")[0] for name in imports(path)}.isdisjoint({"jax", "flax", "optax", "orbax"})


@pytest.mark.parametrize(
    "format, runtimes",
    [
        ("onnx", {"onnxruntime", "openvino", "tensorrt", "cuda", "onnx"}),
        ("stablehlo", {"jax"}),
        ("litert", {"ai_edge_litert"}),
        ("ncnn", {"ncnn"}),
        ("triton", set()),
    ],
)
def test_runners_know_nothing_of_the_package_but_what_is_copied_with_them(format: str, runtimes: set[str]) -> None:
    shared = "yolox_jax.export.yolox_detection"
    names = [name for name in imports(PACKAGE / f"export/{format}_runner.py") if not name.startswith(shared)]
    assert packages(names) == {"numpy", "yolox_detection"} | runtimes
    assert packages(imports(PACKAGE / "export/yolox_detection.py")) == {"cv2", "numpy"}


def packages(names: Iterable[str]) -> set[str]:
    """The packages of imported names, without those of Python."""
    return {name.split(".")[0] for name in names} - set(sys.stdlib_module_names)


@pytest.mark.parametrize("path", [path for path in FILES if room(path) == "cli"], ids=lambda path: path.name)
def test_commands_import_no_other_command_and_draw_nothing(path: Path) -> None:
    commands = {name.replace("-", "_") for name in COMMANDS} | {f"data_{name}" for name in DATA_COMMANDS}
    modules = {name.removeprefix("yolox_jax.cli.").split(".")[0] for name in imports(path) if "yolox_jax.cli." in name}
    assert modules.isdisjoint(commands)
    assert "cv2" not in {name.split(".")[0] for name in imports(path)}


@pytest.mark.parametrize("package", OWNERS)
def test_only_one_place_knows(package: str) -> None:
    users = [
        str(path.relative_to(PACKAGE)) for path in FILES if package in {name.split(".")[0] for name in imports(path)}
    ]
    assert [user for user in users if not user.startswith(OWNERS[package])] == []


def test_core_imports_without_the_packages_of_the_other_rooms() -> None:
    files = [file for part in CORE for file in FILES if str(file.relative_to(PACKAGE)).startswith(part)]
    parts = [file.relative_to(PACKAGE.parent).with_suffix("").parts for file in files]
    modules = [".".join(part for part in names if part != "__init__") for names in parts]
    assert {name.split(".")[1] for name in modules} == {part.split("/")[0] for part in CORE}
    script = BLOCKED_IMPORTS.format(blocked=NOT_FOR_THE_CORE, modules=modules)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
