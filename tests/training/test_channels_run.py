"""A run on images of four channels with 16 bits, from files to predictions."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

import yolox_jax
from own_data_run import CLASS_NAMES, Rectangles
from saved_runs import differing_parts, lasting_metrics, saved_state
from yolox_jax.config import (
    Config,
    DataConfig,
    DatasetConfig,
    EvaluationConfig,
    ModelConfig,
    ScheduleConfig,
    TrainConfig,
)
from yolox_jax.data.pixel_format import PixelFormat
from yolox_jax.inference.input.sources import open_frames
from yolox_jax.inference.predict import predict
from yolox_jax.weights import export_state_dict, read_weights, save_weights

pytestmark = pytest.mark.slow  # compiling the step takes a minute


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Two epochs of two steps with mosaic in the first, on arrays and stacks, from weights for colours."""
    folder = tmp_path_factory.mktemp("bands")
    images, annotations = [], []
    for index in range(8):
        bands, ((x, y, _, _),), _ = Rectangles(8)[index]
        name = f"{index}.npy" if index % 2 else f"{index}.tif"
        if index % 2:
            np.save(folder / name, bands)
        else:
            assert cv2.imwritemulti(str(folder / name), list(np.moveaxis(bands, 2, 0)))
        images.append({"id": index, "file_name": name, "width": 96, "height": 80})
        box = {"bbox": [x, y, 40, 30], "area": 1200, "iscrowd": 0}
        annotations.append({"id": index + 1, "image_id": index, "category_id": index % 2, **box})
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASS_NAMES)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "coco.json").write_text(json.dumps(content))
    colours = yolox_jax.create_model("yolox_nano", 2)
    save_weights(folder / "colours.safetensors", export_state_dict(colours), {})
    files = DatasetConfig(images=str(folder), annotations=str(folder / "coco.json"))
    return Config(
        model=ModelConfig(variant="yolox_nano", weights=str(folder / "colours.safetensors")),
        data=DataConfig(
            train=files,
            val=files,
            input_size=(64, 64),
            channels=4,
            bits=16,
            max_boxes=20,
            cache="disk",
            cache_dir=str(folder / "cache"),
        ),
        schedule=ScheduleConfig(epochs=2, warmup_epochs=0.5, no_aug_epochs=1),
        train=TrainConfig(
            batch_size=4, ema_ramp_steps=10.0, multiscale_px=None, log_interval=1, checkpoint_steps=1, loggers=()
        ),
        evaluation=EvaluationConfig(interval=2, batch_size=4, num_pictures=2),
    )


@pytest.fixture(scope="module")
def run(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    yolox_jax.train(config, workdir=workdir)
    return workdir


def test_a_run_keeps_channels_and_bits_from_files_to_predictions(config: Config, run: Path, tmp_path: Path) -> None:
    log = (run / "log.txt").read_text()
    assert "first convolution adapted to images of 4 channels (3 in the weights)" in log
    assert all(np.isfinite(record["loss"]) for record in lasting_metrics(run) if "loss" in record)
    assert len(list((run / "predictions").iterdir())) == 1
    detector = yolox_jax.Detector(weights=run, score_threshold=0.0, max_detections=20)
    assert detector.pixels == PixelFormat(4, 16)
    file = Path(config.data.val.images) / "1.npy"
    found = detector(file)
    assert len(found) == 20
    np.testing.assert_array_equal(found.boxes, detector(np.load(file)).boxes)
    outcome = predict(detector, [open_frames(config.data.val.images)], tmp_path, save=("drawings", "json", "crops"))
    assert (outcome.images, outcome.unreadable) == (8, 0)
    first = json.loads((tmp_path / "detections.json").read_text())[1]
    assert Path(first["file"]) == file
    np.testing.assert_allclose(first["detections"][0]["box_xyxy"], found.boxes[0], atol=0.02)
    assert cv2.imread(str(tmp_path / "1.npy.png")).shape == (80, 96, 3)


def test_weights_of_a_run_are_exported_for_its_images(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    from yolox_jax.export.onnx_runner import OnnxDetector

    assert read_weights(run).metadata["bits"] == "16"
    yolox_jax.export(run, tmp_path / "m.onnx")
    runner = OnnxDetector(tmp_path / "m.onnx")
    assert (runner.channels, runner.dtype) == (4, np.uint16)


def test_a_stopped_run_ends_as_the_whole_one(config: Config, run: Path, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(event: yolox_jax.TrainingEvent) -> None:
        if event.step == 2:
            raise Stop

    with pytest.raises(Stop):
        yolox_jax.train(config, workdir=tmp_path / "stopped", callbacks=[stop])
    yolox_jax.train(config, workdir=tmp_path / "stopped", resume=True)
    states = (saved_state(config, len(CLASS_NAMES), folder) for folder in (run, tmp_path / "stopped"))
    assert differing_parts(*states) == set()
    assert lasting_metrics(tmp_path / "stopped") == lasting_metrics(run)
