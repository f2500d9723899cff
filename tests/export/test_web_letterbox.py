"""The letterboxing of the page in JavaScript, against OpenCV's."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import yolox_jax.export
from yolox_jax.data.letterbox import PADDING, letterbox

PAGE = Path(yolox_jax.export.__file__).with_name("web")
INPUT_SIZE = (96, 128)
# Reduced, enlarged, halved, doubled, left as they are, of one pixel, and so long that a side becomes one pixel.
IMAGE_SIZES = [(240, 320), (427, 640), (33, 77), (192, 256), (48, 64), (96, 128), (96, 40), (1, 1), (3, 500), (700, 2)]
PROGRAM = """
import { readFileSync, writeFileSync } from "node:fs";
import { letterbox } from "./letterbox.js";

const { images, inputSize, padding } = JSON.parse(readFileSync("images.json"));
const ratios = images.map(([height, width], index) => {
  const image = { data: readFileSync(`${index}.rgba`), width, height };
  const { pixels, ratio } = letterbox(image, inputSize[1], inputSize[0], padding);
  writeFileSync(`${index}.bgr`, pixels);
  return ratio;
});
console.log(JSON.stringify(ratios));
"""


def test_letterbox_equals_opencv_to_the_grey_level(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is missing (Debian's package nodejs)")
    for name in ("letterbox.js", "resize.js"):
        shutil.copy(PAGE / name, tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "program.js").write_text(PROGRAM)
    task = {"images": IMAGE_SIZES, "inputSize": INPUT_SIZE, "padding": PADDING}
    (tmp_path / "images.json").write_text(json.dumps(task))
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 256, (*size, 4), np.uint8) for size in IMAGE_SIZES]
    for index, rgba in enumerate(images):
        (tmp_path / f"{index}.rgba").write_bytes(rgba.tobytes())
    run = subprocess.run([node, "program.js"], cwd=tmp_path, capture_output=True, text=True, check=True)
    for index, (rgba, ratio) in enumerate(zip(images, json.loads(run.stdout), strict=True)):
        expected, expected_ratio = letterbox(np.ascontiguousarray(rgba[..., 2::-1]), INPUT_SIZE)
        pixels = np.frombuffer((tmp_path / f"{index}.bgr").read_bytes(), np.uint8).reshape(expected.shape)
        np.testing.assert_array_equal(pixels, expected, err_msg=f"{rgba.shape}")
        assert ratio == expected_ratio
