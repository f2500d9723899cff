"""Signals that stop a run, and processes that train together."""

import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest

from yolox_jax.config import Config, ConfigError, DataConfig, DatasetConfig
from yolox_jax.data.cache.pixel_cache import open_cache
from yolox_jax.data.dataset import Dataset, Record, fingerprint
from yolox_jax.data.sources import open_datasets
from yolox_jax.data.sources.shapes import generate_shapes
from yolox_jax.training.distributed import agree, first_process_first, launched_as_several, start_distributed
from yolox_jax.training.interruption import Interrupted, StopSignals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_noted_and_the_handler_before_comes_back(number):
    before = signal.getsignal(number)
    with StopSignals() as stop:
        assert stop.received == 0
        os.kill(os.getpid(), number)
        assert stop.received == number
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_stops_at_once_but_a_second_sigterm_does_not():
    with StopSignals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.received == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_exit_codes_are_those_of_programs_that_a_signal_ended():
    assert Interrupted(signal.SIGTERM, "").exit_code == 143
    assert Interrupted(signal.SIGINT, "").exit_code == 130


def test_a_run_in_another_thread_takes_no_signals():
    failed = []

    def run():
        try:
            with StopSignals():
                pass
        except ValueError as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert failed == []


@pytest.mark.parametrize(
    ("environment", "several"),
    [
        ({}, False),
        ({"SLURM_JOB_ID": "1", "SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, False),  # in an allocation, without srun
        ({"SLURM_STEP_NUM_TASKS": "1"}, False),
        ({"SLURM_STEP_NUM_TASKS": "16"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, True),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, False),
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, True),
    ],
)
def test_launchers_are_told_from_programs_started_alone(environment, several):
    assert launched_as_several(environment) == several


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("host:1", None, None), "pass all three"),
        ((None, 2, 0), "pass all three"),
        (("host:1", 2, 2), "--process-id must be between 0 and 1, got 2"),
        (("host", 2, 0), "--coordinator must be host:port .* got host"),
    ],
)
def test_incomplete_or_impossible_processes_are_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        start_distributed(*given)


def test_data_is_known_by_what_it_holds_and_not_by_where_it_lies():
    def dataset(path="a/1.jpg", x=1.0, names=("cat",)):
        record = Record(Path(path), 1, 10, 10, np.array([[x, 2, 3, 4]], np.float32), np.zeros(1, np.int32))
        return Dataset("pets", names, (1,), (record,), {}, ())

    assert fingerprint(dataset()) == fingerprint(dataset(path="b/1.jpg"))
    others = [dataset(path="a/2.jpg"), dataset(x=1.5), dataset(names=("dog",))]
    others += [dataset(path="a/caf\udce9.jpg"), dataset(path="a/\ud800.jpg")]  # file names that are not UTF-8
    assert len({fingerprint(data) for data in (dataset(), *others)}) == 6


def test_one_process_agrees_with_itself_and_is_the_first():
    assert agree(31) == 31
    assert first_process_first(lambda: "done") == "done"
    with pytest.raises(ZeroDivisionError):
        first_process_first(lambda: 1 // 0)


def test_a_signal_is_heard_while_images_are_decoded_for_the_cache(tmp_path):
    generate_shapes(tmp_path / "shapes", num_train=3, num_val=1, image_size=64)
    shapes = DatasetConfig(format="shapes", images=str(tmp_path / "shapes"))
    config = Config(data=DataConfig(train=shapes, input_size=(64, 64), cache="disk", cache_dir=str(tmp_path / "cache")))
    stop = StopSignals()
    stop.received = signal.SIGTERM
    images = open_datasets(config.data, "train")
    cache = open_cache(images.records, config.data, on_image=lambda: stop.raise_if_received("decoding images"))
    with pytest.raises(Interrupted, match="stopped by SIGTERM while decoding images") as stopped, cache:
        pass
    assert stopped.value.exit_code == 143
    assert not list((tmp_path / "cache").glob("*.pixels"))
