"""The generated dataset."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from yolox_jax.config import ConfigError, DatasetConfig
from yolox_jax.data import open_dataset
from yolox_jax.data.image import read_image
from yolox_jax.data.sources import shapes


def _hash(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in files)).hexdigest()


def test_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        shapes.generate_shapes(tmp_path / name, num_train=6, num_val=2, image_size=128, seed=seed)
    assert _hash(tmp_path / "a") == _hash(tmp_path / "b") != _hash(tmp_path / "c")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


def test_killed_generation_leaves_nothing_at_the_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(shapes.cv2, "imwrite", fail)
    with pytest.raises(KeyboardInterrupt):
        shapes.generate_shapes(tmp_path / "set", num_train=2, num_val=1)
    assert not list(tmp_path.iterdir())


def test_shapes_open_as_a_data_set_made_on_first_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    generate: Callable[..., None] = shapes.generate_shapes

    def small(folder: Path) -> None:
        calls.append(folder)
        generate(folder, num_train=5, num_val=2, image_size=128)

    monkeypatch.setattr(shapes, "generate_shapes", small)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    train, val = (open_dataset(DatasetConfig(format="shapes"), which) for which in ("train", "val"))
    assert calls == [tmp_path / "yolox_jax" / "shapes-v1"]
    assert train.class_names == ("bar", "circle", "star", "triangle")
    assert (len(train.records), len(val.records)) == (5, 2)
    assert train.warnings == ()
    assert read_image(train.records[0].path).shape == (128, 128, 3)


def test_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(ConfigError, match=r"--data\.val\.images: .* contains other files"):
        open_dataset(DatasetConfig(format="shapes", images=str(tmp_path)), "val")
    with pytest.raises(ConfigError, match=r"--data\.val\.split must be train or val .* got 'test'"):
        open_dataset(DatasetConfig(format="shapes", images=str(tmp_path), split="test"), "val")


def test_boxes_enclose_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "_PATTERNS", (shapes._flat,))
    seen = set()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        picture, colours = shapes._background(rng, 128)
        label = seed % 4
        points = shapes._outline(rng, label, 128)
        shapes._paint(picture, points, shapes._distinct_colour(rng, colours))
        changed = np.abs(picture.astype(float) - colours[0]).max(axis=-1) > 40
        rows, columns = np.nonzero(changed)
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose([*points.min(axis=0), *points.max(axis=0)], found, atol=1.01)
        seen.add(label)
    assert len(seen) == 4


def test_sizes_counts_and_classes_vary_as_promised() -> None:
    scenes = [shapes.draw_scene(np.random.default_rng(seed), 256)[1] for seed in range(60)]
    boxes = np.array([box for scene in scenes for _, box in scene])
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    assert boxes.min() >= 0
    assert boxes.max() <= 256
    assert 7.9 < sides.min() < 16
    assert 100 < sides.max() <= 128.1
    assert max(map(len, scenes)) <= 8
    assert min(map(len, scenes)) >= 1
    assert {label for scene in scenes for label, _ in scene} == {0, 1, 2, 3}
