"""Heights and widths that differ, through every command."""

import json
from pathlib import Path

import cv2
import pytest

from yolox_jax.cli.main import main
from yolox_jax.data.sources.shapes import generate_shapes

pytestmark = pytest.mark.slow


def test_training_evaluation_and_prediction_take_any_multiples_of_32(tmp_path: Path) -> None:
    height, width = 64, 128
    shapes, run = tmp_path / "shapes", tmp_path / "run"
    generate_shapes(shapes, num_train=8, num_val=4, image_size=96)
    data = f"--config quickstart --data.train.images {shapes} --data.val.images {shapes}"
    data += f" --data.input-size {height} {width}"
    schedule = "--schedule.epochs 2 --schedule.warmup-epochs 0 --schedule.no-aug-epochs 1 --train.batch-size 2"
    schedule += f" --train.multiscale-px {height - 32} {height} --train.multiscale-interval 1"
    assert main(["train", *f"{data} {schedule} --workdir {run}".split()]) == 0
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]

    output = tmp_path / "metrics.json"
    assert main(["evaluate", *f"{data} --weights {run} --output {output}".split()]) == 0
    metrics = json.loads(output.read_text())
    found = next(line for line in reversed(lines) if line["kind"] == "evaluation")
    for name in ("AP", "AP50", "AR_100", "AR_large"):
        assert metrics[name] == pytest.approx(found[name], abs=1e-6)

    words = f"predict {shapes}/images --weights {run} --output {tmp_path}/out --score-threshold 1e-9"
    assert main(words.split()) == 0
    entries = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert len(entries) == 12 and any(entry["detections"] for entry in entries)
    assert cv2.imread(str(tmp_path / "out" / Path(entries[0]["file"]).name)).shape == (96, 96, 3)


@pytest.mark.parametrize(("height", "width", "ap"), [(320, 448, 0.3156), (448, 320, 0.2715)])
def test_published_weights_score_as_well_at_a_size_that_suits_wide_photographs(
    shared: Path, tmp_path: Path, height: int, width: int, ap: float
) -> None:
    """0.3096 at 416x416. Of the photographs, most are wide: upright they are shown smaller."""
    coco, output = shared / "data" / "coco_val2017_100", tmp_path / "metrics.json"
    words = f"evaluate --config yolox_nano --weights {shared}/weights/yolox_nano.pth --output {output}"
    words += f" --data.val.images {coco}/images --data.val.annotations {coco}/instances.json"
    assert main([*words.split(), "--data.input-size", str(height), str(width)]) == 0
    assert json.loads(output.read_text())["AP"] == pytest.approx(ap, abs=0.005)
