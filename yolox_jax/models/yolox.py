"""The seven variants and the network that they configure (SPEC A1.6)."""

import dataclasses
from typing import Literal

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from yolox_jax.config import STRIDE, ConfigError
from yolox_jax.models.forward_options import ForwardOptions
from yolox_jax.models.head import YOLOXHead
from yolox_jax.models.necks import YOLOFPN, YOLOPAFPN
from yolox_jax.models.normalization import Activation


@dataclasses.dataclass(frozen=True)
class Variant:
    """What sets one published network apart."""

    depth: float
    """Multiplies the number of bottlenecks, 3 or 9 at depth 1."""
    width: float
    """Multiplies the number of channels."""
    backbone: Literal["csp", "darknet53"] = "csp"
    depthwise: bool = False
    """3x3 convolutions are split into depthwise and 1x1 convolutions."""
    activation: Activation = "silu"
    input_size: tuple[int, int] = (640, 640)
    """Height and width in px at which its AP is published."""


VARIANTS: dict[str, Variant] = {
    "yolox_nano": Variant(0.33, 0.25, depthwise=True, input_size=(416, 416)),
    "yolox_tiny": Variant(0.33, 0.375, input_size=(416, 416)),
    "yolox_s": Variant(0.33, 0.50),
    "yolox_m": Variant(0.67, 0.75),
    "yolox_l": Variant(1.00, 1.00),
    "yolox_x": Variant(1.33, 1.25),
    "yolox_darknet53": Variant(1.00, 1.00, backbone="darknet53", activation="lrelu"),
}


class YOLOX(nnx.Module):
    """An anchor-free detector: images in, raw predictions out.

    Attributes:
        variant: its name in `VARIANTS`.
        num_classes: C below.
        dtype: what it computes in; parameters and batch statistics are float32.
    """

    def __init__(self, variant: str, num_classes: int, *, dtype: DTypeLike = jnp.float32, rng: np.random.Generator):
        self.variant = variant
        self.num_classes = num_classes
        self.dtype = jnp.dtype(dtype)
        sizes = VARIANTS[variant]
        self.backbone: YOLOPAFPN | YOLOFPN
        if sizes.backbone == "darknet53":
            self.backbone = YOLOFPN(rng=rng)
        else:
            self.backbone = YOLOPAFPN(sizes.depth, sizes.width, depthwise=sizes.depthwise, rng=rng)
        self.head = YOLOXHead(
            num_classes,
            sizes.width,
            self.backbone.channels,
            depthwise=sizes.depthwise,
            activation=sizes.activation,
            rng=rng,
        )

    def __call__(
        self, images: Float[Array, "B H W 3"], options: ForwardOptions = ForwardOptions()
    ) -> Float[Array, "B A 5+{self.num_classes}"]:
        """Predict for every anchor.

        Args:
            images: BGR, 0..255; height and width are multiples of 32 px.
            options: how it is computed, for training and export.

        Returns:
            float32 tx, ty, tw, th, objectness logit and class logits; anchors level by level (strides 8, 16, 32), row
            by row. `yolox_jax.postprocess.decode` turns them into boxes and scores.

        Raises:
            ValueError: if height or width is no multiple of 32.
        """
        height, width = images.shape[1:3]
        if height % STRIDE or width % STRIDE:
            raise ValueError(f"images are {height}x{width} px (height x width); both must be multiples of {STRIDE}")
        return self.head(self.backbone(images.astype(self.dtype), options), options)

    def with_dtype(self, dtype: DTypeLike) -> "YOLOX":
        """A model that computes in `dtype` and shares its variables, which stay float32, with this one."""
        model = nnx.clone(self, variables=False)
        model.dtype = jnp.dtype(dtype)
        return model


def create_model(variant: str, num_classes: int = 80, *, seed: int = 0, dtype: DTypeLike = jnp.float32) -> YOLOX:
    """A network with fresh weights, in training mode as nnx modules are.

    Args:
        variant: yolox_nano, yolox_tiny, yolox_s, yolox_m, yolox_l, yolox_x or yolox_darknet53.
        num_classes: number of classes it tells apart.
        seed: the weights follow from it.
        dtype: what the network computes in; parameters are float32.

    Raises:
        ConfigError: if there is no such variant, or no class.
    """
    if variant not in VARIANTS:
        raise ConfigError(f"model.variant: there is no {variant!r}; choose one of {', '.join(VARIANTS)}")
    if num_classes < 1:
        raise ConfigError(f"a detector needs at least one class, not {num_classes}")
    return YOLOX(variant, num_classes, dtype=dtype, rng=np.random.default_rng(seed))
