"""Several processes that train together: how they find each other, and what one of them does for all."""

import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

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
    """Joins the other processes of this run, if there are any; before jax is used for anything else.

    Args:
        coordinator: host:port of process 0, reachable by all; None to take all three from the launcher: Slurm's srun,
            Open MPI's mpirun, or TPUs in Kubernetes. A program that was started alone does nothing then.
        num_processes: number of processes.
        process_id: number of this one, from 0.
        detect: there are others, which jax is to find, even if the environment does not tell; as on a TPU pod.

    Raises:
        ConfigError: some of the three are missing, or the others cannot be reached.
    """
    given = (coordinator, num_processes, process_id)
    if all(value is None for value in given) and not detect and not launched_as_several(os.environ):
        return
    if any(value is None for value in given) and any(value is not None for value in given):
        raise ConfigError("--coordinator, --num-processes and --process-id belong together: give all three, or none")
    if coordinator is not None and not re.fullmatch(r".+:\d+", coordinator):
        raise ConfigError(f"--coordinator {coordinator} cannot work: it is host:port of process 0, such as node0:1234")
    if num_processes is not None and num_processes < 1:
        raise ConfigError(f"--num-processes {num_processes} cannot work: it must be 1 or more")
    if num_processes is not None and process_id is not None and not 0 <= process_id < num_processes:
        raise ConfigError(f"--process-id {process_id} cannot work: it counts from 0 to {num_processes - 1}")
    if not process_id:
        everyone = "all processes" if num_processes is None else f"all {num_processes} processes"
        print(f"waiting until {everyone} of this run have started", file=sys.stderr, flush=True)
    try:
        jax.distributed.initialize(coordinator, num_processes, process_id)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"the processes of this run did not find each other: {error}") from error


def launched_as_several(environment: Mapping[str, str]) -> bool:
    """Whether a launcher started this program as one of several.

    jax would also take a single program inside a Slurm allocation for one of `SLURM_NTASKS`, and wait for the others.
    """
    tasks = max(int(environment.get(name) or 1) for name in ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE"))
    hosts = environment.get("TPU_PROCESS_ADDRESSES") or environment.get("TPU_WORKER_HOSTNAMES") or ""
    return tasks > 1 or "," in hosts


def connect(mesh: Mesh) -> None:
    """Connects the devices of several processes with each other, while none of these is busy.

    On CPU, XLA gives up after 30 seconds of waiting for a connection (Gloo's), and one process may compile the first
    step that much longer than another. Once connected, they wait for each other for as long as it takes.
    """
    if jax.process_count() > 1:
        # Two kinds of connections: between one device of each process, as `agree` uses, and between all devices.
        multihost_utils.sync_global_devices("all have started")
        ones = to_devices(np.ones(len(mesh.local_devices), np.float32), split_over_devices(mesh))
        jax.block_until_ready(jax.jit(jnp.sum)(ones))


def check_same_settings(settings: Mapping[str, object]) -> None:
    """Checks that all processes of a run were started alike.

    Args:
        settings: by name, as JSON can hold them.

    Raises:
        ConfigError: on all of them; the message names the settings where they differ from those of process 0.
    """
    if jax.process_count() == 1:
        return
    text = np.frombuffer(json.dumps(settings).encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.asarray(text.size, np.int32)))
    # All give an array of the same shape; what process 0 gives is what they get.
    first = json.loads(bytes(multihost_utils.broadcast_one_to_all(np.resize(text, size)).tolist()))
    here = json.loads(text.tobytes())
    differing = [
        f"{flag(name)} is {first.get(name)!r} on process 0, {here.get(name)!r} on process {jax.process_index()}"
        for name in {**first, **here}
        if first.get(name) != here.get(name)
    ]
    if agree(bool(differing)):
        differences = "; ".join(differing) or "see the message of another one"
        raise ConfigError(f"the processes of a run need the same settings, but theirs differ: {differences}")


def on_every_process(action: Callable[[], Outcome]) -> Outcome:
    """Runs `action` on all processes of a run; where it fails on one of them, it fails on all, and none waits for it.

    Raises:
        Exception: whatever `action` raises, where it does; ConfigError on the others then.
    """
    error: Exception | None = None
    try:
        outcome = action()
    except Exception as raised:
        error = raised
    if agree(error is not None):
        raise error or ConfigError("another process cannot go on; its own message says why")
    return outcome


def on_first_process(action: Callable[[], Outcome]) -> Outcome | None:
    """Runs `action` on process 0 alone, while the others wait for it.

    Returns:
        Its outcome; None on the other processes.

    Raises:
        Exception: whatever `action` raises, on process 0; ConfigError on the others then.
    """
    return on_every_process(lambda: action() if jax.process_index() == 0 else None)


def agree(value: int) -> int:
    """The largest `value` of all processes, which all must ask for at the same point."""
    if jax.process_count() == 1:
        return value
    return int(np.max(multihost_utils.process_allgather(np.asarray(value, np.int32))))


def leave(*, together: bool) -> None:
    """Prepares the end of a process before the end of its run, so that jax does not abort the others.

    Process 0 has the service that all are connected to, and jax aborts those that lose it.

    Args:
        together: all processes leave, as they have agreed; each waits for the others. If not, process 0 gives the
            others a few seconds to leave by themselves, as they do where they got the same error.
    """
    if jax.process_count() > 1:
        if together:
            jax.distributed.shutdown()
        elif jax.process_index() == 0:
            time.sleep(3)
