"""The seven YOLOX networks: building blocks, backbones, necks, head, folding for inference and a summary."""

from yolox_jax.models.fold import fold_batch_norm
from yolox_jax.models.summary import Summary, summarize
from yolox_jax.models.yolox import VARIANTS, YOLOX, Variant, create_model

__all__ = ["VARIANTS", "YOLOX", "Summary", "Variant", "create_model", "fold_batch_norm", "summarize"]
