"""Times exported files of one network beside each other, from an image to its detections, on one core.

    yolox-jax export --weights yolox_nano --format onnx --output nano.onnx
    yolox-jax export --weights yolox_nano --format ncnn --output nano.param
    python benchmarks/exported_files.py nano.onnx nano.param --images photos/ --output FILE.json

Each round detects in the same images with one file after the other, so that all see the same machine. Times are those
of the processor, which other programs disturb less than those of the clock; both are kept. Ratios are to the first
file. One thread computes, because the threads of ncnn wait for each other without rest, on cores that may be busy.
"""

import argparse
import time
from pathlib import Path

import cv2
import numpy as np

from common import describe_run, pin, ratio, spread, summary, write_json
from yolox_jax.export.ncnn_runner import NcnnDetector
from yolox_jax.export.onnx_runner import OnnxDetector
from yolox_jax.export.yolox_detection import ExportedDetector

PACKAGES = ("onnxruntime", "openvino", "ncnn", "ai-edge-litert", "numpy", "opencv-python-headless")


def main() -> None:
    """Time the files and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", help="exported files; ratios are to the first")
    parser.add_argument("--openvino", action="store_true", help="run the ONNX files in OpenVINO too")
    parser.add_argument("--images", type=Path, required=True, help="a folder of images")
    parser.add_argument("--num-images", type=int, default=5, help="how many of them, in alphabetical order")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--core", type=int, default=0, help="the core that all run on")
    parser.add_argument("--output", type=Path, help="JSON file for all figures")
    options = parser.parse_args()
    pin([options.core])
    detectors = {path.name: open_on_one_thread(path) for path in options.files}
    sizes = {path.name: size_mib(path) for path in options.files}
    for path in options.files if options.openvino else ():
        if path.suffix == ".onnx":
            name = f"{path.name} in OpenVINO"
            detectors[name], sizes[name] = OnnxDetector(path, runtime="openvino"), size_mib(path)
    paths = sorted(options.images.glob("*.jpg"))[: options.num_images]
    images = [image for path in paths if (image := cv2.imread(str(path))) is not None]
    clock: dict[str, list[float]] = {name: [] for name in detectors}
    processor: dict[str, list[float]] = {name: [] for name in detectors}
    for round_number in range(options.rounds + 1):  # the first one compiles and fills caches
        for name, detector in detectors.items():
            started, used = time.perf_counter(), time.process_time()
            for image in images:
                detector(image)
            if round_number:
                clock[name].append(1000 * (time.perf_counter() - started) / len(images))
                processor[name].append(1000 * (time.process_time() - used) / len(images))
    first = options.files[0].name
    for name, times in processor.items():
        relative = ratio(times, processor[first])
        print(f"{name}: {sizes[name]:.1f} MiB, {spread(summary(times))} ms, x {spread(relative, 2)}")
    if options.output is not None:
        figures = {
            name: {
                "mib": round(sizes[name], 2),
                "processor_ms": summary(times),
                "clock_ms": summary(clock[name]),
                "processor_ratio": ratio(times, processor[first]),
            }
            for name, times in processor.items()
        }
        shapes = [list(np.shape(image)) for image in images]
        write_json(options.output, {**describe_run(PACKAGES), "images": shapes, "files": figures})


def open_on_one_thread(path: Path) -> ExportedDetector:
    """Open a file of a format whose runner takes the number of threads."""
    if path.suffix == ".onnx":
        return OnnxDetector(path, threads=1)
    if path.suffix == ".param":
        return NcnnDetector(path, threads=1)
    if path.suffix == ".tflite":
        from yolox_jax.export.litert_runner import LiteRtDetector  # imports its runtime

        return LiteRtDetector(path, threads=1)
    raise SystemExit(f"{path} must end in .onnx, .param or .tflite")


def size_mib(path: Path) -> float:
    """Size of a file, with the weights beside it if it is of ncnn."""
    files = [path, path.with_suffix(".bin")] if path.suffix == ".param" else [path]
    return sum(file.stat().st_size for file in files) / 2**20


if __name__ == "__main__":
    main()
