"""A run as a user writes one in a script, with every option of the data at once.

Its images come from Python, have four channels of 16 bits, are cut into tiles and cached; one class of them is rare,
and own augmentation changes them.

`python own_data_run.py WORKDIR NUM_WORKERS` trains in a process that a test can kill.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

import yolox_jax
from yolox_jax.config import (
    Config,
    DataConfig,
    EvaluationConfig,
    LossConfig,
    ModelConfig,
    ScheduleConfig,
    TrainConfig,
)

CLASS_NAMES = ("common", "rare")


class Rectangles:
    """Noise with a rectangle each; the first is of the rare class."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[np.ndarray, list[list[int]], list[int]]:
        rng = np.random.default_rng(index)
        image = rng.integers(0, 65536, (80, 96, 4), np.uint16)
        x, y = (int(value) for value in rng.integers(0, 40, 2))
        image[y : y + 30, x : x + 40] = rng.integers(0, 65536, 4)
        return image, [[x, y, x + 40, y + 30]], [int(index == 0)]


def crop(image: np.ndarray, boxes: np.ndarray, classes: np.ndarray, rng: np.random.Generator) -> tuple[Any, Any, Any]:
    """Cuts off up to a third of the image on the right, and what is there of the boxes."""
    width = int(rng.integers(image.shape[1] * 2 // 3, image.shape[1] + 1))
    boxes[:, 2] = boxes[:, 2].clip(max=width)
    kept = boxes[:, 2] > boxes[:, 0]
    return image[:, :width], boxes[kept], classes[kept]


def add_noise(
    image: np.ndarray, boxes: np.ndarray, classes: np.ndarray, rng: np.random.Generator
) -> tuple[Any, Any, Any]:
    """Adds up to 2048 to each value."""
    return np.minimum(image, 65535 - 2048) + rng.integers(0, 2049, image.shape, np.uint16), boxes, classes


def own_data_config(num_workers: int) -> Config:
    """Two epochs of three steps at 64 px, with a checkpoint after each step.

    Four images make eight tiles. The two of the rare image are shown sqrt(0.5 / (2 / 8)) = 1.4 times in an epoch on
    average, so that one is repeated, and its class has the larger weight.
    """
    return Config(
        model=ModelConfig(variant="yolox_nano"),
        data=DataConfig(
            input_size=(64, 64),
            max_boxes=20,
            channels=4,
            bits=16,
            tile=80,
            repeat_threshold=0.5,
            cache="ram",
            num_workers=num_workers,
        ),
        schedule=ScheduleConfig(epochs=2, warmup_epochs=0.5, no_aug_epochs=1),
        train=TrainConfig(
            batch_size=4, ema_ramp_steps=10.0, multiscale_px=None, log_interval=1, checkpoint_steps=1, loggers=()
        ),
        loss=LossConfig(class_weights=("balanced",), classification_focal_gamma=1.5, label_smoothing=0.1),
        evaluation=EvaluationConfig(interval=2, batch_size=4, num_pictures=0, best_by="recall@0.1"),
    )


def run_on_own_data(workdir: Path, *, num_workers: int, resume: bool = False) -> None:
    """Trains through the public functions."""
    yolox_jax.train(
        own_data_config(num_workers),
        workdir=workdir,
        resume=resume,
        train_set=yolox_jax.make_dataset(Rectangles(4), CLASS_NAMES),
        val_set=yolox_jax.make_dataset(Rectangles(4), CLASS_NAMES),
        augment={"before_mosaic": crop, "after_mosaic": add_noise},
    )


if __name__ == "__main__":
    run_on_own_data(Path(sys.argv[1]), num_workers=int(sys.argv[2]))
