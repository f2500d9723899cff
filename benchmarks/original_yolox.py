"""The original's training loader, from the package `pixeltable-yolox`, using only its public classes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from original_package import stand_in_for_torchvision
from stage_times import OPENCV_STAGES, Stage
from yolox_jax.config import Config
from yolox_jax.data.dataset import Dataset, Record


def open_original(dataset: Dataset, config: Config, folder: Path, *, ram_cache: bool) -> Iterator[Any]:
    """Return an endless stream of batches from the original's mosaic dataset, in one process and one thread.

    Args:
        dataset: images to load.
        config: input size, batch size and augmentation, applied where the original has the same setting.
        folder: where to write the annotations, in the layout that the original reads, and links to the images.
        ram_cache: keep resized images in memory, like the original's `--cache ram`.
    """
    stand_in_for_torchvision()
    import torch
    import yolox.data

    torch.set_num_threads(1)
    augment, size = config.data.augment, config.data.input_size
    _write_coco_layout(dataset, folder)
    images = yolox.data.CocoDataset(
        data_dir=str(folder),
        json_file="train.json",
        name="images",
        img_size=size,
        cache=ram_cache,
        cache_type="ram",
    )
    mosaics = yolox.data.MosaicDetection(
        images,
        img_size=size,
        preproc=yolox.data.TrainTransform(
            max_labels=config.data.max_boxes, flip_prob=augment.flip_probability, hsv_prob=augment.hsv_probability
        ),
        degrees=augment.degrees,
        translate=augment.translate,
        mosaic_scale=augment.mosaic_scale,
        mixup_scale=augment.mixup_scale,
        shear=augment.shear_degrees,
        enable_mixup=augment.mixup_probability > 0,
        mosaic_prob=augment.mosaic_probability,
        mixup_prob=augment.mixup_probability,
    )
    sampler = yolox.data.InfiniteSampler(len(mosaics), seed=config.seed)
    batches = yolox.data.YoloBatchSampler(
        sampler=sampler, batch_size=config.train.batch_size, drop_last=False, mosaic=True
    )
    loader = yolox.data.DataLoader(
        mosaics,
        batch_sampler=batches,
        num_workers=0,
        # Looked up on every call, so that `timed_stages` can wrap it.
        collate_fn=lambda rows: torch.utils.data.default_collate(rows),
    )
    return iter(loader)


def original_stages() -> tuple[Stage, ...]:
    """Return the stages to time. Call `open_original` first."""
    import torch.utils.data
    import yolox.data

    return (
        *OPENCV_STAGES,
        Stage(yolox.data.MosaicDetection, "mixup", "mixup"),
        Stage(torch.utils.data, "default_collate", "batch"),
    )


def _write_coco_layout(dataset: Dataset, folder: Path) -> None:
    (folder / "annotations").mkdir(parents=True)
    (folder / "images").mkdir()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, record in enumerate(dataset.records):
        name = f"{number}{record.path.suffix}"
        _link(record, folder / "images" / name)
        images.append({"id": number, "file_name": name, "height": record.height, "width": record.width})
        for (x1, y1, x2, y2), label in zip(record.boxes.tolist(), record.classes.tolist(), strict=True):
            box = [x1, y1, x2 - x1, y2 - y1]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": label + 1,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                }
            )
    categories = [{"id": index + 1, "name": name} for index, name in enumerate(dataset.class_names)]
    content = {"info": {}, "images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations" / "train.json").write_text(json.dumps(content))


def _link(record: Record, path: Path) -> None:
    if record.archive is None:
        path.symlink_to(record.path.resolve())
    else:
        path.write_bytes(record.encoded())
