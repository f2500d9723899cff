"""Measures where the time of an evaluation goes, and whether loading and the device wait for each other.

The first evaluation compiles; the others are timed. What the main thread waits for tells which side is the slower one:
images, which threads load, or the device. Each stage is timed alone as well.
"""

import argparse
import functools
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array
from rich.console import Console
from rich.table import Table

from common import describe_run, spread, summary, write_json
from input_pipeline import NoFlags
from stage_times import Stage, timed_stages
from yolox_jax.cli.huge_pages import restart_with_huge_pages
from yolox_jax.cli.settings import parse_with_config
from yolox_jax.config import Config
from yolox_jax.data.dataset import Dataset
from yolox_jax.data.pipeline import evaluation_batches
from yolox_jax.evaluation import Evaluation, api, runner
from yolox_jax.evaluation.analysis import analyse
from yolox_jax.evaluation.coco_scorers import accumulate
from yolox_jax.inference.detect import Thresholds, View, detect, prepare_for_inference, raw_output
from yolox_jax.inference.network import InferenceNetwork
from yolox_jax.models.compiler_options import backend_options
from yolox_jax.models.forward_options import ForwardOptions
from yolox_jax.models.pixels import to_float
from yolox_jax.report import read_report_data, write_report
from yolox_jax.weights import read_model

IN_TURN = (
    Stage(api, "read_model", "weights"),
    Stage(api, "Detector", "weights"),
    Stage(InferenceNetwork, "detect", "starting the device"),
    Stage(runner, "_without_padding", "waiting for the device"),
    Stage(runner, "_evaluation", "scoring"),
)
"""What the main thread does; the rest of its time it waits for images."""
REST = "waiting for images"


def main(argv: Sequence[str]) -> None:
    """Measure and print; `argv` is the command line without the program name."""
    arguments, config = _parse(argv)
    dataset = api.open_validation_data(config.data)
    result = describe_run(("yolox-jax", "jax", "jaxlib", "hotcoco", "numpy", "opencv-python-headless"))
    result |= {"device": jax.devices()[0].device_kind, "data": dataset.name, "images": len(dataset.records)}
    run = functools.partial(api.evaluate, config, weights=arguments.weights, dataset=dataset)
    start = time.perf_counter()
    evaluation = run()
    result["first_s"] = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        parts = _parts(config, dataset, evaluation, arguments.weights, Path(folder))
        whole: dict[str, list[float]] = defaultdict(list)
        alone: dict[str, list[float]] = defaultdict(list)
        for number in range(arguments.rounds + 1):
            in_turn, by_itself = _stages_of(run), {name: _seconds(part) for name, part in parts.items()}
            if number == 0:  # the first round compiles the parts
                continue
            for figures, seconds in ((whole, in_turn), (alone, by_itself)):
                for name, value in seconds.items():
                    figures[name].append(value)
    result["in_the_evaluation_s"] = {name: summary(values) for name, values in whole.items()}
    result["alone_s"] = {name: summary(values) for name, values in alone.items()}
    _print(result)
    if arguments.output is not None:
        write_json(arguments.output, result)


def _parse(argv: Sequence[str]) -> tuple[argparse.Namespace, Config]:
    parser = argparse.ArgumentParser(
        prog="evaluation_stages.py",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        epilog="Any other flag is a setting of the config, such as --data.val.images DIR --data.val.annotations FILE.",
        allow_abbrev=False,
    )
    parser.add_argument("--config", default="yolox_nano", help="config of the weights")
    parser.add_argument("--weights", required=True, help="weights to evaluate")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of measurement")
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    arguments, settings = parser.parse_known_args(argv)
    flags = ["--config", arguments.config, *settings]
    return arguments, parse_with_config(NoFlags, flags, prog="evaluation_stages.py", description="Settings.")[1]


def _stages_of(run: Callable[[], Evaluation]) -> dict[str, float]:
    """Seconds of the main thread in each stage of an evaluation, and of all of it."""
    with timed_stages(IN_TURN, time.perf_counter) as seconds:
        whole = _seconds(run)
    return {**seconds, REST: whole - sum(seconds.values()), "all": whole}


def _parts(
    config: Config, dataset: Dataset, evaluation: Evaluation, weights: str, folder: Path
) -> dict[str, Callable[[], Any]]:
    """The stages as functions that run one of them alone, for all images."""
    settings = config.evaluation
    model, _ = read_model(weights, config.model.variant)
    graphdef, state = prepare_for_inference(model, "float32")
    load = functools.partial(
        evaluation_batches,
        dataset,
        config.data.input_size,
        settings.batch_size,
        num_threads=config.data.num_threads,
    )
    batches = list(load())
    thresholds = Thresholds(settings.score_threshold, settings.iou_threshold, False, jnp.ones(model.num_classes, bool))

    @functools.partial(jax.jit, compiler_options=backend_options())
    def network(batch: dict[str, Array]) -> Any:
        view = View(config.data.input_size)
        return raw_output(nnx.merge(graphdef, state), to_float(batch["images"]), view, ForwardOptions())

    @functools.partial(jax.jit, compiler_options=backend_options())
    def network_and_suppression(batch: dict[str, Array]) -> Any:
        found, _ = detect(
            graphdef, state, batch["images"], batch["ratios"], thresholds, max_detections=settings.max_detections
        )
        return found

    def write_page() -> None:
        write_json(folder / "metrics.json", analyse(evaluation, dataset, config=config, weights=weights))
        write_report(read_report_data(folder / "metrics.json"), folder / "report")

    return {
        "loading": lambda: list(load()),
        "network": lambda: [jax.block_until_ready(network(dict(batch))) for batch in batches],
        "network and suppression": lambda: [jax.block_until_ready(network_and_suppression(one)) for one in batches],
        "scoring": lambda: accumulate(dataset.ground_truth, evaluation.image_ids, evaluation.found),
        "analysis (--output)": lambda: analyse(evaluation, dataset, config=config, weights=weights),
        "analysis and report": write_page,
    }


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _print(result: dict[str, Any]) -> None:
    title = f"{result['images']} images of {result['data']} on {result['device']}; first time {result['first_s']:.1f} s"
    table = Table("stage", "seconds", "ms per image", title=title)
    for label, kind in (("in the evaluation", "in_the_evaluation_s"), ("alone", "alone_s")):
        table.add_section()
        for name, values in result[kind].items():
            per_image = f"{1000 * values['median'] / result['images']:.1f}"
            table.add_row(f"{label}: {name}", spread(values, 2), per_image)
    Console(width=120).print(table)


if __name__ == "__main__":
    restart_with_huge_pages()
    main(sys.argv[1:])
