"""Label assignment as data and as marks in a picture: both say what `assign` does."""

import json
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from yolox_jax.assignment import assign
from yolox_jax.cli.main import main
from yolox_jax.config import AssignmentConfig
from yolox_jax.data.sources.shapes import generate_shapes
from yolox_jax.evaluation.assigned_anchors import AssignedAnchor, AssignedObject, assigned_anchors, summary_of
from yolox_jax.evaluation.assignment_pictures import Dot, dots_of, draw_assignment
from yolox_jax.models import create_model
from yolox_jax.structures import Targets
from yolox_jax.weights import export_state_dict, save_weights

SIZE = (64, 96)


@pytest.fixture(scope="module")
def assigned() -> tuple[Targets, list[list[AssignedObject]], np.ndarray]:
    """Two images: one with many objects on top of each other and one outside of it; one without any."""
    model = create_model("yolox_nano", 3)
    model.eval()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (2, *SIZE, 3), np.uint8)
    boxes = np.concatenate([rng.uniform(30, 40, (2, 12, 2)), rng.uniform(8, 40, (2, 12, 2))], axis=-1)
    boxes[0, 3, :2] = 300  # no anchor is near
    valid = np.ones((2, 12), bool)
    valid[0, 5], valid[1] = False, False
    arrays = boxes.astype(np.float32), rng.integers(0, 3, (2, 12)).astype(np.int32), valid
    targets = Targets(*map(jnp.asarray, arrays))
    found = assigned_anchors(model, images, targets, AssignmentConfig())
    raw = jax.jit(model)(images.astype(np.float32))
    return targets, found, np.asarray(assign(raw, targets, image_size=SIZE).matched_gt)


def test_objects_get_the_anchors_that_training_gives_them(assigned):
    targets, found, matched = assigned
    slots = np.flatnonzero(np.asarray(targets.valid[0])).tolist()
    assert len(found[0]) == len(slots) == 11 and found[1] == []
    for slot, thing in zip(slots, found[0], strict=True):
        assert sorted(anchor.place for anchor in thing.anchors) == np.flatnonzero(matched[0] == slot).tolist()
        assert thing.class_index == int(targets.classes[0, slot])
        costs = [anchor.cost for anchor in thing.anchors]
        assert costs == sorted(costs) and np.isfinite(costs).all()
        assert all(0 <= anchor.iou <= 1 and len(thing.anchors) <= thing.candidates for anchor in thing.anchors)
    summary = summary_of(found[0])
    assert summary["objects"] == 11 and summary["without_anchors"] == 11 - len(set(matched[0]) - {-1})
    assert summary["anchors"] == (matched[0] >= 0).sum() == sum(summary[f"stride_{s}"] for s in (8, 16, 32))


def test_dots_lie_where_the_anchors_are_and_the_cheapest_is_brightest(assigned):
    _, found, matched = assigned
    dots = dots_of(found[0])
    assert len(dots) == (matched[0] >= 0).sum()
    strides = np.repeat([8, 16, 32], [8 * 12, 4 * 6, 2 * 3])
    columns = np.concatenate([np.tile(np.arange(96 // s), 64 // s) for s in (8, 16, 32)])
    expected = sorted(
        (float((columns[p] + 0.5) * strides[p]), int(strides[p])) for p in np.flatnonzero(matched[0] >= 0)
    )
    assert sorted((dot.x, dot.stride) for dot in dots) == expected
    for number, thing in enumerate(found[0]):
        own = [dot.brightness for dot in dots if dot.object_index == number]
        assert len(own) == len(thing.anchors) and own == sorted(own, reverse=True)
        assert not own or own[0] == 1.0
    assert {dot.change for dot in dots} == {"kept"}


def test_dots_tell_what_was_gained_and_lost():
    def thing(*places: int) -> AssignedObject:
        anchors = tuple(AssignedAnchor(place, 8, 8.0 * place, 4.0, 0.5, 1.0) for place in places)
        return AssignedObject(0, (0, 0, 9, 9), 3, 9, anchors)

    dots = dots_of([thing(1, 2)], before=[thing(2, 3)])
    assert {(dot.x, dot.change) for dot in dots} == {(8.0, "gained"), (16.0, "kept"), (24.0, "lost")}


def test_an_object_without_anchors_stands_out():
    image = np.full((64, 64, 3), 200, np.uint8)
    nothing = AssignedObject(0, (16.0, 16.0, 48.0, 48.0), 1, 0, ())
    drawn = draw_assignment(image, [nothing], [], ["cat"], "caption")
    red = (drawn[..., 2] > 200) & (drawn[..., 1] < 80)
    assert 200 < red.sum() < 6000, "a dashed box and words"
    dot = Dot(32.0, 32.0, 8, 0, 1.0, "kept")
    assert (draw_assignment(image, [nothing], [dot], ["cat"], "caption") != drawn).any()


@pytest.fixture(scope="module")
def shapes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shapes")
    generate_shapes(folder, num_train=6, num_val=2, image_size=64, seed=0)
    for name, seed in (("a", 0), ("b", 1)):
        save_weights(folder / f"{name}.safetensors", export_state_dict(create_model("yolox_nano", 4, seed=seed)), {})
    return folder


def visualize(shapes: Path, output: Path, *words: str) -> int:
    settings = ["--config", "quickstart", "--data.train.images", shapes, "--data.input-size", "64", "64"]
    return main(["visualize-assignment", *map(str, settings), "--output", str(output), *words])


def test_pictures_and_numbers_of_two_networks_are_written(shapes, tmp_path, capfd):
    first, second = (str(shapes / f"{name}.safetensors") for name in "ab")
    assert visualize(shapes, tmp_path, "--weights", first, "--compare", second, "--count", "2") == 0
    document = json.loads((tmp_path / "assignment.json").read_text())
    assert list(document["summary"]) == [first, second]
    assert len(document["images"]) == 2
    for image in document["images"]:
        picture = cv2.imread(str(tmp_path / f"{image['name']}.png"))
        assert picture.shape[1] == 2 * 960
    counted = sum(
        len(thing["assigned"][first]["anchors"]) for image in document["images"] for thing in image["objects"]
    )
    assert counted == document["summary"][first]["anchors"] > 0
    assert "without anchors" in capfd.readouterr().out


def test_what_cannot_work_is_refused_before_the_work(shapes, tmp_path, capfd):
    weights = str(shapes / "a.safetensors")
    assert visualize(shapes, tmp_path, "--weights", weights, "--count", "0") == 2
    assert "--count 0" in capfd.readouterr().err
    other = tmp_path / "other.safetensors"
    save_weights(other, export_state_dict(create_model("yolox_nano", 7)), {})
    assert visualize(shapes, tmp_path, "--weights", str(other)) == 2
    assert "has 7 classes, but the training set" in capfd.readouterr().err
    assert visualize(shapes, other, "--weights", weights) == 2
    assert "--output" in capfd.readouterr().err
