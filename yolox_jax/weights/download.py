"""One file over HTTP: in pieces to disk, limited in size and time, in a few attempts, with its checksum."""

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
"""Bytes; the largest published file has 800 MB."""
TIMEOUT_S = 30.0
"""Longest wait for a connection, and for the next bytes."""
SLOWEST_BYTES_PER_S = 1000
"""A download that brings less than this over `TIMEOUT_S` counts as stalled."""
WAITS_S = (1.0, 4.0, 16.0)
"""Before the second attempt and each later one."""

_PIECE = 2**20
_PASSING_CODES = (408, 425, 429)  # and all from 500 on

OnProgress = Callable[[int, int | None], None]
"""Called with the bytes received, which start over with a new attempt, and those of the whole file where known."""

logger = logging.getLogger("yolox_jax.weights")


def download(url: str, path: Path, *, on_progress: OnProgress | None = None) -> str:
    """Fetch a file. What may pass, such as a time-out or a download that ends early, is tried again.

    Proxies are taken from the environment (`https_proxy`, `no_proxy`), certificates from the system or `SSL_CERT_FILE`.

    Args:
        url: https:// or http://; redirections are followed to https:// alone.
        path: written to; after an error it holds a part of the file, or nothing.
        on_progress: see `OnProgress`.

    Returns:
        The SHA-256 of the file, in hexadecimal.

    Raises:
        WeightsError: with the URL, if the file cannot be had or is too large.
        OSError: if `path` cannot be written, such as on a full disk.
    """
    waits = iter(WAITS_S)
    while True:
        try:
            with path.open("wb") as file, contextlib.closing(_connect(url)) as response:
                return _receive(url, response, file, on_progress)
        except _PassingFault as fault:
            wait = next(waits, None)
            if wait is None:
                raise WeightsError(f"{url} could not be fetched in {len(WAITS_S) + 1} attempts: {fault}") from fault
            logger.warning("%s: %s; trying again in %g s", url, fault, wait)
            time.sleep(wait)


class _PassingFault(Exception):
    """May be gone at the next attempt."""


class _OnlyToHttps(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str) -> Any:
        if urlsplit(newurl).scheme != "https":
            fp.close()
            raise WeightsError(f"{req.full_url} redirects to {newurl}, which is not https:// and was not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _connect(url: str) -> http.client.HTTPResponse:
    with _network_faults(url):
        if urlsplit(url).scheme not in ("https", "http"):
            raise WeightsError(f"{url} is no https:// or http:// address")
        response: http.client.HTTPResponse = urllib.request.build_opener(_OnlyToHttps).open(url, timeout=TIMEOUT_S)
    return response


def _receive(url: str, response: http.client.HTTPResponse, file: BinaryIO, on_progress: OnProgress | None) -> str:
    length = response.length
    if response.headers.get_content_type() == "text/html":
        raise WeightsError(f"{url} sent a web page in place of the file, perhaps the login of a network or proxy")
    if length is not None and length > SIZE_LIMIT:
        raise WeightsError(f"{url} has {length} bytes; no published file has more than {SIZE_LIMIT}")
    digest = hashlib.sha256()
    received, mark_s, received_at_mark = 0, time.monotonic(), 0
    while length is None or received < length:
        with _network_faults(url):
            # Returns with what has come, where read would wait for the whole piece.
            piece = response.read1(_PIECE if length is None else min(_PIECE, length - received))
        if not piece:
            break
        received += len(piece)
        if received > SIZE_LIMIT:
            raise WeightsError(f"{url} has more than {SIZE_LIMIT} bytes, which no published file has")
        digest.update(piece)
        file.write(piece)
        if on_progress is not None:
            on_progress(received, length)
        if time.monotonic() - mark_s > TIMEOUT_S:
            if received - received_at_mark < SLOWEST_BYTES_PER_S * TIMEOUT_S:
                raise _PassingFault(f"only {received - received_at_mark} bytes came in {TIMEOUT_S:g} s")
            mark_s, received_at_mark = time.monotonic(), received
    if length is not None and received < length:
        raise _PassingFault(f"the download ended after {received} of {length} bytes")
    return digest.hexdigest()


@contextlib.contextmanager
def _network_faults(url: str) -> Iterator[None]:
    """Tell faults that may pass from those that stay; around the network alone, as a full disk is an OSError too."""
    try:
        yield
    except WeightsError:
        raise
    except urllib.error.HTTPError as error:
        error.close()
        answer = f"the server answered {error.code} {error.reason}"
        if error.code in _PASSING_CODES or error.code >= 500:
            raise _PassingFault(answer) from error
        raise WeightsError(f"{url} cannot be fetched: {answer}") from error
    except (http.client.InvalidURL, ValueError) as error:
        raise WeightsError(f"{url} is no address that can be fetched: {error}") from error
    except (OSError, http.client.HTTPException) as error:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise WeightsError(
                f"{url} cannot be fetched, as the server's certificate is not trusted: {cause}"
            ) from error
        raise _PassingFault(str(cause) or type(cause).__name__) from error
