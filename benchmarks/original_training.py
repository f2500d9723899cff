"""Trains the original's network, in PyTorch, on the batches and with the learning rates of a config of ours.

Network, losses, optimizer and averaged weights are the original's own classes, from the package `pixeltable-yolox`.
`model.rescale_filters`, `model.freeze` and `train.ema_ramp_steps` are not among its settings and are not applied.

Takes the arguments of `yolox-jax train` that a study passes. A run is never resumed: it starts again.
"""

import argparse
import dataclasses
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from original_package import stand_in_for_torchvision
from yolox_jax import evaluate
from yolox_jax.config import Config
from yolox_jax.config.files import load_config
from yolox_jax.data.dataset import Dataset
from yolox_jax.data.image_order import steps_per_epoch
from yolox_jax.data.pipeline import HostBatch, training_batches
from yolox_jax.data.sources import open_datasets
from yolox_jax.training.preparation import initial_weights
from yolox_jax.training.run_directory import RunDirectory
from yolox_jax.training.run_schedule import RunSchedule


def main() -> None:
    """Trains, evaluates the averaged weights at the end, and writes metrics.jsonl."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()
    config = load_config(arguments.config)
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, rescale_filters=False, freeze=()))
    arguments.workdir.mkdir(parents=True, exist_ok=True)
    weights = arguments.workdir / "last.pth"
    steps = train(config, open_datasets(config.data, "train"), weights)
    metrics = evaluate(config, weights=weights).metrics
    record = {"kind": "evaluation", "step": steps, "epoch": config.schedule.epochs, **metrics.figures}
    RunDirectory(arguments.workdir).metrics.write_text(json.dumps(record) + "\n")


def train(config: Config, dataset: Dataset, weights: Path) -> int:
    """Trains, writes the averaged weights as a checkpoint of the original, and returns the number of steps."""
    stand_in_for_torchvision()
    warnings.filterwarnings("ignore")  # the original uses deprecated PyTorch names
    import torch
    from yolox.utils.ema import ModelEMA

    schedule = RunSchedule(config, steps_per_epoch(dataset.records, config))
    model, optimizer = _network(config, dataset)
    average = ModelEMA(model, config.train.ema_decay)
    with training_batches(dataset, config) as batches:
        for step in range(schedule.total_steps):
            for group in optimizer.param_groups:
                group["lr"] = schedule.learning_rate_at(step)
            model.head.use_l1 = step >= schedule.no_aug_from
            loss = model(*_inputs(next(batches)))["total_loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            average.update(model)
            if schedule.ends_epoch(step):
                print(f"epoch {(step + 1) // schedule.steps_per_epoch}: loss {loss.item():.3f}", flush=True)
    torch.save({"model": average.ema.state_dict()}, weights)
    return schedule.total_steps


def _network(config: Config, dataset: Dataset) -> tuple[Any, Any]:
    """The original's network with the weights to start from, and its optimizer."""
    import torch
    from yolox.config import YoloxConfig

    torch.manual_seed(config.seed)
    settings = YoloxConfig.get_named_config(config.model.variant)
    settings.num_classes = len(dataset.class_names)
    settings.momentum, settings.weight_decay = config.optimizer.momentum, config.optimizer.weight_decay
    model = settings.get_model()
    model.train()
    own = model.state_dict()
    given = initial_weights(config, dataset.class_names) or {}
    fitting = {name: torch.tensor(np.array(array)) for name, array in given.items() if own[name].shape == array.shape}
    model.load_state_dict({**own, **fitting})
    return model, settings.get_optimizer(config.train.batch_size)


def _inputs(batch: HostBatch) -> tuple[Any, Any]:
    """Images [B, 3, H, W] and labels [B, G, 5] (class, cx, cy, w, h), zero behind the last object."""
    import torch

    labels = np.concatenate([batch["classes"][..., None], batch["boxes"]], axis=-1) * batch["valid"][..., None]
    images = torch.tensor(batch["images"].transpose(0, 3, 1, 2)).float()
    return images, torch.tensor(labels, dtype=torch.float32)


if __name__ == "__main__":
    main()
