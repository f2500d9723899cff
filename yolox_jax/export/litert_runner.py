"""Runs a YOLOX network that yolox_jax exported to LiteRT (TFLite). Needs only numpy, opencv-python and ai-edge-litert.

Copy this file and yolox_detection.py to where the network is used. They can be run as a program:

    python litert_runner.py yolox_nano.tflite street.jpg --output drawn.jpg

    from litert_runner import LiteRtDetector
    detector = LiteRtDetector("yolox_nano.tflite")
    boxes, scores, classes = detector(cv2.imread("street.jpg"))
"""

import json
import os
import zipfile
from pathlib import Path

import numpy as np

if __package__ == "yolox_jax.export":
    from yolox_jax.export.yolox_detection import ExportedDetector, ModelFileError, command_line, run
else:  # a copy, with a copy of yolox_detection.py beside it
    from yolox_detection import ExportedDetector, ModelFileError, command_line, run  # type: ignore


class LiteRtDetector(ExportedDetector):
    """Finds objects in images of any size."""

    def __init__(self, path: str | Path, *, threads: int | None = None) -> None:
        """Load a file.

        Args:
            path: a file from `yolox_jax.export`.
            threads: threads that compute; by default one for each core.

        Raises:
            FileNotFoundError: the file does not exist.
            ModelFileError: yolox_jax did not export the file, or it is damaged.
            ModuleNotFoundError: ai-edge-litert is not installed.
        """
        from ai_edge_litert.interpreter import Interpreter

        try:
            with zipfile.ZipFile(path) as file:  # after the network
                metadata = json.loads(file.read("metadata.json"))
        except (zipfile.BadZipFile, KeyError) as error:
            raise ModelFileError(f"{path} was not exported by yolox_jax, or is damaged: {error.args[0]}") from error
        super().__init__(path, metadata)
        try:
            interpreter = Interpreter(str(path), num_threads=threads or os.cpu_count())
            self._network = interpreter.get_signature_runner()
        except (RuntimeError, ValueError) as error:
            raise ModelFileError(f"LiteRT cannot load {path}: {error}") from error

    def detect(self, letterboxed: np.ndarray, ratio: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Run the network, and suppress what overlaps."""
        return self.suppress(self._network(images=letterboxed[None])["predictions"][0], ratio)


if __name__ == "__main__":
    options = command_line(".tflite").parse_args()
    raise SystemExit(run(options, lambda: LiteRtDetector(options.model)))
