"""Published weights by name: fetched once into the user's cache, checked, and converted to safetensors.

Files of the network N in the folder `weights` of the user's cache (`$XDG_CACHE_HOME/yolox_jax`, or else
`~/.cache/yolox_jax`):

    N.safetensors   the weights. The .pth that they come from, which is up to twice as large, is not kept
    N.json          where the .pth came from, its SHA-256 at the first download, and that of N.safetensors
    N.lock          held by the process that fetches; the others wait for it
    .N-*            a download under way; what a killed process left is removed by the next one that fetches

The original publishes no checksums, so the first download is trusted as far as HTTPS is; later ones have to be equal.

Environment variables:

    YOLOX_JAX_WEIGHTS_URL   address of a folder that holds the same files, in place of the original's release. An
                            http:// address, which nothing protects on its way, is taken because you name it
    YOLOX_JAX_OFFLINE       1: nothing is fetched; what is in the cache is used
    https_proxy, no_proxy, SSL_CERT_FILE   as elsewhere
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from yolox_jax.files import user_cache
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
    """The published weights of a network in the user's cache; the first call fetches and converts them.

    Every call checks the file's SHA-256, which costs less than reading the weights does. Of several processes, one
    fetches. How to steer it is said at the top of this module.

    Args:
        variant: such as `yolox_s`.
        on_progress: see `yolox_jax.weights.download.OnProgress`; not called where nothing is fetched.

    Returns:
        A .safetensors file with the names of COCO's classes and the published input size.

    Raises:
        WeightsError: there are none of that name, or they cannot be had, are not what was recorded, or cannot be kept.
    """
    if variant not in VARIANTS:
        hint = f"; for a file, Detector(weights={variant!r})" if Path(variant).suffix or Path(variant).exists() else ""
        raise WeightsError(f"there are no published weights {variant!r}; choose one of {_names()}{hint}")
    place = _Place(user_cache() / "weights", variant)
    try:
        if not _is_whole(place):
            place.folder.mkdir(parents=True, exist_ok=True)
            with _locked(place):
                if not _is_whole(place):  # another process may just have made it
                    _fetch(place, on_progress)
    except OSError as error:
        raise WeightsError(
            f"the weights of {variant} cannot be kept in {place.folder}: {error.strerror or error}. Make room or give "
            "rights there, or name another cache folder in XDG_CACHE_HOME"
        ) from error
    return place.weights


@dataclasses.dataclass(frozen=True)
class _Place:
    """What belongs to a network in the cache."""

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
        """Where a user can put the published file; it is taken in place of a download, and left there."""
        return self.folder / self.published_name

    @property
    def ways_out(self) -> str:
        return (
            f"You can fetch {RELEASE_URL}/{self.published_name} yourself and put it at {self.by_hand}, name a mirror "
            f"in {MIRROR_VARIABLE}, or give the path of weights that you have"
        )

    def read_record(self) -> dict[str, str]:
        try:
            record = json.loads(self.record.read_text(encoding="utf-8"))
            if not isinstance(record["sha256"], str):
                raise TypeError
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError) as error:
            raise WeightsError(
                f"{self.record} is damaged; delete it, and the weights are fetched once more and recorded anew"
            ) from error
        return dict(record)


def _names() -> str:
    return ", ".join(VARIANTS)


def _is_whole(place: _Place) -> bool:
    """Whether the weights are there.

    Raises:
        WeightsError: if they are not as they were written.
    """
    expected = place.read_record().get("converted_sha256")
    if expected is None or not place.weights.is_file():
        return False
    if _sha256(place.weights) != expected:
        raise WeightsError(
            f"{place.weights} is damaged or was changed: its SHA-256 is not the one in {place.record}. Delete the "
            "first, and it is fetched once more"
        )
    return True


@contextlib.contextmanager
def _locked(place: _Place) -> Iterator[None]:
    """Keep other processes and threads from fetching the same; removes what killed ones left."""
    with place.lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked = True
        except BlockingIOError:
            logger.warning("another process is fetching the weights of %s: waiting for it", place.variant)
            fcntl.flock(file, fcntl.LOCK_EX)
            locked = True
        except OSError:  # a file system without locks: each process fetches for itself
            locked = False
        for left in place.folder.glob(f".{place.variant}-*") if locked else ():
            shutil.rmtree(left, ignore_errors=True)
        yield


def _fetch(place: _Place, on_progress: OnProgress | None) -> None:
    """Make the weights and their record; neither is ever seen half-written."""
    known = place.read_record()
    with tempfile.TemporaryDirectory(prefix=f".{place.variant}-", dir=place.folder) as name:
        scratch = Path(name)
        source, path, digest = _obtain(place, scratch, on_progress)
        state_dict = _read(path, place, source)
        if known.get("sha256", digest) != digest:
            raise WeightsError(
                f"{source} is not the file that was first fetched from {known.get('url')}: its SHA-256 is {digest}, "
                f"that of the first is {known['sha256']}. If you trust it, delete {place.record} and try again; "
                f"otherwise find out who changed it. {place.ways_out}"
            )
        variant = VARIANTS[place.variant]
        metadata = {
            "variant": place.variant,
            "num_classes": str(len(COCO_NAMES)),
            "class_names": json.dumps(COCO_NAMES),
            "input_size": json.dumps(variant.input_size),
        }
        converted = scratch / place.weights.name
        save_weights(converted, state_dict, metadata)
        # Weights count as there only once the record has their checksum. It is without one while they are replaced, so
        # that a process killed in between leaves nothing that contradicts itself.
        record = {"url": known.get("url", source), "sha256": digest}
        _write_record(place, scratch, record)
        record["converted_sha256"] = _sha256(converted)
        converted.replace(place.weights)
        _write_record(place, scratch, record)


def _obtain(place: _Place, scratch: Path, on_progress: OnProgress | None) -> tuple[str, Path, str]:
    """The published file: where it is from, where it lies, its SHA-256."""
    if place.by_hand.is_file():
        return str(place.by_hand), place.by_hand, _sha256(place.by_hand)
    url = f"{(os.environ.get(MIRROR_VARIABLE) or RELEASE_URL).rstrip('/')}/{place.published_name}"
    if os.environ.get(OFFLINE_VARIABLE, "0") not in ("", "0"):
        raise WeightsError(
            f"the weights of {place.variant} are not in {place.folder}, and {OFFLINE_VARIABLE} is set, so {url} is not "
            f"fetched. {place.ways_out}"
        )
    # A warning, as it is worth a line where nobody has set up logging: it takes a while, and 4 to 400 MB of the disk.
    logger.warning("fetching %s, once, into %s", url, place.folder)
    path = scratch / place.published_name
    try:
        return url, path, download(url, path, on_progress=on_progress)
    except WeightsError as error:
        raise WeightsError(f"{error}. {place.ways_out}") from error


def _read(path: Path, place: _Place, source: str) -> dict[str, np.ndarray]:
    """The tensors of a published file, after a look at whether it is the right one."""
    try:
        state_dict = read_pth(path)
        found = describe(state_dict)
    except WeightsError as error:
        why = str(error).replace(str(path), path.name)  # where it lies is gone when this is read
        raise WeightsError(f"{source} is not the published file: {why}. {place.ways_out}") from error
    if found != (place.variant, len(COCO_NAMES)):
        raise WeightsError(
            f"{source} is not the published file: it holds weights of {found[0]} with {found[1]} classes, not of "
            f"{place.variant} with {len(COCO_NAMES)}. {place.ways_out}"
        )
    # What nothing reads is left out, as in `export_state_dict`.
    return {key: array for key, array in state_dict.items() if not key.endswith(".num_batches_tracked")}


def _write_record(place: _Place, scratch: Path, record: dict[str, str]) -> None:
    written = scratch / place.record.name
    written.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    written.replace(place.record)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
