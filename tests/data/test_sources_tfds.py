"""TensorFlow Datasets in ArrayRecord files: the same data as in COCO layout, the index of sizes, what is refused."""

import dataclasses
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from prepared_tfds import example, picture, prepare, without
from yolox_jax.cli.main import main
from yolox_jax.config import Config, ConfigError, DataConfig, DatasetConfig, ScheduleConfig, TrainConfig
from yolox_jax.data import open_dataset
from yolox_jax.data.cache.pixel_cache import open_cache
from yolox_jax.data.dataset import DataError, fingerprint
from yolox_jax.data.image import BrokenImage, load_image
from yolox_jax.data.pipeline import training_batches
from yolox_jax.data.sources import tfds_index
from yolox_jax.data.sources.checks import ErrorHandler
from yolox_jax.data.sources.shapes import draw_scene
from yolox_jax.data.sources.tfds_records import read_tfds
from yolox_jax.training.reporting.metrics_log import read_metrics
from yolox_jax.training.run_directory import RunDirectory

WITHOUT_TENSORFLOW = """
import sys
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = classmethod(lambda cls, name, *rest: None if name == "tensorflow" else find(name, *rest))
"""


@pytest.fixture(scope="session")
def tfds() -> Any:
    return pytest.importorskip("tensorflow_datasets", reason="needs the extra tfds: pip install 'yolox-jax[tfds]'")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "yolox_jax" / "tfds"


@pytest.fixture
def store(tfds: Any, tmp_path: Path) -> Callable[..., Path]:
    """`prepare` in a folder of this test; gives the folder."""

    def store(splits: dict[str, list[dict[str, Any]]], **settings: Any) -> Path:
        prepare(tmp_path / "tfds", splits, **settings)
        return tmp_path / "tfds"

    return store


@pytest.fixture
def noise(store: Callable[..., Path]) -> Path:
    """Four images to train on, the second without objects, and one for validation."""
    boxes = [[(0.1, 0.2, 0.5, 0.6), (0.0, 0.0, 0.5, 0.5)], [], [(0.25, 0.25, 0.75, 0.75)], [(0.0, 0.5, 1.0, 1.0)]]
    train = [example(picture(number), *found, number=number) for number, found in enumerate(boxes)]
    return store({"train": train, "validation": [example(picture(9), (0.1, 0.2, 0.5, 0.6), number=9)]})


def test_the_same_data_as_in_coco_layout(store, coco_content, write_coco) -> None:
    crowd = {"id": 200, "image_id": 10, "category_id": 3, "bbox": [8, 12, 16, 24], "area": 100, "iscrowd": 1}
    coco_content["annotations"].append(crowd)
    coco = write_coco(coco_content)
    names = {3: "apple", 7: "kite"}
    examples = []
    for row in coco_content["images"]:
        found = [entry for entry in coco_content["annotations"] if entry["image_id"] == row["id"]]
        corners = [(y, x, y + h, x + w) for x, y, w, h in (entry["bbox"] for entry in found)]
        objects = [
            {
                "bbox": np.array(box) / [48, 64, 48, 64],
                "label": names[entry["category_id"]],
                "area": entry["area"],
                "is_crowd": entry["iscrowd"] == 1,
            }
            for entry, box in zip(found, corners, strict=True)
        ]
        content = (Path(coco.images) / row["file_name"]).read_bytes()
        examples.append(
            {
                "image": io.BytesIO(content),
                "image/filename": row["file_name"],
                "image/id": row["id"],
                "objects": objects,
            }
        )
    folder = store({"train": examples}, left_out=("thumbnail", "is_difficult"), config="a")
    found = open_dataset(DatasetConfig(format="tfds", annotations="tiny/a", images=str(folder)), "train")
    wanted = open_dataset(coco, "train")
    assert found.name == "tiny/a/train" and found.class_names == wanted.class_names and found.category_ids == (1, 2)
    for ours, theirs in zip(found.records, wanted.records, strict=True):
        assert ours.path == Path("tiny/a/train/sub") / theirs.path.name
        assert (ours.image_id, ours.height, ours.width) == (theirs.image_id, theirs.height, theirs.width)
        np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=1e-4)
        np.testing.assert_array_equal(ours.classes, theirs.classes)
        np.testing.assert_array_equal(load_image(ours), load_image(theirs))
    # The annotations of COCO are in the order of their ids, ours image after image.
    truths = sorted(wanted.ground_truth["annotations"], key=lambda entry: entry["image_id"])
    for ours, theirs in zip(found.ground_truth["annotations"], truths, strict=True):
        assert ours["category_id"] == {3: 1, 7: 2}[theirs["category_id"]]
        assert [ours[key] for key in ("image_id", "area", "iscrowd")] == [
            int(theirs[key]) for key in ("image_id", "area", "iscrowd")
        ]
        np.testing.assert_allclose(ours["bbox"], theirs["bbox"], atol=1e-4)
    assert found.warnings == ()


def test_crowds_and_difficult_objects_count_for_nothing(store) -> None:
    boxes = [(0.0, 0.0, 0.5, 0.5), (0.1, 0.1, 0.6, 0.6), (0.2, 0.2, 0.7, 0.7), (0.3, 0.3, 0.3, 0.9)]
    marks = {"is_crowd": [True, False, False, False], "is_difficult": [False, False, True, False]}
    folder = store({"train": [example(picture(), *boxes, **marks)]})
    used, ignored = (read_tfds("tiny", "train", folder, difficult=difficult) for difficult in ("use", "ignore"))
    assert [record.classes.tolist() for record in (*used.records, *ignored.records)] == [[1, 0], [1]]
    assert [entry["iscrowd"] for entry in used.ground_truth["annotations"]] == [1, 0, 0]
    assert [entry["iscrowd"] for entry in ignored.ground_truth["annotations"]] == [1, 0, 1]
    assert used.ground_truth["annotations"][0]["area"] == pytest.approx(32 * 24), "of the box where none is given"
    assert "ignored 1 box without area in the image (first: object 3 of 0.jpg)" in used.warnings[0]


def test_parts_of_a_split_hold_their_own_images(noise: Path) -> None:
    whole, part = (read_tfds("tiny", split, noise) for split in ("train", "train[50%:]"))
    assert [record.image_id for record in part.records] == [12, 13]
    for ours, theirs in zip(part.records, whole.records[2:], strict=True):
        assert ours.encoded() == theirs.encoded()
    assert part.ground_truth["images"][0]["id"] == part.ground_truth["annotations"][0]["image_id"] == 12


def test_val_finds_validation(noise: Path) -> None:
    dataset = open_dataset(DatasetConfig(format="tfds", annotations="tiny", images=str(noise)), "val")
    assert dataset.name == "tiny/validation" and dataset.records[0].image_id == 19


def test_images_without_file_name_or_id_are_called_by_their_place(store) -> None:
    entries = [without(example(picture(n), (0, 0, 1, 1)), "image/id", "image/filename") for n in range(2)]
    dataset = read_tfds("tiny", "train", store({"train": entries}, left_out=("image/id", "image/filename")))
    assert [str(record.path) for record in dataset.records] == ["tiny/train/00000000", "tiny/train/00000001"]
    assert [record.image_id for record in dataset.records] == [1, 2]


def test_ids_that_are_not_unique_are_given_anew(store) -> None:
    dataset = read_tfds("tiny", "train", store({"train": [example(picture(n), (0, 0, 1, 1)) for n in range(2)]}))
    assert [record.image_id for record in dataset.records] == [1, 2]


@pytest.mark.parametrize("encoding", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_boxes_turn_with_their_images(store, encoding: str) -> None:
    canvas = np.zeros((48, 64, 3), np.uint8)
    canvas[8:16, 16:48] = 255
    entries = []
    for orientation in range(1, 9):
        file, exif = io.BytesIO(), Image.Exif()
        exif[0x0112] = orientation
        # OpenCV turns TIFF too, but which way round its library shows it is another matter.
        Image.fromarray(canvas).save(file, encoding, **({} if encoding == "TIFF" else {"exif": exif}))
        entries.append(example(file.getvalue(), (8 / 48, 16 / 64, 16 / 48, 48 / 64), number=orientation))
    dataset = read_tfds("tiny", "train", store({"train": entries}))
    for record in dataset.records:
        rows, columns = np.nonzero(load_image(record)[..., 0] > 127)  # fails if the size is another
        seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(record.boxes, [seen], atol=1.01)
    if encoding != "TIFF":
        assert dataset.warnings == ("rotated the boxes of 7 images by their EXIF orientation (first: 2.jpg)",)


def test_an_image_that_cannot_be_decoded_is_left_to_the_loader(store) -> None:
    folder = store({"train": [example(b"no image", (0, 0, 1, 1)), example(picture(), (0, 0, 1, 1), number=1)]})
    dataset = read_tfds("tiny", "train", folder)
    assert [len(record.boxes) for record in dataset.records] == [0, 1] and dataset.warnings == ()
    with pytest.raises(BrokenImage, match="tiny/train/0.jpg: is not an image"):
        load_image(dataset.records[0])


def _forbid_scanning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tfds_index, "stored_examples", lambda *_: pytest.fail("the split is read again"))


def test_the_index_is_kept_and_used_again(noise: Path, cache: Path, monkeypatch) -> None:
    first = read_tfds("tiny", "train", noise)
    assert [path.name[:-13] for path in cache.iterdir()] == ["tiny-1.0.0-train"]
    _forbid_scanning(monkeypatch)
    again = read_tfds("tiny", "train", noise)
    assert fingerprint(again) == fingerprint(first) and again.ground_truth == first.ground_truth


@pytest.mark.parametrize("change", ["data", "index"])
def test_a_stale_or_broken_index_is_made_anew(noise: Path, cache: Path, monkeypatch, change: str) -> None:
    first = read_tfds("tiny", "train", noise)
    (kept,) = cache.iterdir()
    if change == "data":
        os.utime(next(noise.glob("tiny/1.0.0/*train*")), (1, 1))
    else:
        kept.write_bytes(kept.read_bytes()[:-100])
    before = kept.read_bytes()
    assert fingerprint(read_tfds("tiny", "train", noise)) == fingerprint(first)
    assert kept.read_bytes() != before and list(cache.iterdir()) == [kept]
    _forbid_scanning(monkeypatch)
    read_tfds("tiny", "train", noise)


def test_without_a_cache_folder_it_goes_on_and_says_so(noise: Path, cache: Path, caplog) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("a file in its place")
    assert len(read_tfds("tiny", "train", noise).records) == 4
    assert "read again each time" in caplog.text


def test_a_long_pass_says_how_far_it_is(noise: Path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(tfds_index, "FIRST_REPORT_S", 0.0)
    monkeypatch.setattr(tfds_index, "NEXT_REPORT_S", 0.0)
    monkeypatch.setattr(tfds_index, "CHUNK", 2)
    read_tfds("tiny", "train", noise)
    assert [message[-39:] for message in caplog.messages] == [
        f"sizes of {count} of 4 images; later runs reuse them"[-39:] for count in (2, 4)
    ]


def test_records_read_in_other_processes_and_threads(noise: Path) -> None:
    dataset = read_tfds("tiny", "train", noise)
    wanted = [record.encoded() for record in dataset.records]
    sent = pickle.dumps(dataset.records)
    assert len(sent) < 3000, "nothing that is open, no image"
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda record: record.encoded(), pickle.loads(sent) * 8)) == wanted * 8


def test_archives_of_other_files_call_themselves_otherwise(noise: Path) -> None:
    first, again = (read_tfds("tiny", "train", noise).records[0].archive for _ in range(2))
    os.utime(next(noise.glob("tiny/1.0.0/*train*")), (1, 1))
    other = read_tfds("tiny", "train", noise).records[0].archive
    assert repr(first) == repr(again) == repr(pickle.loads(pickle.dumps(first))) != repr(other)


def test_a_cache_on_disk_is_not_used_for_another_archive(store, tmp_path: Path) -> None:
    config = DataConfig(input_size=(64, 64), cache="disk", cache_dir=str(tmp_path / "pixels"))
    shown = []
    for seed in (0, 1):
        shutil.rmtree(tmp_path / "tfds", ignore_errors=True)
        records = read_tfds("tiny", "train", store({"train": [example(picture(seed), (0, 0, 1, 1))]})).records
        with open_cache(records, config) as cached:
            shown.append(np.array(cached[0]))
            np.testing.assert_array_equal(shown[-1], load_image(records[0]))
    assert (shown[0] != shown[1]).any()


def test_worker_processes_give_the_same_stream(noise: Path) -> None:
    dataset = read_tfds("tiny", "train", noise)
    streams = []
    for num_workers in (0, 2):
        config = Config(
            data=DataConfig(input_size=(64, 64), max_boxes=8, num_workers=num_workers),
            schedule=ScheduleConfig(epochs=3, warmup_epochs=1, no_aug_epochs=1),
            train=TrainConfig(batch_size=2),
        )
        with training_batches(dataset, config) as batches:
            streams.append(list(batches))
            assert not batches.broken
    assert len(streams[0]) == 6
    for ours, theirs in zip(*streams, strict=True):
        assert ours.keys() == theirs.keys() and all((ours[key] == theirs[key]).all() for key in ours)


def test_the_newest_version_is_read_unless_one_is_named(store) -> None:
    for version, count in (("1.9.0", 1), ("1.10.0", 2)):
        entries = [example(picture(n), (0, 0, 1, 1), number=n) for n in range(count)]
        folder = store({"train": entries}, version=version, config="a")
    # The library has noted that the config a is the default.
    names = ("tiny", "tiny/a", "tiny:1.9.0", "tiny/a:1.*.*")
    assert [len(read_tfds(name, "train", folder).records) for name in names] == [2, 2, 1, 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"annotations": ""},
            r"--data\.train\.annotations is empty\. For .* the name of the dataset, such as coco/2017",
        ),
        ({"images": "/nowhere"}, r"--data\.train\.images: the folder /nowhere does not exist"),
        ({"annotations": "coco/2017"}, r"coco/2017 is not prepared in .*tfds build coco/2017 --file_format=array_reco"),
        ({"annotations": "tiny:2.0.0"}, r"not prepared in \S+ \(available: tiny:1\.0\.0\)\. "),
        ({"split": "trian"}, r"--data\.train\.split is 'trian', but tiny/1\.0\.0 has the splits train, validation"),
        ({"split": "train[:x"}, r"--data\.train\.split is 'train\[:x'"),
        ({"split": "train[200%:]"}, r"--data\.train\.split is 'train\[200%:\]'"),
    ],
)
def test_paths_and_splits_that_do_not_exist_are_named(noise: Path, changes: dict[str, str], message: str) -> None:
    config = DatasetConfig(format="tfds", annotations="tiny", images=str(noise))
    with pytest.raises(ConfigError, match=message):
        open_dataset(dataclasses.replace(config, **changes), "train")


def test_features_of_another_task_are_listed(store, tfds) -> None:
    features = tfds.features.FeaturesDict(
        {"image": tfds.features.Image(), "label": tfds.features.ClassLabel(num_classes=2)}
    )
    entries = [{"image": io.BytesIO(picture()), "label": 0}]
    folder = store({"train": entries}, features=features)
    with pytest.raises(ConfigError, match=r"is not a dataset of images with boxes(.|\n)*'label': ClassLabel"):
        read_tfds("tiny", "train", folder)


def test_objects_without_a_class_are_refused_by_name(store) -> None:
    entry = example(picture(), (0, 0, 0.5, 0.5), (0, 0, 1, 1))
    entry["objects"][1]["label"] = -1
    folder, errors = store({"train": [entry]}), ErrorHandler(collect=True)
    with pytest.raises(DataError, match=r"object 1 of 0\.jpg has the label -1; the classes are 0 to 1"):
        read_tfds("tiny", "train", folder)
    dataset = read_tfds("tiny", "train", folder, errors=errors)
    assert dataset.records[0].classes.tolist() == [0] and len(dataset.ground_truth["annotations"]) == 1
    assert [error.kind for error in errors.collected] == ["unknown classes"]


def test_boxes_in_px_are_refused(store, tfds) -> None:
    inner = {"bbox": tfds.features.BBoxFeature(bbox_format=None), "label": tfds.features.ClassLabel(num_classes=2)}
    features = tfds.features.FeaturesDict({"image": tfds.features.Image(), "objects": tfds.features.Sequence(inner)})
    objects = [{"bbox": np.array([3, 4, 20, 30.0]), "label": 0}]
    folder = store({"train": [{"image": io.BytesIO(picture()), "objects": objects}]}, features=features)
    with pytest.raises(DataError, match="boxes must be fractions of their image; the largest coordinate is 30"):
        read_tfds("tiny", "train", folder)


def test_another_file_format_is_refused_with_the_way_to_convert(noise: Path) -> None:
    info = noise / "tiny/1.0.0/dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(ConfigError, match="as tfrecord, which .* tfds convert_format --dataset_version_dir=.*/1.0.0 "):
        read_tfds("tiny", "train", noise)


def test_data_files_that_are_missing_or_damaged_are_told(noise: Path) -> None:
    (data,) = noise.glob("tiny/1.0.0/*train*")
    content = data.read_bytes()
    data.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"tiny/1\.0\.0, split train: examples 0 to 3 in .* cannot be read: "):
        read_tfds("tiny", "train", noise)
    data.unlink()
    with pytest.raises(DataError, match="1 of 1 data files of tiny/1.0.0, split train, do not exist"):
        read_tfds("tiny", "train", noise)


def test_damage_that_comes_later_is_that_of_an_image(noise: Path, tmp_path: Path) -> None:
    records = read_tfds("tiny", "train", noise).records
    shutil.move(noise, tmp_path / "elsewhere")
    with pytest.raises(BrokenImage, match=r"tiny/train/0\.jpg: cannot be read \(example 0 of train in"):
        load_image(records[0])


def test_a_missing_package_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ConfigError, match=r"needs the package .*pip install 'yolox-jax\[tfds\]'"):
        read_tfds("coco/2017", "train", None)


def test_tensorflow_is_not_needed(noise: Path) -> None:
    script = WITHOUT_TENSORFLOW + (
        "from pathlib import Path\nfrom yolox_jax.data.sources.tfds_records import read_tfds\n"
        f"print(len(read_tfds('tiny', 'train', Path({str(noise)!r})).records[3].encoded()))\n"
        "assert not {'tensorflow', 'jax'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(picture(3))


@pytest.mark.slow
def test_a_run_trains_evaluates_and_draws_its_images(store: Callable[..., Path], tmp_path: Path) -> None:
    splits: dict[str, list[dict[str, Any]]] = {"train": [], "validation": []}
    for number in range(24):
        canvas, objects = draw_scene(np.random.default_rng(number), 96)
        boxes = [(y1 / 96, x1 / 96, y2 / 96, x2 / 96) for _, (x1, y1, x2, y2) in objects]
        content = cv2.imencode(".jpg", canvas)[1].tobytes()
        splits["train" if number < 16 else "validation"].append(example(content, *boxes, number=number))
    folder = store(splits)
    settings = ["--config", "yolox_nano", "--data.input-size", "64", "64", "--evaluation.batch-size", "8"]
    for which in ("train", "val"):
        settings += [f"--data.{which}.format", "tfds", f"--data.{which}.annotations", "tiny"]
        settings += [f"--data.{which}.images", str(folder)]
    training = "--schedule.epochs 2 --schedule.warmup-epochs 0.5 --schedule.no-aug-epochs 1 --train.batch-size 4"
    training += " --train.multiscale-px None --data.num-workers 2 --evaluation.num-pictures 2"
    workdir, figures = tmp_path / "run", tmp_path / "metrics.json"
    assert main(["train", *settings, *training.split(), "--workdir", str(workdir)]) == 0
    assert main(["evaluate", *settings, "--weights", str(workdir), "--output", str(figures)]) == 0
    run = RunDirectory(workdir)
    assert run.predictions(2).stat().st_size > 0
    (line,) = [line for line in read_metrics(run.metrics) if line["kind"] == "evaluation" and line["step"] == 8]
    assert json.loads(figures.read_text())["AP"] == pytest.approx(line["AP"], abs=1e-6)
    assert json.loads(figures.read_text())["per_class"].keys() == {"apple", "kite"}
