"""Runs a YOLOX network that yolox_jax exported to StableHLO. Needs only jax, numpy, opencv-python and flatbuffers.

Copy this file and yolox_detection.py to where the network is used. They can be run as a program:

    python stablehlo_runner.py yolox_s.stablehlo street.jpg --output drawn.jpg

    from stablehlo_runner import StablehloDetector
    detector = StablehloDetector("yolox_s.stablehlo")
    boxes, scores, classes = detector(cv2.imread("street.jpg"))
"""

import json
import zipfile
from pathlib import Path

import numpy as np

if __package__ == "yolox_jax.export":
    from yolox_jax.export.yolox_detection import ExportedDetector, ModelFileError, command_line, run
else:  # a copy, with a copy of yolox_detection.py beside it
    from yolox_detection import ExportedDetector, ModelFileError, command_line, run  # type: ignore


class StablehloDetector(ExportedDetector):
    """Finds objects in images of any size."""

    def __init__(self, path: str | Path) -> None:
        """Load a file.

        Raises:
            FileNotFoundError: the file does not exist.
            ModelFileError: yolox_jax did not export the file, or this version of jax cannot run it.
            ModuleNotFoundError: jax or flatbuffers is not installed.
        """
        import jax
        import jax.export

        try:
            with zipfile.ZipFile(path) as file:
                metadata = json.loads(file.read("metadata.json"))
                program = jax.export.deserialize(bytearray(file.read("detect.bin")))
        except (zipfile.BadZipFile, KeyError) as error:  # of the archive, which misses a part
            raise ModelFileError(f"{path} was not exported by yolox_jax, or is damaged: {error.args[0]}") from error
        except ValueError as error:
            raise ModelFileError(f"{path} cannot be run by jax {jax.__version__}: {error}") from error
        super().__init__(path, metadata)
        batch = program.in_avals[0].shape[0]
        self._batch_size = batch if isinstance(batch, int) else 1
        self._call = jax.jit(program.call)

    def detect(self, letterboxed: np.ndarray, ratio: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Run the network, and suppress what overlaps if the file does not."""
        images = np.repeat(letterboxed[None], self._batch_size, axis=0)
        if self.metadata["output"] == "predictions":
            return self.suppress(np.asarray(self._call(images)["predictions"][0]), ratio)
        found = self._call(images, np.full(self._batch_size, ratio, np.float32))
        first = {name: np.asarray(values)[0] for name, values in found.items()}
        boxes, scores, classes = (first[name][: first["count"]] for name in ("boxes", "scores", "classes"))
        return boxes, scores, classes


if __name__ == "__main__":
    options = command_line(".stablehlo").parse_args()
    raise SystemExit(run(options, lambda: StablehloDetector(options.model)))
