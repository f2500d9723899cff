"""Levels of the network, and the settings that have to suit them."""

import dataclasses
import re

import pytest

from yolox_jax.config import LEVELS, Config, ConfigError
from yolox_jax.config.checks import check_config, check_multiscale_range
from yolox_jax.config.serialization import config_from_dict, config_to_dict


def _config(**sections: dict[str, object]) -> Config:
    config = Config()
    for section, values in sections.items():
        config = dataclasses.replace(config, **{section: dataclasses.replace(getattr(config, section), **values)})
    return config


@pytest.mark.parametrize("strides", LEVELS)
def test_all_choices_of_levels_go_with_suitable_sizes(strides: tuple[int, ...]) -> None:
    check_config(_config(model={"strides": strides}, train={"multiscale_px": (448, 832)}))


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"model": {"strides": (4, 8, 16)}}, "--model.strides must be 8 16 32, 4 8 16 32, 8 16 32 64 or .* got 4 8 16"),
        ({"model": {"strides": ()}}, "got none"),
        (
            {
                "model": {"strides": (8, 16, 32, 64)},
                "data": {"input_size": (416, 640)},
                "train": {"multiscale_px": None},
            },
            "--data.input-size must be positive multiples of 64 with --model.strides .* got 416 640; try 448 640",
        ),
        ({"model": {"strides": (8, 16, 32, 64)}}, "--train.multiscale-px must .* got 480 800; try 512 832"),
        (
            {"model": {"strides": (4, 8, 16, 32)}, "assignment": {"rule": "centre"}},
            "--assignment.rule centre knows the levels 8 16 32 alone.* 4 8 16 32. Choose simota or ota",
        ),
        (
            {"model": {"strides": (4, 8, 16, 32), "anchors": ((9.0, 9.0),) * 3}, "assignment": {"rule": "yolov3"}},
            "--model.strides 4 8 16 32 does not suit --model.anchors",
        ),
    ],
)
def test_what_does_not_suit_the_levels_is_refused_with_a_way_out(sections: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_config(_config(**sections))


def test_a_multiscale_range_is_proposed_in_multiples_of_the_largest_stride() -> None:
    config = _config(model={"strides": (8, 16, 32, 64)}, data={"input_size": (1024, 1024)})
    with pytest.raises(ConfigError, match=re.escape("--train.multiscale-px 832 1216")):
        check_multiscale_range(config)


def test_a_config_from_before_there_were_levels_has_those_of_yolox() -> None:
    saved = config_to_dict(Config())
    del saved["model"]["strides"]
    assert config_from_dict(saved).model.strides == (8, 16, 32)
