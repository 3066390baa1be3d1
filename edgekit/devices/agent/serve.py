"""Answers requests one after the other until the host says bye or is gone."""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import os
import queue
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .facts import clock_state, facts, peak_bytes
from .frames import (
    CHANGING_SHAPE,
    LENGTHS,
    MAX_HEADER,
    MAX_PAYLOAD,
    PROTOCOL,
    AgentRefusal,
    BadFrame,
    decode_header,
    encode,
    pack_arrays,
    unpack_arrays,
)
from .models import LoadedFile, Models, first_line
from .work import DeviceLock, WorkFolder

if TYPE_CHECKING:
    from collections.abc import Callable

    from .frames import Frame, Header

BEAT_SECONDS = 2.0
IDLE_SECONDS = 900.0


class Wire:
    """Frames over two file descriptors."""

    def __init__(self, source: int, sink: int) -> None:
        self._source, self._sink = source, sink
        self._lock = threading.Lock()

    def read(self) -> Frame | None:
        """The next frame; ``None`` where the host is gone."""
        start = self._exactly(LENGTHS.size)
        if start is None:
            return None
        header_size, size = LENGTHS.unpack(start)
        if header_size > MAX_HEADER or size > MAX_PAYLOAD:
            return None
        header, payload = self._exactly(header_size), self._exactly(size)
        if header is None or payload is None:
            return None
        return decode_header(header), payload

    def send(self, header: Header, payload: bytes = b"") -> None:
        """Write one frame whole, whichever thread asks."""
        with self._lock:
            for part in (encode(header, len(payload)), payload):
                view = memoryview(part)
                while view:
                    view = view[os.write(self._sink, view) :]

    def _exactly(self, count: int) -> bytes | None:
        parts = []
        while count:
            part = os.read(self._source, min(count, 1 << 20))
            if not part:
                return None
            parts.append(part)
            count -= len(part)
        return b"".join(parts)


class Agent:
    """One run on the device."""

    def __init__(self, wire: Wire, base: Path) -> None:
        self._wire = wire
        self._folder = WorkFolder(base)
        self._lock = DeviceLock(base)
        self._models = Models(self._folder)
        self._frames: queue.Queue[Frame | None] = queue.Queue(maxsize=3)
        self._done = 0
        self._working = threading.Event()
        self._verbs: dict[str, Callable[[Header, bytes], Any]] = {
            "hello": self._hello,
            "begin": lambda header, _: self._models.begin(header["digest"], int(header["size"])),
            "piece": lambda _, payload: self._models.add(payload),
            "finish": lambda header, _: self._models.finish(header["digest"]),
            "drop": lambda header, _: self._models.drop(header["digest"]),
            "describe": lambda header, _: self._loaded(header).describe(),
            "run": self._run,
            "benchmark": self._benchmark,
            "probe": lambda _, __: {},
        }

    def serve(self) -> None:
        """Work until the end; nothing of ours is left on the device then."""
        threading.Thread(target=self._listen, daemon=True).start()
        threading.Thread(target=self._beat, daemon=True).start()
        try:
            while True:
                frame = self._frames.get(timeout=IDLE_SECONDS)
                if frame is None:
                    return
                header, payload = frame
                if header.get("verb") == "bye":
                    self.clean()
                    self._wire.send({"ok": True})
                    return
                self._answer(header, payload)
        except (queue.Empty, BrokenPipeError):
            return
        finally:
            self.clean()

    def clean(self) -> None:
        """Remove everything that this run wrote, and free the device."""
        self._folder.remove()
        self._lock.free()

    def _listen(self) -> None:
        frame: Frame | None = None
        try:
            while True:
                frame = self._wire.read()
                if frame is None:
                    break
                self._frames.put(frame)
        except (OSError, BadFrame):
            pass
        # The host is gone. A runtime that is busy, or hangs, cannot be told; so it is left.
        with contextlib.suppress(queue.Full):
            self._frames.put(None, timeout=2)
        time.sleep(2)
        self.clean()
        os._exit(3)

    def _beat(self) -> None:
        while True:
            time.sleep(BEAT_SECONDS)
            if self._working.is_set():
                with contextlib.suppress(OSError):
                    self._wire.send({"beat": self._done})

    def _answer(self, header: Header, payload: bytes) -> None:
        self._done = 0
        self._working.set()
        try:
            verb = self._verbs.get(str(header.get("verb")))
            if verb is None:
                raise AgentRefusal("protocol", "The agent has no such verb.")
            result = verb(header, payload)
            answer, data = result if isinstance(result, tuple) else (result, b"")
            answer = dict(answer, ok=True)
        except AgentRefusal as refusal:
            answer, data = {"kind": refusal.kind, "cause": refusal.cause, "cure": refusal.cure}, b""
        except MemoryError:
            answer, data = {"kind": "memory", "cause": "The device has not enough memory."}, b""
        except OSError as error:
            kind = "full" if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT) else "system"
            answer, data = {"kind": kind, "cause": f"The device says: {error}"}, b""
        except Exception as error:  # noqa: BLE001  the boundary: the host must get an answer
            words = f"{type(error).__name__}: {first_line(error)}"
            answer, data = {"kind": "internal", "cause": words}, b""
        finally:
            self._working.clear()
        self._wire.send(answer, data)

    def _hello(self, header: Header, _: bytes) -> Header:
        if header.get("holder"):
            self._lock.take(header["holder"])
        return dict(facts(), protocol=PROTOCOL, free_bytes=self._folder.free_bytes())

    def _loaded(self, header: Header) -> LoadedFile:
        threads, plain = int(header.get("threads", 1)), header.get("plain") is True
        return self._models.load(header.get("digest"), threads, plain=plain)

    def _run(self, header: Header, payload: bytes) -> tuple[Header, bytes]:
        import numpy as np

        loaded = self._loaded(header)
        stacks = unpack_arrays(header, payload, MAX_PAYLOAD)
        kept: list[list[Any]] = []
        started = time.perf_counter()
        for number in range(len(stacks[0])):
            loaded.feed([stack[number] for stack in stacks])
            loaded.reset()
            loaded.invoke()
            kept.append(loaded.outputs())
            self._done = number + 1
        busy = time.perf_counter() - started
        if len({tuple(value.shape for value in row) for row in kept}) > 1:
            raise AgentRefusal("model", f"The model cannot be compared: {CHANGING_SHAPE}")
        columns = [np.stack([row[place] for row in kept]) for place in range(len(kept[0]))]
        answer, data = pack_arrays(columns, bool(header.get("compress")))
        return dict(answer, seconds=busy), data

    def _benchmark(self, header: Header, payload: bytes) -> Header:
        loaded = self._loaded(header)
        before = clock_state()
        sample = [stack[0] for stack in unpack_arrays(header, payload, MAX_PAYLOAD)]
        loaded.feed(sample)
        started = time.perf_counter()
        loaded.invoke()
        first_ms = 1e3 * (time.perf_counter() - started)
        for _ in range(int(header["warmup"])):
            loaded.invoke()
            self._done += 1
        deadline = time.perf_counter() + float(header["seconds"])
        samples: list[float] = []
        for number in range(int(header["runs"])):
            started = time.perf_counter()
            loaded.invoke()
            samples.append(1e3 * (time.perf_counter() - started))
            self._done += 1
            if time.perf_counter() > deadline and number >= 4:
                break
        return {
            "samples_ms": samples,
            "load_ms": loaded.load_ms,
            "first_ms": first_ms,
            "peak_bytes": peak_bytes(),
            "before": before,
            "after": clock_state(),
        }


def main(base: str) -> None:
    """Serve on the standard streams, and keep them for frames alone: a runtime prints too."""
    faulthandler.enable(file=sys.stderr)  # names a crash of the runtime to the host
    source, sink = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    agent = Agent(Wire(source, sink), Path(base))

    def leave(_signal: int, _frame: Any) -> None:
        agent.clean()
        os._exit(3)

    for name in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
        signal.signal(name, leave)
    agent.serve()
    os._exit(0)  # threads of a runtime must not keep us
