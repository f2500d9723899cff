"""Published weights by name: downloaded once to the user's cache, verified, and converted to safetensors.

Files of network N in the folder `weights` of the user's cache (`$XDG_CACHE_HOME/yolox_jax`, or else
`~/.cache/yolox_jax`):

    N.safetensors   the weights. The original .pth, which is up to twice as large, is not kept
    N.json          source of the .pth, its SHA-256 at the first download, and the SHA-256 of N.safetensors
    N.lock          locked by the process that downloads, while the others wait
    .N-*            files of a running download. The next download removes those of a killed process

The original publishes no checksums, so the first download is trusted because of HTTPS. Later ones must be identical.

Environment variables:

    YOLOX_JAX_WEIGHTS_URL   URL of a folder with the same files, instead of the original's release. An http:// URL is
                            allowed, although nothing protects the transfer
    YOLOX_JAX_OFFLINE       1: nothing is downloaded; only the cache is used
    https_proxy, no_proxy, SSL_CERT_FILE   as usual
"""

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from yolox_jax.config.names import is_known_name, warn_if_shadowed
from yolox_jax.files import atomic_write, expand_home, lock_file, user_cache, write_json
from yolox_jax.models import VARIANTS
from yolox_jax.text import NOTICE
from yolox_jax.weights.coco_names import COCO_NAMES
from yolox_jax.weights.description import Description, describe
from yolox_jax.weights.download import OnProgress, download
from yolox_jax.weights.errors import WeightsError
from yolox_jax.weights.files import save_weights
from yolox_jax.weights.pth import read_pth

RELEASE_URL = "https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0"
MIRROR_VARIABLE = "YOLOX_JAX_WEIGHTS_URL"
OFFLINE_VARIABLE = "YOLOX_JAX_OFFLINE"

logger = logging.getLogger("yolox_jax.weights")


def resolve(weights: str | Path, *, on_progress: OnProgress | None = None) -> Path:
    """The path of weights given by path or by name; published weights are downloaded on first use.

    Args:
        weights: the name of a published network or a path. A name takes precedence over a file or folder of the same
            name: `yolox_s` is the published network, `./yolox_s` the path. A `Path` object is always a path.
        on_progress: see `yolox_jax.weights.download.OnProgress`; not called if nothing is downloaded.

    Raises:
        FileNotFoundError: a bare word is neither a published name nor an existing path.
        WeightsError: as `published_weights`.
    """
    if is_known_name(weights, VARIANTS):
        warn_if_shadowed(str(weights), "the published weights")
        return published_weights(str(weights), on_progress=on_progress)
    path = expand_home(weights)
    if path.exists() or path.suffix or len(path.parts) > 1 or str(weights).startswith("."):
        return path
    raise FileNotFoundError(
        f"there are no weights {path}: no such file or folder, and no published weights of that "
        f"name. Published are {_names()}"
    )


def published_weights(variant: str, *, on_progress: OnProgress | None = None) -> Path:
    """Return the path of published weights in the user's cache. The first call downloads and converts them.

    Every call verifies the SHA-256 of the file, which takes less time than reading the weights. If several processes
    call this, one downloads. The docstring of this module lists the environment variables.

    Args:
        variant: such as `yolox_s`.
        on_progress: called during a download, see `yolox_jax.weights.download.OnProgress`.

    Returns:
        A .safetensors file with COCO's class names and the published input size.

    Raises:
        WeightsError: no weights of this name are published, or they cannot be downloaded, verified or stored.
    """
    if variant not in VARIANTS:
        hint = (
            f", or pass a file with Detector(weights={variant!r})"
            if Path(variant).suffix or Path(variant).exists()
            else ""
        )
        raise WeightsError(f"there are no published weights {variant!r}. Choose one of {_names()}{hint}")
    files = _Files(user_cache() / "weights", variant)
    try:
        if not _is_complete(files):
            files.folder.mkdir(parents=True, exist_ok=True)
            with _locked(files):
                if not _is_complete(files):  # another process may have downloaded them meanwhile
                    _fetch(files, on_progress)
    except OSError as error:
        raise WeightsError(
            f"the weights of {variant} cannot be stored in {files.folder}: {error.strerror or error}. Free disk space, "
            "make the folder writable, or set XDG_CACHE_HOME to another folder"
        ) from error
    return files.weights


@dataclasses.dataclass(frozen=True)
class _Files:
    """Cached files of a published network."""

    folder: Path
    variant: str

    @property
    def weights(self) -> Path:
        return self.folder / f"{self.variant}.safetensors"

    @property
    def record(self) -> Path:
        return self.folder / f"{self.variant}.json"

    @property
    def lock(self) -> Path:
        return self.folder / f"{self.variant}.lock"

    @property
    def published_name(self) -> str:
        return f"{self.variant.removesuffix('53')}.pth"

    @property
    def by_hand(self) -> Path:
        """Where users can put the published file. It replaces a download, and is not removed."""
        return self.folder / self.published_name

    @property
    def ways_out(self) -> str:
        return (
            f"Download {RELEASE_URL}/{self.published_name} yourself to {self.by_hand}, set {MIRROR_VARIABLE} to a "
            "mirror, or pass the path of weights you already have"
        )

    def read_record(self) -> dict[str, str]:
        try:
            record = json.loads(self.record.read_text(encoding="utf-8"))
            if not isinstance(record["sha256"], str):
                raise TypeError
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError) as error:
            raise WeightsError(f"{self.record} is damaged. Delete it to download the weights again") from error
        return dict(record)


def _names() -> str:
    return ", ".join(VARIANTS)


def _is_complete(files: _Files) -> bool:
    """Whether the weights have been downloaded.

    Raises:
        WeightsError: they differ from what was written.
    """
    expected = files.read_record().get("converted_sha256")
    if expected is None or not files.weights.is_file():
        return False
    if _sha256(files.weights) != expected:
        raise WeightsError(
            f"{files.weights} is damaged or was changed: its SHA-256 differs from the one in {files.record}. Delete "
            f"{files.weights.name} to download it again"
        )
    return True


@contextlib.contextmanager
def _locked(files: _Files) -> Iterator[None]:
    """Lock out other processes and threads, and remove what killed ones left behind."""
    with files.lock.open("a") as file:
        try:
            lock_file(file, wait=False)
            is_locked = True
        except BlockingIOError:
            logger.warning("waiting for another process that is downloading %s", files.published_name, extra=NOTICE)
            lock_file(file)
            is_locked = True
        except OSError:  # the file system has no locks: each process downloads for itself
            is_locked = False
        for leftover in files.folder.glob(f".{files.variant}-*") if is_locked else ():
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)
        yield


def _fetch(files: _Files, on_progress: OnProgress | None) -> None:
    """Download and convert the weights, and record their checksums."""
    known = files.read_record()
    with tempfile.TemporaryDirectory(prefix=f".{files.variant}-", dir=files.folder) as name:
        scratch = Path(name)
        source, path, digest = _obtain(files, scratch, on_progress)
        state_dict = _read(path, files, source)
        if known.get("sha256", digest) != digest:
            raise WeightsError(
                f"{source} is not the file that was first downloaded from {known.get('url')}: its SHA-256 is {digest}, "
                f"that of the first is {known['sha256']}. If you trust it, delete {files.record} and try again. "
                f"{files.ways_out}"
            )
        variant = VARIANTS[files.variant]
        metadata = {
            "variant": files.variant,
            "num_classes": str(len(COCO_NAMES)),
            "class_names": json.dumps(COCO_NAMES),
            "input_size": json.dumps(variant.input_size),
        }
        record = {"url": known.get("url", source), "sha256": digest}
        with atomic_write(files.weights) as converted:
            save_weights(converted, state_dict, metadata)
            converted_sha256 = _sha256(converted)
            # Weights are used only if the record has their checksum. It has none while they are replaced, so that a
            # process killed in between leaves no contradiction.
            _write_record(files, record)
        _write_record(files, {**record, "converted_sha256": converted_sha256})


def _obtain(files: _Files, scratch: Path, on_progress: OnProgress | None) -> tuple[str, Path, str]:
    """Return the source, the path and the SHA-256 of the published file."""
    if files.by_hand.is_file():
        return str(files.by_hand), files.by_hand, _sha256(files.by_hand)
    url = f"{(os.environ.get(MIRROR_VARIABLE) or RELEASE_URL).rstrip('/')}/{files.published_name}"
    if os.environ.get(OFFLINE_VARIABLE, "0") not in ("", "0"):
        raise WeightsError(
            f"the weights of {files.variant} are not in {files.folder}, and {url} is not downloaded because "
            f"{OFFLINE_VARIABLE} is set. {files.ways_out}"
        )
    # A warning, so that it is seen without any logging setup: this takes a while, and 4 to 400 MB of disk space.
    logger.warning("Downloading %s (once) from %s to %s", files.published_name, url, files.folder, extra=NOTICE)
    path = scratch / files.published_name
    try:
        return url, path, download(url, path, on_progress=on_progress)
    except WeightsError as error:
        raise WeightsError(f"{error}. {files.ways_out}") from error


def _read(path: Path, files: _Files, source: str) -> dict[str, np.ndarray]:
    """Read the tensors of a published file, and check that they are those of the variant."""
    try:
        state_dict = read_pth(path)
        actual = describe(state_dict)
    except WeightsError as error:
        why = str(error).replace(str(path), path.name)  # the temporary folder is removed
        raise WeightsError(f"{source} is not the published file: {why}. {files.ways_out}") from error
    expected = Description(files.variant, len(COCO_NAMES))
    if actual != expected:
        raise WeightsError(
            f"{source} is not the published file: it contains weights of {actual}, not of {expected}. {files.ways_out}"
        )
    # As in `export_state_dict`, entries that are never used are omitted.
    return {key: array for key, array in state_dict.items() if not key.endswith(".num_batches_tracked")}


def _write_record(files: _Files, record: dict[str, str]) -> None:
    with atomic_write(files.record) as temporary:
        write_json(temporary, record, indent=2)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
