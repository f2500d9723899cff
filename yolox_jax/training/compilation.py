"""Compiling the training step for every input size before it is needed."""

import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from pathlib import Path
from types import TracebackType

import jax
from jax.sharding import NamedSharding
from jaxtyping import PyTree

from yolox_jax.config import Config
from yolox_jax.data.batch_form import batch_form
from yolox_jax.text import counted
from yolox_jax.training.build import Training
from yolox_jax.training.profiling.memory import check_fits, lasting_bytes
from yolox_jax.training.reporting.console import FILE_ONLY
from yolox_jax.training.step.gradients import Batch, StepMetrics
from yolox_jax.training.step.mesh import split_over_devices
from yolox_jax.training.step.scalars import StepScalars
from yolox_jax.training.step.state import TrainState
from yolox_jax.training.step.step import TrainStep

logger = logging.getLogger("yolox_jax.training")

Size = tuple[int, int]
CompiledStep = Callable[[TrainState, Batch, StepScalars], tuple[TrainState, StepMetrics]]

MOST_AT_ONCE = 4
"""Sizes compiled in parallel; each takes a few GB of host memory."""

CORES_PER_SIZE = 2
"""Cores for each size that is compiled: sizes that shared fewer would delay the one that training starts with."""


class CompiledSteps:
    """Compiles the step for each input size in the background. Use it as a context manager."""

    def __init__(
        self,
        step: TrainStep,
        state: PyTree,
        batch: PyTree,
        scalars: PyTree,
        sizes: Iterable[Size],
        check: Callable[[jax.stages.Compiled, Size], None] = lambda compiled, size: None,
    ) -> None:
        """Prepares the compilation, which starts when the context is entered.

        Args:
            step: the jitted step.
            state: the train state, on the devices.
            batch: a batch on the devices, or the abstract one of `batch_like`.
            scalars: the numbers that the step takes, on the host; their values do not matter.
            sizes: heights and widths in px, in the order in which to compile them.
            check: called with each compiled step. `wait` raises what it raises.
        """
        self._check = check
        self._arguments = *jax.tree.map(_abstract, (state, batch)), scalars
        self._step = step
        self._compiled: dict[Size, Future[CompiledStep]] = {size: Future() for size in sizes}
        self._closed = threading.Event()
        self._tracer = threading.Thread(target=self._compile_all, name="compile", daemon=True)

    @property
    def num_left(self) -> int:
        """Number of sizes that are not compiled yet."""
        return sum(not future.done() for future in self._compiled.values())

    def wait(self, size: Size, timeout_s: float) -> CompiledStep | None:
        """The compiled step for `size`; None if it is not ready within `timeout_s`.

        If any size has failed to compile so far, its error is raised, because the run would reach that size eventually.
        Several processes would notice such an error at different steps but must stop at the same one: they raise it
        only when its size is needed.
        """
        wait_for([self._compiled[size]], timeout_s)
        for future in self._compiled.values() if jax.process_count() == 1 else ():
            if future.done() and (error := future.exception()) is not None:
                raise error
        return self._compiled[size].result() if self._compiled[size].done() else None

    def _compile_all(self) -> None:
        # Tracing runs in Python and is serial anyway; XLA compiles several sizes in parallel.
        if self._compiled:
            first, *others = self._compiled
            more = f", then at {counted(len(others), 'more size', 'more sizes')} in the background" if others else ""
            logger.info("compiling the training step at %dx%d%s", *first, more)
        at_once = max(1, min(MOST_AT_ONCE, _usable_cores() // CORES_PER_SIZE))
        with ThreadPoolExecutor(at_once, thread_name_prefix="compile") as pool:
            for size in self._compiled:
                if self._closed.is_set():
                    break
                pool.submit(self._compile, size, time.perf_counter(), self._trace(size))

    def _trace(self, size: Size) -> jax.stages.Lowered | Exception:
        try:
            return self._step.lower(*self._arguments, size=size)  # type: ignore[attr-defined]
        except Exception as error:
            return error

    def _compile(self, size: Size, start: float, lowered: jax.stages.Lowered | Exception) -> None:
        if self._closed.is_set():
            return
        try:
            if isinstance(lowered, Exception):
                raise lowered
            compiled = lowered.compile()
            self._check(compiled, size)
        except Exception as error:
            self._compiled[size].set_exception(error)
            return
        if self._closed.is_set():  # the run has ended, and its log may be closed
            return
        seconds = time.perf_counter() - start
        self._compiled[size].set_result(compiled)
        left = counted(self.num_left, "size")
        logger.info("compiled the training step at %dx%d in %.0f s; %s left", *size, seconds, left, extra=FILE_ONLY)

    def __enter__(self) -> "CompiledSteps":
        self._tracer.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._closed.set()


def compile_steps(training: Training) -> CompiledSteps:
    """Compiles the step in the background for every input size in the rest of a run. Use it as a context manager.

    If a size does not fit into the memory of a device, `CompiledSteps.wait` raises ConfigError.
    """
    config, state, lasting = training.schedule.config, training.state, lasting_bytes(training.state)
    return CompiledSteps(
        training.step,
        state,
        batch_like(config, split_over_devices(training.mesh)),
        training.schedule.scalars_at(0),
        training.schedule.sizes_to_compile(int(state.step)),
        check=lambda compiled, size: check_fits(compiled, lasting, config, size),
    )


def compilation_cache() -> str | None:
    """The folder from which the next start loads what this one compiles; None if it has to compile again."""
    folder = jax.config.values["jax_compilation_cache_dir"]
    if not folder or not jax.config.values["jax_enable_compilation_cache"]:
        return None
    is_temporary = Path(folder).is_relative_to(tempfile.gettempdir())
    existing = next(parent for parent in (Path(folder), *Path(folder).absolute().parents) if parent.exists())
    return None if is_temporary or not os.access(existing, os.W_OK) else str(folder)


def batch_like(config: Config, sharding: NamedSharding) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes, types and sharding of a batch on the devices."""
    images = config.train.batch_size
    return {
        name: jax.ShapeDtypeStruct((images, *form.shape), form.dtype, sharding=sharding)
        for name, form in batch_form(config.data).items()
    }


def _usable_cores() -> int:
    """Cores that this process may use, which can be fewer than those of the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _abstract(array: PyTree) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=array.sharding)
