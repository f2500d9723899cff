"""Augmentation of the user's own: functions that change single images before, or whole samples after the mosaic.

A hook is a function of an image, its boxes, their classes and a random generator, and returns the first three:

    def fn(image, boxes, classes, rng): return image, boxes, classes

image: uint8 [H, W, 3], BGR, or as `data.channels` and `data.bits` say; boxes: float32 [N, 4], x1, y1, x2, y2 in px;
classes: int32 [N]. It may write to them. A sample stays a function of the seed and its place in the run as long as the
hook takes all randomness from `rng`.
"""

import dataclasses
import functools
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import UInt

from yolox_jax.config import AugmentConfig, ConfigError
from yolox_jax.data.augment.objects import Objects
from yolox_jax.data.augment.paint import Placement
from yolox_jax.data.dataset import DataError, Dataset, Record
from yolox_jax.data.image import BrokenImage, Pixels
from yolox_jax.data.letterbox import resize_to_fit
from yolox_jax.data.loader import ImageLoader
from yolox_jax.data.pixel_format import PixelFormat
from yolox_jax.data.python_values import checked_image, checked_objects

Stage = Literal["before_mosaic", "after_mosaic"]
Hook = Callable[[np.ndarray, np.ndarray, np.ndarray, np.random.Generator], tuple[Any, Any, Any]]


@dataclasses.dataclass(frozen=True)
class Hooks:
    """The hooks of a run. `checked_hooks` makes them from what a user passes."""

    before_mosaic: Hook | None = None
    """Called with each image that a sample is made from, as loaded; it may return an image of another size."""
    after_mosaic: Hook | None = None
    """Called with each sample after all other augmentation, in the last epochs too; it must return the same size."""

    @property
    def names(self) -> dict[str, str]:
        """The name of the function of each stage that has one."""
        hooks = {stage: getattr(self, stage) for stage in get_args(Stage)}
        return {stage: _name(hook) for stage, hook in hooks.items() if hook is not None}


NO_HOOKS = Hooks()


def checked_hooks(augment: Any, num_workers: int) -> Hooks:
    """Check the argument `augment` of `train`.

    Args:
        augment: should be a dict with the function of each stage, or None.
        num_workers: processes that load images, to which the functions are sent.

    Raises:
        ConfigError: it is no dict, there is no such stage, or it has no function, or one that cannot be sent to a
            process.
    """
    if augment is not None and not isinstance(augment, Mapping):
        raise ConfigError(
            f"augment must be a dict of stages and functions, such as {{'after_mosaic': function}}, got {augment!r}"
        )
    for stage, hook in (augment or {}).items():
        where = f"augment[{stage!r}]"
        if stage not in get_args(Stage):
            raise ConfigError(f"{where}: there is no such stage; pass {' or '.join(get_args(Stage))}")
        if not callable(hook):
            raise ConfigError(f"{where} must be a function of (image, boxes, classes, rng), got {hook!r}")
        if num_workers:
            check_picklable(hook, f"{where}: {_name(hook)}", num_workers)
    return Hooks(**dict(augment or {}))


def check_drawing(hooks: Hooks, config: AugmentConfig) -> None:
    """Check that the pixels that hooks change are those of the host.

    Raises:
        ConfigError: the device draws the samples that a hook would change.
    """
    if hooks.after_mosaic is not None and config.on == "device":
        raise ConfigError(
            f"augment['after_mosaic']: {_name(hooks.after_mosaic)} changes finished samples on the host, but with "
            "--data.augment.on device they are drawn on the device. Drop this function, or pass it as 'before_mosaic', "
            "which changes the images that samples are made from, or set --data.augment.on host"
        )
    if hooks.before_mosaic is not None and config.on == "device" and config.partners == "batch":
        raise ConfigError(
            f"augment['before_mosaic']: {_name(hooks.before_mosaic)} changes an image for each sample that shows it, "
            "but with --data.augment.on device and --data.augment.partners batch samples share their images. Drop this "
            "function, or set --data.augment.on host or --data.augment.partners dataset"
        )


def check_picklable(value: object, what: str, num_workers: int) -> None:
    """Check that something of the user's can be sent to the processes that load images.

    Raises:
        ConfigError: it cannot be pickled; `what` is what the message calls it.
    """
    try:
        pickle.Pickler(_Nowhere()).dump(value)
    except Exception as error:  # whatever its own code raises
        raise ConfigError(
            f"{what} cannot be sent to the processes of --data.num-workers {num_workers} ({error}). Define functions "
            "and classes at the top level of a module, not as a lambda or inside a function, or load in threads with "
            "--data.num-workers 0"
        ) from error


def check_archives(dataset: Dataset | None, num_workers: int) -> None:
    """Check that the objects that a dataset has its images from can be sent to the processes that load images.

    Raises:
        ConfigError: one cannot be pickled.
    """
    if num_workers and isinstance(dataset, Dataset):
        for archive in {id(record.archive): record.archive for record in dataset.records}.values():
            check_picklable(archive, f"the dataset {dataset.name}", num_workers)


class _Nowhere:
    """A file that keeps nothing: a dataset in memory need not be copied to see whether it could be."""

    def write(self, content: bytes) -> int:
        return len(content)


def _name(hook: Hook) -> str:
    function = hook.func if isinstance(hook, functools.partial) else hook
    return getattr(function, "__qualname__", type(function).__qualname__)


def call_hook(
    stage: Stage,
    hook: Hook,
    image: UInt[np.ndarray, "H W C"],
    objects: Objects,
    *,
    num_classes: int,
    seed: np.random.SeedSequence,
    path: Path,
) -> tuple[UInt[np.ndarray, "h w C"], Objects]:
    """Call a hook and check what it returns.

    Args:
        stage: of the hook.
        hook: the function.
        image: the hook may write to it, and must return one with the same channels and type.
        objects: of the image.
        num_classes: number of classes.
        seed: of the generator that the hook gets.
        path: of the image, or of the one that the sample is built around, for errors.

    Raises:
        DataError: the hook raised an exception, or returned something else than an image and objects inside it.
    """
    where = f"the {stage} hook {_name(hook)}, called for {path}"
    pixels = PixelFormat.of(image)
    try:
        returned: Any = hook(image, objects.boxes.copy(), objects.classes.copy(), np.random.default_rng(seed))
    except Exception as error:
        raise DataError(f"{where}, raised {type(error).__name__}: {error}", kind="failed hooks") from error
    if not isinstance(returned, tuple | list) or len(returned) != 3:
        got = f"{len(returned)} values" if isinstance(returned, tuple | list) else type(returned).__name__
        raise DataError(f"{where}, must return (image, boxes, classes), got {got}", kind="failed hooks")
    where = f"{where}, returned invalid values"
    changed = checked_image(returned[0], where, pixels)
    if stage == "after_mosaic" and changed.shape != image.shape:
        raise DataError(
            f"{where}: the image must keep its size of {image.shape[1]}x{image.shape[0]} px (width x height) after the "
            f"mosaic, got {changed.shape[1]}x{changed.shape[0]}",
            kind="failed hooks",
        )
    return changed, checked_objects(returned[1], returned[2], changed.shape[:2], num_classes, where)


class HookedImages:
    """The images of one sample as a hook before the mosaic changes them; has the methods of `ImageLoader` to plan with.

    An image that a mosaic shows twice is changed once. Unlike without a hook, every image is loaded at full size, even
    if nothing of it is visible in the end, because only the changed image has a size and boxes to plan with.
    """

    def __init__(self, loader: ImageLoader, hook: Hook, num_classes: int, seed: tuple[int, ...]) -> None:
        """Change the images of `loader`, with generators derived from the seed of the sample and the image."""
        self._loader, self._hook, self._num_classes, self._seed = loader, hook, num_classes, seed
        self._changed: dict[int, tuple[Record, UInt[np.ndarray, "H W C"]]] = {}

    def find(self, index: int) -> tuple[int, Record]:
        """Return the first index from `index` on whose image can be read, and its record with the changed objects.

        Raises:
            DataError: as `ImageLoader.find`, or the hook failed.
        """
        while True:
            index, record = self._loader.find(index)
            if index not in self._changed:
                try:
                    image = self._loader.whole(index)
                except BrokenImage:
                    continue  # the loader now finds another
                self._changed[index] = self._change(index, record, image)
            return index, self._changed[index][0]

    def _change(
        self, index: int, record: Record, image: UInt[np.ndarray, "h w C"]
    ) -> tuple[Record, UInt[np.ndarray, "H W C"]]:
        # A cache has images resized to fit the input.
        scale = np.array([image.shape[1] / record.width, image.shape[0] / record.height] * 2, np.float32)
        changed, objects = call_hook(
            "before_mosaic",
            self._hook,
            image.copy(),
            Objects(record.boxes * scale, record.classes),
            num_classes=self._num_classes,
            seed=np.random.SeedSequence(self._seed, spawn_key=(1, index)),
            path=record.path,
        )
        height, width = changed.shape[:2]
        record = dataclasses.replace(record, height=height, width=width, boxes=objects.boxes, classes=objects.classes)
        return record, changed

    def pixels(self, placement: Placement, size: tuple[int, int]) -> Pixels:
        """Return an image, resized to fit `size` (height, width)."""
        record = self._changed[placement.record_index][0]
        image = self.fitted(placement.record_index, size)
        return Pixels(image, (image.shape[1] / record.width, image.shape[0] / record.height))

    def fitted(self, index: int, size: tuple[int, int]) -> UInt[np.ndarray, "h w C"]:
        """Return an image, resized to fit `size` (height, width). Do not write to it."""
        return resize_to_fit(self._changed[index][1], size)[0]
