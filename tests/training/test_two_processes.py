"""Training in two processes that share the devices, against one process that has them all."""

import math
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from reference import procedural
from saved_runs import differing_parts, lasting_metrics, saved_state
from yolox_jax.config.files import load_config
from yolox_jax.data.sources.shapes import generate_shapes
from yolox_jax.models.yolox import create_model
from yolox_jax.training.reporting.metrics_log import read_metrics
from yolox_jax.weights import export_state_dict, save_weights

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
CONFIG = """
from yolox_jax.config import *

def get_config():
    return Config(
        model=ModelConfig(variant="yolox_nano", weights={weights!r}),
        data=DataConfig(
            train=DatasetConfig(format="shapes", images={images!r}, split="train"),
            val=DatasetConfig(format="shapes", images={images!r}, split="val"),
            input_size=(64, 64),
            max_boxes=40,
        ),
        schedule=ScheduleConfig(epochs=3, warmup_epochs=0.0, no_aug_epochs=1, min_lr_ratio=1.0),
        # At a rate at which rounding does not part runs.
        optimizer=OptimizerConfig(lr_per_image=1e-6 / 8),
        train=TrainConfig(batch_size=8, ema_ramp_steps=10.0, multiscale_px=None, sync_batch_norm=True, log_interval=2),
        evaluation=EvaluationConfig(interval=1, batch_size=3, num_pictures=2, score_threshold=0.0),
    )
"""


@pytest.fixture(scope="module")
def config_file(tmp_path_factory) -> Path:
    """Three epochs of four steps from gentle weights; seven images to evaluate on."""
    folder = tmp_path_factory.mktemp("shapes")
    generate_shapes(folder / "data", num_train=32, num_val=7, image_size=96, seed=0)
    shapes = {key: value.shape for key, value in export_state_dict(create_model("yolox_nano", 4)).items()}
    weights = folder / "gentle.safetensors"
    save_weights(weights, {key: procedural.weight(key, shape, 1, True) for key, shape in shapes.items()}, {})
    path = folder / "small.py"
    path.write_text(CONFIG.format(images=str(folder / "data"), weights=str(weights)))
    return path


def start(config_file: Path, workdir: Path, num_devices: int, *flags: str) -> subprocess.Popen:
    """`train.py` as a user starts it, with so many fake devices."""
    environment = {**os.environ, "XLA_FLAGS": f"--xla_force_host_platform_device_count={num_devices}"}
    command = [sys.executable, "train.py", "--config", str(config_file), "--workdir", str(workdir), *flags]
    return subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def start_two(config_file: Path, workdir: Path, *flags: str, second: tuple[str, ...] = ()) -> list[subprocess.Popen]:
    """Two processes with two devices each; `second` are further flags of the second."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        coordinator = f"localhost:{probe.getsockname()[1]}"
    together = ("--coordinator", coordinator, "--num-processes", "2")
    return [
        start(config_file, workdir, 2, *together, "--process-id", str(number), *flags, *further)
        for number, further in enumerate(((), second))
    ]


def finish(processes: list[subprocess.Popen], exit_code: int = 0) -> list[str]:
    outputs = [process.communicate(timeout=400)[0] for process in processes]
    assert [process.returncode for process in processes] == [exit_code] * len(processes), "\n".join(outputs)
    return outputs


def wait_until(moment: Callable[[], bool], processes: list[subprocess.Popen]) -> None:
    while not moment():
        assert all(process.poll() is None for process in processes), finish(processes)
        time.sleep(0.01)


@pytest.fixture(scope="module")
def runs(config_file, tmp_path_factory) -> dict[str, Path]:
    """A run gives the same result in one process with four devices and in two processes with two devices each."""
    folder = tmp_path_factory.mktemp("runs")
    finish([start(config_file, folder / "one", 4)])
    outputs = finish(start_two(config_file, folder / "two"))
    assert "epoch 3/3" in outputs[0] and "epoch" not in outputs[1], "the first process alone reports"
    return {"one": folder / "one", "two": folder / "two"}


def test_two_processes_train_and_evaluate_as_one_does(config_file, runs):
    records = {name: lasting_metrics(workdir) for name, workdir in runs.items()}
    assert len(records["one"]) == len(records["two"]) == 6 + 3
    assert records["one"][-1]["AP"] > 0
    for expected, found in zip(records["one"], records["two"], strict=True):
        assert found["kind"] == expected["kind"]
        # Gradients feel the order of sums more than losses do.
        assert found.get("gradient_norm", 1) == pytest.approx(expected.get("gradient_norm", 1), rel=1e-3)
        drop = {"kind", "gradient_norm", "per_class"}
        numbers = [
            {name: math.nan if value is None else value for name, value in record.items() if name not in drop}
            for record in (expected, found)
        ]
        # Rounding swaps detections of a network that has learned little, which moves the figures of its ranking.
        ranked = [name for name in numbers[0] if name.startswith(("AP", "AR"))]
        for name in ranked:
            assert numbers[1].pop(name) == pytest.approx(numbers[0].pop(name), abs=5e-4, nan_ok=True), name
        assert numbers[1] == pytest.approx(numbers[0], rel=1e-5, abs=1e-5, nan_ok=True)
        assert found.get("num_images") == expected.get("num_images") in (None, 7)
    states = [saved_state(load_config(config_file), 4, workdir) for workdir in runs.values()]
    for name in ("params", "ema_params", "batch_stats"):
        one, two = (np.concatenate([np.ravel(x) for x in _leaves(getattr(state, name))]) for state in states)
        assert np.linalg.norm(one - two) < 1e-5 * np.linalg.norm(one), name


def test_two_processes_stopped_and_then_killed_end_bit_for_bit_as_the_undisturbed(config_file, runs, tmp_path):
    processes = start_two(config_file, tmp_path)
    wait_until(lambda: any(record["step"] >= 4 for record in read_metrics(tmp_path / "metrics.jsonl")), processes)
    processes[1].send_signal(signal.SIGTERM)
    outputs = finish(processes, exit_code=143)
    stopped = {re.findall(r"stopped by SIGTERM after step (\d+)", output)[-1] for output in outputs}
    # They agree where they log: at step 4, if the signal is quick, or at 6.
    assert stopped in ({"4"}, {"6"}), outputs

    processes = start_two(config_file, tmp_path, "--resume")
    wait_until((tmp_path / "checkpoints" / "8").exists, processes)
    processes[1].kill()
    # jax's heartbeat takes 100 s; often the broken connection is noticed sooner.
    for process in processes:
        process.communicate(timeout=200)
        assert process.returncode != 0
    newest = tmp_path / "checkpoints" / "8"
    largest = max((newest / "state").rglob("*"), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-1])
    outputs = finish(start_two(config_file, tmp_path, "--resume"))
    assert f"{newest} cannot be read" in outputs[0] and f"resumed after step {stopped.pop()}" in outputs[0]
    assert lasting_metrics(tmp_path) == lasting_metrics(runs["two"])
    states = [saved_state(load_config(config_file), 4, workdir) for workdir in (runs["two"], tmp_path)]
    assert differing_parts(*states) == set()


def test_resuming_on_another_number_of_devices_works_and_says_so(config_file, runs, tmp_path):
    processes = [start(config_file, tmp_path, 4)]
    wait_until((tmp_path / "checkpoints" / "4").exists, processes)
    processes[0].send_signal(signal.SIGTERM)
    finish(processes, exit_code=143)
    (output,) = finish([start(config_file, tmp_path, 2, "--resume")])
    assert "resuming with devices 4 before, 2 now" in output
    last, expected = (lasting_metrics(workdir)[-1] for workdir in (tmp_path, runs["one"]))
    assert last["step"] == expected["step"] and last["num_images"] == 7


def test_processes_with_other_settings_than_the_first_are_refused(config_file, tmp_path):
    outputs = finish(start_two(config_file, tmp_path, second=("--schedule.epochs", "4")), exit_code=2)
    assert "these differ: see the message of another process" in outputs[0]
    assert "--schedule.epochs is 3 on process 0, 4 on process 1" in outputs[1]


def test_an_error_on_the_first_process_ends_both_at_once(config_file, runs):
    outputs = finish(start_two(config_file, runs["two"]), exit_code=2)
    assert "already contains a run" in outputs[0]
    assert "another process failed" in outputs[1]


def _leaves(tree) -> list[np.ndarray]:
    import jax

    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]
