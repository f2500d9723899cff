"""The original's training step in PyTorch, using only its public classes.

A step is a forward pass with losses, a backward pass, and updates by the original's own optimizer and EMA. The images
are already on the device, in the dtype that the network computes in.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from original_package import stand_in_for_torchvision
from step_spec import Side, StepSpec
from yolox_jax.training.profiling.fake_batch import fake_batch


def original_step(spec: StepSpec, side: Side) -> Callable[[], Any]:
    """Return a function that takes one step and returns the loss on the device."""
    stand_in_for_torchvision()
    warnings.filterwarnings("ignore")  # the original uses deprecated PyTorch names
    import torch
    from yolox.config import YoloxConfig
    from yolox.utils.ema import ModelEMA

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = True  # as in the original's trainer
    config = YoloxConfig.get_named_config(spec.variant)
    model = config.get_model().to(device)
    model.train()
    layout = torch.contiguous_format if side == "eager" else torch.channels_last
    model = model.to(memory_format=layout)
    optimizer = config.get_optimizer(spec.batch)
    average = ModelEMA(model, 0.9998)
    if side == "compile":
        # All but the assignment, whose shapes depend on the data.
        for module in (model.backbone, *model.head.stems, *model.head.cls_convs, *model.head.reg_convs):
            module.compile()

    dtype = getattr(torch, spec.precision)
    batch = fake_batch(spec.batch, spec.size, objects=spec.objects)
    images = torch.tensor(batch["images"].transpose(0, 3, 1, 2)).to(device, dtype, memory_format=layout)
    labels = np.concatenate([batch["classes"][..., None], batch["boxes"]], axis=-1) * batch["valid"][..., None]
    targets = torch.tensor(labels, dtype=torch.float32, device=device)
    scaler = torch.amp.GradScaler(device.type, enabled=spec.precision == "float16")

    def step() -> Any:
        with torch.autocast(device.type, dtype=dtype, enabled=spec.precision != "float32"):
            loss = model(images, targets)["total_loss"]
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        average.update(model)
        return loss.detach()

    return step


def finished(loss: Any) -> float:
    """Wait for the device and return the loss."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return float(loss)


def peak_memory_bytes() -> int | None:
    """Return the peak memory use of the GPU in bytes, or None on a CPU."""
    import torch

    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
