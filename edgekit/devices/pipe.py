"""The standard streams of a process: never blocking, limited in time and in memory."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

_PIECE = 1 << 18
_UNASKED = 8 << 20
"""So many bytes are read ahead of what was asked for, whatever a device sends."""
_LAST_WORDS = 1 << 16


class Vanished(Exception):
    """The process ended, or closed its standard output."""


class Silent(Exception):
    """Nothing was read or written for too long."""


class Chatter(Exception):
    """More was written than anybody asked for."""


def captured(
    process: subprocess.Popen[bytes], *, seconds: float, limit: int
) -> tuple[bytes, bytes]:
    """All that a process writes to its standard output and error, ``limit`` bytes at most of each.

    Raises:
        Silent: both are not closed after so many seconds.
        Chatter: it writes more than the limit.
    """
    deadline = time.monotonic() + seconds
    streams = (process.stdout, process.stderr)
    kept = {stream.fileno(): bytearray() for stream in streams if stream is not None}
    with selectors.DefaultSelector() as ready:
        for number in kept:
            ready.register(number, selectors.EVENT_READ)
        while ready.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                raise Silent
            for key, _ in ready.select(left):
                data = os.read(key.fd, _PIECE)
                kept[key.fd] += data
                if not data:
                    ready.unregister(key.fd)
                if len(kept[key.fd]) > limit:
                    raise Chatter
    out, errors = kept.values()
    return bytes(out), bytes(errors)


class Pipe:
    """Bytes to and from a process. Reading goes on while there is something to write, and back.

    Args:
        process: with pipes, unbuffered, for all three streams.
        silence: seconds without a byte in either direction, while one waits, that mean a hang.
    """

    def __init__(self, process: subprocess.Popen[bytes], *, silence: float) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._process = process
        self._silence = silence
        self._sink, self._source = process.stdin.fileno(), process.stdout.fileno()
        self._errors = process.stderr.fileno()
        for stream in (self._sink, self._source, self._errors):
            os.set_blocking(stream, False)
        self._outgoing: deque[memoryview] = deque()
        self._incoming = bytearray()
        self._last_words = bytearray()
        self._closed: set[int] = set()

    @property
    def last_words(self) -> str:
        """The end of what the process wrote to its standard error."""
        return self._last_words.decode("utf-8", "replace")

    def write(self, *parts: bytes) -> None:
        """Send bytes; they leave while one waits for an answer."""
        self._outgoing.extend(memoryview(part) for part in parts if part)

    def read(self, count: int, *, deadline: float | None = None) -> bytes:
        """Exactly so many bytes.

        Raises:
            Vanished: the process is gone.
            Silent: nothing moves for too long, or the deadline has passed.
        """
        self._until(lambda: len(self._incoming) >= count, count, deadline, self._silence)
        return self._taken(count)

    def read_line(self, start: bytes, limit: int, *, deadline: float) -> bytes:
        """The rest of the first line that begins with ``start``; what comes before is dropped.

        Raises:
            Vanished: the process is gone, or sent ``limit`` bytes without such a line.
            Silent: the deadline has passed; until then a device that starts up may be silent.
        """

        def is_there() -> bool:
            begin = self._incoming.find(start)
            if begin < 0 and len(self._incoming) > limit:
                raise Vanished
            return begin >= 0 and self._incoming.find(b"\n", begin) >= 0

        self._until(is_there, limit + _PIECE, deadline, float("inf"))
        begin = self._incoming.find(start)
        line = self._taken(self._incoming.find(b"\n", begin) + 1)
        return line[begin + len(start) : -1]

    def wait(self, seconds: float) -> int | None:
        """The exit code, ``None`` if the process still runs then. Reads its last words."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self._process.poll() is None:
            self._move(0.05, 0)
        self._move(0, 0)
        return self._process.poll()

    def finish(self) -> None:
        """Let the process see the end of its input; what has not left yet is dropped."""
        assert self._process.stdin is not None
        self._outgoing.clear()
        self._closed.add(self._sink)
        self._process.stdin.close()

    def close(self) -> None:
        """End the process and all that it started, at once."""
        # Only a process that was not waited for still owns its number.
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def _taken(self, count: int) -> bytes:
        data = bytes(memoryview(self._incoming)[:count])
        del self._incoming[:count]
        return data

    def _until(
        self, holds: Callable[[], bool], most: int, deadline: float | None, silence: float
    ) -> None:
        moved = time.monotonic()
        while not holds():
            if self._source in self._closed:
                raise Vanished
            limit = min(moved + silence, deadline or float("inf"))
            left = limit - time.monotonic()
            if left <= 0:
                raise Silent
            if self._move(min(left, 1.0), most):
                moved = time.monotonic()

    def _move(self, seconds: float, most: int) -> bool:
        """Read and write what is possible within some seconds; whether anything was."""
        with selectors.DefaultSelector() as ready:
            if self._outgoing and self._sink not in self._closed:
                ready.register(self._sink, selectors.EVENT_WRITE)
            if len(self._incoming) < most + _UNASKED and self._source not in self._closed:
                ready.register(self._source, selectors.EVENT_READ)
            if self._errors not in self._closed:
                ready.register(self._errors, selectors.EVENT_READ)
            if not ready.get_map():
                time.sleep(seconds)
                return False
            streams = [key.fd for key, _ in ready.select(seconds)]
        moved = False
        for stream in streams:
            moved |= self._write_some() if stream == self._sink else self._read_some(stream)
        return moved

    def _write_some(self) -> bool:
        try:
            written = os.write(self._sink, self._outgoing[0][:_PIECE])
        except BrokenPipeError:
            self._closed.add(self._sink)  # its last answer may still be on its way
            return False
        self._outgoing[0] = self._outgoing[0][written:]
        if not self._outgoing[0]:
            self._outgoing.popleft()
        return written > 0

    def _read_some(self, stream: int) -> bool:
        data = os.read(stream, _PIECE)
        if not data:
            self._closed.add(stream)
            return False
        if stream == self._errors:
            self._last_words += data
            del self._last_words[:-_LAST_WORDS]
            return False  # chatter is not a sign of life of the agent
        self._incoming += data
        return True
