"""SimOTA against the reference arrays, a NumPy implementation, and cases worked out by hand."""

import functools
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import numpy_twins
from assignment_cases import largest_array, one_object
from yolox_jax.anchors import anchor_points
from yolox_jax.assignment import assign
from yolox_jax.config import STRIDES, AssignmentConfig
from yolox_jax.structures import Targets

REFERENCE = np.load(Path(__file__).parents[1] / "reference" / "loss_cases.npz")
SIZE = (96, 128)
NUM_ANCHORS = 252
MIB = 2**20


@functools.partial(jax.jit, static_argnames=("image_size", "config"))
def jitted_assign(raw, targets, image_size=SIZE, config=AssignmentConfig()):
    return assign(raw, targets, image_size=image_size, config=config)


def make_raw(rng, num_images, size, num_classes, strides=STRIDES):
    """Return outputs like those of a partly trained network: boxes a few strides wide, and mostly low scores."""
    num_anchors = len(anchor_points(size, strides=strides)[1])
    spread = np.array([0.7] * 4 + [2.0] * (1 + num_classes))
    mean = np.array([0.5, 0.5, 0.7, 0.7, -2.0] + [-2.0] * num_classes)
    return (rng.standard_normal((num_images, num_anchors, 5 + num_classes)) * spread + mean).astype(np.float32)


def make_targets(rng, size, num_classes, counts, slots, low=-20, high=20):
    """Objects of 4 to 90 px, some with their centre outside. Valid slots are scattered; the others hold garbage."""
    shape = (len(counts), slots)
    centres = rng.uniform(low, np.array(size)[::-1] + high, (*shape, 2))
    boxes = np.concatenate([centres, rng.uniform(4, 90, (*shape, 2))], axis=-1).astype(np.float32)
    valid = rng.permuted(np.arange(slots) < np.array(counts)[:, None], axis=1)
    boxes[~valid] = rng.choice([np.nan, np.inf, -1.0, 50.0], (*shape, 4))[~valid]
    classes = np.where(valid, rng.integers(0, num_classes, shape), -7).astype(np.int32)
    return Targets(jnp.asarray(boxes), jnp.asarray(classes), jnp.asarray(valid))


def assert_equals_twin(assigned, raw, targets, size, strides=STRIDES):
    for image in range(len(raw)):
        matched, iou = numpy_twins.simota(raw[image], *(np.asarray(x[image]) for x in targets), size, strides)
        np.testing.assert_array_equal(assigned.matched_gt[image], matched)
        np.testing.assert_array_equal(assigned.foreground[image], matched >= 0)
        np.testing.assert_allclose(assigned.matched_iou[image], iou, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("case", REFERENCE["names"])
def test_equals_the_original(case):
    labels = REFERENCE[f"{case}/labels"]
    targets = Targets(
        jnp.asarray(labels[..., 1:]), jnp.asarray(labels[..., 0].astype(np.int32)), jnp.asarray(labels.sum(-1) > 0)
    )
    size = tuple(int(side) for side in REFERENCE[f"{case}/size"])
    assigned = jitted_assign(jnp.asarray(REFERENCE[f"{case}/raw"]), targets, size)
    np.testing.assert_array_equal(assigned.foreground, REFERENCE[f"{case}/fg"])
    np.testing.assert_array_equal(assigned.matched_gt, REFERENCE[f"{case}/matched_gt"])
    np.testing.assert_allclose(assigned.matched_iou, REFERENCE[f"{case}/matched_iou"], atol=1e-5)


@pytest.mark.parametrize("num_classes", [1, 7])
def test_equals_the_numpy_implementation_with_empty_images_and_centres_outside(num_classes):
    rng = np.random.default_rng(num_classes)
    raw = make_raw(rng, 5, SIZE, num_classes)
    targets = make_targets(rng, SIZE, num_classes, counts=(0, 1, 5, 20, 30), slots=30)
    assigned = jitted_assign(jnp.asarray(raw), targets)
    assert_equals_twin(assigned, raw, targets, SIZE)


@pytest.mark.parametrize("strides", [(4, 8, 16, 32), (4, 8, 16, 32, 64)])
def test_equals_the_numpy_implementation_with_more_levels(strides):
    rng, size = np.random.default_rng(5), (64, 128)
    raw = make_raw(rng, 3, size, 3, strides)
    targets = make_targets(rng, size, 3, counts=(0, 3, 12), slots=12)
    assigned = jitted_assign(jnp.asarray(raw), targets, size)
    assert_equals_twin(assigned, raw, targets, size, strides)
    fine = np.asarray(assigned.foreground[:, : 16 * 32])
    assert fine.any() and not fine.all()


def test_ties_are_broken_as_in_the_numpy_implementation():
    rng = np.random.default_rng(3)
    raw = np.zeros((4, NUM_ANCHORS, 8), np.float32)
    boxes = np.concatenate([rng.integers(0, 12, (4, 12, 2)) * 8, 2.0 ** rng.integers(3, 7, (4, 12, 2))], axis=-1)
    classes, valid = jnp.asarray(rng.integers(0, 3, (4, 12)), jnp.int32), jnp.ones((4, 12), bool)
    targets = Targets(jnp.asarray(boxes, jnp.float32), classes, valid)
    assert_equals_twin(jitted_assign(jnp.asarray(raw), targets), raw, targets, SIZE)


def test_of_equally_cheap_anchors_the_first_is_taken():
    # The object fills the cell (10, 10) of the finest level; the four boxes decoded at its corners overlap it alike.
    raw = jnp.zeros((1, NUM_ANCHORS, 8)).at[:, 192:, 4].set(-20.0)
    assigned = jitted_assign(raw, one_object([84, 84, 8, 8]))
    assert np.flatnonzero(assigned.foreground[0]).tolist() == [10 * 16 + 10]
    np.testing.assert_allclose(assigned.matched_iou[0, 170], 1 / 7, rtol=1e-6)


def test_of_two_identical_objects_the_first_gets_every_anchor():
    raw = jnp.asarray(make_raw(np.random.default_rng(4), 1, SIZE, 3))
    single = one_object([60, 40, 30, 30])
    twice = Targets(*(jnp.concatenate([x, x], axis=1) for x in single))
    got, expected = jitted_assign(raw, twice), jitted_assign(raw, single)
    np.testing.assert_array_equal(got.matched_gt, expected.matched_gt)
    np.testing.assert_allclose(got.matched_iou, expected.matched_iou, rtol=1e-6)


def test_an_object_of_another_class_goes_where_its_class_is_predicted():
    raw = jnp.full((1, NUM_ANCHORS, 8), -4.0).at[..., :4].set(0.0).at[0, 100, 6].set(4.0)
    grid, stride = anchor_points(SIZE)
    x, y = (grid[100] + 0.5) * stride[100]
    assigned = jitted_assign(raw, one_object([x, y, 8, 8], cls=1))
    assert assigned.matched_gt[0, 100] == 0


@pytest.mark.parametrize(("box", "most"), [([-40, 20, 60, 60], 0), ([0.0, 0.0, 8, 8], 3), ([64, 64, 90, 90], 10)])
def test_a_lone_object_takes_no_more_anchors_than_it_has_candidates(box, most):
    # Every decoded box equals the object, so all IoUs are 1 and k is 10; the image corner has three candidates.
    grid, stride = anchor_points(SIZE)
    centre, size = np.array(box[:2]), np.array(box[2:])
    raw = np.zeros((1, NUM_ANCHORS, 8), np.float32)
    raw[0, :, :2], raw[0, :, 2:4] = centre / stride[:, None] - grid, np.log(size / stride[:, None])
    assigned = jitted_assign(jnp.asarray(raw), one_object(box))
    assert most - 1 <= int(assigned.foreground.sum()) <= most


def test_settings_change_what_is_assigned():
    raw = jnp.asarray(make_raw(np.random.default_rng(5), 1, SIZE, 3))
    target = one_object([64, 48, 60, 60])
    near = jitted_assign(raw, target, config=AssignmentConfig(center_radius=0.6, max_dynamic_k=2))
    assert 1 <= int(near.foreground.sum()) <= 2
    grid, stride = anchor_points(SIZE)
    distance = np.abs((grid + 0.5) - np.array([64, 48]) / stride[:, None]).max(axis=1)
    assert distance[np.asarray(near.foreground[0])].max() < 0.6


def test_there_is_no_gradient_and_results_are_float32_for_any_input_dtype():
    raw = jnp.asarray(make_raw(np.random.default_rng(6), 1, SIZE, 3))
    target = one_object([64, 48, 60, 60])
    gradient = jax.grad(lambda r: jitted_assign(r, target).matched_iou.sum())(raw)
    assert not gradient.any()
    half = raw.astype(jnp.bfloat16)
    got, expected = (jitted_assign(r, target) for r in (half, half.astype(jnp.float32)))
    assert got.matched_iou.dtype == jnp.float32
    np.testing.assert_array_equal(got.matched_iou, expected.matched_iou)


def test_saturated_scores_leave_the_costs_finite():
    raw = jnp.zeros((1, NUM_ANCHORS, 8)).at[..., 4:].set(jnp.array([200.0, 200.0, -200.0, 200.0]))
    assigned = jitted_assign(raw, one_object([64, 48, 30, 30], cls=1))
    assert assigned.foreground.any()


def test_a_crowded_batch_compiles_once_stays_small_and_equals_the_numpy_implementation():
    """8 images of 640x640 with 120 objects each: no array above 64 MiB in the jaxpr or the compiled program."""
    size, rng = (640, 640), np.random.default_rng(7)
    raw = make_raw(rng, 8, size, 80)
    crowded = make_targets(rng, size, 80, counts=[120] * 8, slots=120, low=0, high=0)
    sparse = make_targets(rng, size, 80, counts=[0, 1, 2, 3, 5, 10, 50, 100], slots=120)
    traced = jitted_assign.trace(jnp.asarray(raw), crowded, size)
    compiled = traced.lower().compile()

    assert 8 * 120 * 8400 * 4 <= largest_array(traced.jaxpr.jaxpr) <= 64 * MIB
    assert 8 * 120 * 8400 * 4 <= largest_array_in_text(compiled.as_text()) <= 64 * MIB
    for targets in (crowded, sparse):
        assert_equals_twin(compiled(jnp.asarray(raw), targets), raw, targets, size)


def largest_array_in_text(hlo):
    """Bytes of the largest array in an optimized HLO module, outputs of fusions, sorts and top-k included."""
    bits = {"pred": 8, "s8": 8, "u8": 8, "s32": 32, "u32": 32, "f32": 32, "s64": 64, "u64": 64, "f64": 64}
    shapes = re.findall(r"\b(pred|[suf]\d+)\[([\d,]+)\]", hlo)
    return max(bits[kind] // 8 * int(np.prod([int(n) for n in dims.split(",")])) for kind, dims in shapes)


def test_targets_without_slots_are_rejected():
    empty = Targets(jnp.zeros((1, 0, 4)), jnp.zeros((1, 0), jnp.int32), jnp.zeros((1, 0), bool))
    with pytest.raises(ValueError, match="at least one slot"):
        assign(jnp.zeros((1, NUM_ANCHORS, 8)), empty, image_size=SIZE)
