"""The files of ONNX Runtime Web, which computes networks in a browser: from the user's cache, or a folder.

The first use downloads the package from the npm registry to the folder `onnxruntime-web` of the user's cache
(`$XDG_CACHE_HOME/yolox_jax`, or else `~/.cache/yolox_jax`), where a file that was put there by hand serves as well.
Every use checks its SHA-512, which the registry publishes: `npm view onnxruntime-web@VERSION dist.integrity`.
`YOLOX_JAX_OFFLINE=1` disables the download.
"""

import base64
import hashlib
import logging
import os
import shutil
import tarfile
from pathlib import Path

from yolox_jax.config import ConfigError
from yolox_jax.files import atomic_write, user_cache
from yolox_jax.text import NOTICE
from yolox_jax.weights.download import OnProgress, download
from yolox_jax.weights.errors import WeightsError
from yolox_jax.weights.published import OFFLINE_VARIABLE

VERSION = "1.30.0"
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
URL = f"https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
FILES = (
    # For WebAssembly alone, half as large.
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
    # For WebGPU; loaded if it is selected.
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)
"""What the page loads, of the folder `dist` of the package."""

logger = logging.getLogger("yolox_jax.export")


def find_runtime(folder: Path | None, *, on_progress: OnProgress | None = None) -> Path:
    """Return where `copy_runtime` finds the files; the package is downloaded if need be.

    Args:
        folder: the npm package as it was unpacked, such as `node_modules/onnxruntime-web`, or its folder `dist`. None
            for the package in the user's cache.
        on_progress: called during a download.

    Returns:
        The folder of the files, or the package as one file.

    Raises:
        ConfigError: a file is missing in the folder, or the package is damaged or cannot be downloaded or stored.
    """
    if folder is not None:
        found = folder / "dist" if (folder / "dist").is_dir() else folder
        missing = [name for name in FILES if not (found / name).is_file()]
        if missing:
            raise ConfigError(
                f"--onnxruntime-web {folder} must be the npm package onnxruntime-web, version {VERSION}, or its folder "
                f"dist; it has no {', '.join(missing)}"
            )
        return found
    package = user_cache() / "onnxruntime-web" / f"onnxruntime-web-{VERSION}.tgz"
    try:
        if not package.is_file():
            package.parent.mkdir(parents=True, exist_ok=True)
            _fetch(package, on_progress)
        elif _integrity(package) != INTEGRITY:
            raise ConfigError(f"{package} is damaged or was changed. Delete it to download it again")
    except OSError as error:
        raise ConfigError(
            f"{package} cannot be stored: {error.strerror or error}. Free disk space, make the folder writable, or set "
            "XDG_CACHE_HOME to another folder"
        ) from error
    return package


def copy_runtime(source: Path, folder: Path) -> None:
    """Copy `FILES` into an existing folder from where `find_runtime` found them."""
    if source.is_dir():
        for name in FILES:
            shutil.copyfile(source / name, folder / name)
        return
    with tarfile.open(source) as package:
        for name in FILES:
            content = package.extractfile(f"package/dist/{name}")
            assert content is not None, name  # a file, as the checksum of the package says
            with (folder / name).open("wb") as copy:
                shutil.copyfileobj(content, copy)


def _fetch(package: Path, on_progress: OnProgress | None) -> None:
    ways_out = (
        f"Download {URL} yourself to {package.parent}, or pass the folder of the unpacked package with "
        "--onnxruntime-web"
    )
    if os.environ.get(OFFLINE_VARIABLE, "0") not in ("", "0"):
        raise ConfigError(
            f"ONNX Runtime Web is not in {package.parent}, and {URL} is not downloaded because {OFFLINE_VARIABLE} is "
            f"set. {ways_out}"
        )
    # A warning, so that it is seen without any logging setup: the package has 33 MB.
    logger.warning("Downloading ONNX Runtime Web (once) from %s to %s", URL, package.parent, extra=NOTICE)
    with atomic_write(package) as temporary:
        try:
            download(URL, temporary, on_progress=on_progress)
        except WeightsError as error:
            raise ConfigError(f"{error}. {ways_out}") from error
        if (actual := _integrity(temporary)) != INTEGRITY:
            raise ConfigError(f"{URL} is not the published package: its integrity is {actual}. {ways_out}")


def _integrity(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha512").digest()
    return f"sha512-{base64.b64encode(digest).decode()}"
