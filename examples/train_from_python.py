"""Trains, evaluates, plots and predicts from Python alone, on generated shapes: a few minutes on two CPU cores.

Run it with `python examples/train_from_python.py`, or copy its parts into a notebook. `--epochs 2` takes about a
minute.
"""

import argparse
import dataclasses
from pathlib import Path

from matplotlib.figure import Figure

import yolox_jax
from yolox_jax.data import open_datasets
from yolox_jax.data.image import load_image


def print_event(event: yolox_jax.TrainingEvent) -> None:
    """A callback that prints losses and AP, and stops the run once the detector is good enough."""
    if event.kind == "step":
        print(f"step {event.step}: loss {event.metrics['loss']:.3g}")
    elif event.kind == "evaluation":
        print(f"epoch {event.epoch:g}: AP50 {event.metrics['AP50']:.3f}")
        if event.metrics["AP50"] > 0.9:
            raise yolox_jax.StopTraining


def main(output: Path, epochs: int) -> None:
    """Leaves a run, `losses.png` and `prediction.png` in `output`."""
    # Start from a shipped config; every setting can be replaced.
    config = yolox_jax.load_config("quickstart")
    schedule = dataclasses.replace(
        config.schedule, epochs=epochs, warmup_epochs=epochs / 26, no_aug_epochs=epochs // 10
    )
    config = dataclasses.replace(config, schedule=schedule)

    result = yolox_jax.train(config, workdir=output / "run", callbacks=[print_event])
    print(f"best AP {result.best_ap:.3f} in epoch {result.best_epoch}")

    # Evaluate the best weights once more, with lower thresholds than during training.
    low_threshold = dataclasses.replace(config.evaluation, score_threshold=0.001)
    evaluation = yolox_jax.evaluate(dataclasses.replace(config, evaluation=low_threshold), weights=result.workdir)
    print(f"AP {evaluation.metrics.figures['AP']:.3f}, {len(evaluation.results)} detections")

    # Plot the training loss.
    steps = [record for record in result.metrics() if record["kind"] == "train"]
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([record["step"] for record in steps], [record["loss"] for record in steps])
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    figure.savefig(output / "losses.png")

    # Detect objects in a validation image, and draw them.
    image = load_image(open_datasets(config.data, "val").records[0])
    found = yolox_jax.Detector(weights=result.workdir)(image)
    found.save(output / "prediction.png")
    print(f"results in {output}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("runs/from_python"), help="folder for the results")
    parser.add_argument("--epochs", type=int, default=26, help="passes over the training images")
    arguments = parser.parse_args()
    main(arguments.output, arguments.epochs)
