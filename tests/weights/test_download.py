"""The download of one file, from a server on this machine."""

import hashlib
import ssl
import subprocess
import threading
from pathlib import Path

import pytest

from file_server import Server, file, hang, serve, status
from yolox_jax.weights import WeightsError, download
from yolox_jax.weights.download import download as fetch

CONTENT = bytes(range(256)) * 400
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "WAITS_S", (0.0, 0.0))
    monkeypatch.setattr(download, "TIMEOUT_S", 5.0)


@pytest.fixture
def server():
    with serve(Server()) as server:
        yield server


@pytest.mark.parametrize("length", [-1, None], ids=["of known length", "of unknown length"])
def test_a_file_is_complete_and_comes_with_its_checksum_and_progress(server, tmp_path, length):
    server.answers = [file(CONTENT, length=length)]
    seen = []
    assert fetch(f"{server.url}/w", tmp_path / "w", on_progress=lambda *counts: seen.append(counts)) == SHA256
    assert (tmp_path / "w").read_bytes() == CONTENT
    received = [count for count, _ in seen]
    assert received == sorted(set(received)) and received[-1] == len(CONTENT)
    assert {total for _, total in seen} == {None if length is None else len(CONTENT)}


def faults(released: threading.Event):
    return {
        "server error": status(503),
        "too many requests": status(429),
        "truncated": file(CONTENT[:50_000], length=len(CONTENT)),
        "hanging": hang(released),
        "stalling": file(CONTENT, pause_s=1.0),
        "trickling": file(CONTENT[:500], length=len(CONTENT), pause_s=0.2),
    }


@pytest.mark.parametrize("fault", faults(threading.Event()))
def test_a_transient_error_is_retried_from_the_start(server, tmp_path, monkeypatch, fault):
    monkeypatch.setattr(download, "TIMEOUT_S", 0.6)
    released = threading.Event()
    server.answers = [faults(released)[fault], file(CONTENT)]
    assert fetch(f"{server.url}/w", tmp_path / "w") == SHA256
    assert (tmp_path / "w").read_bytes() == CONTENT
    assert len(server.requests) == 2
    released.set()


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("server error", "the server answered 503"),
        ("truncated", "the download ended after 50000 of 102400 bytes"),
        ("hanging", "timed out"),
        ("stalling", "timed out"),
    ],
)
def test_an_error_that_persists_is_named_with_the_url(server, tmp_path, monkeypatch, fault, why):
    monkeypatch.setattr(download, "TIMEOUT_S", 0.2)
    released = threading.Event()
    server.answers = [faults(released)[fault]]
    with pytest.raises(WeightsError, match=rf"{server.url}/w could not be downloaded in 3 attempts: .*{why}"):
        fetch(f"{server.url}/w", tmp_path / "w")
    assert len(server.requests) == 3
    released.set()


def test_an_unreachable_server_is_named(tmp_path):
    with Server() as closed:
        url = closed.url
    with pytest.raises(WeightsError, match=rf"{url}/w could not be downloaded in 3 attempts: .*refused"):
        fetch(f"{url}/w", tmp_path / "w")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (status(404), "answered 404 Not Found"),
        (status(403), "answered 403"),
        (
            status(302, "http://127.0.0.1:1/w"),
            "redirects to http://127.0.0.1:1/w, which was not followed",
        ),
        (status(301, "file:///etc/passwd"), "(answered 301|not https)"),
        (file(CONTENT, length=2**31), "has 2147483648 bytes; no published file has more"),
        (file(b"<html>sign in</html>", kind="text/html; charset=utf-8"), "sent a web page"),
    ],
)
def test_a_permanent_error_is_not_retried(server, tmp_path, answer, why):
    server.answers = [answer, file(CONTENT)]
    with pytest.raises(WeightsError, match=f"{server.url}/w .*{why}"):
        fetch(f"{server.url}/w", tmp_path / "w")
    assert len(server.requests) == 1


def test_an_endless_file_is_cut_off_at_the_limit(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "SIZE_LIMIT", len(CONTENT) - 1)
    server.answers = [file(CONTENT, length=None)]
    with pytest.raises(WeightsError, match=f"{server.url}/w has more than 102399 bytes"):
        fetch(f"{server.url}/w", tmp_path / "w")
    assert (tmp_path / "w").stat().st_size <= len(CONTENT) - 1


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://127.0.0.1/w", "w", "http://[", "http://a:b/", "http://ä b/"]
)
def test_other_urls_are_refused(tmp_path, url):
    with pytest.raises(WeightsError, match="is not (an https|a valid URL)"):
        fetch(url, tmp_path / "w")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_not_a_network_error(server):
    server.answers = [file(CONTENT)]
    with pytest.raises(OSError, match="No space left"):
        fetch(f"{server.url}/w", Path("/dev/full"))
    assert len(server.requests) == 1


def test_a_proxy_is_used(server, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url)
    server.answers = [file(CONTENT)]
    assert fetch("http://weights.invalid/w", tmp_path / "w") == SHA256
    assert server.requests == ["http://weights.invalid/w"]


@pytest.fixture
def secure(tmp_path):
    """A server whose certificate nobody vouches for, and the certificate."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=here"
    try:
        subprocess.run(
            [*command.split(), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no openssl that makes certificates")
    server = Server()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.scheme = "https"
    server.handle_error = lambda *_: None
    with serve(server):
        yield server, certificate


def test_an_untrusted_certificate_is_not_retried(secure, tmp_path):
    server, _ = secure
    with pytest.raises(WeightsError, match=f"{server.url}/w cannot be downloaded, .* not trusted"):
        fetch(f"{server.url}/w", tmp_path / "w")
    assert server.requests == []


def test_a_redirect_to_https_is_followed(server, secure, tmp_path, monkeypatch):
    https, certificate = secure
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    server.answers = [status(302, f"{https.url}/there")]
    https.answers = [file(CONTENT)]
    assert fetch(f"{server.url}/w", tmp_path / "w") == SHA256
    assert (server.requests, https.requests) == (["/w"], ["/there"])
