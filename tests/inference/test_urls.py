"""Images and streams at http:// URLs."""

import http.server
from pathlib import Path

import cv2
import numpy as np
import pytest

from file_server import Server, file, serve, status
from videos import Camera
from yolox_jax.config import ConfigError
from yolox_jax.data.image import BrokenImage
from yolox_jax.inference.input import urls
from yolox_jax.inference.input.images import to_bgr_array
from yolox_jax.inference.input.sources import open_frames

PICTURE = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
PNG = cv2.imencode(".png", PICTURE)[1].tobytes()
ANSWERS = {
    "/street.png": ("image/png", PNG),
    "/snapshot.cgi": ("image/png", PNG),
    "/plain.png": ("application/octet-stream", PNG),
    "/page.jpg": ("text/html", b"<html>"),
    "/watch": ("text/html; charset=utf-8", b"<html>"),
    "/stra%C3%9Fe%201.png": ("image/png", PNG),
    "/broken.png": ("image/png", PNG[:40]),
    "/large.png": ("image/png", bytes(2000)),
    "/video.jpg": ("multipart/x-mixed-replace; boundary=x", b"--x"),
    "/stream": ("application/octet-stream", b"?"),
}


def answer(request: http.server.BaseHTTPRequestHandler) -> None:
    path = request.path.split("?")[0]
    if path in ANSWERS:
        kind, content = ANSWERS[path]
        file(content, length=None, kind=kind)(request)
    else:
        status(404)(request)


@pytest.fixture(scope="module")
def server():
    with serve(Server()) as running:
        running.answers = [answer]
        yield running.url


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/street.png?size=2", "street.png"),
        ("/snapshot.cgi", "snapshot.cgi.jpg"),
        ("/plain.png", "plain.png"),
        ("/straße 1.png", "straße 1.png"),
        ("/stra%C3%9Fe%201.png?a=%2F", "straße 1.png"),
    ],
)
def test_an_image_at_a_url_is_an_image(server, path, name):
    opened = open_frames(server + path)
    assert (opened.total, opened.is_live, opened.rate) == (1, False, None)
    (frame,) = opened.frames
    assert (frame.name, frame.location) == (name, server + path)
    np.testing.assert_array_equal(frame.image, PICTURE)
    np.testing.assert_array_equal(to_bgr_array(server + path), PICTURE)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/missing.jpg", "missing.jpg: cannot be fetched: the server answered 404"),
        ("/watch?v=x", r"watch\?v=x: is a web page"),
        ("/missing", "missing: cannot be fetched: the server answered 404"),
        ("/page.jpg", "page.jpg: is a web page"),
        ("/broken.png", "broken.png: is truncated"),
        ("/large.png", "large.png: has more than 0 MiB; download the file first"),
    ],
)
def test_an_image_that_cannot_be_fetched_is_named_by_its_url(server, monkeypatch, path, message):
    if "large" in path:
        monkeypatch.setattr(urls, "MAX_BYTES", 1000)
    for read in (open_frames, to_bgr_array):
        with pytest.raises(BrokenImage, match=f"http://127.0.0.1:.*{message}"):
            read(server + path)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("s3://bucket/a.jpg", "not supported. Pass an http"),
        ("s3://bucket/*.jpg", "not supported. Pass an http"),
        ("file:///tmp/a.jpg", "not supported. Pass an http"),
        ("data:image/png;base64,AAAA", "not supported. Pass an http"),
        (Path("https://here/a.jpg"), "Pass it as a string"),
    ],
)
def test_urls_of_other_kinds_are_refused(source, message):
    for read in (open_frames, to_bgr_array):
        with pytest.raises(ConfigError, match=message):
            read(source)


def test_the_name_of_a_url_is_safe_as_that_of_a_file(server, monkeypatch):
    monkeypatch.setitem(ANSWERS, "/..%5Ca%00b%2F..%2Fc%3Fd%22.png", ("image/png", PNG))
    assert open_frames(f"{server}/..%5Ca%00b%2F..%2Fc%3Fd%22.png").name == "c_d_.png"
    monkeypatch.setitem(ANSWERS, "/..%5Ca%00.png", ("image/png", PNG))
    assert open_frames(f"{server}/..%5Ca%00.png").name == ".._a_.png"


def test_a_server_that_cannot_be_reached_is_named():
    with pytest.raises(BrokenImage, match=r"http://127\.0\.0\.1:1/a\.jpg: cannot be fetched"):
        open_frames("http://127.0.0.1:1/a.jpg")


@pytest.mark.parametrize("path", ["/video.jpg", "/stream", "/live.m3u8", "/cam.mjpg"])
def test_streams_are_left_to_opencv(server, monkeypatch, path):
    opened_urls = []

    class Stream(Camera):
        def __init__(self, source: str) -> None:
            super().__init__("rtsp://here")
            opened_urls.append(source)

    monkeypatch.setattr(cv2, "VideoCapture", Stream)
    opened = open_frames(server + path)
    assert opened.is_live and set(opened_urls) == {server + path}
    opened.close()
    with pytest.raises(BrokenImage, match="is not the URL of an image"):
        to_bgr_array(server + path)


def test_a_url_that_nothing_opens_is_named(server):
    with pytest.raises(ConfigError, match="/stream cannot be opened. Check the URL"):
        open_frames(f"{server}/stream")
