"""Worker of `latency.py`: runs our detector, the original in PyTorch, or a network in ONNX Runtime."""

from typing import Any

from latency_spec import LatencySpec
from serving import Built, serve


def _build(spec: dict[str, Any], side: Any, parts: list[str]) -> Built:
    asked = LatencySpec(**spec)
    if side == "ours":
        from our_latency import build_ours

        built = build_ours(asked)
    elif side == "onnx":
        from onnx_latency import build_onnx

        built = build_onnx(asked)
    elif side == "torch_onnx":
        from onnx_latency import build_torch_onnx

        built = build_torch_onnx(asked)
    else:
        from original_latency import build_original

        built = build_original(asked, side)
    return built


if __name__ == "__main__":
    serve(_build)
