"""What the latency benchmark measures: the network, the batch, the precision, and the parts to time."""

import dataclasses
from pathlib import Path

import numpy as np

from step_spec import Precision
from yolox_jax.config import Variant

FRAME = (720, 1280)
"""Height and width of the input images in px, before preprocessing."""
NUM_CLASSES = 80
CANDIDATES = 100
"""Anchors per image that pass the score threshold, so that suppression has work to do."""
IOU_THRESHOLD, MAX_DETECTIONS = 0.45, 300
PARTS = ("preprocess", "network", "nms", "network_nms", "all")
"""`preprocess`: letterboxing on the host and transfer to the device; `network`: images on the device to decoded
predictions; `nms`: decoded predictions to detections on the host, which end-to-end networks do without suppression;
`network_nms`: both; `all`: input images to detections on the host."""


@dataclasses.dataclass(frozen=True)
class LatencySpec:
    """One call of the detector."""

    variant: Variant
    batch: int
    precision: Precision
    height: int
    width: int
    weights: str
    """Path of the .npz file, the same for all implementations."""
    score_threshold: float
    end_to_end: bool = False
    """The network with the end-to-end branch, whose best predictions are its detections. The original has none."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in px."""
        return self.height, self.width

    def __str__(self) -> str:
        branch = " end-to-end" if self.end_to_end else ""
        return f"{self.variant}{branch} {self.precision} batch {self.batch} at {self.height}x{self.width}"


def frames(count: int) -> list[np.ndarray]:
    """Return random images in the format of a camera, the same on every call."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*FRAME, 3), np.uint8) for _ in range(count)]


def prepare(variant: Variant, size: tuple[int, int], folder: Path, *, end_to_end: bool = False) -> tuple[Path, float]:
    """Write weights that behave like trained ones, and choose a score threshold that some anchors pass.

    Batch-norm statistics are taken from a random batch. With the initial statistics, 0 and 1, activations would vanish
    with depth.

    Returns:
        The .npz file, and the threshold that `CANDIDATES` anchors of the first image pass.
    """
    import jax
    import jax.numpy as jnp
    from flax import nnx

    from yolox_jax.config import ModelConfig
    from yolox_jax.data.letterbox import letterbox
    from yolox_jax.models import create_model
    from yolox_jax.models.normalization import BatchNorm
    from yolox_jax.postprocess import decode
    from yolox_jax.weights import export_state_dict, save_weights

    images = jnp.asarray(np.stack([letterbox(frame, size)[0] for frame in frames(2)]), jnp.float32)
    model = create_model(ModelConfig(variant=variant, end_to_end=end_to_end), NUM_CLASSES)
    model.train()
    momentum, BatchNorm.MOMENTUM = BatchNorm.MOMENTUM, 1.0
    try:
        run = nnx.jit(lambda model, images: model(images))
        run(model, images)
    finally:
        BatchNorm.MOMENTUM = momentum
    model.eval()
    decoded = jax.device_get(decode(run(model, images[:1]), image_size=size))[0]
    scores = np.sort(decoded[:, 4] * decoded[:, 5:].max(axis=-1))
    path = folder / f"{variant}{'_end_to_end' * end_to_end}_{size[0]}x{size[1]}.npz"
    save_weights(path, export_state_dict(model), {})
    # Midway between two scores, so that rounding does not move any score across it.
    return path, float(scores[-CANDIDATES] + scores[-CANDIDATES - 1]) / 2
