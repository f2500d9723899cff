"""A headless Chromium for tests of pages, driven over WebDriver (https://www.w3.org/TR/webdriver2)."""

import contextlib
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FLAGS = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1200,900"]
# Other machines are not found; a page that asks for one has an error in its console.
FLAGS += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The key of a reference to an element, as WebDriver defines it."""


class Browser:
    """One window."""

    def __init__(self, session: str) -> None:
        self._session = session

    def open(self, url: str) -> None:
        self._post("url", url=url)

    def run(self, script: str, *arguments: Any) -> Any:
        """The value that the body of a function returns; that of a promise is awaited."""
        return self._post("execute/sync", script=script, args=list(arguments))

    def choose_file(self, selector: str, path: Path) -> None:
        """Choose a file in an <input>."""
        reference = self._post("element", using="css selector", value=selector)[ELEMENT]
        self._post(f"element/{reference}/value", text=str(path))

    def wait_until(self, condition: str, *, seconds: float = 60) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not self.run(f"return Boolean({condition})"):
            assert time.monotonic() < end, f"{condition}: not within {seconds} s; the page says {self.text()!r}"
            time.sleep(0.02)

    def text(self) -> str:
        return self.run("return document.body.innerText")

    def resize(self, width: int, height: int) -> None:
        """The size that the page sees, in px."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.command("Emulation.setDeviceMetricsOverride", **size)

    def command(self, name: str, **parameters: Any) -> Any:
        """A command of Chromium's DevTools protocol."""
        return self._post("goog/cdp/execute", cmd=name, params=parameters)

    def console(self) -> list[str]:
        """Warnings and errors of the console since the last call."""
        entries = self._post("se/log", type="browser")
        return [entry["message"] for entry in entries if entry["level"] in ("WARNING", "SEVERE")]

    def _post(self, command: str, **parameters: Any) -> Any:
        return request("POST", f"{self._session}/{command}", parameters)


def request(method: str, url: str, parameters: dict[str, Any] | None = None) -> Any:
    body = None if parameters is None else json.dumps(parameters).encode()
    message = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(message, timeout=120) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        raise AssertionError(error.read().decode()) from error


@contextlib.contextmanager
def started_browser(*flags: str, preferences: dict[str, Any] | None = None) -> Iterator[Browser]:
    """Start Chromium; skips the test where it is missing."""
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if None in programs:
        pytest.skip("chromium or chromedriver is missing (Debian's packages chromium and chromium-driver)")
    chromium, driver = programs
    with subprocess.Popen([driver, "--port=0"], stdout=subprocess.PIPE, text=True) as process:
        try:
            # "ChromeDriver was started successfully on port N."
            line = next(line for line in process.stdout if "successfully" in line)
            port = line.rsplit(maxsplit=1)[1].rstrip(".")
            root = f"http://localhost:{port}"
            options = {"binary": chromium, "args": [*FLAGS, *flags], "prefs": preferences or {}}
            wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            session = request("POST", f"{root}/session", {"capabilities": {"alwaysMatch": wanted}})
            url = f"{root}/session/{session['sessionId']}"
            try:
                yield Browser(url)
            finally:
                request("DELETE", url)  # closes the window
        finally:
            process.terminate()
