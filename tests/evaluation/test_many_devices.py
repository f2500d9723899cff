"""Evaluation counts each image once, whether on one device, on several or split between two processes."""

import dataclasses
import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
NUM_IMAGES, BROKEN, SIDE_PX = 7, 3, 224


@pytest.fixture(scope="module")
def one_process(shared) -> dict:
    """What `in_one_process` prints."""
    return _outcome(8, "one", shared)


@pytest.fixture(scope="module")
def two_processes(shared) -> list[dict]:
    """What `in_two_processes` prints, in each of them."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda number: _outcome(2, "two", shared, port, number), range(2)))


def _outcome(num_devices: int, *words: object) -> dict:
    """What this file prints as a program: a process of its own, which alone can have another number of devices."""
    flags = f"--xla_force_host_platform_device_count={num_devices}"
    environment = {
        **os.environ,
        "XLA_FLAGS": flags,
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}",
    }
    command = [sys.executable, "-W", "error", __file__, *map(str, words)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def _assert_same(found: dict, expected: dict) -> None:
    """The same list of results in the same order, and the same figures."""
    assert len(expected["results"]) > 50
    for key in ("image_id", "category_id"):
        assert [result[key] for result in found["results"]] == [result[key] for result in expected["results"]]
    for key, tolerance in (("score", 1e-5), ("bbox", 1e-3)):  # 1e-3 px is below 1e-5 of an image
        values = [np.array([result[key] for result in evaluation["results"]]) for evaluation in (found, expected)]
        np.testing.assert_allclose(*values, rtol=0, atol=tolerance)
    assert found["metrics"]["num_images"] == expected["metrics"]["num_images"]
    assert found["metrics"]["AP"] == pytest.approx(expected["metrics"]["AP"], abs=1e-5)
    assert found["losses"] == pytest.approx(expected["losses"], rel=1e-5)


@pytest.mark.parametrize("batch_size", [2, 3])
@pytest.mark.parametrize("num_devices", [1, 2, 3, 8])
def test_any_number_of_devices_and_any_batch_size_give_the_same(one_process, num_devices, batch_size):
    expected = one_process["evaluations"]["1 x 2"]
    assert expected["metrics"]["num_images"] == NUM_IMAGES
    assert expected["metrics"]["AP"] > 0.1
    _assert_same(one_process["evaluations"][f"{num_devices} x {batch_size}"], expected)


@pytest.mark.parametrize("devices_and_batch_size", ["1 x 2", "2 x 2", "2 x 3"])
def test_two_processes_give_the_same_as_one(one_process, two_processes, devices_and_batch_size):
    first, second = (process[devices_and_batch_size] for process in two_processes)
    _assert_same(first, one_process["evaluations"]["1 x 2"])
    assert first == second


def test_an_image_that_one_process_cannot_read_is_left_out_by_all(one_process, two_processes):
    expected = one_process["evaluations"]["broken"]
    assert expected["metrics"]["num_images"] == NUM_IMAGES - 1
    for process in two_processes:
        _assert_same(process["broken"], expected)


def test_a_process_without_any_image_takes_part(one_process, two_processes):
    results = one_process["evaluations"]["1 x 2"]["results"]
    ids_expected = [result["image_id"] for result in results if result["image_id"] == results[0]["image_id"]]
    for process in two_processes:
        assert process["one image"]["metrics"]["num_images"] == 1
        assert [result["image_id"] for result in process["one image"]["results"]] == ids_expected


def test_new_weights_compile_nothing_on_many_devices(one_process, two_processes):
    for process in (one_process, *two_processes):
        assert process["compilations"] == 0
        assert process["changed"]


def test_a_batch_that_the_devices_do_not_divide_is_refused(one_process):
    assert "3 images cannot be split evenly over 2 devices; pad the batch to 4" in one_process["refusal"]


def test_a_single_image_can_be_given_to_many_devices(one_process):
    np.testing.assert_allclose(*one_process["single image"], rtol=1e-5)


# What follows runs in the processes that the fixtures start.


def open_images(shared: Path):
    """The first of the real images; the same with one that cannot be read; one alone."""
    from yolox_jax.data.sources.coco import read_coco

    folder = shared / "data/coco_val2017_100"
    dataset = read_coco(folder / "images", folder / "instances.json", setting="--data.val")
    records = dataset.records[:NUM_IMAGES]
    broken = (*records[:BROKEN], dataclasses.replace(records[BROKEN], path=Path(__file__)), *records[BROKEN + 1 :])
    return tuple(dataclasses.replace(dataset, records=some) for some in (records, broken, records[:1]))


def trained_model(shared: Path):
    from yolox_jax.models import create_model
    from yolox_jax.weights import load_weights

    model = create_model("yolox_nano")
    load_weights(model, shared / "weights/yolox_nano.pth")
    return model


def run(detector, dataset, batch_size: int) -> dict:
    from yolox_jax.config import AssignmentConfig, EvaluationConfig, LossConfig, ModelConfig
    from yolox_jax.evaluation.runner import evaluate_detector
    from yolox_jax.evaluation.validation_loss import ValidationLoss

    loss = ValidationLoss(dataset, LossConfig(), AssignmentConfig(), ModelConfig())
    evaluation = evaluate_detector(
        detector, dataset, EvaluationConfig(batch_size=batch_size, score_threshold=0.05), loss=loss
    )
    return {"metrics": evaluation.metrics.to_json(), "results": evaluation.results, "losses": evaluation.losses}


def update_with_fresh_weights(detector) -> dict:
    """Count compilations and compare detections after an update with weights replicated over all processes' devices."""
    import jax
    from flax import nnx

    from compilations import count_compilations
    from yolox_jax.models import create_model

    size = detector.network.fitting_batch_size(4)  # one that the evaluations have compiled
    batch = np.full((size, SIDE_PX, SIDE_PX, 3), 114, np.uint8), np.ones(size, np.float32)
    before = np.asarray(detector.detect_batch(*batch, score_threshold=0.0).scores)
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()), ("data",))
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    graphdef, state = nnx.split(create_model("yolox_nano"))
    detector.update(nnx.merge(graphdef, jax.device_put(state, everywhere)))
    with count_compilations() as compilations:
        after = np.asarray(detector.detect_batch(*batch, score_threshold=0.0).scores)
    changed = not np.allclose(before, after, rtol=0.1)
    return {"compilations": compilations.count, "changed": changed}


def in_one_process(shared: Path) -> dict:
    import jax

    from yolox_jax.inference.detector import Detector

    model, (dataset, broken, _) = trained_model(shared), open_images(shared)
    size = (SIDE_PX, SIDE_PX)
    evaluations = {}
    for count in (1, 2, 3, 8):
        detector = Detector(model=model, input_size=size, devices=jax.local_devices()[:count])
        for batch_size in (2, 3):
            evaluations[f"{count} x {batch_size}"] = run(detector, dataset, batch_size)
    alone = Detector(model=model, input_size=size)
    evaluations["broken"] = run(alone, broken, 2)
    path = dataset.records[0].path
    single_image = [found(path).scores.tolist() for found in (alone, detector)]
    try:
        Detector(model=model, devices=jax.local_devices()[:2]).detect_batch(
            np.zeros((3, *size, 3), np.uint8), np.ones(3, np.float32)
        )
    except ValueError as error:
        refusal = str(error)
    return {
        "evaluations": evaluations,
        "single image": single_image,
        "refusal": refusal,
        **update_with_fresh_weights(detector),
    }


def in_two_processes(shared: Path, port: str, number: str) -> dict:
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"localhost:{port}", num_processes=2, process_id=int(number))
    from yolox_jax.inference.detector import Detector

    model, (dataset, broken, one_image) = trained_model(shared), open_images(shared)
    size = (SIDE_PX, SIDE_PX)
    alone = Detector(model=model, input_size=size)
    detector = Detector(model=model, input_size=size, devices=jax.local_devices())
    return {
        "1 x 2": run(alone, dataset, 2),
        "2 x 2": run(detector, dataset, 2),
        "2 x 3": run(detector, dataset, 3),
        "broken": run(detector, broken, 2),
        "one image": run(detector, one_image, 2),
        **update_with_fresh_weights(detector),
    }


if __name__ == "__main__":
    kind, shared_folder, *rest = sys.argv[1:]
    print(json.dumps({"one": in_one_process, "two": in_two_processes}[kind](Path(shared_folder), *rest)))
