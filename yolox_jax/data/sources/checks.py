"""Checks and repairs that the readers of all formats share."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import Bool, Float64

from yolox_jax.config import DatasetConfig
from yolox_jax.data.dataset import DataError
from yolox_jax.data.sources.foreign_paths import file_names
from yolox_jax.data.sources.remarks import RemarkKind, Remarks
from yolox_jax.text import counted

CLIP_TOLERANCE_PX = 0.05
"""Boxes that extend beyond their image by less than this are clipped silently, because COCO rounds to two decimals."""

NO_AREA, OUTSIDE, PARTLY_OUTSIDE = "boxes without area", "boxes outside their image", "boxes partly outside their image"
"""Kinds of boxes that every reader repairs."""


@dataclasses.dataclass(frozen=True)
class Repair:
    """An entry that a reader corrected or dropped."""

    kind: str
    """What was wrong in a few words, the same for all repairs of this kind."""
    where: str
    """The entry, such as its annotation id."""
    path: Path
    """The image."""
    box_xyxy: tuple[float, float, float, float]
    """As annotated, in px."""


@dataclasses.dataclass(eq=False)
class ErrorHandler:
    """What a reader does about invalid entries: it reads each entry inside `with errors:`.

    By default the first DataError propagates. With `collect`, the error is kept, its entry is left out, and reading
    continues with the next entry.
    """

    collect: bool = False
    collected: list[DataError] = dataclasses.field(default_factory=list)
    """All errors; filled with `collect` only."""
    repairs: list[Repair] = dataclasses.field(default_factory=list)
    """All repairs; filled with `collect` only."""
    remarks: dict[RemarkKind, list[str]] = dataclasses.field(default_factory=dict)
    """All remarks by kind; filled with `collect` only."""

    def __enter__(self) -> "ErrorHandler":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not self.collect or not isinstance(error, DataError):
            return False
        self.collected.append(error.with_traceback(None))  # a traceback would keep the reader's data alive
        return True

    def start_remarks(self) -> Remarks:
        """Return an empty collection of remarks for one dataset."""
        return Remarks(self.remarks if self.collect else None)

    def note_repair(self, kind: str, where: str, path: Path, box_xyxy: Sequence[float]) -> None:
        """Record a repair; the arguments are the fields of `Repair`."""
        if self.collect:
            x1, y1, x2, y2 = map(float, box_xyxy)
            self.repairs.append(Repair(kind, where, path, (x1, y1, x2, y2)))


RAISE_AT_FIRST = ErrorHandler()
"""Raises the first error and records nothing, so that all readers can share it."""


@dataclasses.dataclass
class BoxCleaner:
    """Clips boxes to their images, finds boxes without area, and counts both for the warnings of a dataset."""

    errors: ErrorHandler = RAISE_AT_FIRST
    clipped: int = 0
    dropped: int = 0
    first_clipped: str = ""
    first_dropped: str = ""

    def clean(
        self, boxes_xyxy: Float64[np.ndarray, "N 4"], height: int, width: int, where: list[str], path: Path
    ) -> tuple[Float64[np.ndarray, "N 4"], Bool[np.ndarray, " N"]]:
        """Clip the boxes of one image.

        Args:
            boxes_xyxy: in px.
            height: of the image.
            width: of the image.
            where: what messages call each box.
            path: of the image.

        Returns:
            The clipped boxes, and which of them still have an area.
        """
        limit = np.array([width, height, width, height], np.float64)
        clipped = np.clip(boxes_xyxy, 0.0, limit)
        over = (np.abs(clipped - boxes_xyxy) > CLIP_TOLERANCE_PX).any(axis=1)
        # Records store float32, in which a tiny area may vanish.
        single = clipped.astype(np.float32)
        keep = (single[:, 2] > single[:, 0]) & (single[:, 3] > single[:, 1])
        if over.any():
            self.first_clipped = self.first_clipped or where[int(over.argmax())]
            self.clipped += int(over.sum())
        if not keep.all():
            self.first_dropped = self.first_dropped or where[int(keep.argmin())]
            self.dropped += int((~keep).sum())
        for index in np.flatnonzero(over | ~keep).tolist():
            box = boxes_xyxy[index]
            kind = PARTLY_OUTSIDE if keep[index] else OUTSIDE if (box[2:] > box[:2]).all() else NO_AREA
            self.errors.note_repair(kind, where[index], path, box.tolist())
        return clipped, keep

    def warnings(self) -> tuple[str, ...]:
        """Return one sentence for each kind of repair that was made."""
        sentences = []
        if self.clipped:
            sentences.append(
                f"clipped {counted(self.clipped, 'box to its image', 'boxes to their images')} (first: "
                f"{self.first_clipped})"
            )
        if self.dropped:
            boxes = counted(self.dropped, "box", "boxes")
            sentences.append(f"ignored {boxes} without area in the image (first: {self.first_dropped})")
        return tuple(sentences)


def leaves_out_difficult(config: DatasetConfig) -> bool:
    """Return whether a dataset is read without its difficult objects; COCO has no such mark."""
    return config.difficult == "ignore" and config.format in ("voc", "tfds")


def missing_files(paths: Iterable[Path]) -> list[Path]:
    """Return the files that do not exist.

    Each folder is listed once: that takes a second for 100,000 files, where one query a file takes many.
    """
    paths = list(paths)
    present = {folder: file_names(folder, folders=False) for folder in {path.parent for path in paths}}
    return [path for path in paths if path.name not in present[path.parent]]


def check_images_exist(entries: Mapping[Path, str], listed_in: str, way_out: str) -> None:
    """Check that all image files exist, before any work starts.

    Args:
        entries: for each image file, the entry of the annotations that names it.
        listed_in: the file or folder that holds those entries.
        way_out: what to do about missing files, such as `check --data.train.images`.

    Raises:
        DataError: naming the first missing files.
    """
    missing = missing_files(entries)
    if not missing:
        return
    first = ", ".join(f"{path} ({entries[path]})" for path in missing[:3])
    raise DataError(
        f"{listed_in} names {len(missing)} of {len(entries)} image files that do not exist: {first}"
        f"{', ...' if len(missing) > 3 else ''}. {way_out[0].upper()}{way_out[1:]}.",
        kind="missing image files",
        each=[f"{listed_in}: {entries[path]}: the file {path} does not exist; {way_out}" for path in missing],
    )
