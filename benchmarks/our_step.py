"""Our training step, whole and in parts. Imports only the package's core, jax, flax and optax."""

import functools
import time
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from step_spec import StepSpec
from yolox_jax.config import Config, DataConfig, ModelConfig, OptimizerConfig, TrainConfig
from yolox_jax.losses import detection_loss
from yolox_jax.models.compiler_options import compiler_options
from yolox_jax.structures import Targets
from yolox_jax.training.build import build_training
from yolox_jax.training.profiling.fake_batch import fake_batch
from yolox_jax.training.profiling.memory import needed_bytes
from yolox_jax.training.run_schedule import RunSchedule
from yolox_jax.training.step.gradients import forward_options, make_gradients
from yolox_jax.training.step.mesh import split_over_devices, to_devices
from yolox_jax.training.step.state import TrainState

NUM_CLASSES = 80

Part = Literal["step", "step_from_host", "forward", "network", "loss", "gradients"]
"""`step`: the whole step with data on the device; `step_from_host`: the same, with the data transferred each time;
`forward`: forward pass of the network; `network`: forward and backward pass without a loss; `loss`: assignment, losses
and their gradient for given outputs; `gradients`: everything except the updates of the weights and their average."""


class OurStep:
    """Runs the training step of a spec and its parts, each compiled on request."""

    def __init__(self, spec: StepSpec) -> None:
        self.spec = spec
        self.config = Config(
            model=ModelConfig(variant=spec.variant),  # type: ignore[arg-type]
            data=DataConfig(input_size=spec.size),
            # Low enough that the loss on random images stays finite.
            optimizer=OptimizerConfig(lr_per_image=1e-6 / spec.batch),
            train=TrainConfig(
                batch_size=spec.batch,
                precision=spec.precision,
                rematerialise=spec.rematerialise,
                fused_conv=spec.fused_conv,
                deterministic=spec.deterministic,
            ),
        )
        self.training = build_training(RunSchedule(self.config, steps_per_epoch=1000), NUM_CLASSES)
        self.graphdef, self.state, self.mesh = self.training.graphdef, self.training.state, self.training.mesh
        self.scalars = self.training.schedule.scalars_at(0)
        self.gflops = self.training.summary.gflops
        self.host_batch = fake_batch(spec.batch, spec.size, objects=spec.objects)
        self.batch = to_devices(self.host_batch, split_over_devices(self.mesh))

    def part(self, part: Part) -> tuple[Callable[[], Any], dict[str, Any]]:
        """Return a function that runs a part once, and the time and memory figures of its compilation."""
        if part in ("step", "step_from_host"):
            return self._whole(from_host=part == "step_from_host")
        state, batch = self.state, self.batch
        if part == "loss":
            anchors = sum((self.spec.height // stride) * (self.spec.width // stride) for stride in (8, 16, 32))
            raw = np.random.default_rng(0).normal(-2, 1, (self.spec.batch, anchors, 5 + NUM_CLASSES))
            function: Callable[..., Any] = self._loss
            arguments: tuple[Any, ...] = (jnp.asarray(raw, jnp.float32), batch)
        else:
            function = {"forward": self._forward, "network": self._network, "gradients": self._gradients}[part]
            arguments = (state, batch)
        start = time.perf_counter()
        lowered = jax.jit(function, compiler_options=compiler_options(self.config.train)).lower(*arguments)
        compiled, facts = _finish(lowered, start)
        return lambda: compiled(*arguments), facts

    def _whole(self, *, from_host: bool) -> tuple[Callable[[], Any], dict[str, Any]]:
        start = time.perf_counter()
        lowered = self.training.step.lower(  # type: ignore[attr-defined]
            self.state, self.batch, self.scalars, size=self.spec.size
        )
        compiled, facts = _finish(lowered, start)
        sharding = split_over_devices(self.mesh)
        # The step donates its state.
        state = [jax.tree.map(jnp.copy, self.state)]

        def run() -> Any:
            batch = to_devices(self.host_batch, sharding) if from_host else self.batch
            state[0], metrics = compiled(state[0], batch, self.scalars)
            return metrics["loss"]

        return run, facts

    def _raw(self, params: nnx.State, state: TrainState, batch: Any) -> Any:
        model = nnx.merge(self.graphdef, params, state.batch_stats.tree(), state.frozen, copy=True)
        return model(batch["images"].astype(jnp.float32), forward_options(self.config, self.mesh))

    def _forward(self, state: TrainState, batch: Any) -> Any:
        return self._raw(state.params.tree(), state, batch)

    def _network(self, state: TrainState, batch: Any) -> Any:
        return jax.grad(lambda params: jnp.mean(jnp.sin(self._raw(params, state, batch))))(state.params.tree())

    def _loss(self, raw: Any, batch: Any) -> Any:
        targets = Targets(batch["boxes"], batch["classes"], batch["valid"])
        return jax.value_and_grad(lambda raw: detection_loss(raw, targets, image_size=self.spec.size)[0])(raw)

    def _gradients(self, state: TrainState, batch: Any) -> Any:
        gradients_of = make_gradients(self.graphdef, self.config, self.mesh)
        return gradients_of(state, batch, self.scalars.loss, self.spec.size)


def _finish(lowered: Any, start: float) -> tuple[Any, dict[str, Any]]:
    traced = time.perf_counter()
    compiled = lowered.compile()
    return compiled, {
        "trace_s": traced - start,
        "compile_s": time.perf_counter() - traced,
        "memory_bytes": needed_bytes(compiled),
    }


def peak_memory_bytes() -> int | None:
    """Return the peak memory use of the first device in bytes, or None if the device does not report it."""
    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")


def matrix_tflops(precision: str, size: int) -> float:
    """Return the throughput of the fastest of several square matrix products, as the device's practical peak."""
    x = jax.random.normal(jax.random.key(0), (size, size), jnp.dtype(precision))
    product = jax.jit(functools.partial(jnp.matmul, precision="default"))
    jax.block_until_ready(product(x, x))
    times = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(4):
            out = product(x, x)
        jax.block_until_ready(out)
        times.append((time.perf_counter() - start) / 4)
    return float(2 * size**3 / min(times) / 1e12)
