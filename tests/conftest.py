"""Fixtures that several tests share, and the type checker for array shapes."""

import os
from pathlib import Path

# Each run of the trainer compiles its step anew; with this, the same step once for all tests.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "jax"))

# No test fetches weights unawares; those of fetching take it away.
os.environ["YOLOX_JAX_OFFLINE"] = "1"

# The shapes in signatures are checked while tests run; the hook must be in place before the package is imported.
from jaxtyping import install_import_hook

install_import_hook("yolox_jax", "type_checker.checker")

import pytest  # noqa: E402


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with real images and weights, which are not part of the repository."""
    folder = Path(os.environ.get("YOLOX_JAX_SHARED", Path(__file__).parents[2] / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"real images and weights are missing: no folder {folder}/data (set YOLOX_JAX_SHARED to it)")
    return folder
