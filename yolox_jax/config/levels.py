"""Checks the levels of a network, and what has to suit them: anchor boxes, assignment rule and input sizes."""

from collections.abc import Iterator

from yolox_jax.config.assignment import AssignmentRule
from yolox_jax.config.model import LEVELS, NUM_LEVELS, STRIDES, ModelConfig
from yolox_jax.config.ranges import MultiplesOf
from yolox_jax.config.settings import Config

RULES_OF_ANY_LEVELS: tuple[AssignmentRule, ...] = ("simota", "ota")
"""The others have bounds of sizes, or anchor boxes, for each of three levels."""


def level_problem(model: ModelConfig) -> str | None:
    """What is wrong with the levels and anchor boxes of a network; None if nothing is."""
    strides, anchors = model.strides, model.anchors
    if strides not in LEVELS:
        choices = ", ".join(_joined(one) for one in LEVELS[:-1])
        return f"--model.strides must be {choices} or {_joined(LEVELS[-1])}, got {_joined(strides) or 'none'}"
    if anchors and strides != STRIDES:
        return (
            f"--model.strides {_joined(strides)} does not suit --model.anchors, which are for the levels "
            f"{_joined(STRIDES)}. Leave one of them out"
        )
    if len(anchors) % NUM_LEVELS:
        return (
            f"--model.anchors must hold as many anchor boxes for each of the {NUM_LEVELS} levels, got {len(anchors)} "
            f"in all; pass {-(-len(anchors) // NUM_LEVELS) * NUM_LEVELS}, each as a width and a height"
        )
    return None


def rule_problem(strides: tuple[int, ...], rule: AssignmentRule) -> str | None:
    """Why an assignment rule does not suit the levels; None if it does."""
    if strides == STRIDES or rule in RULES_OF_ANY_LEVELS:
        return None
    return (
        f"--assignment.rule {rule} knows the levels {_joined(STRIDES)} alone, but the network has --model.strides "
        f"{_joined(strides)}. Choose {' or '.join(RULES_OF_ANY_LEVELS)}, or a network with --model.strides "
        f"{_joined(STRIDES)}"
    )


def size_problems(config: Config) -> Iterator[str]:
    """Yields a message for each setting of input sizes that are not multiples of the largest stride."""
    stride = config.model.strides[-1]
    multiples = MultiplesOf(stride)
    for flag, sizes in (
        ("--data.input-size", config.data.input_size),
        ("--train.multiscale-px", config.train.multiscale_px),
    ):
        if sizes is not None and not multiples.holds(sizes):
            yield (
                f"{flag} must be {multiples} with --model.strides {_joined(config.model.strides)}, got "
                f"{_joined(sizes)}; try {_joined(multiples.nearest(sizes))}"
            )


def _joined(values: tuple[int, ...]) -> str:
    return " ".join(map(str, values))
