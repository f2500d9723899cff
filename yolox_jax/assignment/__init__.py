"""Label assignment: which object each anchor is trained to predict (docs/yolox.md, 4; docs/roadmap.md)."""

from yolox_jax.assignment.rules import assign as assign
