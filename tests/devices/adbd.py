"""An Android device for tests: speaks the adb protocol on loopback, to the real ``adb`` client.

What adb's own documents (protocol.txt, SERVICES.TXT, SYNC.TXT) call the transport: messages of 24
bytes and a payload; CNXN, OPEN, OKAY, WRTE, CLSE. Services: ``shell,v2`` (standard streams and the
exit code in packets) and ``sync`` (STAT, SEND, RECV, DATA, DONE). The device's files and commands
live in a private folder of the host; ``/data/local/tmp`` leads there.
"""

from __future__ import annotations

import os
import queue
import socket
import stat
import struct
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_HEADER = struct.Struct("<6I")
_CNXN, _OPEN, _OKAY, _WRTE, _CLSE = (
    int.from_bytes(word, "little") for word in (b"CNXN", b"OPEN", b"OKAY", b"WRTE", b"CLSE")
)
_VERSION, _MAX_DATA = 0x01000001, 256 * 1024  # of this version on without checksums
_PACKET = struct.Struct("<BI")
_STDIN, _STDOUT, _STDERR, _EXIT, _CLOSE_STDIN = range(5)
_SYNC = struct.Struct("<4sI")


class Adbd:
    """The device.

    Args:
        root: its files.
        path: the PATH of its commands.

    Attributes:
        drop_after: bytes of pushed files after which the connection is cut, once.
        full: a push is refused for want of room.
        commands: every command line that its shell was given.
    """

    def __init__(self, root: Path, path: str) -> None:
        self.root, self.path = root, path
        self.drop_after: int | None = None
        self.full = False
        self.commands: list[str] = []
        self.pushed = 0
        (root / "data/local/tmp").mkdir(parents=True)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: list[Connection] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def serial(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def tmp(self) -> Path:
        return self.root / "data/local/tmp"

    def place(self, text: str) -> str:
        """Paths of the device as paths of the host."""
        return text.replace("/data/", f"{self.root}/data/")

    def cut(self) -> None:
        """The cable is pulled."""
        for connection in self._connections:
            connection.end()
        self._connections.clear()

    def stop(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection = Connection(self, self._listener.accept()[0])
                self._connections.append(connection)
                threading.Thread(target=connection.serve, daemon=True).start()


class Connection:
    """One transport with its streams."""

    def __init__(self, device: Adbd, line: socket.socket) -> None:
        self.device = device
        self._line = line
        self._lock = threading.Lock()
        self._streams: dict[int, Stream] = {}
        self._next = 1

    def serve(self) -> None:
        with suppress(OSError, EOFError):
            while True:
                command, first, second, size, _, _ = _HEADER.unpack(self._exactly(_HEADER.size))
                self._message(command, first, second, self._exactly(size))
        self.end()

    def send(self, command: int, first: int, second: int, data: bytes = b"") -> None:
        head = _HEADER.pack(command, first, second, len(data), 0, command ^ 0xFFFFFFFF)
        with self._lock:
            self._line.sendall(head + data)

    def forget(self, number: int) -> None:
        self._streams.pop(number, None)

    def end(self) -> None:
        with suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)
        self._line.close()
        for stream in list(self._streams.values()):
            stream.closed()

    def _message(self, command: int, first: int, second: int, data: bytes) -> None:
        if command == _CNXN:
            banner = b"device::ro.product.name=test;ro.product.model=Test;features=shell_v2"
            self.send(_CNXN, _VERSION, _MAX_DATA, banner)
        elif command == _OPEN:
            self._open(first, data.rstrip(b"\0").decode())
        elif stream := self._streams.get(second):
            if command == _OKAY:
                stream.ready.set()
            elif command == _WRTE:
                stream.received(data)
                self.send(_OKAY, stream.number, stream.remote)
            elif command == _CLSE:
                stream.closed()

    def _open(self, remote: int, service: str) -> None:
        kinds: dict[str, Callable[[Connection, int, int, str], Stream]] = {
            "shell,v2": Shell,
            "sync": Sync,
        }
        name, _, rest = service.partition(":")
        # The words behind the name are options: shell,v2,raw or shell,v2,TERM=…,raw.
        kind = next(
            (kinds[one] for one in kinds if name == one or name.startswith(f"{one},")), None
        )
        if kind is None:
            self.send(_CLSE, 0, remote)
            return
        self._streams[self._next] = stream = kind(self, self._next, remote, rest)
        self._next += 1
        self.send(_OKAY, stream.number, remote)
        stream.start()

    def _exactly(self, count: int) -> bytes:
        parts = []
        while count:
            part = self._line.recv(min(count, 1 << 16))
            if not part:
                raise EOFError
            parts.append(part)
            count -= len(part)
        return b"".join(parts)


class Stream:
    """One service that was opened; writes wait for the other side's OKAY."""

    def __init__(self, connection: Connection, number: int, remote: int, words: str) -> None:
        self.connection, self.number, self.remote, self.words = connection, number, remote, words
        self.device = connection.device
        self.ready = threading.Event()
        self.ready.set()
        self.open = True
        self._writing = threading.Lock()

    def start(self) -> None:
        """The other side knows the stream."""

    def received(self, data: bytes) -> None:
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        with self._writing, suppress(OSError):
            for start in range(0, len(data), _MAX_DATA):
                self.ready.wait()
                if not self.open:
                    return
                self.ready.clear()
                part = data[start : start + _MAX_DATA]
                self.connection.send(_WRTE, self.number, self.remote, part)

    def close(self) -> None:
        if self.open:
            self.ready.wait(5)  # the last bytes have arrived
            self.open = False
            with suppress(OSError):
                self.connection.send(_CLSE, self.number, self.remote)
            self.connection.forget(self.number)

    def closed(self) -> None:
        self.open = False
        self.ready.set()
        self.connection.forget(self.number)


class Shell(Stream):
    """A command in the host's ``sh``."""

    def start(self) -> None:
        self.device.commands.append(self.words)
        self._incoming = b""
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", self.device.place(self.words)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd=self.device.root,
            env={"PATH": self.device.path, "HOME": str(self.device.root), "TMPDIR": "/nowhere"},
            start_new_session=True,
        )
        threading.Thread(target=self._work, daemon=True).start()

    def received(self, data: bytes) -> None:
        self._incoming += data
        while len(self._incoming) >= _PACKET.size:
            kind, size = _PACKET.unpack_from(self._incoming)
            if len(self._incoming) < _PACKET.size + size:
                return
            packet = self._incoming[_PACKET.size : _PACKET.size + size]
            self._incoming = self._incoming[_PACKET.size + size :]
            with suppress(OSError, ValueError):
                if kind == _STDIN:
                    self._feed(packet)
                elif kind == _CLOSE_STDIN:
                    self._process.stdin.close()

    def closed(self) -> None:
        super().closed()
        with suppress(OSError, ValueError):
            self._process.stdin.close()  # as when adbd's end of the pipe goes away

    def _feed(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._process.stdin.write(view) :]

    def _work(self) -> None:
        pumps = [
            threading.Thread(target=self._pump, args=pair, daemon=True)
            for pair in ((self._process.stdout, _STDOUT), (self._process.stderr, _STDERR))
        ]
        for pump in pumps:
            pump.start()
        for pump in pumps:
            pump.join()
        code = self._process.wait() & 0xFF
        self.write(_PACKET.pack(_EXIT, 1) + bytes([code]))
        self.close()

    def _pump(self, source, kind: int) -> None:
        while self.open and (data := os.read(source.fileno(), 1 << 15)):
            self.write(_PACKET.pack(kind, len(data)) + data)
        if not self.open:  # nobody reads any more: the command ends, as with adbd
            source.close()


class Sync(Stream):
    """Files to and from the device."""

    def start(self) -> None:
        self._incoming = b""
        self._file = None
        self._arrived: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self._work, daemon=True).start()

    def received(self, data: bytes) -> None:
        self._arrived.put(data)  # an answer waits for an OKAY, which the caller reads

    def closed(self) -> None:
        super().closed()
        self._arrived.put(b"")

    def _work(self) -> None:
        while data := self._arrived.get():
            self._incoming += data
            self._requests()

    def _requests(self) -> None:
        while len(self._incoming) >= _SYNC.size and self.open:
            word, size = _SYNC.unpack_from(self._incoming)
            body = 0 if word in (b"DONE", b"QUIT") else size
            if len(self._incoming) < _SYNC.size + body:
                return
            part = self._incoming[_SYNC.size : _SYNC.size + body]
            self._incoming = self._incoming[_SYNC.size + body :]
            getattr(self, f"_{word.decode().lower()}")(part)

    def _stat(self, path: bytes) -> None:
        try:
            found = os.lstat(self.device.place(path.decode()))
            words = (found.st_mode, found.st_size, int(found.st_mtime))
        except OSError:
            words = (0, 0, 0)
        self.write(struct.pack("<4s3I", b"STAT", *words))

    def _send(self, target: bytes) -> None:
        path, _, mode = self.device.place(target.decode()).rpartition(",")
        if self.device.full:
            self._fail("couldn't write: No space left on device")
            return
        try:
            self._file = Path(path).open("wb")  # noqa: SIM115
            Path(path).chmod(stat.S_IMODE(int(mode)) | 0o600)
        except OSError as error:
            self._fail(f"couldn't create file: {error.strerror}")

    def _data(self, data: bytes) -> None:
        limit = self.device.drop_after
        self.device.pushed += len(data)
        if limit is not None and self.device.pushed > limit:
            self.device.drop_after = None
            self.device.cut()
        elif self._file:
            self._file.write(data)

    def _done(self, _: bytes) -> None:
        if self._file:
            self._file.close()
            self._file = None
            self.write(_SYNC.pack(b"OKAY", 0))

    def _recv(self, path: bytes) -> None:
        try:
            data = Path(self.device.place(path.decode())).read_bytes()
        except OSError as error:
            self._fail(error.strerror or "")
            return
        for start in range(0, len(data), 1 << 16):
            part = data[start : start + (1 << 16)]
            self.write(_SYNC.pack(b"DATA", len(part)) + part)
        self.write(_SYNC.pack(b"DONE", 0))

    def _quit(self, _: bytes) -> None:
        self.close()

    def _fail(self, words: str) -> None:
        self.write(_SYNC.pack(b"FAIL", len(words)) + words.encode())
