"""Backbone, neck and head as ONNX nodes, in NCHW, from a model with batch norm folded.

Nodes and weights are named as in the original's state dict (docs/yolox.md, 2.8).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from flax import nnx
from jaxtyping import Float

from yolox_jax.export.onnx_graph import Graph
from yolox_jax.models.blocks import (
    BaseConv,
    Bottleneck,
    Conv,
    CSPLayer,
    DepthwiseConv,
    Focus,
    ResLayer,
    SPPBottleneck,
)
from yolox_jax.models.coupled_head import CoupledHead
from yolox_jax.models.head import YOLOXHead
from yolox_jax.models.necks import YOLOFPN, YOLOPAFPN
from yolox_jax.models.yolox import YOLOX


def write_network(graph: Graph, model: YOLOX, images: str) -> list[str]:
    """Add the network.

    Args:
        graph: nodes are added to it.
        model: from `fold_batch_norm`.
        images: [N, channels, H, W] in the precision of the graph.

    Returns:
        For each stride, raw predictions [N, values, h, w]: tx, ty, tw, th, objectness logit, class logits and, of an
        end-to-end network, the logit of its one-to-one branch. With several anchors in a cell, each value stands there
        once for each of them.
    """
    if isinstance(model.backbone, YOLOFPN):
        features = _fpn(graph, model.backbone, images)
    else:
        features = _pafpn(graph, model.backbone, images)
    assert isinstance(model.head, YOLOXHead | CoupledHead)
    write_level = _coupled_level if isinstance(model.head, CoupledHead) else _decoupled_level
    return [
        write_level(graph, model.head, level, feature, model.boxes_per_cell) for level, feature in enumerate(features)
    ]


def _pafpn(graph: Graph, neck: YOLOPAFPN, images: str) -> list[str]:
    dark2, dark3, dark4, dark5 = _backbone(graph, neck.backbone, images)
    lateral5 = _block(graph, neck.lateral_conv0, dark5, "backbone.lateral_conv0")
    joined = _concat(graph, [_upsample(graph, lateral5), dark4])
    up4 = _block(graph, neck.C3_p4, joined, "backbone.C3_p4")
    lateral4 = _block(graph, neck.reduce_conv1, up4, "backbone.reduce_conv1")
    joined = _concat(graph, [_upsample(graph, lateral4), dark3])
    out3 = _block(graph, neck.C3_p3, joined, "backbone.C3_p3")
    joined = _concat(graph, [_block(graph, neck.bu_conv2, out3, "backbone.bu_conv2"), lateral4])
    out4 = _block(graph, neck.C3_n3, joined, "backbone.C3_n3")
    joined = _concat(graph, [_block(graph, neck.bu_conv1, out4, "backbone.bu_conv1"), lateral5])
    outputs = [out3, out4, _block(graph, neck.C3_n4, joined, "backbone.C3_n4")]
    if 4 in neck.strides:
        lateral3 = _block(graph, neck.reduce_conv2, out3, "backbone.reduce_conv2")
        joined = _concat(graph, [_upsample(graph, lateral3), dark2])
        outputs = [_block(graph, neck.C3_p2, joined, "backbone.C3_p2"), *outputs]
    if 64 in neck.strides:
        down = _block(graph, neck.bu_conv0, outputs[-1], "backbone.bu_conv0")
        outputs = [*outputs, _block(graph, neck.C3_n5, down, "backbone.C3_n5")]
    return outputs


def _fpn(graph: Graph, neck: YOLOFPN, images: str) -> list[str]:
    dark2, dark3, dark4, dark5 = _backbone(graph, neck.backbone, images)
    lateral5 = _block(graph, neck.out1_cbl, dark5, "backbone.out1_cbl")
    out4 = _block(graph, neck.out1, _concat(graph, [_upsample(graph, lateral5), dark4]), "backbone.out1")
    lateral4 = _block(graph, neck.out2_cbl, out4, "backbone.out2_cbl")
    out3 = _block(graph, neck.out2, _concat(graph, [_upsample(graph, lateral4), dark3]), "backbone.out2")
    outputs = [out3, out4, dark5]
    if 4 in neck.strides:
        lateral3 = _block(graph, neck.out3_cbl, out3, "backbone.out3_cbl")
        joined = _concat(graph, [_upsample(graph, lateral3), dark2])
        outputs = [_block(graph, neck.out3, joined, "backbone.out3"), *outputs]
    if 64 in neck.strides:
        outputs = [*outputs, _block(graph, neck.down, dark5, "backbone.down")]
    return outputs


def _backbone(graph: Graph, backbone: Any, images: str) -> tuple[str, str, str, str]:
    stem = _block(graph, backbone.stem, images, "backbone.backbone.stem")
    dark2 = _block(graph, backbone.dark2, stem, "backbone.backbone.dark2")
    dark3 = _block(graph, backbone.dark3, dark2, "backbone.backbone.dark3")
    dark4 = _block(graph, backbone.dark4, dark3, "backbone.backbone.dark4")
    return dark2, dark3, dark4, _block(graph, backbone.dark5, dark4, "backbone.backbone.dark5")


def _decoupled_level(graph: Graph, head: Any, level: int, feature: str, boxes_per_cell: int) -> str:
    x = _block(graph, head.stems[level], feature, f"head.stems.{level}")
    classes = _block(graph, head.cls_convs[level], x, f"head.cls_convs.{level}")
    boxes = _block(graph, head.reg_convs[level], x, f"head.reg_convs.{level}")
    both = _concat_convs([head.reg_preds[level], head.obj_preds[level]], boxes_per_cell)
    predictions = [
        _conv(graph, *both, boxes, f"head.reg_obj_preds.{level}"),
        _conv(graph, *_concat_convs([head.cls_preds[level]], boxes_per_cell), classes, f"head.cls_preds.{level}"),
    ]
    return _concat(graph, [*predictions, *_selection(graph, head, level, boxes, boxes_per_cell)])


def _coupled_level(graph: Graph, head: Any, level: int, feature: str, boxes_per_cell: int) -> str:
    x = _block(graph, head.convs[level], feature, f"head.convs.{level}")
    all_values = _concat_convs([head.reg_preds[level], head.obj_preds[level], head.cls_preds[level]], boxes_per_cell)
    predictions = _conv(graph, *all_values, x, f"head.reg_obj_cls_preds.{level}")
    selection = _selection(graph, head, level, x, boxes_per_cell)
    return _concat(graph, [predictions, *selection]) if selection else predictions


def _selection(graph: Graph, head: Any, level: int, feature: str, boxes_per_cell: int) -> list[str]:
    """Add the one-to-one branch, if there is one."""
    outputs = []
    for branch in head.one_to_one[level : level + 1]:
        name = f"head.one_to_one.{level}"
        x = _block(graph, branch.convs, feature, f"{name}.convs")
        outputs.append(_conv(graph, *_concat_convs([branch.pred], boxes_per_cell), x, f"{name}.pred"))
    return outputs


def _block(graph: Graph, block: nnx.Module, x: str, name: str) -> str:
    """Add a block, or a sequence of blocks."""
    match block:
        case nnx.List():
            for index, part in enumerate(block):
                x = _block(graph, part, x, f"{name}.{index}")
            return x
        case BaseConv():
            return _base_conv(graph, block, *_kernel_and_bias(block.conv), x, name)
        case DepthwiseConv():
            return _block(graph, block.pconv, _block(graph, block.dconv, x, f"{name}.dconv"), f"{name}.pconv")
        case Bottleneck():
            deep = _block(graph, block.conv1, x, f"{name}.conv1")
            deep = _block(graph, block.conv2, deep, f"{name}.conv2")
            return graph.add("Add", [deep, x], f"{name}.add") if block.shortcut else deep
        case CSPLayer():
            deep = _block(graph, block.m, _block(graph, block.conv1, x, f"{name}.conv1"), f"{name}.m")
            past = _block(graph, block.conv2, x, f"{name}.conv2")
            return _block(graph, block.conv3, _concat(graph, [deep, past]), f"{name}.conv3")
        case ResLayer():
            deep = _block(graph, block.layer1, x, f"{name}.layer1")
            return graph.add("Add", [x, _block(graph, block.layer2, deep, f"{name}.layer2")], f"{name}.add")
        case SPPBottleneck():
            return _spatial_pyramid(graph, block, x, name)
        case Focus():
            kernel, bias = _kernel_and_bias(block.conv.conv)
            return _base_conv(graph, block.conv, _on_pixels(kernel), bias, x, f"{name}.conv", stride=2)
    raise TypeError(f"{name} is a {type(block).__name__}, which cannot be exported to ONNX")


def _base_conv(
    graph: Graph,
    block: BaseConv,
    kernel: Float[np.ndarray, "O I h w"],
    bias: Float[np.ndarray, " O"],
    x: str,
    name: str,
    *,
    stride: int | None = None,
) -> str:
    """Add a convolution and its activation."""
    stride = block.conv.stride if stride is None else stride
    x = _conv(graph, kernel, bias, x, f"{name}.conv", stride=stride, groups=block.conv.groups)
    match block.activation:
        case "silu":
            return graph.add("Mul", [x, graph.add("Sigmoid", [x], f"{name}.sigmoid")], f"{name}.silu")
        case "lrelu":
            return graph.add("LeakyRelu", [x], f"{name}.lrelu", alpha=0.1)
        case "none":
            return x


def _conv(
    graph: Graph,
    kernel: Float[np.ndarray, "O I h w"],
    bias: Float[np.ndarray, " O"],
    x: str,
    name: str,
    *,
    stride: int = 1,
    groups: int = 1,
) -> str:
    size = kernel.shape[2]
    return graph.add(
        "Conv",
        [x, graph.weight(f"{name}.weight", kernel), graph.weight(f"{name}.bias", bias)],
        name,
        kernel_shape=[size, size],
        strides=[stride, stride],
        pads=[(size - 1) // 2] * 4,
        group=groups,
    )


def _kernel_and_bias(conv: Conv) -> tuple[Float[np.ndarray, "O I h w"], Float[np.ndarray, " O"]]:
    assert conv.bias is not None, "batch norm is not folded"
    return np.asarray(conv.kernel[...]).transpose(3, 2, 0, 1), np.asarray(conv.bias[...])


def _concat_convs(
    convs: Sequence[Conv], boxes_per_cell: int
) -> tuple[Float[np.ndarray, "O I h w"], Float[np.ndarray, " O"]]:
    """Concatenate the outputs of several prediction layers into one, ordered by value and then by anchor."""

    def by_value(array: Float[np.ndarray, "O *rest"]) -> Float[np.ndarray, "O *rest"]:
        return array.reshape(boxes_per_cell, -1, *array.shape[1:]).swapaxes(0, 1).reshape(array.shape)

    kernels, biases = zip(*map(_kernel_and_bias, convs), strict=True)
    return np.concatenate(list(map(by_value, kernels))), np.concatenate(list(map(by_value, biases)))


def _on_pixels(kernel: Float[np.ndarray, "O I 3 3"]) -> Float[np.ndarray, "O I//4 6 6"]:
    """Convert the kernel after a Focus to one with stride 2 on the image: as many products, without rearrangement.

    The channels are four patches of those of the image, in the order of `Focus`. Row r of the kernel for a patch
    becomes row 2 r plus the row parity of the patch.
    """
    outputs, channels = len(kernel), kernel.shape[1] // 4
    by_parity = kernel.reshape(outputs, 2, 2, channels, 3, 3)  # column parity, row parity, channel, row, column
    return by_parity.transpose(0, 3, 4, 2, 5, 1).reshape(outputs, channels, 6, 6)


def _spatial_pyramid(graph: Graph, block: SPPBottleneck, x: str, name: str) -> str:
    pools = [_block(graph, block.conv1, x, f"{name}.conv1")]
    for size in (5, 9, 13):  # 9x9 is 5x5 twice, 13x13 three times
        pool = graph.add(
            "MaxPool", [pools[-1]], f"{name}.pool{size}", kernel_shape=[5, 5], strides=[1, 1], pads=[2, 2, 2, 2]
        )
        pools.append(pool)
    return _block(graph, block.conv2, _concat(graph, pools), f"{name}.conv2")


def _upsample(graph: Graph, x: str) -> str:
    """Add nearest-neighbour upsampling by two."""
    scales = graph.constant("upsample.scales", np.array([1, 1, 2, 2], np.float32))
    return graph.add(
        "Resize",
        [x, "", scales],
        f"{x}.upsample",
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


def _concat(graph: Graph, values: Sequence[str]) -> str:
    """Concatenate channels."""
    return graph.add("Concat", values, f"{values[0]}.concat", axis=1)
