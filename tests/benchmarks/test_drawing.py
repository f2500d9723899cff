"""The benchmark of drawing on the device runs, and compares all ways with the default."""

import json
import subprocess
import sys
from pathlib import Path

from batch_streams import BatchStream, Cache
from drawing import _ratios
from yolox_jax.data.sources.shapes import generate_shapes

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "drawing.py"


def test_results_compare_all_ways_to_draw_with_the_default(tmp_path: Path) -> None:
    generate_shapes(tmp_path / "shapes", num_train=4, num_val=1, image_size=96)
    data = f"--images {tmp_path}/shapes/images --annotations {tmp_path}/shapes/instances_train.json --size 64 64"
    short = f"--caches ram --rounds 1 --batches 1 --batch-size 4 --no-original --output {tmp_path}/r.json"
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *data.split(), *short.split()], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "r.json").read_text())
    assert [one["cache"] for one in result["pipelines"]] == ["ram"] * 4 and result["settings"]["images"] == 4
    assert [one["name"].partition(", partners")[0] for one in result["ratios"]] == ["host", "device", "device"]
    assert all(one["images_per_cpu_s"]["median"] > 0 for one in result["ratios"])


def stream(name: str, cache: Cache, cpu_ms: float) -> BatchStream:
    return BatchStream(name, "1 thread", cache, iter(()), (), ahead=1, cpu_ms=[cpu_ms])


def test_every_stream_is_compared_with_the_default_and_the_original_of_its_cache() -> None:
    ours = [stream("default", "none", 8), stream("device", "none", 4), stream("default", "ram", 3)]
    found = _ratios(ours, [stream("original", "none", 16), stream("original", "ram", 9)])
    assert [(one["cache"], one["name"], one["relative_to"], one["images_per_cpu_s"]["median"]) for one in found] == [
        ("none", "default", "the original", 2),
        ("none", "device", "the default", 2),
        ("none", "device", "the original", 4),
        ("ram", "default", "the original", 3),
    ]
