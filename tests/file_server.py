"""Servers of files on this machine: one whose answers a test chooses, and one of a folder."""

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeVar

Answer = Callable[[BaseHTTPRequestHandler], None]
AnyServer = TypeVar("AnyServer", bound=ThreadingHTTPServer)


class Server(ThreadingHTTPServer):
    """Gives each request the next of `answers`; the last of them stays."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[Answer] = [status(404)]
        self.requests: list[str] = []
        self.scheme = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}"


class Quiet(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


class _Handler(Quiet):
    server: Server

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        answers = self.server.answers
        with contextlib.suppress(OSError):  # who asked may have gone
            (answers.pop(0) if len(answers) > 1 else answers[0])(self)


class _FolderHandler(Quiet, SimpleHTTPRequestHandler):
    pass


@contextlib.contextmanager
def serve(server: AnyServer) -> Iterator[AnyServer]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder as `python -m http.server` does; the URL."""
    handler = functools.partial(_FolderHandler, directory=folder)
    with serve(ThreadingHTTPServer(("127.0.0.1", 0), handler)) as server:
        yield f"http://127.0.0.1:{server.server_port}/"


def file(content: bytes, *, length: int | None = -1, pause_s: float = 0.0, kind: str = "application/zip") -> Answer:
    """Send content in ten parts; `length` is what is said of it: -1 the truth, None nothing."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", kind)
        if length is not None:
            request.send_header("Content-Length", str(len(content) if length < 0 else length))
        request.end_headers()
        part = max(len(content) // 10, 1)
        for start in range(0, len(content), part):
            request.wfile.write(content[start : start + part])
            time.sleep(pause_s)

    return answer


def status(code: int, location: str = "") -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(code)
        request.send_header("Location", location)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return answer


def hang(released: threading.Event) -> Answer:
    """Accept a request and say nothing."""

    def answer(_: BaseHTTPRequestHandler) -> None:
        released.wait(20)

    return answer
