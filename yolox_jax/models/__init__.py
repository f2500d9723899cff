"""The YOLOX networks: building blocks, backbones, necks, head, batch norm folding and a summary."""

from yolox_jax.models.fold import fold_batch_norm
from yolox_jax.models.forward_options import ForwardOptions
from yolox_jax.models.summary import Summary, summarize
from yolox_jax.models.yolox import VARIANTS, YOLOX, Architecture, create_model

__all__ = [
    "VARIANTS",
    "YOLOX",
    "Architecture",
    "ForwardOptions",
    "Summary",
    "create_model",
    "fold_batch_norm",
    "summarize",
]
