"""The exported page in Chromium: the published network finds what `Detector` finds, and people are told what fails."""

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

import yolox_jax
from browser import Browser, started_browser
from file_server import served
from yolox_jax.config import ConfigError
from yolox_jax.data.image import read_image
from yolox_jax.export.onnxruntime_web import find_runtime
from yolox_jax.inference.image_detections import ImageDetections

pytestmark = pytest.mark.slow
NUM_IMAGES = 10
BOX_PX, SCORE = 0.5, 1e-3
SETTINGS = {"score_threshold": 0.01, "iou_threshold": 0.65}
IS_READY = "!document.getElementById('file').disabled"
STATE = "document.getElementById('summary').dataset.state"


@pytest.fixture(scope="module")
def weights(shared: Path) -> Path:
    return shared / "weights/yolox_nano.pth"


@pytest.fixture(scope="module")
def images(shared: Path) -> list[Path]:
    return sorted((shared / "data/coco_val2017_100/images").glob("*.jpg"))[:NUM_IMAGES]


@pytest.fixture(scope="module")
def url(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page, on a server."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("YOLOX_JAX_OFFLINE")
        try:
            find_runtime(None)
        except ConfigError as error:
            if "could not be downloaded" not in str(error):
                raise
            pytest.skip(f"onnxruntime-web is missing: {error}")
    folder = tmp_path_factory.mktemp("page")
    yolox_jax.export(weights, folder, format="web", **SETTINGS)
    with served(folder) as url:
        yield url


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def browser(url: str, downloads: Path) -> Iterator[Browser]:
    """A browser with a camera that people let the page use."""
    with started_browser("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream") as browser:
        browser.command("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))
        yield browser


@pytest.fixture
def page(browser: Browser, url: str) -> Browser:
    """The page as it is when it has loaded."""
    browser.open(url)
    browser.wait_until(IS_READY)
    return browser


def choose(page: Browser, path: Path) -> None:
    """Choose a file, and wait for its detections."""
    page.run(f"{STATE} = 'ready'")
    page.choose_file("#file", path)
    page.wait_until(f"{STATE} === 'done'")


def saved_detections(page: Browser, path: Path) -> list[dict]:
    """What the page saves as JSON."""
    page.run("document.getElementById('save').click()")
    end = time.monotonic() + 30
    while True:  # the file appears before its content
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            assert time.monotonic() < end, f"{path} was not saved"
            time.sleep(0.02)
        else:
            path.unlink()
            return found


def assert_same(found: list[dict], expected: ImageDetections, image: Path) -> None:
    """Each expected detection has one of its own that is as good as equal, and none is left over."""
    assert len(found) == len(expected), image
    left = list(found)
    for wanted in expected:
        for one in left:
            same_box = np.abs(np.array(one["box_xyxy"]) - wanted.box).max() <= BOX_PX
            if one["class"] == wanted.class_name and same_box and abs(one["score"] - wanted.score) <= SCORE:
                left.remove(one)
                break
        else:
            raise AssertionError(f"{image}: the page did not find {wanted}")


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_page_finds_what_the_detector_finds(page, weights, images, downloads, tmp_path, suffix):
    detector = yolox_jax.Detector(weights=weights, **SETTINGS)
    num_found = 0
    for image in images:
        pixels = read_image(image)
        path = image
        if suffix != image.suffix:  # decoded by OpenCV, so that a difference is not one of decoders of JPEG
            path = tmp_path / f"{image.stem}{suffix}"
            cv2.imwrite(str(path), pixels)
        choose(page, path)
        found = saved_detections(page, downloads / f"{image.stem}.json")
        assert_same(found, detector(pixels), path)
        num_found += len(found)
    assert num_found > 50 * NUM_IMAGES
    assert page.console() == []


DROP = """
const [name, encoded] = arguments;
const content = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
const dataTransfer = new DataTransfer();
dataTransfer.items.add(new File([content], name, { type: "image/jpeg" }));
const stage = document.getElementById("stage");
stage.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
"""


def test_picture_can_be_dropped(page, weights, images, downloads):
    page.run(DROP, images[0].name, base64.b64encode(images[0].read_bytes()).decode())
    page.wait_until(f"{STATE} === 'done'")
    expected = yolox_jax.Detector(weights=weights, **SETTINGS)(read_image(images[0]))
    assert_same(saved_detections(page, downloads / f"{images[0].stem}.json"), expected, images[0])


def test_photograph_that_was_taken_upright_is_seen_upright(page, weights, images, downloads, tmp_path):
    path = tmp_path / "turned.jpg"
    orientation = PIL.Image.Exif()
    orientation[0x0112] = 6  # turn by a quarter, clockwise
    PIL.Image.open(images[0]).save(path, exif=orientation, quality=95)
    choose(page, path)
    pixels = read_image(path)
    assert pixels.shape[0] > pixels.shape[1]
    expected = yolox_jax.Detector(weights=weights, **SETTINGS)(pixels)
    assert_same(saved_detections(page, downloads / "turned.json"), expected, path)


def test_score_slider_hides_the_weak_detections(page, images, downloads):
    choose(page, images[0])
    num_rows = "return document.querySelectorAll('#detections tr').length"
    page.run("const s = document.getElementById('score'); s.value = 0.5; s.dispatchEvent(new Event('input'))")
    strong = saved_detections(page, downloads / f"{images[0].stem}.json")
    assert 0 < len(strong) == page.run(num_rows) < 20
    assert min(one["score"] for one in strong) >= 0.5
    assert f"{len(strong)} objects" in page.text()


def test_video_and_camera_run_until_something_else_is_chosen(page, images, tmp_path):
    path = tmp_path / "film.webm"
    frame = cv2.resize(cv2.imread(str(images[0])), (320, 240))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"VP80"), 10, (320, 240))
    for shift in range(20):
        writer.write(np.roll(frame, 4 * shift, axis=1))
    writer.release()
    choose(page, path)
    page.wait_until("document.getElementById('pause').textContent === 'Play'")  # at its end
    page.run(f"{STATE} = 'ready'; document.getElementById('camera').click()")
    page.wait_until(f"{STATE} === 'done' && document.getElementById('canvas').width === 640")
    page.run(f"{STATE} = 'ready'")
    page.wait_until(f"{STATE} === 'done'")  # the next frame
    choose(page, images[1])
    page.wait_until("document.getElementById('pause').hidden")
    assert page.console() == []


def test_page_fits_a_phone(page, images):
    page.resize(320, 640)
    try:
        for show in (lambda: None, lambda: choose(page, images[0])):
            show()
            assert page.run("return document.documentElement.scrollWidth") <= 320
    finally:
        page.command("Emulation.clearDeviceMetricsOverride")


def test_people_are_told_that_a_file_is_no_picture_or_video(page, tmp_path):
    for name in ("notes.jpg", "film.mp4"):
        (tmp_path / name).write_text("words")
        page.choose_file("#file", tmp_path / name)
        page.wait_until(f"document.getElementById('message').textContent.startsWith('{name} is not a')")


def test_without_webgpu_people_are_told_that_webassembly_is_used(page, images):
    page.run("const b = document.getElementById('backend'); b.value = 'webgpu'; b.dispatchEvent(new Event('change'))")
    page.wait_until("document.getElementById('message').textContent.includes('WebAssembly is used instead')")
    assert page.run("return document.getElementById('backend').value") == "wasm"
    choose(page, images[0])
    assert "on WebAssembly" in page.text()


def test_people_are_told_that_the_camera_was_refused(url):
    refused = {"profile.default_content_setting_values.media_stream_camera": 2}
    with started_browser("--use-fake-device-for-media-stream", preferences=refused) as browser:
        browser.open(url)
        browser.wait_until(IS_READY)
        browser.run("document.getElementById('camera').click()")
        browser.wait_until("document.getElementById('message').textContent.startsWith('The camera was refused')")


def test_people_are_told_that_the_browser_is_too_old(browser, url):
    script = {"source": "WebAssembly.validate = () => false"}
    added = browser.command("Page.addScriptToEvaluateOnNewDocument", **script)
    try:
        browser.open(url)
        browser.wait_until("document.getElementById('message').textContent.includes('no WebAssembly SIMD')")
    finally:
        browser.command("Page.removeScriptToEvaluateOnNewDocument", **added)
