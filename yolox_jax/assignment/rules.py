"""The choice of the assignment rule."""

from jaxtyping import Array, Float

from yolox_jax.assignment.centre import centre, multi_positives
from yolox_jax.assignment.ota import ota
from yolox_jax.assignment.simota import simota
from yolox_jax.assignment.yolov3 import yolov3
from yolox_jax.config import AssignmentConfig
from yolox_jax.structures import Assignment, Targets


def assign(
    raw: Float[Array, "B A F"],
    targets: Targets,
    *,
    image_size: tuple[int, int],
    config: AssignmentConfig = AssignmentConfig(),
    anchors: tuple[tuple[float, float], ...] = (),
) -> Assignment:
    """Assigns anchors to the objects of a batch of images by the rule `config.rule`. No gradient flows through it.

    Args:
        raw: network output: tx, ty, tw, th, objectness logit, class logits, of any float type; computed in float32.
        targets: objects, in pixels of the network input. Valid slots need not come first.
        image_size: height and width of the network input in px.
        config: the rule and its settings.
        anchors: width and height in px of the anchor boxes of the network, for the rule `yolov3`.

    Returns:
        Foreground mask, slot of the matched object and IoU with it, for each anchor.

    Raises:
        ValueError: the number of anchors does not match `image_size` and `anchors`, or `targets` has no slots.
    """
    if targets.boxes.shape[1] == 0:
        raise ValueError("targets must have at least one slot; pad with a slot that is not valid")
    match config.rule:
        case "simota":
            return simota(raw, targets, image_size=image_size, config=config)
        case "ota":
            return ota(raw, targets, image_size=image_size, config=config.ota)
        case "multi_positives":
            return multi_positives(raw, targets, image_size=image_size, config=config)
        case "centre":
            return centre(raw, targets, image_size=image_size, config=config)
        case "yolov3":
            return yolov3(raw, targets, image_size=image_size, config=config, anchors=anchors)
