"""A network of two blocks, in place of one that takes long to trace and to compile."""

import jax
import numpy as np
from flax import nnx

from yolox_jax.config.model import STRIDES
from yolox_jax.models.blocks import BaseConv
from yolox_jax.models.forward_options import ForwardOptions


class SmallNetwork(nnx.Module):
    """Predicts the same for all images of the same mean features."""

    def __init__(self, size: tuple[int, int], num_classes: int):
        rng = np.random.default_rng(0)
        self.anchors = sum((size[0] // stride) * (size[1] // stride) for stride in STRIDES)
        self.first = BaseConv(3, 4, 3, 8, rng=rng)
        self.second = BaseConv(4, self.anchors * (5 + num_classes), 3, 4, rng=rng)

    def __call__(self, images: jax.Array, options: ForwardOptions) -> jax.Array:
        features = self.second(self.first(images, options), options)
        return features.mean(axis=(1, 2)).reshape(len(images), self.anchors, -1)
