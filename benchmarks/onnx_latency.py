"""Inference in ONNX Runtime: our export, with and without suppression, and PyTorch's export of the original."""

import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from latency_spec import IOU_THRESHOLD, MAX_DETECTIONS, LatencySpec, frames
from original_package import stand_in_for_torchvision
from serving import Built
from yolox_jax.data.letterbox import letterbox


def build_onnx(spec: LatencySpec) -> Built:
    """Build the parts of our export."""
    from yolox_jax.export.onnx import export_onnx
    from yolox_jax.export.settings import ExportSettings
    from yolox_jax.weights import read_model

    start = time.perf_counter()
    model, _ = read_model(spec.weights)
    names = tuple(f"class {index}" for index in range(model.num_classes))
    settings: dict[str, Any] = {"class_names": names, "input_size": spec.size, "precision": spec.precision}
    thresholds: dict[str, Any] = {
        "score_threshold": spec.score_threshold,
        "iou_threshold": IOU_THRESHOLD,
        "max_detections": MAX_DETECTIONS,
    }
    with tempfile.TemporaryDirectory() as folder:
        raw, whole = Path(folder) / "raw.onnx", Path(folder) / "whole.onnx"
        export_onnx(model, raw, ExportSettings(**settings, nms=False))
        export_onnx(model, whole, ExportSettings(**settings, **thresholds))
        network, detect = _session(raw), _session(whole)
    given = frames(spec.batch)

    def preprocess() -> dict[str, np.ndarray]:
        batch, ratios = zip(*(letterbox(frame, spec.size) for frame in given), strict=True)
        return {"images": np.stack(batch), "ratios": np.array(ratios, np.float32)}

    inputs = preprocess()
    counts = detect.run(["count"], inputs)[0]
    parts: dict[str, Callable[[], Any]] = {
        "preprocess": preprocess,
        "network": lambda: network.run(None, {"images": inputs["images"]}),
        "network_nms": lambda: detect.run(None, inputs),
        "all": lambda: detect.run(None, preprocess()),
    }
    facts = {"device": execution_providers()[0], "compile_s": time.perf_counter() - start, "detections": int(counts[0])}
    return Built(parts, facts, lambda _: None, lambda: None)


def build_torch_onnx(spec: LatencySpec) -> Built:
    """Build the original's network, exported with decoding by `torch.onnx.export`, as its own export script does."""
    stand_in_for_torchvision()
    warnings.filterwarnings("ignore")
    import torch

    from original_latency import folded_original

    start = time.perf_counter()
    model = folded_original(spec)
    images = torch.zeros((spec.batch, 3, *spec.size))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "original.onnx"
        torch.onnx.export(model, (images,), str(path), input_names=["images"], output_names=["output"], dynamo=False)
        network = _session(path)
    batch = np.stack([letterbox(frame, spec.size)[0] for frame in frames(spec.batch)])
    given = np.ascontiguousarray(batch.transpose(0, 3, 1, 2), np.float32)
    parts: dict[str, Callable[[], Any]] = {"network": lambda: network.run(None, {"images": given})}
    facts = {"device": execution_providers()[0], "compile_s": time.perf_counter() - start}
    return Built(parts, facts, lambda _: None, lambda: None)


def execution_providers() -> list[str]:
    """Return what ONNX Runtime is to run on: the GPU if its package can, then the CPU."""
    import onnxruntime

    wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
    return [provider for provider in wanted if provider in onnxruntime.get_available_providers()]


def _session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path.read_bytes(), options, providers=execution_providers())
