"""Prefixes that other programs put in front of the names of weights."""

import numpy as np
import pytest

from yolox_jax.weights import WeightsError, describe, read_weights, save_weights
from yolox_jax.weights.names import without_prefix

NAMES = ("backbone.backbone.stem.conv.conv.weight", "head.cls_preds.0.weight", "head.cls_preds.0.bias")
ARRAYS = {name: np.full((index + 1,), index, np.float32) for index, name in enumerate(NAMES)}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda name: f"module.{name}",
        lambda name: f"_orig_mod.{name}",
        lambda name: f"module._orig_mod.{name}",
        lambda name: f"model.{name}",
        lambda name: f"ema.module.{name}",
        lambda name: f"detector.net.{name}",
        lambda name: name.replace("backbone.backbone", "backbone._orig_mod.backbone"),
    ],
)
def test_prefixes_are_removed_and_that_is_said(wrap):
    cleaned, remark = without_prefix({wrap(name): array for name, array in ARRAYS.items()})
    assert cleaned == ARRAYS
    assert wrap(NAMES[0]) in remark and f"as {NAMES[0]}" in remark


def test_names_of_the_original_stay_as_they_are():
    assert without_prefix(ARRAYS) == (ARRAYS, None)
    others = {"layer1.weight": ARRAYS[NAMES[0]]}
    assert without_prefix(others) == (others, None)


def test_a_backbone_alone_loses_its_prefix_too():
    cleaned, _ = without_prefix({f"model.{NAMES[0]}": ARRAYS[NAMES[0]]})
    assert cleaned.keys() == {NAMES[0]}


def test_what_is_not_of_the_network_is_left_out_and_named():
    cleaned, remark = without_prefix({f"model.{name}": x for name, x in ARRAYS.items()} | {"loss.weight": np.ones(1)})
    assert cleaned.keys() == ARRAYS.keys()
    assert "left out 1 other array: loss.weight" in remark


def test_two_networks_in_one_file_are_refused():
    both = {f"{prefix}.{name}": array for prefix in ("student", "teacher") for name, array in ARRAYS.items()}
    with pytest.raises(WeightsError, match=r"2 networks, with the prefixes 'student\.' and 'teacher\.'\. Save"):
        without_prefix(both)


def test_files_are_read_without_the_prefix_with_one_warning(tmp_path, caplog):
    path = tmp_path / "weights.safetensors"
    save_weights(path, {f"module.{name}": array for name, array in ARRAYS.items()}, {})
    assert read_weights(path).state_dict.keys() == ARRAYS.keys()
    (message,) = (record.getMessage() for record in caplog.records)
    assert message.startswith(f"{path}: read 3 names like module.")


def test_other_weights_show_some_of_their_names():
    with pytest.raises(WeightsError, match=r"Names found: layer1\.weight\. Expected are names such as head\.cls_preds"):
        describe({"layer1.weight": np.zeros((3, 3))})
