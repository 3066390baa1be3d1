"""Asking one server, and no other: no redirects, no proxies, no cookies, bounded answers."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import SplitResult, urlsplit

from edgekit.errors import ModelError, SetupError, UsageError

MOST_BYTES = 256 << 20
"""An answer that is longer is refused."""
_MOST_SHOWN = 300
_PORTS = {"http": 80, "https": 443}


class UnknownPath(ModelError):
    """The server has nothing at a path."""


class HttpClient:
    """A connection to the host of a URL, kept open between requests.

    Args:
        url: ``http://`` or ``https://``; its path is the caller's to use.
        timeout: seconds that an answer may take.
        most_bytes: the longest answer.

    Raises:
        UsageError: it is no such URL, or holds a password.
    """

    def __init__(self, url: str, *, timeout: float = 60.0, most_bytes: int = MOST_BYTES) -> None:
        self.parts = _parse(url)
        self.host = self.parts.netloc
        self._timeout = timeout
        self._most = most_bytes
        self._connection: http.client.HTTPConnection | None = None

    def json(self, path: str, body: Any = None) -> Any:
        """The JSON that GET gives, or POST where there is a ``body``.

        Raises:
            SetupError, ModelError: as `exchange`, and where the answer is not JSON.
        """
        content = None if body is None else to_json(body)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        return self.parse(self.exchange(path, content, headers)[1])

    def exchange(
        self, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[http.client.HTTPMessage, bytes]:
        """The headers and the content of one answer.

        Raises:
            SetupError: the server cannot be reached or does not answer in time.
            ModelError: it answers with an error, a redirect, or too much.
        """
        reused = self._connection is not None
        try:
            return self._exchange(path, body, headers or {})
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            self.close()
            if not reused:  # a server may close a connection that was idle: then a new one is tried
                raise self._unreachable("it closed the connection without an answer") from None
        except TimeoutError:
            self.close()
            raise self._late() from None
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._unreachable(str(error) or type(error).__name__) from error
        return self.exchange(path, body, headers)

    def parse(self, content: bytes) -> Any:
        """JSON; ``NaN`` and ``Infinity`` are taken too, as TensorFlow Serving writes them.

        Raises:
            ModelError: it is none.
        """
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise self.refuse(
                f"answers with something that is not JSON: {_show(content)}"
            ) from error

    def refuse(self, why: str, *, cure: str = "") -> ModelError:
        """What to raise where the server's answer cannot be used: ``why`` continues its name."""
        return ModelError(f"The server {self.host} {why}", cure=cure)

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _exchange(
        self, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[http.client.HTTPMessage, bytes]:
        if self._connection is None:
            self._connection = self._connect()
        connection = self._connection
        with _deadline(connection, self._timeout):
            connection.request("GET" if body is None else "POST", path, body, headers)
            response = connection.getresponse()
            content = self._read(response)
        if 300 <= response.status < 400:
            to = (response.getheader("Location") or "nowhere")[:_MOST_SHOWN]
            raise self.refuse(
                f"redirects {path} to {to}, which edgekit does not follow.",
                cure="Give the URL where the model really is.",
            )
        if response.status == 404:
            raise UnknownPath(
                f"The server {self.host} answers {path} with 404 {response.reason}: "
                f"{_error_text(content)}",
                cure="Is the model's name in the URL right, and is the model loaded?",
            )
        if response.status != 200:
            raise self.refuse(
                f"answers {path} with {response.status} {response.reason}: {_error_text(content)}",
                cure="Is the model's name in the URL right, and is the model loaded?"
                if response.status == 400
                else "See the server's log.",
            )
        return response.headers, content

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        if response.getheader("Content-Encoding", "identity") != "identity":
            self.close()
            raise self.refuse("compresses its answers, which was not asked for.")
        parts: list[bytes] = []
        size = 0
        while part := response.read(1 << 16):
            size += len(part)
            parts.append(part)
            if size > self._most:
                self.close()
                raise self.refuse(f"answers with more than {self._most} bytes.")
        return b"".join(parts)

    def _connect(self) -> http.client.HTTPConnection:
        host = self.parts.hostname or ""
        port = self.parts.port or _PORTS[self.parts.scheme]
        if self.parts.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(host, port, timeout=self._timeout, context=context)
        return http.client.HTTPConnection(host, port, timeout=self._timeout)

    def _unreachable(self, why: str) -> SetupError:
        return SetupError(
            f"The server {self.host} cannot be asked: {why}.",
            cure="Is it running, and is the URL right?",
        )

    def _late(self) -> SetupError:
        return SetupError(
            f"The server {self.host} did not answer within {self._timeout:g} s.",
            cure="Give it more time with --timeout, or look at its log.",
        )


@contextmanager
def _deadline(connection: http.client.HTTPConnection, seconds: float) -> Iterator[None]:
    """Let an exchange take so long in all, however slowly bytes drip.

    A socket's own timeout begins again with every byte. So the socket is shut at the deadline,
    which ends any wait for it.

    Raises:
        TimeoutError: it was.
    """
    late = threading.Event()

    def shut() -> None:
        late.set()
        if connection.sock is not None:
            with contextlib.suppress(OSError):
                # Not TLS's own, which would take its state from under the one that reads.
                socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)

    timer = threading.Timer(seconds, shut)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (OSError, http.client.HTTPException, ModelError):
        if late.is_set():
            raise TimeoutError from None
        raise
    finally:
        timer.cancel()
    if late.is_set():
        raise TimeoutError


def to_json(value: Any) -> bytes:
    """Strict JSON.

    Raises:
        UsageError: an input is not finite, for which JSON has no number.
    """
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
    except ValueError as error:
        raise UsageError(
            "An input holds NaN or infinity, which JSON cannot carry.",
            cure="Correct the data or the preprocessing (a std of 0?).",
        ) from error


def _parse(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        sound = parts.scheme in _PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, sound = urlsplit(""), False
    if not sound:
        raise UsageError(
            f"{url[:_MOST_SHOWN]} is not a URL of a server.",
            cure="For example http://localhost:8000/v2/models/NAME",
        )
    if parts.username or parts.password:
        raise UsageError(
            "The URL holds a user name or password; edgekit would write it into reports.",
            cure="Let a proxy on this machine add the credentials, and give its URL.",
        )
    if parts.query or parts.fragment or re.search(r"[\x00-\x20\x7f]", url):
        raise UsageError(f"{url[:_MOST_SHOWN]} has more than a path.", cure="Leave that out.")
    return parts


def _error_text(content: bytes) -> str:
    """What a server says in ``{"error": …}``, or the start of whatever it says."""
    try:
        table = json.loads(content)
    except (ValueError, RecursionError):
        return _show(content)
    if isinstance(table, dict):
        return _show(str(table.get("error") or table.get("detail") or table).encode())
    return _show(content)


def _show(content: bytes) -> str:
    text = content[: 4 * _MOST_SHOWN].decode("utf-8", "replace")
    return "".join(one if one.isprintable() else " " for one in text)[:_MOST_SHOWN].strip()
