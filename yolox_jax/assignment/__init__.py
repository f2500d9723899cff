"""Label assignment: which object each anchor is trained to predict."""

from yolox_jax.assignment.simota import assign as assign
