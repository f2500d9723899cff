"""Freezing by part and by name: what is frozen, what is said about it, and what is refused."""

import pytest
from flax import nnx

from yolox_jax.config import Config, ConfigError, ModelConfig
from yolox_jax.models import YOLOX, create_model
from yolox_jax.training.build import build_training
from yolox_jax.training.freezing import freeze
from yolox_jax.training.run_schedule import RunSchedule
from yolox_jax.training.step.state import Frozen
from yolox_jax.weights import export_state_dict
from yolox_jax.weights.names import original_name


@pytest.fixture
def model() -> YOLOX:
    model = create_model("yolox_nano", 3)
    model.train()
    return model


@pytest.fixture(scope="module")
def unfrozen() -> YOLOX:
    """For patterns that are refused, which change nothing."""
    return create_model("yolox_nano", 3)


def frozen_names(model: YOLOX) -> set[str]:
    return {original_name(path) for path, _ in nnx.to_flat_state(nnx.state(model, Frozen))}


@pytest.mark.parametrize(
    ("part", "inside", "outside"),
    [
        ("backbone", "backbone.backbone.", "backbone.backbone."),
        ("neck", "backbone.", "backbone.backbone."),
        ("head", "head.", "backbone."),
    ],
)
@pytest.mark.parametrize("variant", ["yolox_nano", "yolox_darknet53"])
def test_a_part_is_that_part_and_no_other(variant, part, inside, outside):
    model = create_model(variant, 3)
    names = {original_name(path) for path, _ in nnx.to_flat_state(nnx.state(model))}
    model.train()
    frozen = freeze(model, (part,))
    expected = {name for name in names if name.startswith(inside) and (part == "backbone" or outside not in name)}
    assert frozen_names(model) == expected and expected
    assert frozen.parts == (part,) and frozen.names == expected


def test_names_of_weights_are_as_in_the_original(model):
    frozen = freeze(model, ("backbone.backbone.stem", "head.stems.*", "backbone.C3_p4"))
    assert frozen_names(model) == {
        name
        for name in frozen_names(create_and_freeze_all_but_one())
        if name.startswith(("backbone.backbone.stem.", "head.stems.", "backbone.C3_p4."))
    }
    assert frozen.parts == ("part of backbone", "part of neck", "part of head")


def create_and_freeze_all_but_one() -> YOLOX:
    model = create_model("yolox_nano", 3)
    model.train()
    freeze(model, ("backbone", "neck", "head.stems", "head.cls*", "head.reg*"))
    return model


def test_what_is_frozen_is_described_with_its_share_of_the_parameters(model):
    total = sum(variable[...].size for _, variable in nnx.to_flat_state(nnx.state(model, nnx.Param)))
    frozen = freeze(model, ("backbone", "neck"))
    trained = sum(variable[...].size for _, variable in nnx.to_flat_state(nnx.state(model, nnx.Param)))
    assert (frozen.num_parameters, frozen.total_parameters) == (total - trained, total)
    assert (
        str(frozen)
        == f"backbone, neck (385 tensors, {(total - trained) / 1e6:.2f} M of {total / 1e6:.2f} M parameters)"
    )


@pytest.mark.parametrize(
    ("pattern", "meant"),
    [
        ("bakbone", "backbone"),
        ("Neck", "neck"),
        ("heads", "head"),
        ("backbone.dark2", "backbone.backbone.dark2"),
        ("C3_p4", "backbone.C3_p4"),
        ("head.stem", "head.stems"),
    ],
)
def test_a_misspelt_part_is_refused_with_the_one_that_was_meant(unfrozen, pattern, meant):
    with pytest.raises(
        ConfigError, match=rf"--model.freeze {pattern} matches no part of yolox_nano; did you mean {meant}\?"
    ):
        freeze(unfrozen, (pattern,))


def test_freezing_everything_is_refused(unfrozen):
    with pytest.raises(ConfigError, match="nothing is left to train"):
        freeze(unfrozen, ("backbone", "neck", "head"))


def test_freezing_takes_the_statistics_with_the_factors_of_batch_norm(model):
    assert len(freeze(model, ("head.stems.1.bn.weight",)).names) == 3
    assert model.head.stems[1].bn.use_running_average and not model.head.stems[0].bn.use_running_average
    assert isinstance(model.head.stems[1].conv.kernel, nnx.Param)


@pytest.mark.parametrize(("part", "modules"), [("neck", "backbone.C3_p2, backbone.reduce_conv2"), ("backbone", "")])
def test_parts_of_a_new_level_that_stay_random_are_warned_of(unfrozen, caplog, part, modules):
    """The neck of stride 4 is not in weights of three levels."""
    config = Config(model=ModelConfig("yolox_nano", strides=(4, 8, 16, 32), weights="w", freeze=(part,)))
    build_training(RunSchedule(config, 1), 3, weights=export_state_dict(unfrozen))
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [modules in message and "--model.freeze keeps" in message for message in warned] == [True] * bool(modules)
