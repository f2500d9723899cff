"""The training step: a pure function of the state and the batch, compiled once per input size."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh

from yolox_jax.config import Config
from yolox_jax.models.compiler_options import compiler_options
from yolox_jax.training.step.gradients import Batch, StepMetrics, make_gradients
from yolox_jax.training.step.learning_rates import scaled_by_stage
from yolox_jax.training.step.loss_scale import adjusted
from yolox_jax.training.step.mesh import platform_of
from yolox_jax.training.step.optimizer import make_optimizer
from yolox_jax.training.step.scalars import StepScalars
from yolox_jax.training.step.state import TrainState

TrainStep = Callable[..., tuple[TrainState, StepMetrics]]


def make_train_step(graphdef: nnx.GraphDef, config: Config, mesh: Mesh) -> TrainStep:
    """Builds `step(state, batch, scalars, size) -> (state, metrics)`.

    Each device computes the loss of its share of the batch, normalized by the number of foreground anchors in the whole
    batch; then gradients, losses and statistics are reduced across devices. If the loss or a gradient is not finite,
    the step is skipped: only the step number, the count of skipped steps and the loss scale change. `state` is donated.

    Args:
        graphdef: structure of the model in training mode, from `create_train_state`.
        config: network, assignment, precision and kind of optimizer. What `StepScalars` holds is not read from it.
        mesh: the devices.

    Returns:
        The jitted step. `scalars` are inputs: no schedule, and no other config that differs in them alone, recompiles
        it. `size` (height, width in px) is static. `metrics` contains `loss`, its parts, `num_foreground`,
        `gradient_norm` (before clipping), `skipped` (1 if the step was skipped, else 0) and `loss_scale`, as scalars on
        the device.
    """
    compute_gradients = make_gradients(graphdef, config, mesh)
    options = compiler_options(config.train, platform_of(mesh))

    @functools.partial(jax.jit, static_argnames="size", donate_argnames="state", compiler_options=options)
    def step(
        state: TrainState, batch: Batch, scalars: StepScalars, size: tuple[int, int]
    ) -> tuple[TrainState, StepMetrics]:
        gradients, batch_stats, metrics = compute_gradients(state, batch, scalars.loss, size)
        if config.train.precision == "float16":
            gradients = jax.tree.map(lambda x: x / state.loss_scale.value, gradients)
        norm = optax.tree.norm(gradients)
        finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(norm)

        optimizer = make_optimizer(config.optimizer, scalars)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        if scalars.stage_rates is not None:
            updates = scaled_by_stage(updates, scalars.stage_rates)
        params = optax.apply_updates(state.params, updates)
        decay = scalars.ema_decay
        average = functools.partial(jax.tree.map, lambda old, new: decay * old + (1 - decay) * new)
        after = state._replace(
            params=params,
            batch_stats=batch_stats,
            ema_params=average(state.ema_params, params),
            ema_batch_stats=average(state.ema_batch_stats, batch_stats),
            opt_state=opt_state,
        )
        after = jax.tree.map(lambda new, old: jnp.where(finite, new, old), after, state)
        metrics |= {
            "gradient_norm": norm,
            "skipped": (~finite).astype(jnp.float32),
            "loss_scale": state.loss_scale.value,
        }
        return after._replace(
            step=state.step + 1,
            skipped_steps=state.skipped_steps + ~finite,
            loss_scale=adjusted(state.loss_scale, finite, config.train),
        ), metrics

    return step
