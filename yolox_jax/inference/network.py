"""A network prepared for inference on its devices."""

import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, UInt

from yolox_jax.inference.detect import Thresholds, View, detect, prepare_for_inference
from yolox_jax.models.compiler_options import backend_options
from yolox_jax.models.yolox import YOLOX
from yolox_jax.structures import Detections
from yolox_jax.weights.description import describe_model

Arrays = TypeVar("Arrays")
"""Any pytree of arrays."""

RawFunction = Callable[[Float[Array, "B A F"], Any, tuple[int, int]], Any]
"""A function of the network's raw output, further inputs with one row per image, and the height and width in pixels of
the images. Returns arrays with one row per image. Must be pure and hashable: equal functions share a compiled call."""


_JIT_LOCK = threading.Lock()
"""Held while `jit_detect` is called, so that threads share one jitted function instead of compiling one each."""


class InferenceNetwork:
    """A network with batch norm folded, replicated over devices that share each batch."""

    def __init__(self, model: YOLOX, views: Sequence[View], precision: str, devices: Sequence[jax.Device]) -> None:
        """Copy the weights of `model` to `devices` of this process, in `precision`; `views` is as for `detect`."""
        self.end_to_end = model.end_to_end
        """Whether it works without non-maximum suppression."""
        self._description = _described(model)
        self._mesh = Mesh(np.asarray(devices), ("data",))
        self._precision = precision
        self._views = tuple(views)
        self._graphdef, self._state = self._prepare(model)
        self._calls: dict[RawFunction | None, Callable[..., tuple[Detections, Any]]] = {}

    def update(self, model: YOLOX) -> None:
        """Copy the current weights of a model of the same architecture, as `Detector.update` does."""
        graphdef, state = self._prepare(model)
        if graphdef != self._graphdef:
            raise ValueError(
                f"the detector holds a {self._description}; it cannot take the weights of a {_described(model)}"
            )
        self._state = state

    def fitting_batch_size(self, batch_size: int) -> int:
        """Round a batch size up to a multiple of the number of devices."""
        return -(-batch_size // self._mesh.size) * self._mesh.size

    def replicate(self, arrays: Arrays) -> Arrays:
        """Copy arrays to each device."""
        return jax.device_put(arrays, NamedSharding(self._mesh, PartitionSpec()))

    def detect(
        self,
        images: UInt[np.ndarray | Array, "B H W C"],
        ratios: Float[np.ndarray | Array, " B"],
        thresholds: Thresholds,
        *,
        max_detections: int,
        raw_function: RawFunction | None = None,
        raw_inputs: Any = (),
    ) -> tuple[Detections, Any]:
        """Detect objects in a batch of letterboxed images, without waiting for the devices.

        Args:
            images: BGR or with the channels of the network, letterboxed to one size, sides multiples of 32 px.
            ratios: the factor by which letterboxing scaled each image.
            thresholds: for the predictions to keep.
            max_detections: K.
            raw_function: what else to compute from the raw output of the first view, in the same compiled call: one
                pass of the network serves both, and the raw output never leaves the device. That of an end-to-end
                network has the logit of its one-to-one branch as the last channel.
            raw_inputs: a pytree of arrays with one row per image, passed to `raw_function`.

        Returns:
            Detections in pixels of the original images, and what `raw_function` returns (None without one); both
            sharded over the devices.

        Raises:
            ValueError: the devices do not divide the batch.
        """
        if len(images) % self._mesh.size:
            raise ValueError(
                f"{len(images)} images cannot be split evenly over {self._mesh.size} devices; pad the batch to "
                f"{self.fitting_batch_size(len(images))}."
            )
        if self._mesh.size > 1:
            sharded = NamedSharding(self._mesh, PartitionSpec(*self._mesh.axis_names))
            images, ratios, raw_inputs = jax.device_put((images, ratios, raw_inputs), sharded)
        call = self._calls.get(raw_function)
        if call is None:
            with _JIT_LOCK:
                call = self._calls[raw_function] = jit_detect(self._graphdef, self._mesh, self._views, raw_function)
        return call(self._state, images, ratios, thresholds, raw_inputs, max_detections=max_detections)

    def _prepare(self, model: YOLOX) -> tuple[nnx.GraphDef, nnx.State]:
        graphdef, state = nnx.split(model)
        model = nnx.merge(graphdef, jax.tree.map(_local_copy, state))
        graphdef, state = prepare_for_inference(model, self._precision)
        return graphdef, self.replicate(state)


def _described(model: YOLOX) -> str:
    """What `update` requires to be the same."""
    sizes = ", ".join(f"{width:g}x{height:g}" for width, height in model.anchor_boxes)
    return str(describe_model(model)) + (f" ({sizes} px)" if sizes else "")


def _local_copy(array: Array) -> Array:
    """This process's copy of a weight that is replicated over the devices of all processes."""
    return array if array.is_fully_addressable else array.addressable_data(0)


@functools.cache
def jit_detect(
    graphdef: nnx.GraphDef, mesh: Mesh, views: tuple[View, ...], raw_function: RawFunction | None
) -> Callable[..., tuple[Detections, Any]]:
    """Jit `detect` and `raw_function` for a network on its devices.

    Networks of the same architecture on the same devices share the compiled calls. A static argument would do so too,
    but jax would hash the network at every call, which takes milliseconds.
    """

    def on_device(
        state: Any, images: Array, ratios: Array, thresholds: Thresholds, raw_inputs: Any, *, max_detections: int
    ) -> tuple[Detections, Any]:
        detections, raw = detect(
            graphdef, state, images, ratios, thresholds, max_detections=max_detections, views=views
        )
        if raw_function is None:
            return detections, None
        return detections, raw_function(raw, raw_inputs, (images.shape[1], images.shape[2]))

    if mesh.size == 1:  # sharding would cost half a millisecond per call
        return jax.jit(on_device, static_argnames="max_detections", compiler_options=backend_options())

    def on_all_devices(*arrays: Any, max_detections: int) -> tuple[Detections, Any]:
        replicated, sharded = PartitionSpec(), PartitionSpec(*mesh.axis_names)
        return jax.shard_map(
            functools.partial(on_device, max_detections=max_detections),
            mesh=mesh,
            in_specs=(replicated, sharded, sharded, replicated, sharded),
            out_specs=sharded,
            check_vma=False,  # it rejects loops that start from constants, as in non-maximum suppression
        )(*arrays)

    return jax.jit(on_all_devices, static_argnames="max_detections", compiler_options=backend_options())
