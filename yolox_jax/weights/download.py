"""Downloads one file over HTTP: in chunks to disk, limited in size and time, with retries and a checksum."""

import contextlib
import hashlib
import http.client
import logging
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from yolox_jax.weights.errors import WeightsError

SIZE_LIMIT = 2**30
"""Maximum download size in bytes. The largest published file has 800 MB."""
TIMEOUT_S = 30.0
"""Timeout for connecting, and for receiving the next bytes."""
MIN_BYTES_PER_S = 1000
"""A download that is slower than this over `TIMEOUT_S` counts as stalled."""
WAITS_S = (1.0, 4.0, 16.0)
"""Waits before the second attempt and each later one."""

_CHUNK = 2**20
_TRANSIENT_STATUS_CODES = (408, 425, 429)  # and all from 500 on

OnProgress = Callable[[int, int | None], None]
"""Called with the number of bytes received, which restarts with each attempt, and the size of the file if known."""

logger = logging.getLogger("yolox_jax.weights")


def download(url: str, path: Path, *, on_progress: OnProgress | None = None) -> str:
    """Download a file. Transient failures, such as a time-out or a truncated download, are retried.

    Proxies come from the environment (`https_proxy`, `no_proxy`), certificates from the system or `SSL_CERT_FILE`.

    Args:
        url: an https:// or http:// URL. Redirects are followed to https:// only.
        path: the file to write. After an error it is incomplete or empty.
        on_progress: see `OnProgress`.

    Returns:
        The SHA-256 of the file, in hexadecimal.

    Raises:
        WeightsError: the file cannot be downloaded or is too large; the message names the URL.
        OSError: `path` cannot be written, for example because the disk is full.
    """
    waits = iter(WAITS_S)
    while True:
        try:
            with path.open("wb") as file, contextlib.closing(_connect(url)) as response:
                return _receive(url, response, file, on_progress)
        except _TransientError as error:
            wait = next(waits, None)
            if wait is None:
                raise WeightsError(f"{url} could not be downloaded in {len(WAITS_S) + 1} attempts: {error}") from error
            logger.warning("%s: %s; retrying in %g s", url, error, wait)
            time.sleep(wait)


class _TransientError(Exception):
    """The next attempt may succeed."""


class _HttpsRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str) -> Any:
        if urlsplit(newurl).scheme != "https":
            fp.close()
            raise WeightsError(
                f"{req.full_url} redirects to {newurl}, which was not followed because it is not https://"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _connect(url: str) -> http.client.HTTPResponse:
    with _classify_errors(url):
        if urlsplit(url).scheme not in ("https", "http"):
            raise WeightsError(f"{url} is not an https:// or http:// URL")
        response: http.client.HTTPResponse = urllib.request.build_opener(_HttpsRedirects).open(url, timeout=TIMEOUT_S)
    return response


def _receive(url: str, response: http.client.HTTPResponse, file: BinaryIO, on_progress: OnProgress | None) -> str:
    length = response.length
    if response.headers.get_content_type() == "text/html":
        raise WeightsError(f"{url} sent a web page instead of the file, perhaps the login page of a network or proxy")
    if length is not None and length > SIZE_LIMIT:
        raise WeightsError(f"{url} has {length} bytes; no published file has more than {SIZE_LIMIT} bytes")
    digest = hashlib.sha256()
    received, mark_s, received_at_mark = 0, time.monotonic(), 0
    while length is None or received < length:
        with _classify_errors(url):
            # read1 returns what has arrived; read would wait for a full chunk.
            chunk = response.read1(_CHUNK if length is None else min(_CHUNK, length - received))
        if not chunk:
            break
        received += len(chunk)
        if received > SIZE_LIMIT:
            raise WeightsError(f"{url} has more than {SIZE_LIMIT} bytes; no published file is that large")
        digest.update(chunk)
        file.write(chunk)
        if on_progress is not None:
            on_progress(received, length)
        if time.monotonic() - mark_s > TIMEOUT_S:
            if received - received_at_mark < MIN_BYTES_PER_S * TIMEOUT_S:
                raise _TransientError(f"received only {received - received_at_mark} bytes in {TIMEOUT_S:g} s")
            mark_s, received_at_mark = time.monotonic(), received
    if length is not None and received < length:
        raise _TransientError(f"the download ended after {received} of {length} bytes")
    return digest.hexdigest()


@contextlib.contextmanager
def _classify_errors(url: str) -> Iterator[None]:
    """Tell transient errors from permanent ones. Do not wrap file writes in it: a full disk is also an OSError."""
    try:
        yield
    except WeightsError:
        raise
    except urllib.error.HTTPError as error:
        error.close()
        answer = f"the server answered {error.code} {error.reason}"
        if error.code in _TRANSIENT_STATUS_CODES or error.code >= 500:
            raise _TransientError(answer) from error
        raise WeightsError(f"{url} cannot be downloaded: {answer}") from error
    except (http.client.InvalidURL, ValueError) as error:
        raise WeightsError(f"{url} is not a valid URL: {error}") from error
    except (OSError, http.client.HTTPException) as error:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise WeightsError(
                f"{url} cannot be downloaded, because the server's certificate is not trusted: {cause}"
            ) from error
        raise _TransientError(str(cause) or type(cause).__name__) from error
