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

from yolox_jax.data.user_cache import user_cache
from yolox_jax.files import atomic_write, lock_file, write_json
from yolox_jax.models import VARIANTS
from yolox_jax.weights.coco_names import COCO_NAMES
from yolox_jax.weights.download import OnProgress, download
from yolox_jax.weights.errors import WeightsError
from yolox_jax.weights.files import save_weights
from yolox_jax.weights.names import describe
from yolox_jax.weights.pth import read_pth

RELEASE_URL = "https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0"
MIRROR_VARIABLE = "YOLOX_JAX_WEIGHTS_URL"
OFFLINE_VARIABLE = "YOLOX_JAX_OFFLINE"

logger = logging.getLogger("yolox_jax.weights")


def resolve(weights: str | Path, *, on_progress: OnProgress | None = None) -> Path:
    """The path of weights that are given by path or by name, fetched where needed.

    Args:
        weights: a path, or the name of a published network; a file or folder of that name comes first.
        on_progress: see `yolox_jax.weights.download.OnProgress`; not called where nothing is fetched.

    Raises:
        FileNotFoundError: if a bare word is neither.
        WeightsError: as `published_weights`.
    """
    path = Path(weights)
    if path.exists() or path.suffix or len(path.parts) > 1:
        return path
    if str(weights) in VARIANTS:
        return published_weights(str(weights), on_progress=on_progress)
    raise FileNotFoundError(f"there is no weights file {path}, and by that name none are published: {_names()} are")


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
    place = _Place(user_cache() / "weights", variant)
    try:
        if not _is_complete(place):
            place.folder.mkdir(parents=True, exist_ok=True)
            with _locked(place):
                if not _is_complete(place):  # another process may have downloaded them meanwhile
                    _fetch(place, on_progress)
    except OSError as error:
        raise WeightsError(
            f"the weights of {variant} cannot be stored in {place.folder}: {error.strerror or error}. Free disk space, "
            "make the folder writable, or set XDG_CACHE_HOME to another folder"
        ) from error
    return place.weights


@dataclasses.dataclass(frozen=True)
class _Place:
    """The files of a network in the cache."""

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
            "mirror, or pass the path of weights that you have"
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


def _is_complete(place: _Place) -> bool:
    """Whether the weights have been downloaded.

    Raises:
        WeightsError: they differ from what was written.
    """
    expected = place.read_record().get("converted_sha256")
    if expected is None or not place.weights.is_file():
        return False
    if _sha256(place.weights) != expected:
        raise WeightsError(
            f"{place.weights} is damaged or was changed: its SHA-256 differs from the one in {place.record}. Delete "
            f"{place.weights.name} to download it again"
        )
    return True


@contextlib.contextmanager
def _locked(place: _Place) -> Iterator[None]:
    """Lock out other processes and threads, and remove what killed ones left behind."""
    with place.lock.open("a") as file:
        try:
            lock_file(file, wait=False)
            is_locked = True
        except BlockingIOError:
            logger.warning("waiting for another process that is downloading the weights of %s", place.variant)
            lock_file(file)
            is_locked = True
        except OSError:  # the file system has no locks: each process downloads for itself
            is_locked = False
        for leftover in place.folder.glob(f".{place.variant}-*") if is_locked else ():
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)
        yield


def _fetch(place: _Place, on_progress: OnProgress | None) -> None:
    """Download and convert the weights, and record their checksums."""
    known = place.read_record()
    with tempfile.TemporaryDirectory(prefix=f".{place.variant}-", dir=place.folder) as name:
        scratch = Path(name)
        source, path, digest = _obtain(place, scratch, on_progress)
        state_dict = _read(path, place, source)
        if known.get("sha256", digest) != digest:
            raise WeightsError(
                f"{source} is not the file that was first downloaded from {known.get('url')}: its SHA-256 is {digest}, "
                f"that of the first is {known['sha256']}. If you trust it, delete {place.record} and try again. "
                f"{place.ways_out}"
            )
        variant = VARIANTS[place.variant]
        metadata = {
            "variant": place.variant,
            "num_classes": str(len(COCO_NAMES)),
            "class_names": json.dumps(COCO_NAMES),
            "input_size": json.dumps(variant.input_size),
        }
        record = {"url": known.get("url", source), "sha256": digest}
        with atomic_write(place.weights) as converted:
            save_weights(converted, state_dict, metadata)
            converted_sha256 = _sha256(converted)
            # Weights are used only if the record has their checksum. It has none while they are replaced, so that a
            # process killed in between leaves no contradiction.
            _write_record(place, record)
        _write_record(place, {**record, "converted_sha256": converted_sha256})


def _obtain(place: _Place, scratch: Path, on_progress: OnProgress | None) -> tuple[str, Path, str]:
    """Return the source, the path and the SHA-256 of the published file."""
    if place.by_hand.is_file():
        return str(place.by_hand), place.by_hand, _sha256(place.by_hand)
    url = f"{(os.environ.get(MIRROR_VARIABLE) or RELEASE_URL).rstrip('/')}/{place.published_name}"
    if os.environ.get(OFFLINE_VARIABLE, "0") not in ("", "0"):
        raise WeightsError(
            f"the weights of {place.variant} are not in {place.folder}, and {url} is not downloaded because "
            f"{OFFLINE_VARIABLE} is set. {place.ways_out}"
        )
    # A warning, so that it is seen without any logging setup: this takes a while, and 4 to 400 MB of disk space.
    logger.warning("downloading %s to %s", url, place.folder)
    path = scratch / place.published_name
    try:
        return url, path, download(url, path, on_progress=on_progress)
    except WeightsError as error:
        raise WeightsError(f"{error}. {place.ways_out}") from error


def _read(path: Path, place: _Place, source: str) -> dict[str, np.ndarray]:
    """Read the tensors of a published file, and check that they are those of the variant."""
    try:
        state_dict = read_pth(path)
        actual = describe(state_dict)
    except WeightsError as error:
        why = str(error).replace(str(path), path.name)  # the temporary folder is removed
        raise WeightsError(f"{source} is not the published file: {why}. {place.ways_out}") from error
    if actual != (place.variant, len(COCO_NAMES)):
        raise WeightsError(
            f"{source} is not the published file: it contains weights of {actual[0]} with {actual[1]} classes, not of "
            f"{place.variant} with {len(COCO_NAMES)}. {place.ways_out}"
        )
    # As in `export_state_dict`, entries that are never used are omitted.
    return {key: array for key, array in state_dict.items() if not key.endswith(".num_batches_tracked")}


def _write_record(place: _Place, record: dict[str, str]) -> None:
    with atomic_write(place.record) as temporary:
        write_json(temporary, record, indent=2)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
