"""Exports a network to Core ML, for Apple's devices, as an ML program from an image to the predictions of all anchors.

The ONNX graph is translated operator by operator, since coremltools reads ONNX no more. On Linux it builds and checks
programs, and runs none.
"""

import contextlib
import dataclasses
import io
import logging
import shutil
from pathlib import Path
from typing import Any

from yolox_jax.config import ConfigError

try:
    logging.getLogger("coremltools").setLevel(logging.ERROR)  # it warns that it runs nothing outside of macOS
    import coremltools
    import onnx
    from coremltools.converters.mil import Builder
    from coremltools.converters.mil.mil import Function, Program
except ModuleNotFoundError as error:
    raise ConfigError(f"export to Core ML needs the package {error.name}: pip install 'yolox-jax[coreml]'") from error

import numpy as np
from onnx import helper, numpy_helper

from yolox_jax.export.onnx import build_onnx
from yolox_jax.export.settings import ExportSettings
from yolox_jax.models import YOLOX

TARGET = coremltools.target.iOS16
"""The oldest system that runs the file: iOS 16, macOS 13."""
DECODING = ("decode", "predictions")
"""What the names of operations begin with that decode boxes: float16 has steps of half a px at 512 px."""


def export_coreml(model: YOLOX, path: str | Path, settings: ExportSettings) -> Path:
    """Write an .mlpackage of a model in evaluation mode.

    Input and output are those of `yolox_jax.export.onnx.export_onnx` for one image with `nms=False`: `images`
    [1, H, W, channels], as float32, because Core ML has no arrays of uint8, and `predictions` float32 [1, A, 5 + C].
    The metadata are those of an ONNX file too, as those that the creator of the file defines.

    Args:
        model: is not changed.
        path: the .mlpackage folder to write; the folder around it is created if needed. An existing one is replaced.
        settings: size, precision and thresholds, with a batch of 1 and `nms=False`. In float16, the boxes are decoded
            in float32 all the same.

    Returns:
        `path`.

    Raises:
        ConfigError: a setting is invalid, or weights are too large for float16.
    """
    build_onnx(model, settings)  # raises if a weight is too large
    with contextlib.redirect_stderr(io.StringIO()):  # progress bars, one for each pass, which cannot be switched off
        package = coremltools.convert(
            translate(build_onnx(model, dataclasses.replace(settings, precision="float32"))),
            convert_to="mlprogram",
            minimum_deployment_target=TARGET,
            compute_precision=(
                coremltools.precision.FLOAT32
                if settings.precision == "float32"
                else coremltools.transform.FP16ComputePrecision(op_selector=lambda op: not op.name.startswith(DECODING))
            ),
            skip_model_load=True,
        )
    package.user_defined_metadata.update(settings.metadata(model))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(path, ignore_errors=True)
    package.save(str(path))
    return path


def translate(model: onnx.ModelProto) -> Program:
    """Return a program of coremltools that computes what a model in ONNX computes.

    Args:
        model: from `yolox_jax.export.onnx.build_onnx`, in float32, with a batch of 1 and `nms=False`. Its input is
            float32 in the program.
    """
    (images,) = model.graph.input
    (output,) = model.graph.output
    shape = tuple(side.dim_value for side in images.type.tensor_type.shape.dim)

    program = Program()
    with Function({images.name: Builder.placeholder(shape=shape)}, opset_version=TARGET) as function:
        values = {array.name: numpy_helper.to_array(array) for array in model.graph.initializer} | function.inputs
        for node in model.graph.node:
            results = _translate(node, [values[name] for name in node.input if name])
            values |= dict(zip(node.output, results, strict=True))
        function.set_outputs([values[output.name]])
    program.add_function("main", function)
    return program


def _translate(node: onnx.NodeProto, inputs: list[Any]) -> tuple[Any, ...]:
    """Add the operation for a node, and return its outputs."""
    given = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    name, first = node.output[0], inputs[0]
    match node.op_type:
        case "Cast":  # of the pixels, which are float32 here
            return (first,)
        case "Conv":
            window = {"strides": given["strides"], "pad_type": "custom", "pad": _by_axis(given["pads"])}
            weights = {"weight": inputs[1], "bias": inputs[2], "groups": given["group"]}
            return (Builder.conv(x=first, **weights, **window, name=name),)
        case "MaxPool":
            window = {"strides": given["strides"], "pad_type": "custom", "pad": _by_axis(given["pads"])}
            return (Builder.max_pool(x=first, kernel_sizes=given["kernel_shape"], **window, name=name),)
        case "Resize":
            _, _, height, width = inputs[1].tolist()
            factors = {"scale_factor_height": int(height), "scale_factor_width": int(width)}
            return (Builder.upsample_nearest_neighbor(x=first, **factors, name=name),)
        case "Concat":
            return (Builder.concat(values=inputs, axis=given["axis"], name=name),)
        case "Split":
            return tuple(Builder.split(x=first, split_sizes=inputs[1].tolist(), axis=given["axis"], name=node.name))
        case "Reshape":
            return (Builder.reshape(x=first, shape=[side or 1 for side in inputs[1].tolist()], name=name),)
        case "Transpose":
            return (Builder.transpose(x=first, perm=given["perm"], name=name),)
        case "Add" | "Mul" | "Div":
            operation = {"Add": Builder.add, "Mul": Builder.mul, "Div": Builder.real_div}[node.op_type]
            return (operation(x=first, y=inputs[1], name=name),)
        case "Exp" | "Sigmoid":
            return ((Builder.exp if node.op_type == "Exp" else Builder.sigmoid)(x=first, name=name),)
        case "Neg":
            return (Builder.mul(x=first, y=np.float32(-1), name=name),)
        case "LeakyRelu":
            return (Builder.leaky_relu(x=first, alpha=given["alpha"], name=name),)
        case "ReduceLogSumExp":
            return (Builder.reduce_log_sum_exp(x=first, axes=given["axes"], keep_dims=True, name=name),)
    raise TypeError(f"{name} is a {node.op_type}, which cannot be exported to Core ML")


def _by_axis(pads: list[int]) -> list[int]:
    """Begin and end of each axis, from the begins of all axes and then their ends."""
    return [pads[0], pads[2], pads[1], pads[3]]
