"""The study of the roadmap trains, continues where it was stopped, and reports."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from roadmap_report import plot_steps, summarise_step, write_table
from yolox_jax.data.sources.shapes import generate_shapes

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "roadmap.py"


def seed(number: int, ap: float) -> dict[str, float]:
    return {"seed": number, "AP": ap, "AP50": 2 * ap, "AP75": ap / 2, "best_AP": ap, "images_per_second": 30.0}


def test_table_holds_means_ranges_and_increments_beside_the_papers(tmp_path: Path) -> None:
    steps = {
        "multi_positives": [seed(0, 0.10), seed(1, 0.14)],
        "simota": [seed(0, 0.15), seed(1, 0.16)],
        "nms_free": [seed(0, 0.15), seed(1, 0.15)],
        "ota": [seed(0, 0.16), seed(1, 0.16)],
    }
    result = {"steps": [summarise_step(name, seeds, parameters=9000, gflops=1.0) for name, seeds in steps.items()]}
    write_table(result, tmp_path / "table.md")
    lines = (tmp_path / "table.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:7]] + [line] for line in lines]
    assert rows[2][:5] == ["+ multi positives", "12.0 (10.0 to 14.0)", "", "24.0 (20.0 to 28.0)", ""]
    assert rows[3][:3] == ["+ SimOTA", "15.5 (15.0 to 16.0)", "+3.5"]
    assert rows[3][5] == "47.3" and "| +2.3 |" in rows[3][6]
    assert rows[4][2] == "-0.5" and rows[4][5] == "46.5"
    # An alternative to SimOTA, not a step above the last one.
    assert rows[5][2] == "+0.5" and rows[5][5] == ""
    plot_steps(result, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 5000


@pytest.mark.slow
def test_study_trains_each_step_once_and_continues_with_the_same_command(tmp_path: Path) -> None:
    generate_shapes(tmp_path / "shapes", num_train=16, num_val=8, image_size=96)
    words = f"--rows decoupled_head simota --seeds 0 --epochs 1 --input-size 64 64 --data {tmp_path}/shapes"

    def study(*more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(SCRIPT), *words.split(), "--output", f"{tmp_path}/study", *more]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    first = study()
    assert first.returncode == 0, first.stdout + first.stderr
    assert "2 runs, 0 of them finished before" in first.stdout
    assert "1/2 decoupled_head_0: AP" in first.stdout and "min left" in first.stdout
    result = json.loads((tmp_path / "study" / "results.json").read_text())
    assert [step["step"] for step in result["steps"]] == ["decoupled_head", "simota"]
    anchors = json.loads((tmp_path / "study" / "configs" / "decoupled_head_0.json").read_text())["model"]["anchors"]
    assert anchors == result["anchors"]["sizes_px"] and len(anchors) == 9
    for step in result["steps"]:
        assert 0 <= step["AP"]["min"] <= step["AP"]["max"] <= 1 and step["parameters"] > 800_000
    assert (tmp_path / "study" / "roadmap.png").stat().st_size > 5000

    # As if it had been stopped in the evaluation of the second run.
    metrics = tmp_path / "study" / "runs" / "simota_0" / "metrics.jsonl"
    metrics.write_text(
        "\n".join(line for line in metrics.read_text().splitlines() if '"evaluation"' not in line) + "\n"
    )
    second = study()
    assert second.returncode == 0, second.stdout + second.stderr
    assert "2 runs, 1 of them finished before" in second.stdout and "2/2 simota_0: AP" in second.stdout
    assert json.loads((tmp_path / "study" / "results.json").read_text())["steps"] == result["steps"]

    refused = study("--epochs", "2")
    assert refused.returncode != 0 and "other settings" in refused.stderr
