"""From annotation files to batches of uint8 images and boxes, with NumPy and OpenCV only (no jax).

The path of a training image:

1. `sources/` reads the annotation files of any format into a `Dataset` of `Record`s (`dataset.py`): the path and size
   of each image, its boxes and classes. If asked to, `tiles.py` cuts large images into several records.
2. `image_order.ImageOrder` orders the images of each pass over the dataset, and `training_source.TrainingSource` calls
   `sample.make_sample` for each place of a step. Other images of a mosaic come from that pass or from the batch
   (`partners.py`).
3. `sample_plan.plan_sample` draws every random choice of the sample and computes its boxes, without reading a pixel.
4. `loader.ImageLoader` reads the images that are visible in the sample, from their files (`image.py`) or from a
   cache (`cache/`).
5. `sample.make_sample` draws them with `augment/` and `letterbox.py` into a row of the batch; or, with
   `data.augment.on device`, `augment/sources.py` writes there what the training step draws them from.

`pipeline.py` loads batches ahead of training in threads or worker processes. Boxes arrive padded to `max_boxes` with a
validity mask; the training step moves the batch to the device and computes the loss. Evaluation takes a shorter path:
`pipeline.evaluation_batches` letterboxes each image, without augmentation. `doctor/` checks datasets before training.

Example: read a dataset and look at its first image.

    from yolox_jax.config import DatasetConfig
    from yolox_jax.data import open_dataset

    dataset = open_dataset(DatasetConfig(images="datasets/val2017", annotations="datasets/instances_val2017.json"))
    record = dataset.records[0]
    print(len(dataset.records), dataset.class_names)
    print(record.path, record.boxes)  # x1, y1, x2, y2 in px
"""

from yolox_jax.data.dataset import DataError, Dataset, Record
from yolox_jax.data.sources import open_dataset, open_datasets
from yolox_jax.data.sources.at_path import DatasetsAt, datasets_at

__all__ = ["DataError", "Dataset", "DatasetsAt", "Record", "datasets_at", "open_dataset", "open_datasets"]
