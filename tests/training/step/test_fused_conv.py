"""`train.fused_conv` takes effect on the cards that its kernels are for, and compiles for them."""

import dataclasses
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from absent_devices import skip_without_compiler
from hlo_kernels import kernels
from hlo_text import parse
from kernel_kinds import kind_of
from yolox_jax.config import Config, TrainConfig
from yolox_jax.models.blocks import BaseConv
from yolox_jax.models.forward_options import ForwardOptions
from yolox_jax.training.profiling.described_devices import compile_described, described_devices
from yolox_jax.training.step.gradients import forward_options
from yolox_jax.training.step.mesh import DATA_AXIS

CONFIG = Config(train=TrainConfig(fused_conv=True, precision="float16"))


def _mesh(device: str) -> Mesh:
    skip_without_compiler(device)
    return Mesh(np.asarray(described_devices(device).devices), (DATA_AXIS,))


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_it_is_off_by_default_and_has_no_effect_on_cpus(caplog: pytest.LogCaptureFixture):
    mesh = Mesh(np.asarray(jax.devices("cpu")[:1]), (DATA_AXIS,))
    assert forward_options(Config(), mesh).pointwise == "plain" and not _warnings(caplog)
    assert forward_options(CONFIG, mesh).pointwise == "plain"
    assert ["--train.fused-conv has no effect" in message for message in _warnings(caplog)] == [True]


@pytest.mark.parametrize(("device", "form"), [("v100", "plain"), ("a100", "fused"), ("h100", "fused")])
def test_it_depends_on_the_compute_capability_and_the_precision(
    device: str, form: str, caplog: pytest.LogCaptureFixture
):
    mesh = _mesh(device)
    assert forward_options(CONFIG, mesh).pointwise == form
    assert len(_warnings(caplog)) == (form == "plain")
    in_float32 = dataclasses.replace(CONFIG, train=dataclasses.replace(CONFIG.train, precision="float32"))
    assert forward_options(in_float32, mesh).pointwise == "plain"


# It is there in all versions of jax that are supported; the docs say what its end means.
@pytest.mark.filterwarnings("ignore:The Pallas Triton backend is deprecated:DeprecationWarning")
@pytest.mark.parametrize("device", ["a100", "h100"])
def test_the_largest_kernels_compile_for_a_card_and_are_counted(device: str):
    mesh = _mesh(device)
    graphdef, params, stats = nnx.split(BaseConv(128, 128, 1, rng=np.random.default_rng(0)), nnx.Param, nnx.BatchStat)

    def loss(params: nnx.State, x: jax.Array) -> jax.Array:
        y = nnx.merge(graphdef, params, stats, copy=True)(x, ForwardOptions(for_gpu=True, pointwise="fused"))
        return jnp.sum(jnp.square(y.astype(jnp.float32)))

    gradient = jax.shard_map(
        jax.grad(loss, argnums=(0, 1)), mesh=mesh, in_specs=PartitionSpec(), out_specs=PartitionSpec(), check_vma=False
    )
    everywhere = NamedSharding(mesh, PartitionSpec())
    shapes = jax.tree.map(lambda p: jax.ShapeDtypeStruct(p.shape, p.dtype, sharding=everywhere), params)
    x = jax.ShapeDtypeStruct((2, 50, 50, 128), jnp.bfloat16, sharding=everywhere)
    text = compile_described(jax.jit(gradient).lower(shapes, x)).as_text()
    forward, backward = (one for one in kernels(parse(text)) if kind_of(one).startswith("1x1 convolution"))
    features, weights = 2 * 5000 * 128, 2 * 128 * 128
    assert (forward.flop, backward.flop) == (2 * 5000 * 128 * 128, 4 * 5000 * 128 * 128)
    assert forward.read_bytes == features + weights
    assert forward.written_bytes == features + 79 * 2 * 128 * 4
    assert backward.read_bytes == 3 * features + weights + 5 * 128 * 4
    assert backward.written_bytes == features + 79 * 128 * 128 * 4
