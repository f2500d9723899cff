"""Our detector, whole and in parts."""

import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from latency_spec import IOU_THRESHOLD, MAX_DETECTIONS, LatencySpec, frames
from our_step import peak_memory_bytes
from serving import Built
from yolox_jax.data.letterbox import letterbox
from yolox_jax.inference.detect import prepare_for_inference
from yolox_jax.inference.detector import Detector
from yolox_jax.models import summarize
from yolox_jax.models.compiler_options import backend_options
from yolox_jax.postprocess import best_detections, decode, postprocess
from yolox_jax.weights import read_model


def build_ours(spec: LatencySpec) -> Built:
    """Build all parts and compile them."""
    detector = Detector(
        weights=spec.weights,
        input_size=spec.size,
        score_threshold=spec.score_threshold,
        iou_threshold=IOU_THRESHOLD,
        max_detections=MAX_DETECTIONS,
        precision=spec.precision,
        batch_size=spec.batch,
    )
    model, _ = read_model(spec.weights)
    gflops = summarize(model, spec.size).gflops
    graphdef, state = prepare_for_inference(model, spec.precision)

    @functools.partial(jax.jit, compiler_options=backend_options())
    def network(state: Any, images: Any) -> Any:
        return decode(nnx.merge(graphdef, state)(images.astype(jnp.float32)), image_size=spec.size)

    @functools.partial(jax.jit, compiler_options=backend_options())
    def select(decoded: Any) -> Any:
        if spec.end_to_end:
            return best_detections(decoded, score_threshold=spec.score_threshold, max_detections=MAX_DETECTIONS)
        return postprocess(
            decoded,
            score_threshold=spec.score_threshold,
            iou_threshold=IOU_THRESHOLD,
            max_detections=MAX_DETECTIONS,
        )

    given = frames(spec.batch)

    def preprocess() -> Any:
        batch, ratios = zip(*(letterbox(frame, spec.size) for frame in given), strict=True)
        return jax.device_put((np.stack(batch), np.array(ratios, np.float32)))

    images, ratios = preprocess()
    start = time.perf_counter()
    detector.warm_up(spec.batch)
    compile_s = time.perf_counter() - start
    decoded = network(state, images)
    parts: dict[str, Callable[[], Any]] = {
        "preprocess": preprocess,
        "network": lambda: network(state, images),
        "nms": lambda: jax.device_get(select(decoded)),
        "network_nms": lambda: jax.device_get(detector.detect_batch(images, ratios)),
        "all": lambda: detector(given),
    }
    facts = {
        "device": jax.devices()[0].device_kind,
        "compile_s": compile_s,
        "gflops": gflops,
        "detections": int(select(decoded).valid[0].sum()),
    }

    def finished(out: Any) -> None:
        jax.block_until_ready(out)

    return Built(parts, facts, finished, peak_memory_bytes)
