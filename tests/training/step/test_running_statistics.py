"""Running statistics of batch norm move in the step as in the network by itself, and frozen ones stay."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from small_network import SmallNetwork
from started import scalars_at
from yolox_jax.config import Config, DataConfig, TrainConfig
from yolox_jax.training.profiling.fake_batch import fake_batch
from yolox_jax.training.step.gradients import forward_options, make_gradients
from yolox_jax.training.step.mesh import create_mesh
from yolox_jax.training.step.state import Frozen, create_train_state

SIZE, CLASSES = (32, 32), 3


def _network() -> SmallNetwork:
    """The first of its blocks is frozen, and its statistics are far from those of the images."""
    network, rng = SmallNetwork(SIZE, CLASSES), np.random.default_rng(0)
    for norm in (network.first.bn, network.second.bn):
        for statistic in (norm.mean, norm.var):
            statistic[...] = jnp.asarray(rng.uniform(20, 50, statistic[...].shape), jnp.float32)
    norm = network.first.bn
    norm.mean, norm.var, norm.use_running_average = Frozen(norm.mean[...]), Frozen(norm.var[...]), True
    return network


@pytest.mark.parametrize("parts", [1, 2])
def test_statistics_follow_one_another_behind_frozen_ones(parts: int) -> None:
    config = Config(data=DataConfig(input_size=SIZE), train=TrainConfig(batch_size=8, accumulation_steps=parts))
    mesh = create_mesh(config.train, jax.devices()[:1])
    graphdef, state = create_train_state(_network(), config.train)
    batch = fake_batch(8, SIZE, num_classes=CLASSES, objects=2)
    gradients, loss_weights = make_gradients(graphdef, config, mesh), scalars_at(config, 0, 0.0).loss
    # Without the gradients, there is little to compile.
    found = jax.jit(lambda state, batch: gradients(state, batch, loss_weights, SIZE).batch_stats)(state, batch).tree()

    expected = state.batch_stats.tree()
    for images in np.split(batch["images"], parts):
        network = nnx.merge(graphdef, state.params.tree(), expected, state.frozen, copy=True)
        network(jnp.asarray(images, jnp.float32), forward_options(config, mesh))
        expected = nnx.state(network, nnx.BatchStat)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
    assert len(jax.tree.leaves(found)) == len(jax.tree.leaves(state.frozen)) == 2
