"""Label assignment: which object each anchor is trained to predict (docs/yolox.md, 4)."""

from yolox_jax.assignment.simota import assign as assign
