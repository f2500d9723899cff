"""Worker of `train_step.py`: runs our step and its parts, or the original's step."""

from collections.abc import Callable
from typing import Any

from serving import Built, serve
from step_spec import StepSpec


def _build(spec: dict[str, Any], side: str, parts: list[str]) -> Built:
    return _build_ours(StepSpec(**spec), parts) if side == "ours" else _build_original(StepSpec(**spec), side)


def _build_ours(spec: StepSpec, part_names: list[str]) -> Built:
    import jax

    import our_step

    ours = our_step.OurStep(spec)
    parts: dict[str, Callable[[], Any]] = {}
    facts: dict[str, Any] = {"gflops": ours.gflops, "device": jax.devices()[0].device_kind, "parts": {}}
    for part in part_names:
        parts[part], facts["parts"][part] = ours.part(part)  # type: ignore[arg-type]

    def finished(out: Any) -> float | None:
        jax.block_until_ready(out)
        leaves = jax.tree.leaves(out)
        return float(leaves[0]) if len(leaves) == 1 and leaves[0].ndim == 0 else None

    return Built(parts, facts, finished, our_step.peak_memory_bytes)


def _build_original(spec: StepSpec, side: Any) -> Built:
    import torch

    import original_step

    step = original_step.original_step(spec, side)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return Built(
        {"step": step},
        {"device": device, "parts": {"step": {}}},
        original_step.finished,
        original_step.peak_memory_bytes,
    )


if __name__ == "__main__":
    serve(_build)
