"""Multi-process training: connects the processes of a run and coordinates them."""

import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from typing import TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from yolox_jax.config import ConfigError
from yolox_jax.config.serialization import flag
from yolox_jax.training.step.mesh import split_over_devices, to_devices

Outcome = TypeVar("Outcome")


def start_distributed(
    coordinator: str | None, num_processes: int | None, process_id: int | None, *, detect: bool = False
) -> None:
    """Connects to the other processes of this run, if there are any. Must be called before any other use of jax.

    Args:
        coordinator: host:port of process 0, reachable by all. If None, all three come from the launcher: Slurm's srun,
            Open MPI's mpirun, or TPUs in Kubernetes; a program started without a launcher runs alone.
        num_processes: number of processes.
        process_id: index of this process, from 0.
        detect: let jax find the other processes even if the environment shows no launcher, as on a TPU pod.

    Raises:
        ConfigError: only some of the three are given, or the other processes cannot be reached.
    """
    given = (coordinator, num_processes, process_id)
    if all(value is None for value in given) and not detect and not launched_as_several(os.environ):
        return
    if any(value is None for value in given) and any(value is not None for value in given):
        raise ConfigError("pass all three of --coordinator, --num-processes and --process-id, or none")
    if coordinator is not None and not re.fullmatch(r".+:\d+", coordinator):
        raise ConfigError(f"--coordinator must be host:port of process 0, such as node0:1234; got {coordinator}")
    if num_processes is not None and num_processes < 1:
        raise ConfigError(f"--num-processes must be at least 1, got {num_processes}")
    if num_processes is not None and process_id is not None and not 0 <= process_id < num_processes:
        raise ConfigError(f"--process-id must be between 0 and {num_processes - 1}, got {process_id}")
    if not process_id:
        everyone = "all processes" if num_processes is None else f"all {num_processes} processes"
        print(f"waiting for {everyone} of this run to start", file=sys.stderr, flush=True)
    try:
        jax.distributed.initialize(coordinator, num_processes, process_id)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"the processes of this run could not connect to each other: {error}") from error


def launched_as_several(environment: Mapping[str, str]) -> bool:
    """Whether a launcher started this program as one of several processes.

    jax alone would mistake a single program inside a Slurm allocation for one of `SLURM_NTASKS`, and wait for the rest.
    """
    tasks = max(int(environment.get(name) or 1) for name in ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE"))
    hosts = environment.get("TPU_PROCESS_ADDRESSES") or environment.get("TPU_WORKER_HOSTNAMES") or ""
    return tasks > 1 or "," in hosts


def connect(mesh: Mesh) -> None:
    """Opens the connections between the devices of several processes, while none of them is busy.

    On CPUs, XLA (through Gloo) waits only 30 seconds for a connection, and compile times of the first step can differ
    by more than that. Once connected, processes wait for each other as long as needed.
    """
    if jax.process_count() > 1:
        # There are two kinds of connections: between one device per process, for `agree`, and between all devices.
        multihost_utils.sync_global_devices("all have started")
        ones = to_devices(np.ones(len(mesh.local_devices), np.float32), split_over_devices(mesh))
        jax.block_until_ready(jax.jit(jnp.sum)(ones))


def check_same_settings(settings: Mapping[str, object]) -> None:
    """Checks that all processes of a run have the same settings.

    Args:
        settings: JSON values by dotted name.

    Raises:
        ConfigError: on all processes; the message names the settings that differ from those of process 0.
    """
    if jax.process_count() == 1:
        return
    text = np.frombuffer(json.dumps(settings).encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.asarray(text.size, np.int32)))
    # All processes pass an array of the same shape and receive that of process 0.
    first = json.loads(bytes(multihost_utils.broadcast_one_to_all(np.resize(text, size)).tolist()))
    here = json.loads(text.tobytes())
    differing = [
        f"{flag(name)} is {first.get(name)!r} on process 0, {here.get(name)!r} on process {jax.process_index()}"
        for name in {**first, **here}
        if first.get(name) != here.get(name)
    ]
    if agree(bool(differing)):
        differences = "; ".join(differing) or "see the message of another process"
        raise ConfigError(f"all processes of a run must have the same settings, but these differ: {differences}")


def on_every_process(action: Callable[[], Outcome]) -> Outcome:
    """Runs `action` on all processes of a run. If it fails on one, all of them raise instead of waiting for it.

    Raises:
        Exception: what `action` raises, on the process where it does; ConfigError on the others.
    """
    error: Exception | None = None
    try:
        outcome = action()
    except Exception as raised:
        error = raised
    if agree(error is not None):
        raise error or ConfigError("another process failed; see its message")
    return outcome


def first_process_first(action: Callable[[], Outcome]) -> Outcome:
    """Runs `action` on process 0, then on the others, which find what it has created.

    Raises:
        Exception: what `action` raises, on the process where it does; ConfigError on the others.
    """
    is_first = jax.process_index() == 0
    outcome = on_every_process(lambda: action() if is_first else None)
    if jax.process_count() > 1:
        others = on_every_process(lambda: None if is_first else action())
        outcome = outcome if is_first else others
    return cast(Outcome, outcome)


def agree(value: int) -> int:
    """The largest `value` of all processes. All of them must call this at the same point."""
    return agree_on_all(value)[0]


def agree_on_all(*values: int) -> list[int]:
    """As `agree`, for several values in one exchange."""
    if jax.process_count() == 1:
        return list(values)
    gathered = multihost_utils.process_allgather(np.asarray(values, np.int32))
    return [int(value) for value in np.max(gathered, axis=0)]


def leave(*, together: bool) -> None:
    """Disconnects a process that ends early, so that jax does not abort the others.

    Process 0 runs the coordination service, and jax aborts every process that loses its connection to it.

    Args:
        together: all processes have agreed to end; each waits for the others. Otherwise process 0 gives them a few
            seconds to end by themselves, as they do after the same error.
    """
    if jax.process_count() > 1:
        if together:
            jax.distributed.shutdown()
        elif jax.process_index() == 0:
            time.sleep(3)
