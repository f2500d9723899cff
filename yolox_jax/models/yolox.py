"""The YOLOX network and its seven variants (docs/yolox.md, 2.6)."""

import dataclasses
from typing import Literal, cast

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from yolox_jax.anchors import boxes_per_cell
from yolox_jax.config import ConfigError, ModelConfig, Variant
from yolox_jax.config.levels import level_problem
from yolox_jax.models.anchor_boxes import relative_to_strides
from yolox_jax.models.coupled_head import CoupledHead
from yolox_jax.models.forward_options import ForwardOptions
from yolox_jax.models.head import YOLOXHead
from yolox_jax.models.necks import YOLOFPN, YOLOPAFPN
from yolox_jax.models.normalization import Activation
from yolox_jax.models.one_to_one import fold_selection


@dataclasses.dataclass(frozen=True)
class Architecture:
    """What distinguishes one variant from the others."""

    depth: float
    """Multiplies the number of bottlenecks, 3 or 9 at depth 1."""
    width: float
    """Multiplies the number of channels."""
    backbone: Literal["csp", "darknet53"] = "csp"
    depthwise: bool = False
    """Whether a depthwise and a 1x1 convolution replace each 3x3 convolution."""
    activation: Activation = "silu"
    input_size: tuple[int, int] = (640, 640)
    """Height and width in px for which the original publishes its AP."""


VARIANTS: dict[str, Architecture] = {
    "yolox_nano": Architecture(0.33, 0.25, depthwise=True, input_size=(416, 416)),
    "yolox_tiny": Architecture(0.33, 0.375, input_size=(416, 416)),
    "yolox_s": Architecture(0.33, 0.50),
    "yolox_m": Architecture(0.67, 0.75),
    "yolox_l": Architecture(1.00, 1.00),
    "yolox_x": Architecture(1.33, 1.25),
    "yolox_darknet53": Architecture(1.00, 1.00, backbone="darknet53", activation="lrelu"),
}


class YOLOX(nnx.Module):
    """A detector: images in, raw predictions out.

    Attributes:
        variant: name in `VARIANTS`.
        num_classes: number of classes, C below.
        strides: side in px of the network input of a cell of each level.
        channels: number of channels of the images.
        anchor_boxes: width and height of anchor boxes in px, for earlier steps of the roadmap; () in YOLOX.
        end_to_end: whether the predictions need no suppression.
        dtype: type of the features; parameters and batch statistics are float32.
    """

    def __init__(
        self, config: ModelConfig, num_classes: int, channels: int, *, dtype: DTypeLike, rng: np.random.Generator
    ):
        self.variant = config.variant
        self.num_classes = num_classes
        self.strides = config.strides
        self.channels = channels
        self.anchor_boxes = config.anchors
        self.end_to_end = config.end_to_end
        self.dtype = jnp.dtype(dtype)
        architecture = VARIANTS[config.variant]
        self.backbone: YOLOPAFPN | YOLOFPN
        if architecture.backbone == "darknet53":
            self.backbone = YOLOFPN(strides=config.strides, image_channels=channels, rng=rng)
        else:
            self.backbone = YOLOPAFPN(
                architecture.depth,
                architecture.width,
                depthwise=architecture.depthwise,
                strides=config.strides,
                image_channels=channels,
                rng=rng,
            )
        self.head = (CoupledHead if config.head == "coupled" else YOLOXHead)(
            num_classes,
            architecture.width,
            self.backbone.channels,
            depthwise=architecture.depthwise,
            activation=architecture.activation,
            boxes_per_cell=self.boxes_per_cell,
            end_to_end=config.end_to_end,
            rng=rng,
        )

    def __call__(
        self, images: Float[Array, "B H W channels"], options: ForwardOptions = ForwardOptions()
    ) -> Float[Array, "B A values"]:
        """Predict a box and scores at every anchor.

        Args:
            images: BGR or with `channels` channels, 0..255; height and width are multiples of the largest stride, 32 px
                in YOLOX.
            options: settings of training and export; the default suits inference on the backend at hand.

        Returns:
            float32 tx, ty, tw, th, objectness logit and class logits, [B, A, 5 + C]; anchors level by level (`strides`,
            8, 16, 32 in YOLOX), row by row, those of a cell one after the other. `yolox_jax.postprocess.decode` turns
            them into boxes and scores.

        Raises:
            ValueError: height or width is not a multiple of the largest stride.
        """
        height, width = images.shape[1:3]
        stride = self.strides[-1]
        if height % stride or width % stride:
            raise ValueError(
                f"height and width of the images must be multiples of {stride} px; got {height}x{width} px"
            )
        raw = self.head(self.backbone(images.astype(self.dtype), options), options)
        if self.anchor_boxes:
            raw = relative_to_strides(raw, self.anchor_boxes, (height, width))
        if self.end_to_end and not options.separate_one_to_one:
            raw = fold_selection(raw)
        return raw

    @property
    def boxes_per_cell(self) -> int:
        """Number of predictions in a cell."""
        return boxes_per_cell(self.anchor_boxes)

    def with_dtype(self, dtype: DTypeLike) -> "YOLOX":
        """Return a model that computes in `dtype` and shares this model's variables, which stay float32."""
        model = nnx.clone(self, variables=False)
        model.dtype = jnp.dtype(dtype)
        return model


def create_model(
    variant: str | ModelConfig,
    num_classes: int = 80,
    *,
    channels: int = 3,
    seed: int = 0,
    dtype: DTypeLike = jnp.float32,
) -> YOLOX:
    """A network with fresh weights, in training mode as nnx modules are.

    Args:
        variant: yolox_nano, yolox_tiny, yolox_s, yolox_m, yolox_l, yolox_x or yolox_darknet53, or a config that names
            one of them and its head. The config's `weights` and `freeze` are for training and have no effect here.
        num_classes: number of classes to detect.
        channels: number of channels of the images.
        seed: seed of the initial weights.
        dtype: type to compute in; parameters are float32.

    Raises:
        ConfigError: the variant is unknown, its levels do not exist or do not suit its anchor boxes, or `num_classes`
            or `channels` is below 1.
    """
    name = variant.variant if isinstance(variant, ModelConfig) else variant
    if name not in VARIANTS:
        raise ConfigError(f"--model.variant must be one of {', '.join(VARIANTS)}; got {name!r}")
    config = variant if isinstance(variant, ModelConfig) else ModelConfig(variant=cast(Variant, name))
    if problem := level_problem(config):
        raise ConfigError(problem)
    if num_classes < 1:
        raise ConfigError(f"a detector needs at least one class; got {num_classes}")
    if channels < 1:
        raise ConfigError(f"images have at least one channel; got {channels}")
    return YOLOX(config, num_classes, channels, dtype=dtype, rng=np.random.default_rng(seed))
