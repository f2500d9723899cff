"""Runs a YOLOX network that yolox_jax exported to ncnn. Needs only numpy, opencv-python and ncnn.

Copy this file and yolox_detection.py to where the network is used. They can be run as a program:

    python ncnn_runner.py yolox_s.param street.jpg --output drawn.jpg

    from ncnn_runner import NcnnDetector
    detector = NcnnDetector("yolox_s.param")
    boxes, scores, classes = detector(cv2.imread("street.jpg"))
"""

import json
from pathlib import Path

import numpy as np

if __package__ == "yolox_jax.export":
    from yolox_jax.export.yolox_detection import ExportedDetector, ModelFileError, command_line, metadata_beside, run
else:  # a copy, with a copy of yolox_detection.py beside it
    from yolox_detection import ExportedDetector, ModelFileError, command_line, metadata_beside, run  # type: ignore


class NcnnDetector(ExportedDetector):
    """Finds objects in images of any size."""

    def __init__(self, path: str | Path, *, threads: int | None = None) -> None:
        """Load NAME.param, with NAME.bin and NAME.json beside it.

        Args:
            path: the .param file.
            threads: by default one for each fast core. They wait for each other without rest, so that on cores that
                are busy with other work, fewer are faster.

        Raises:
            FileNotFoundError: the file does not exist.
            ModelFileError: yolox_jax did not export the file, one beside it is missing, or ncnn cannot load it.
            ModuleNotFoundError: ncnn is not installed.
        """
        import ncnn

        super().__init__(path, metadata_beside(path))
        weights = Path(path).with_suffix(".bin")
        if not weights.is_file():
            raise ModelFileError(f"{path} needs {weights.name} beside it, which yolox-jax export wrote with it")
        self._network = ncnn.Net()
        if threads is not None:
            self._network.opt.num_threads = threads
        if self._network.load_param(str(path)) or self._network.load_model(str(weights)):
            raise ModelFileError(f"ncnn {ncnn.__version__} cannot load {path}; it has printed why")
        self._to_mat = ncnn.Mat
        boxes_per_cell = json.loads(self.metadata["boxes_per_cell"])
        self._cells, self._strides = anchor_points(
            self.input_size, json.loads(self.metadata["strides"]), boxes_per_cell
        )

    def detect(self, letterboxed: np.ndarray, ratio: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Run the network, decode its output, and suppress what overlaps."""
        pixels = np.ascontiguousarray(letterboxed.transpose(2, 0, 1), np.float32)
        if self.dtype == np.uint16:
            pixels /= 257
        extractor = self._network.create_extractor()
        extractor.input("images", self._to_mat(pixels))
        code, raw = extractor.extract("raw")
        if code:
            raise RuntimeError(f"ncnn cannot run the network (code {code}); it has printed why")
        return self.suppress(self._decode(np.array(raw)), ratio)

    def _decode(self, raw: np.ndarray) -> np.ndarray:
        """Predictions [A, 5 + C] as `suppress` takes them, from [5 + C, A]."""
        # Weights of a run that diverged can give what overflows.
        with np.errstate(over="ignore", invalid="ignore"):
            centres = (raw[:2] + self._cells) * self._strides
            sizes = np.exp(raw[2:4]) * self._strides
            scores = 1 / (1 + np.exp(-raw[4:]))
        return np.concatenate([centres, sizes, scores]).T


def anchor_points(size: tuple[int, int], strides: list[int], per_cell: int) -> tuple[np.ndarray, np.ndarray]:
    """Column and row [2, A] of each anchor's cell, and the side [A] of the cell in pixels.

    The anchors come level by level and row by row, those of a cell one after the other.
    """
    cells = [np.indices((size[0] // stride, size[1] // stride))[::-1].reshape(2, -1) for stride in strides]
    sides = [np.full(level.shape[1], stride) for level, stride in zip(cells, strides, strict=True)]
    grid, side = np.concatenate(cells, axis=1), np.concatenate(sides)
    return np.repeat(grid, per_cell, axis=1).astype(np.float32), np.repeat(side, per_cell).astype(np.float32)


if __name__ == "__main__":
    options = command_line(".param").parse_args()
    raise SystemExit(run(options, lambda: NcnnDetector(options.model)))
