"""The steps of the roadmap change what the paper changes, and nothing else."""

import json

import pytest

from yolox_jax.config import Config
from yolox_jax.config.checks import check_config
from yolox_jax.config.files import load_config
from yolox_jax.config.recipes import yolox_coco
from yolox_jax.config.roadmap import ladder
from yolox_jax.config.serialization import config_to_dict, flatten

# What differs from the step below.
CHANGES = {
    "decoupled_head": {"model.head"},
    "strong_augmentation": {"data.augment.mosaic_probability", "data.augment.mixup_probability"},
    "anchor_free": {"model.anchors", "assignment.rule"},
    "multi_positives": {"assignment.rule"},
    "simota": {"assignment.rule"},
    "nms_free": {"model.end_to_end"},
}
ANCHORS = ((3.0, 4.0), (5.0, 6.0), (9.0, 8.0))


def changes(one: Config, other: Config) -> set[str]:
    """Names of the settings that differ."""
    before, after = (flatten(json.loads(json.dumps(config_to_dict(config)))) for config in (one, other))
    return {name for name in before if before[name] != after[name]}


@pytest.mark.parametrize("step", ladder(yolox_coco("yolox_darknet53")))
def test_shipped_configs_are_the_steps_with_darknet53_on_coco(step: str) -> None:
    assert load_config(f"roadmap/{step}") == ladder(yolox_coco("yolox_darknet53"))[step]


@pytest.mark.parametrize("base", ["yolox_darknet53", "yolox_s", "quickstart", "bccd_nano"])
def test_each_step_changes_what_the_paper_changes(base: str) -> None:
    steps = ladder(load_config(base))
    assert list(steps) == ["yolov3_baseline", *CHANGES, "ota"]
    for (_, below), (name, above) in zip(list(steps.items())[:-2], list(steps.items())[1:-1], strict=True):
        # A base without MixUp gets none.
        assert changes(below, above) | {"data.augment.mixup_probability"} == CHANGES[name] | {
            "data.augment.mixup_probability"
        }
    assert changes(steps["simota"], steps["ota"]) == {"assignment.rule"}
    for config in steps.values():
        check_config(config)


@pytest.mark.parametrize("base", ["yolox_darknet53", "quickstart"])
def test_the_sixth_step_is_the_base(base: str) -> None:
    assert ladder(load_config(base))["simota"] == load_config(base)


def test_anchor_boxes_of_own_data_are_those_of_the_first_three_steps() -> None:
    steps = ladder(load_config("quickstart"), ANCHORS)
    assert [name for name, config in steps.items() if config.model.anchors == ANCHORS] == list(steps)[:3]


@pytest.mark.parametrize(
    ("name", "below"),
    [("coupled_end_to_end", "yolov3_baseline"), ("decoupled_end_to_end", "decoupled_head")],
)
def test_networks_of_table_1_add_the_branch_alone(name: str, below: str) -> None:
    assert changes(load_config(f"roadmap/{below}"), load_config(f"roadmap/{name}")) == {"model.end_to_end"}


def test_experiments_of_table_5_differ_in_augmentation_alone() -> None:
    weak, strong = load_config("roadmap/nano_weak_augmentation"), load_config("roadmap/nano_strong_augmentation")
    assert changes(weak, strong) == {"data.augment.mosaic_scale", "data.augment.mixup_probability"}
    without, with_mixup = load_config("roadmap/l_without_mixup"), load_config("roadmap/l_with_mixup")
    assert changes(without, with_mixup) == {"data.augment.mixup_probability"}
    assert with_mixup == load_config("yolox_l")
