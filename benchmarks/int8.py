"""Measures what INT8 costs in AP and gains in size and time: one network as ONNX in several precisions.

    python benchmarks/int8.py --weights yolox_nano --data coco_val2017_100 --halves --output FILE.json
    python benchmarks/int8.py --weights runs/bccd --data bccd --output FILE.json

Calibration uses the training split of the data, and AP is that of the validation split. With --halves, for data without
a split: every second image calibrates, and AP is also that of the others alone. Times are for one image through the
whole file, suppression included, in ONNX Runtime and OpenVINO: medians of alternating rounds, by the clock and in CPU
time, which other programs on the machine change less.
"""

import argparse
import dataclasses
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import yolox_jax
from common import describe_run, write_json
from library_int8 import quantize_with_library
from yolox_jax.data.dataset import Dataset
from yolox_jax.data.image import load_image
from yolox_jax.evaluation.results import Result
from yolox_jax.evaluation.runner import evaluate_results
from yolox_jax.export.onnx_runner import OnnxDetector, Runtime
from yolox_jax.export.quantization import FLOAT_LAYERS, Quantization
from yolox_jax.inference.input.given_images import find_images

PACKAGES = ("yolox-jax", "onnx", "onnxruntime", "openvino", "numpy", "opencv-python-headless", "hotcoco")
RUNTIMES: tuple[Runtime, ...] = ("onnxruntime", "openvino")
FIRST, LAST = FLOAT_LAYERS[:2], FLOAT_LAYERS[2:]
STEM_AND_NEXT = ("backbone.backbone.stem", "backbone.backbone.dark2.0")
VARIANTS: dict[str, dict[str, Any]] = {
    "int8": {},
    "int8 for openvino": {"runtime": "openvino"},
    "int8, percentile 99.999": {"percentile": 99.999},
    "int8, entropy": {"method": "entropy"},
    "int8, minmax": {"method": "minmax"},
    "int8, first stage too": {"float_layers": (*STEM_AND_NEXT, *LAST)},
    "int8, first layers too": {"float_layers": LAST},
    "int8, last layers too": {"float_layers": (*FIRST, "decode")},
    "int8, last layers and decoding too": {"float_layers": FIRST},
    "int8, everything": {"float_layers": ()},
}
LIBRARY = "onnxruntime.quantization"
ALL = ("float32", "float16", *VARIANTS, LIBRARY, f"{LIBRARY}, same float layers")


def main(argv: Sequence[str]) -> None:
    """Measures and reports; `argv` is the command line without the program name."""
    arguments = _parser().parse_args(argv)
    result = describe_run(PACKAGES)
    data = find_images(arguments.data, flag="--data", limit=0, split="val").dataset
    assert data is not None, "--data must be a dataset"
    with tempfile.TemporaryDirectory() as folder:
        calibrate, others = (_halve(data, Path(folder) / "half")) if arguments.halves else (arguments.data, None)
        files: dict[str, OnnxDetector] = {}
        rows: dict[str, dict[str, Any]] = {}
        for name in arguments.variants:
            path = Path(folder) / f"{name}.onnx"
            start = time.perf_counter()
            _export(name, arguments, calibrate, path)
            rows[name] = {"seconds": time.perf_counter() - start, "mib": path.stat().st_size / 2**20}
            for runtime in RUNTIMES if name in arguments.timed else RUNTIMES[:1]:
                detector = OnnxDetector(path, runtime=runtime)
                results = _detect(detector, data)
                rows[name] |= {f"AP {runtime}": _ap(data, results)}
                if others is not None:
                    rows[name] |= {f"AP of the others {runtime}": _ap(others, results)}
                if name in arguments.timed:
                    files[f"{name}/{runtime}"] = detector
            print(name, {key: round(value, 4) for key, value in rows[name].items()}, flush=True)
        _time(files, load_image(data.records[0]), arguments.rounds, rows)
    write_json(arguments.output, result | {"images": len(data.records), "variants": rows})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="int8.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", required=True, help="weights, a run directory or the name of published weights")
    parser.add_argument("--data", type=Path, required=True, help="the dataset: a folder, a JSON file or a data.yaml")
    parser.add_argument("--halves", action="store_true", help="calibrate on every second image of the data")
    parser.add_argument("--images", type=int, default=100, help="number of calibration images (default: 100)")
    parser.add_argument("--variants", nargs="+", default=ALL, choices=ALL, metavar="NAME", help=f"of {', '.join(ALL)}")
    parser.add_argument(
        "--timed",
        nargs="+",
        default=["float32", "float16", "int8", "int8 for openvino"],
        metavar="NAME",
        help="variants that are timed and run in OpenVINO as well (default: the floats and the two of int8)",
    )
    parser.add_argument("--rounds", type=int, default=15, help="rounds of the timing (default: 15)")
    parser.add_argument("--output", type=Path, required=True, help="JSON file for the results")
    return parser


def _halve(data: Dataset, folder: Path) -> tuple[Path, Dataset]:
    """Link every second image into a folder; return it, and the dataset of the others."""
    folder.mkdir()
    for record in data.records[::2]:
        (folder / record.path.name).symlink_to(record.path.resolve())
    return folder, dataclasses.replace(data, records=data.records[1::2])


def _export(name: str, arguments: argparse.Namespace, calibrate: Path, path: Path) -> None:
    options: dict[str, Any] = {"score_threshold": 0.01, "iou_threshold": 0.65}
    if name in VARIANTS:
        quantization = Quantization(calibrate, num_images=arguments.images, **VARIANTS[name])
        yolox_jax.export(arguments.weights, path, precision="int8", quantization=quantization, **options)
    elif name.startswith(LIBRARY):
        yolox_jax.export(arguments.weights, path, **options)
        quantize_with_library(path, Quantization(calibrate, num_images=arguments.images), all_layers=name == LIBRARY)
    else:
        yolox_jax.export(arguments.weights, path, precision=name, **options)


def _detect(detector: OnnxDetector, data: Dataset) -> list[Result]:
    results: list[Result] = []
    for record in data.records:
        boxes, scores, classes = detector(load_image(record))
        sides = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).tolist()
        for box, score, index in zip(sides, scores.tolist(), classes.tolist(), strict=True):
            category = data.category_ids[data.class_names.index(detector.class_names[index])]
            results.append({"image_id": record.image_id, "category_id": category, "bbox": box, "score": score})
    return results


def _ap(data: Dataset, results: Sequence[Result]) -> float:
    ids = {record.image_id for record in data.records}
    return evaluate_results(data, [one for one in results if one["image_id"] in ids]).metrics.figures["AP"]


def _time(files: dict[str, OnnxDetector], image: np.ndarray, rounds: int, rows: dict[str, dict[str, Any]]) -> None:
    """Add the median milliseconds of each file, by the clock and in CPU time."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in files}
    for _ in range(rounds):
        for name, detector in files.items():
            detector(image)  # warms the caches that others have used
            start, cpu = time.perf_counter(), time.process_time()
            detector(image)
            seconds[name].append((time.perf_counter() - start, time.process_time() - cpu))
    for name, pairs in seconds.items():
        variant, runtime = name.split("/")
        for unit, values in zip(("ms", "CPU ms"), zip(*pairs, strict=True), strict=True):
            rows[variant][f"{unit} {runtime}"] = 1000 * statistics.median(values)
            print(f"{name}: {rows[variant][f'{unit} {runtime}']:.1f} {unit}")


if __name__ == "__main__":
    main(sys.argv[1:])
