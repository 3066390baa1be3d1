"""The page's server: on loopback, behind a token, for one page, with frames both ways.

The page asks for work at ``next`` and posts frames to ``answer``. It holds ``alive`` open, whose
end says that the page is gone. Every path begins with a token of 256 bits, the page itself is given
out once, and requests that name another host are refused.
"""

from __future__ import annotations

import queue
import secrets
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.devices.agent.frames import (
    LENGTHS,
    MAX_HEADER,
    MAX_PAYLOAD,
    BadFrame,
    decode_header,
    encode,
)
from edgekit.devices.facts import printable
from edgekit.devices.web.package import PAGE

if TYPE_CHECKING:
    from edgekit.devices.agent.frames import Frame, Header

_POLL_SECONDS = 20
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".wasm": "application/wasm",
}


class PageGone(Exception):
    """The page was closed, or its browser ended."""


class PageServer:
    """Serves the page and talks to it.

    Args:
        files: what the page may load below ``litert/``.
        progress: told how many samples the page has done.
    """

    def __init__(self, files: dict[str, Path], *, progress: Callable[[int], None]) -> None:
        self.token = secrets.token_urlsafe(32)
        self.gone = threading.Event()
        self._nonce = secrets.token_urlsafe(16)
        self._served = False
        self._lock = threading.Lock()
        self._files = {"page.js": PAGE / "page.js"}
        self._files |= {f"litert/{name}": path for name, path in files.items()}
        self._progress = progress
        self._requests: queue.Queue[bytes] = queue.Queue()
        self._answers: queue.Queue[Frame] = queue.Queue()
        self._server = _Server(self)
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Where the page is; good for one visit."""
        return f"http://{self.host}/{self.token}/"

    def hello(self, seconds: float) -> Header | None:
        """What the page says about its browser; ``None`` if nothing comes for some seconds.

        Raises:
            PageGone: the page was closed at once.
            BadFrame: it says something else.
        """
        try:
            header, _ = self._answers.get(timeout=seconds)
        except queue.Empty:
            if self.gone.is_set():
                raise PageGone from None
            return None
        if not isinstance(header.get("hello"), dict):
            raise BadFrame(printable(header.get("cause", "no greeting")))
        return dict(header["hello"])

    def ask(self, header: Header, payload: bytes = b"") -> Frame:
        """Give the page some work and wait for its answer, however long that takes.

        Raises:
            PageGone: the page is not there any more.
        """
        self._requests.put(encode(header, len(payload)) + payload)
        while True:
            try:
                return self._answers.get(timeout=0.2)
            except queue.Empty:
                if self.gone.is_set():
                    raise PageGone from None

    # What the handler needs.

    def index(self) -> bytes | None:
        """The page itself, the first time."""
        with self._lock:
            if self._served:
                return None
            self._served = True
        text = (PAGE / "index.html").read_text(encoding="utf-8")
        return text.replace("{nonce}", self._nonce).encode()

    def file(self, name: str) -> Path | None:
        """A file by the name that the page asks for; names are looked up, never joined."""
        return self._files.get(name)

    def next(self) -> bytes | None:
        """The next request for the page, or ``None`` after a while."""
        try:
            return self._requests.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            return None

    def take(self, frame: Frame) -> None:
        """A frame from the page."""
        header, _ = frame
        done = header.get("progress")
        if done is None:
            self._answers.put(frame)
        elif type(done) is int:
            self._progress(done)

    @property
    def policy(self) -> str:
        """The page's content security policy: itself and this server."""
        return (
            f"default-src 'none'; script-src 'self' 'nonce-{self._nonce}' 'wasm-unsafe-eval'; "
            f"style-src 'nonce-{self._nonce}'; connect-src 'self'; worker-src 'self' blob:; "
            "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, page: PageServer) -> None:
        self.page = page
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A page that closes its connections is not news."""


class _Handler(BaseHTTPRequestHandler):
    """One connection from the self.server.page."""

    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "edgekit"
    sys_version = ""

    def do_GET(self) -> None:
        name = self._name()
        if name is None:
            self._reply(404)
        elif name == "":
            body = self.server.page.index()
            self._reply(410 if body is None else 200, body or b"", ".html")
        elif name == "next":
            body = self.server.page.next()
            self._reply(204 if body is None else 200, body or b"")
        elif name == "alive":
            self._hold()
        elif (path := self.server.page.file(name)) is not None:
            self._reply(200, path.read_bytes(), path.suffix)
        else:
            self._reply(404)

    def do_POST(self) -> None:
        self.close_connection = True  # where a body may be left unread
        if self._name() != "answer":
            self._reply(404)
            return
        try:
            self.server.page.take(self._frame())
        except BadFrame:
            self._reply(400)
        else:
            self.close_connection = False
            self._reply(200)

    def _name(self) -> str | None:
        """What is asked for behind the token; ``None`` for those who do not know it."""
        if (
            self.headers.get("Host") != self.server.page.host
        ):  # a name that was bent to this address
            return None
        site = self.headers.get("Sec-Fetch-Site", "same-origin")
        if self.command == "POST" and site != "same-origin":
            return None
        empty, _, rest = self.path.partition("/")
        token, slash, name = rest.partition("/")
        known = secrets.compare_digest(token.encode(), self.server.page.token.encode())
        return name if known and slash and not empty else None

    def _frame(self) -> Frame:
        """The frame in the body.

        Raises:
            BadFrame: it is none.
        """
        size = self.headers.get("Content-Length", "")
        if not size.isdecimal() or int(size) > LENGTHS.size + MAX_HEADER + MAX_PAYLOAD:
            raise BadFrame("no length, or too much")
        body = self.rfile.read(int(size))
        if len(body) != int(size) or len(body) < LENGTHS.size:
            raise BadFrame("cut off")
        header_size, payload_size = LENGTHS.unpack_from(body)
        end = LENGTHS.size + header_size
        if end + payload_size != len(body):
            raise BadFrame("lengths that do not fit")
        return decode_header(body[LENGTHS.size : end]), body[end:]

    def _hold(self) -> None:
        """Wait for the end of the connection."""
        self.send_response(200)
        self.send_header("Content-Length", "1")
        self.end_headers()
        self.wfile.flush()
        self.close_connection = True
        try:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self.rfile.read(1)
        except OSError:
            pass
        self.server.page.gone.set()

    def _reply(self, code: int, body: bytes = b"", kind: str = "") -> None:
        self.send_response(code)
        if self.close_connection:
            self.send_header("Connection", "close")
        if code != 204:
            self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", _TYPES.get(kind, "application/octet-stream"))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        # Isolated pages get threads, and a clock of 5 µs in place of 100.
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Content-Security-Policy", self.server.page.policy)
        self.end_headers()
        if code != 204:
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        """Say nothing: the streams belong to the frames."""
