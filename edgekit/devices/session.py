"""A conversation with an agent: requests, answers, limits, and what failures mean."""

from __future__ import annotations

import getpass
import os
import re
import socket
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Self

from edgekit.devices.agent.frames import (
    LENGTHS,
    MAX_HEADER,
    PROTOCOL,
    BadFrame,
    decode_header,
    encode,
)
from edgekit.devices.facts import DeviceFacts, printable
from edgekit.devices.link import Link, start
from edgekit.devices.parcel import MARKER, greeting, parcel
from edgekit.devices.pipe import Pipe, Silent, Vanished
from edgekit.errors import (
    ConversionError,
    DeviceBusy,
    DeviceError,
    DeviceLost,
    DeviceUnreachable,
    EdgekitError,
)

if TYPE_CHECKING:
    from types import TracebackType

    from edgekit.devices.agent.frames import Header

_AHEAD = 2
"""So many requests are on their way while the device works on one."""
_NOISE = 1 << 16
"""A login shell may print so many bytes before the agent speaks."""
_SMALL = 1 << 16
_BYE_SECONDS = 5
_LEAVE_SECONDS = 10
_PROBE = 1 << 18
_CLEARLY_SLOW = 0.1
_SLOW = 40e6
"""Bytes per second; below, compressing (zlib, level 1) is faster than sending as it is."""


@dataclass(frozen=True, kw_only=True)
class DeviceLimits:
    """Seconds after which a device is given up.

    Attributes:
        connect: until the agent answers for the first time.
        silence: without a byte or a beat while the device should work.
        step: without one more sample done, though the agent beats; also for loading a model.
    """

    connect: float = 60
    silence: float = 60
    step: float = 600


class Request(NamedTuple):
    """One request; ``limit`` bounds the bytes that its answer may carry."""

    header: Header
    payload: bytes = b""
    limit: int = _SMALL


class DeviceReply(NamedTuple):
    """What the agent answered."""

    header: Header
    payload: bytes


class Session:
    """An agent at the other end of a pipe. Used as a context manager; the agent ends with it.

    Args:
        link: the way to the device.
        limits: when to give up.
        python: the Python on the device, where it is not the one found there.
        hold: refuse to share the device with another run.

    Raises:
        DeviceUnreachable: no way to it, or no Python there.
        DeviceBusy: another run has it; the cause names it.
        DeviceLost: it vanished or hung at once.
    """

    def __init__(
        self,
        link: Link,
        *,
        limits: DeviceLimits | None = None,
        python: str | None = None,
        hold: bool = True,
    ) -> None:
        self._link = link
        self._limits = limits or DeviceLimits()
        self._pipe = Pipe(start(link), silence=self._limits.silence)
        self.alive = True
        self.compress = False
        self.used = False
        try:
            self._greet(python or link.python)
            answer = self.call({"verb": "hello", "holder": holder() if hold else None})
            if answer.header.get("protocol") != PROTOCOL:
                self._nonsense("another version of the agent answered")
            self.facts = DeviceFacts.parse(answer.header)
            self.compress = self._is_slow()
        except BaseException:
            self._end()
            raise

    @property
    def by_hand(self) -> bool:
        """Whether a person had to do something for it, and would have to for another one."""
        return self._link.tells

    def call(self, header: Header, payload: bytes = b"", *, limit: int = _SMALL) -> DeviceReply:
        """One request and its answer.

        Raises:
            ConversionError: the runtime refuses or crashes on the model.
            DeviceError: see its kinds.
        """
        (answer,) = self.stream([Request(header, payload, limit)])
        return answer

    def stream(self, requests: Iterable[Request]) -> Iterator[DeviceReply]:
        """Answers in the order of the requests; some requests travel ahead of them.

        Raises:
            ConversionError, DeviceError: as `call`. The session goes on unless `alive` is false.
        """
        waiting: deque[int] = deque()
        try:
            for request in requests:
                self._send(request)
                waiting.append(request.limit)
                if len(waiting) > _AHEAD:
                    yield self._accepted(self._answer(waiting.popleft()))
            while waiting:
                yield self._accepted(self._answer(waiting.popleft()))
        except KeyboardInterrupt:
            self._hang_up()  # nobody waits for what the device is doing, and for what it got
            raise
        finally:
            while waiting and self.alive:  # answers that nobody waits for any more
                self._answer(waiting.popleft())

    def close(self) -> None:
        """Let the agent clean up, and end it."""
        if self.alive:
            self._send(Request({"verb": "bye"}))
            with suppress(Vanished, Silent, BadFrame):
                self._frame(_SMALL, time.monotonic() + _BYE_SECONDS)
            self._hang_up()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _greet(self, python: str | None) -> None:
        data, _ = parcel()
        deadline = time.monotonic() + max(self._limits.connect, self._link.patience)
        self._pipe.write(greeting(python=python, search=self._link.search))
        try:
            word = self._word(deadline)
            if word == "want":
                self._pipe.write(data)
            if word in ("want", "have"):
                word = self._word(deadline)
            if word != "ready":
                self._cannot_start(word, python)
        except Vanished:
            code = self._pipe.wait(5)
            raise self._link.failure(code, self._pipe.last_words) or DeviceUnreachable(
                f"{self._link.words} closed the connection before the agent answered."
            ) from None
        except Silent:
            raise self._link.failure(None, self._pipe.last_words) or DeviceUnreachable(
                f"{self._link.words} does not answer within {self._limits.connect:g} s.",
                cure="Is it switched on? Does its command wait for something?",
            ) from None

    def _word(self, deadline: float) -> str:
        """What the loader says next."""
        return self._pipe.read_line(MARKER, _NOISE, deadline=deadline).decode("ascii", "replace")

    def _cannot_start(self, word: str, python: str | None) -> NoReturn:
        told = {
            "nowhere": "has no folder that the agent can be written to",
            "full": "has no room for the agent (100 kB)",
            "damaged": "got a damaged agent",
            "nopython": f"cannot start {python or 'the agent’s own Python'}",
        }
        words = f"has Python {printable(word[4:], 8)}; the agent needs 3.8 or later"
        over_ssh = self._link.words.startswith("ssh:")
        another = "ssh://user@host/path/to/python" if over_ssh else "exec:/path/to/python"
        raise DeviceUnreachable(
            f"{self._link.words} {words if word.startswith('old ') else told.get(word, 'fails')}.",
            cure=f"Free some space there, or name another Python: {another}",
        )

    def _is_slow(self) -> bool:
        """Whether the line is slower than a compressor. A busy moment does not decide alone."""
        data = os.urandom(_PROBE)
        for _ in range(3):
            started = time.perf_counter()
            self.call({"verb": "probe"})
            once = time.perf_counter()
            self.call({"verb": "probe"}, data)
            seconds = (time.perf_counter() - once) - (once - started)
            if seconds * _SLOW < _PROBE:
                return False
            if seconds > _CLEARLY_SLOW:
                return True
        return True

    def _send(self, request: Request) -> None:
        if not self.alive:
            raise DeviceLost(f"The connection to {self._link.words} is closed.")
        self._pipe.write(encode(request.header, len(request.payload)), request.payload)

    def _answer(self, limit: int) -> DeviceReply:
        """The next answer, good or bad."""
        done, step_ends = -1, time.monotonic() + self._limits.step
        try:
            while True:
                answer = self._frame(limit, step_ends)
                beat = answer.header.get("beat")
                if beat is None:
                    return answer
                if type(beat) is int and beat > done:
                    done, step_ends = beat, time.monotonic() + self._limits.step
        except Vanished:
            self._lost()
        except Silent:
            hung = time.monotonic() >= step_ends
            self._end()
            if hung:
                raise DeviceLost(
                    f"{self._link.words} works, but has finished nothing for "
                    f"{self._limits.step:g} s: the runtime hangs, or the model is too slow for it.",
                    cure="Try a smaller model, or another runtime on the device.",
                ) from None
            raise DeviceLost(
                f"{self._link.words} has been silent for {self._limits.silence:g} s.",
                cure="Check the cable or the network, and whether the device is still up.",
            ) from None
        except BadFrame as error:
            self._nonsense(str(error))

    def _frame(self, limit: int, deadline: float | None) -> DeviceReply:
        sizes = LENGTHS.unpack(self._pipe.read(LENGTHS.size, deadline=deadline))
        if sizes[0] > MAX_HEADER or sizes[1] > limit:
            raise BadFrame(f"a frame of {sizes[0]} + {sizes[1]} bytes, {limit} were asked for")
        header = decode_header(self._pipe.read(sizes[0], deadline=deadline))
        return DeviceReply(header, self._pipe.read(sizes[1], deadline=deadline))

    def _accepted(self, answer: DeviceReply) -> DeviceReply:
        header = answer.header
        if header.get("ok") is True:
            return answer
        kind = str(header.get("kind"))
        cause = f"{self._link.words}: {printable(header.get('cause', 'no reason given'))}"
        cure = printable(header.get("cure") or "")
        classes: dict[str, type[EdgekitError]] = {"busy": DeviceBusy, "model": ConversionError}
        if kind == "runtime":
            cure = cure or runtime_cure(self._link.words)
        raise classes.get(kind, DeviceError)(cause, cure=cure)

    def _lost(self) -> NoReturn:
        self._pipe.wait(5)
        text = self._pipe.last_words
        self._end()
        if crash := re.search(r"Fatal Python error: ([\w ]+)", text):
            raise ConversionError(
                f"The runtime on {self._link.words} crashed: {crash[1]}.",
                cure="Try another version of the runtime there.",
            )
        raise DeviceLost(
            f"{self._link.words} vanished in the middle.",
            cure="Check the cable, the network and the device’s memory, then run it again.",
        )

    def _nonsense(self, what: str) -> NoReturn:
        self._end()
        raise DeviceError(
            f"{self._link.words} sent something that no agent of edgekit sends: {printable(what)}.",
            cure="Is its command the right one? edgekit device check says what is there.",
        )

    def _hang_up(self) -> None:
        """Let the agent see the end of its input, at which also a busy one cleans up."""
        self._pipe.finish()
        self._pipe.wait(_LEAVE_SECONDS)
        self._end()

    def _end(self) -> None:
        if self.alive:
            self.alive = False
            self._pipe.close()


def runtime_cure(words: str) -> str:
    """What to type on a device that has no runtime."""
    if words.startswith("ssh:"):
        return (
            "On the device: python3 -m venv ~/.cache/edgekit-agent/venv && "
            "~/.cache/edgekit-agent/venv/bin/pip install ai-edge-litert"
        )
    return "Install ai-edge-litert (or tflite-runtime and numpy<2) for that Python."


def holder() -> dict[str, Any]:
    """This run, for whoever finds the device in use."""
    return {
        "host": socket.gethostname(),
        "user": _user(),
        "pid": os.getpid(),
        "time": time.strftime("%Y-%m-%d %H:%M:%S%z"),
    }


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container, under a number without a name
        return str(os.getuid())
