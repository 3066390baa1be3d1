"""The parent's half of the worker protocol: start, ask, watch, and end a converter's process.

The worker's half, with the format of the messages, is ``converters/edgekit_worker.py``. Here the
limits are kept: wall-clock per call, memory of the whole process tree, a log of its own, and no
survivors: the process group is killed whatever happens. What the process may touch is decided in
`edgekit.toolchain.bounds`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import selectors
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from edgekit.errors import (
    ConversionError,
    EdgekitError,
    EnvironmentNotReady,
    SetupError,
    StepCrashed,
    StepError,
    StepOutOfMemory,
    StepTimeout,
    by_kind,
)
from edgekit.toolchain.bounds import Bounds
from edgekit.toolchain.converters import launcher
from edgekit.types import Progress, SilentProgress

if TYPE_CHECKING:
    import psutil

_POLL_SECONDS = 0.2
_LAST_SECONDS = 5.0
"""How long a process that gave up its pipe may take to end."""
_GIGABYTE = 1 << 30
_NOT_OPENED = (
    "Try whether its own framework opens it; save it again where it does not. Where it does, this "
    "is a fault of edgekit: report it with the log."
)
_SHELL_SIGNAL = 128
"""Added to the number of the signal that ended a process, by Bubblewrap as by shells."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A worker's answer with what it cost."""

    result: dict[str, Any]
    seconds: float
    peak_memory_mb: float


class Worker:
    """A converter's process; a context manager that leaves no process behind.

    Args:
        program: the worker's file.
        python: the interpreter to run it with.
        log: where its output goes; made with its folder.
        name: for error messages, such as ``onnx2tf``.
        seconds: the wall-clock limit of one call.
        memory_gb: the limit on the resident memory of the whole process tree.
        isolated: run without the user's PYTHONPATH and site folder, and with the environment's
            programs first on PATH.
        bounds: what it may touch; without them it writes nothing, starts no programs, and has no
            network.
    """

    def __init__(
        self,
        program: Path,
        *,
        python: str,
        log: Path,
        name: str,
        seconds: float = 900,
        memory_gb: float = 16,
        isolated: bool = False,
        bounds: Bounds | None = None,
    ) -> None:
        self.name = name
        self._bounds = bounds or Bounds()
        self.log = log
        self._seconds = seconds
        self._memory = int(memory_gb * _GIGABYTE)
        self._peak = 0
        self._next_id = 0
        self._buffer = bytearray()
        self._measured = 0.0
        log.parent.mkdir(parents=True, exist_ok=True)
        reader, writer = os.pipe()
        self._isolated = isolated
        environment = _environment(python, self._bounds, isolated=isolated)
        environment["EDGEKIT_EVENTS_FD"] = str(writer)
        try:
            with log.open("ab") as stream:
                self._process = subprocess.Popen(
                    [python, str(launcher()), str(program)],
                    stdin=subprocess.PIPE,
                    stdout=stream,
                    stderr=stream,
                    env=environment,
                    pass_fds=(writer,),
                    start_new_session=True,
                )
        except OSError as error:
            os.close(reader)
            raise SetupError(
                f"The Python of the converter {name} does not start: {error}",
                cure=f"edgekit toolchain remove {name}, then edgekit toolchain install {name}",
            ) from error
        finally:
            os.close(writer)
        self._events = reader
        self._selector = selectors.DefaultSelector()
        self._selector.register(reader, selectors.EVENT_READ)

    def call(self, verb: str, request: dict[str, Any], progress: Progress | None = None) -> Reply:
        """Ask for a verb and wait for the answer.

        Args:
            verb: a public function of the worker's module.
            request: its arguments, JSON-ready.
            progress: told of the worker's progress events.

        Raises:
            StepTimeout, StepOutOfMemory, StepCrashed: the process was killed or died.
            EdgekitError: what the worker reported, as the class of its kind.
        """
        self._next_id += 1
        line = json.dumps({"id": self._next_id, "verb": verb, **request}) + "\n"
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died; the empty pipe will tell how
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()
        self._peak = 0
        return self._wait(verb, time.monotonic() + self._seconds, progress or SilentProgress())

    def close(self) -> None:
        """End the process and everything that it started."""
        if self._selector.get_map():
            self._selector.close()
            os.close(self._events)
        with contextlib.suppress(BrokenPipeError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _wait(self, verb: str, deadline: float, progress: Progress) -> Reply:
        while True:
            for event in self._read_events(verb):
                if event["event"] == "progress":
                    progress.update(event["fraction"], event["message"])
                elif event["event"] == "error":
                    raise self._as_error(verb, event)
                else:
                    self._bounds.check(event["result"])
                    peak = max(self._peak, event["peak_memory"])
                    return Reply(
                        result=event["result"],
                        seconds=event["seconds"],
                        peak_memory_mb=peak / (1 << 20),
                    )
            self._check_limits(verb, deadline)

    def _read_events(self, verb: str) -> list[dict[str, Any]]:
        if not self._selector.select(timeout=_POLL_SECONDS):
            if self._process.poll() is not None:  # a child of its holds the pipe open
                raise self._crashed(verb)
            return []
        chunk = os.read(self._events, 1 << 16)
        if not chunk:
            raise self._crashed(verb)
        self._buffer += chunk
        if b"\n" not in chunk:
            return []
        *lines, rest = self._buffer.split(b"\n")
        self._buffer = rest
        return [json.loads(line) for line in lines]

    def _check_limits(self, verb: str, deadline: float) -> None:
        now = time.monotonic()
        if now > deadline:
            self.close()
            raise StepTimeout(
                f"{self.name} {verb} took longer than {self._seconds:g} s and was stopped.",
                cure=f"Give it more time with --step-timeout{_or_elsewhere(verb)}.",
                step=f"{self.name} {verb}",
                log=self.log,
            )
        if now - self._measured < _POLL_SECONDS:  # many events come in
            return
        self._measured = now
        used = tree_memory(self._process.pid)
        self._peak = max(self._peak, used)
        if used > self._memory:
            self.close()
            raise StepOutOfMemory(
                f"{self.name} {verb} used more than {self._memory / _GIGABYTE:g} GB of memory "
                "and was stopped.",
                cure=f"Give it more with --step-memory{_or_elsewhere(verb)}.",
                step=f"{self.name} {verb}",
                log=self.log,
            )

    def _crashed(self, verb: str) -> StepCrashed:
        with contextlib.suppress(subprocess.TimeoutExpired):  # it closed the pipe and lives on
            self._process.wait(timeout=_LAST_SECONDS)
        self.close()
        status = self._process.returncode
        if status in (-signal.SIGALRM, _SHELL_SIGNAL + signal.SIGALRM):  # its own, see `in_time`
            return StepCrashed(
                f"{self.name} did not come to the end of the file in the time that one of its size "
                "can need.",
                cure="It is damaged, or made so; save or copy it again.",
                step=self.name,
                log=self.log,
            )
        try:
            how = (
                f"was killed by {signal.Signals(-status).name}"
                if status < 0
                else f"ended ({status})"
            )
        except ValueError:
            how = f"was killed by signal {-status}"
        return StepCrashed(
            f"The process of {self.name} {how} without an answer.",
            cure=f"Read its last words in the log{_or_elsewhere(verb)}.",
            step=self.name,
            log=self.log,
        )

    def _as_error(self, verb: str, event: dict[str, Any]) -> EdgekitError:
        cause, cure = event["cause"], event.get("cure", "")
        step = f"{self.name} {verb}"
        missing = cause.startswith(("ModuleNotFoundError:", "ImportError:"))
        if event["kind"] == "unexpected" and missing and self._isolated:
            name = self.name
            return EnvironmentNotReady(
                f"The environment of {name} is damaged: {_one_line(cause)}",
                cure=f"Build it again: edgekit toolchain remove {name} && "
                f"edgekit toolchain install {name}",
                log=self.log,
            )
        if event["kind"] == "unexpected":
            return StepError(
                f"{self.name} failed: {_one_line(cause)}",
                step=step,
                cure=cure or (_NOT_OPENED if verb == "describe" else ""),
                log=self.log,
            )
        if event["kind"] == "memory":
            return StepOutOfMemory(f"{self.name}: {cause}", step=step, log=self.log)
        if event["kind"] == ConversionError.kind:
            return StepError(cause, step=step, cure=cure, log=self.log)
        return by_kind(event["kind"])(cause, cure=cure, log=self.log)


def write_bytecode(program: Path, modules: Sequence[str]) -> None:
    """Import what a worker of this Python imports, where its bytecode is missing.

    A worker's own process cannot write it, and would compile all of a framework at each start.

    Args:
        program: the worker's file.
        modules: what it needs of others; nothing is imported here.
    """
    specs = [importlib.util.find_spec(name) for name in modules]
    files = [Path(spec.origin) for spec in specs if spec and spec.origin] or [program]
    if sys.dont_write_bytecode or not any(map(_lacks_bytecode, files)):
        return
    subprocess.run(
        [sys.executable, str(launcher()), "--import", str(program)],
        env=_environment(sys.executable, Bounds(code=False), isolated=False),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,  # a worker that cannot be imported says so when it is asked
    )


def _lacks_bytecode(source: Path) -> bool:
    """Whether it could be written and is not there, or is of another version of the file."""
    place = Path(importlib.util.cache_from_source(source))
    if source.suffix != ".py" or not os.access(source.parent, os.W_OK):
        return False
    try:
        head, status = place.read_bytes()[:16], source.stat()
    except OSError:
        return True
    flags, modified, size = struct.unpack("<III", head[4:])
    wanted = int(status.st_mtime) & 0xFFFFFFFF, status.st_size & 0xFFFFFFFF
    return flags == 0 and (modified, size) != wanted


def tree_memory(pid: int) -> int:
    """The resident memory of a process and its descendants, in bytes; 0 if it is gone."""
    import psutil

    total = 0
    with contextlib.suppress(psutil.Error):
        for process in _tree(psutil.Process(pid)):
            with contextlib.suppress(psutil.Error):
                total += process.memory_info().rss
    return total


def _tree(root: psutil.Process) -> list[psutil.Process]:
    """A process and its descendants.

    Linux tells the children of each thread. To look through all processes of the machine for them,
    as psutil does, takes milliseconds, and it is done several times a second for each worker.
    """
    import psutil

    found, waiting = [], [root.pid]
    try:
        while waiting:
            pid = waiting.pop()
            with contextlib.suppress(psutil.Error):
                found.append(psutil.Process(pid))
            with contextlib.suppress(ProcessLookupError):
                for thread in Path(f"/proc/{pid}/task").iterdir():
                    text = (thread / "children").read_text(encoding="ascii")
                    waiting += map(int, text.split())
    except OSError:  # another system, or a process that has just gone
        return [root, *root.children(recursive=True)]
    return found


def _environment(python: str, bounds: Bounds, *, isolated: bool) -> dict[str, str]:
    environment = dict(os.environ)
    environment["PYTHONUNBUFFERED"] = "1"
    # Threads that wait by spinning make a busy machine many times slower, and gain little here.
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Back ends print arrows and ticks, whatever the user's locale can show.
    environment["PYTHONIOENCODING"] = "utf-8:backslashreplace"
    environment["EDGEKIT_BOUNDS"] = bounds.to_json()
    environment.pop("EDGEKIT_BUBBLEWRAP", None)  # says that a worker runs under it already
    if isolated:
        for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
            environment.pop(name, None)
        environment["PYTHONNOUSERSITE"] = "1"
        # Back ends call their helper programs by name (onnx2tf calls onnxsim).
        environment["PATH"] = f"{Path(python).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    else:
        # `package.module:factory` is looked up from where the user stands, as `python -m` does.
        here = str(Path.cwd()) if bounds.code else ""
        package = Path(__file__).resolve().parents[2]
        paths = [here, os.environ.get("PYTHONPATH", ""), str(package)]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    return environment


def _or_elsewhere(verb: str) -> str:
    """A conversion can go another way; what else a worker does is the same on every route."""
    return ", or try another --route" if verb == "convert" else ""


def _one_line(text: str) -> str:
    first = text.strip().splitlines()[0]
    return first if len(first) <= 300 else first[:297] + "..."
