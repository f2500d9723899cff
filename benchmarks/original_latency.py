"""Inference with the original in PyTorch, using only its public functions, with batch norm folded."""

import time
import warnings
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from latency_spec import IOU_THRESHOLD, NUM_CLASSES, LatencySpec, frames
from original_package import stand_in_for_torchvision
from original_step import peak_memory_bytes
from serving import Built
from step_spec import Side


def build_original(spec: LatencySpec, side: Side) -> Built:
    """Build all parts. With side `compile`, the network runs under `torch.compile`."""
    stand_in_for_torchvision(_suppress_classes)
    warnings.filterwarnings("ignore")
    import torch
    from yolox.data import ValTransform
    from yolox.utils import postprocess

    start = time.perf_counter()
    torch.set_grad_enabled(False)
    torch.backends.cudnn.benchmark = True
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = getattr(torch, spec.precision)
    layout = torch.contiguous_format if side == "eager" else torch.channels_last
    model = folded_original(spec).to(device, dtype, memory_format=layout)
    network = torch.compile(model) if side == "compile" else model
    transform, given = ValTransform(legacy=False), frames(spec.batch)

    def preprocess() -> Any:
        batch = np.stack([transform(frame, None, spec.size)[0] for frame in given])
        return torch.from_numpy(batch).to(device, dtype, memory_format=layout)

    def suppress(decoded: Any) -> Any:
        # `postprocess` modifies its argument in place.
        found = postprocess(decoded.float().clone(), NUM_CLASSES, spec.score_threshold, IOU_THRESHOLD)
        return [one if one is None else one.cpu() for one in found]

    images = preprocess()
    decoded = network(images)
    detections = suppress(decoded)[0]
    compile_s = time.perf_counter() - start
    parts: dict[str, Callable[[], Any]] = {
        "preprocess": preprocess,
        "network": lambda: network(images),
        "nms": lambda: suppress(decoded),
        "network_nms": lambda: suppress(network(images)),
        "all": lambda: suppress(network(preprocess())),
    }

    def finished(_: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    facts = {"device": name, "compile_s": compile_s, "detections": 0 if detections is None else len(detections)}
    return Built(parts, facts, finished, peak_memory_bytes)


def folded_original(spec: LatencySpec) -> Any:
    """Return the network in evaluation mode, with the spec's weights and batch norm folded."""
    import torch
    from yolox.config import YoloxConfig
    from yolox.utils import fuse_model

    model = YoloxConfig.get_named_config(spec.variant).get_model()
    with np.load(spec.weights) as arrays:
        model.load_state_dict(
            {key: torch.tensor(arrays[key]) for key in model.state_dict() if key in arrays}, strict=False
        )
    model.eval()
    return fuse_model(model)


def _suppress_classes(boxes: Any, scores: Any, classes: Any, iou_threshold: float) -> Any:
    """Replace torchvision's `batched_nms`, where torchvision is missing, with OpenCV's, which is also in C++."""
    import torch

    sides = torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], dim=1).double().cpu().numpy()
    kept = cv2.dnn.NMSBoxesBatched(sides, scores.float().cpu().numpy(), classes.int().cpu().numpy(), 0.0, iou_threshold)
    return torch.as_tensor(np.asarray(kept, np.int64).ravel(), device=boxes.device)
