"""The training step, compiled for every input size before it is needed."""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from types import TracebackType

import jax
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import PyTree

from yolox_jax.config import Config
from yolox_jax.training.step.gradients import Batch, StepMetrics
from yolox_jax.training.step.state import TrainState
from yolox_jax.training.step.step import TrainStep

logger = logging.getLogger("yolox_jax.training")

Size = tuple[int, int]
CompiledStep = Callable[[TrainState, Batch, np.float32], tuple[TrainState, StepMetrics]]

MOST_AT_ONCE = 4
"""Sizes compiled at the same time; each takes some GB of host memory."""


class CompiledSteps:
    """Compiles in the background, one size after another; use it in a `with`."""

    def __init__(
        self,
        step: TrainStep,
        state: PyTree,
        batch: PyTree,
        sizes: Iterable[Size],
        check: Callable[[jax.stages.Compiled, Size], None] = lambda compiled, size: None,
    ) -> None:
        """Takes what is compiled, and in which order.

        Args:
            step: to compile.
            state: on the devices.
            batch: on the devices, or `batch_like` one.
            sizes: height and width in px, in the order in which to compile them.
            check: is given each compiled step; what it raises comes to who waits.
        """
        self._check = check
        self._arguments = jax.tree.map(_abstract, (state, batch))
        self._step = step
        self._compiled: dict[Size, Future[CompiledStep]] = {size: Future() for size in sizes}
        self._closed = threading.Event()
        self._tracer = threading.Thread(target=self._compile_all, name="compile", daemon=True)

    @property
    def num_left(self) -> int:
        """Sizes that are not compiled yet."""
        return sum(not future.done() for future in self._compiled.values())

    def wait(self, size: Size, timeout_s: float) -> CompiledStep | None:
        """The step for `size`; None if it is not ready within `timeout_s`.

        Raises what compiling any size has raised so far: the run would come to it in the end. Several processes, which
        hear of it at different steps but have to stop at the same one, raise it where they need that size.
        """
        wait_for([self._compiled[size]], timeout_s)
        for future in self._compiled.values() if jax.process_count() == 1 else ():
            if future.done() and (error := future.exception()) is not None:
                raise error
        return self._compiled[size].result() if self._compiled[size].done() else None

    def _compile_all(self) -> None:
        # Python traces one size at a time anyway; XLA compiles several beside each other.
        with ThreadPoolExecutor(MOST_AT_ONCE, thread_name_prefix="compile") as pool:
            for size in self._compiled:
                if self._closed.is_set():
                    break
                logger.info("compiling the step for %dx%d px; this can take minutes", *size)
                pool.submit(self._compile, size, time.perf_counter(), self._trace(size))

    def _trace(self, size: Size) -> jax.stages.Lowered | Exception:
        try:
            return self._step.lower(*self._arguments, np.float32(0), size=size)  # type: ignore[attr-defined]
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
        if self._closed.is_set():  # nobody waits for it, and the log of the run may be closed
            return
        logger.info("compiled the step for %dx%d px in %.0f s", *size, time.perf_counter() - start)
        self._compiled[size].set_result(compiled)

    def __enter__(self) -> "CompiledSteps":
        self._tracer.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._closed.set()


def batch_like(config: Config, sharding: NamedSharding) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and types of a batch on the devices."""
    images, slots = config.train.batch_size, config.data.max_boxes

    def array(shape: tuple[int, ...], dtype: type) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((images, *shape), dtype, sharding=sharding)

    return {
        "images": array((*config.data.input_size, 3), np.uint8),
        "boxes": array((slots, 4), np.float32),
        "classes": array((slots,), np.int32),
        "valid": array((slots,), bool),
    }


def _abstract(array: PyTree) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=array.sharding)
