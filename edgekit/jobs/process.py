"""The parent's half of a job process: starts it, hands it jobs, and ends it without a trace.

A process runs job after job, since to start one and to import what it needs takes longer than a
small job does. When it dies, only the job that it was running is lost. `edgekit.jobs.child` is its
own half.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.errors import SetupError, StepCrashed, StepOutOfMemory, StepTimeout
from edgekit.files import temporary_prefix
from edgekit.jobs.child import MARK, end_marked
from edgekit.jobs.protocol import Ending, Job, Plain
from edgekit.toolchain.worker import tree_memory

_CHILD = Path(__file__).with_name("child.py")
_GIGABYTE = 1e9
_LAST_WORDS = 4000
"""So many characters of the log of a process that died are kept."""


@dataclass(frozen=True, kw_only=True)
class JobAnswer:
    """What became of a job, without where.

    Attributes:
        ending: how it ended.
        value: what its function returned.
        reason: cause and cure.
        exit_code: what the command line would have ended with.
        seconds: that it ran.
        trace: of a bug, or the last that a process printed which died.
    """

    ending: Ending
    value: Plain = None
    reason: str = ""
    exit_code: int = 0
    seconds: float = 0.0
    trace: str = ""


class JobProcess:
    """A process that runs one job at a time; it ends with the process that made it.

    Args:
        within: an existing folder, in which it makes its own; ``None`` for the system's folder for
            temporary files.
        log: what is printed in it goes there.
        environment: variables that it has beside those of this process; ``None`` for one that it
            has not.
        cwd: where it stands; where this process does without.

    Attributes:
        folder: its own: temporary files are made there, and it goes with the process.
        served: how many jobs it was given.

    Raises:
        SetupError: it cannot be started.
    """

    def __init__(
        self,
        within: Path | None,
        *,
        log: Path,
        environment: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.log = log
        self.environment = dict(environment or {})
        self.served = 0
        self.folder = _new_folder(within)
        self._mark = secrets.token_hex(16)
        self._buffer = b""
        reader, writer = os.pipe()
        path = [entry or str(Path.cwd()) for entry in sys.path]
        setup = {"events": writer, "path": path, "mark": self._mark, "folder": str(self.folder)}
        changed = {**self.environment, MARK: self._mark, "TMPDIR": str(self.folder)}
        variables = {**os.environ, **{name: value or "" for name, value in changed.items()}}
        for name, value in changed.items():
            if value is None:
                del variables[name]
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("ab") as stream:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", str(_CHILD), json.dumps(setup)],
                    stdin=subprocess.PIPE,
                    stdout=stream,
                    stderr=stream,
                    env=variables,
                    cwd=cwd,
                    pass_fds=(writer,),
                    start_new_session=True,  # Ctrl-C is for whoever started the job
                )
        except OSError as error:
            os.close(reader)
            raise SetupError(
                f"A process for a job does not start: {error}", cure="Run fewer jobs at a time."
            ) from error
        finally:
            os.close(writer)
        self._events = reader

    @property
    def closed(self) -> bool:
        """Whether it was ended."""
        return self._process.stdin is None or self._process.stdin.closed

    @property
    def alive(self) -> bool:
        """Whether it can take a job."""
        return not self.closed and self._process.poll() is None

    def fileno(self) -> int:
        """What can be read once there is an answer."""
        return self._events

    def start(self, job: Job, inputs: Mapping[str, Path], folder: Path) -> None:
        """Hand over a job, whose answer `answer` has later."""
        request = {
            "key": job.key,
            "name": job.name,
            "function": job.function,
            "arguments": job.arguments,
            "inputs": {key: str(path) for key, path in inputs.items()},
            "folder": str(folder),
        }
        self.served += 1
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died; the empty pipe will tell how
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()

    def answer(self, timeout: float) -> JobAnswer | None:
        """The job's answer, or how the process died; ``None`` where neither has come in time."""
        while b"\n" not in self._buffer:
            if not select.select([self._events], [], [], timeout)[0]:
                return None if self._process.poll() is None else self._crashed()
            chunk = os.read(self._events, 1 << 16)
            if not chunk:
                return self._crashed()
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        told: dict[str, Any] = json.loads(line)
        return JobAnswer(**(told | {"ending": Ending(told["ending"])}))

    def over_limits(self, seconds: float, limit: float, memory: int) -> JobAnswer | None:
        """What became of a job that takes too much time or memory; the process is ended.

        Args:
            seconds: that it has run.
            limit: that it may run; 0 for any.
            memory: bytes that it may take with all that it started; 0 for any.
        """
        if limit and seconds > limit:
            code = StepTimeout.exit_code
            reason = f"The job took longer than {limit:g} s and was stopped."
        elif memory and tree_memory(self._process.pid) > memory:
            code = StepOutOfMemory.exit_code
            reason = (
                f"The job used more than its {memory / _GIGABYTE:g} GB of memory, and was stopped."
            )
        else:
            return None
        self.close()
        return JobAnswer(ending=Ending.CRASHED, reason=reason, exit_code=code, seconds=seconds)

    def close(self) -> None:
        """End it, and all that descends from it."""
        if self.closed:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        end_marked(self._mark)
        self._process.wait()
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        os.close(self._events)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _crashed(self) -> JobAnswer:
        with contextlib.suppress(subprocess.TimeoutExpired):  # it closed the pipe and lives on
            self._process.wait(timeout=1)
        self.close()
        status = self._process.returncode
        with contextlib.suppress(ValueError):
            status = signal.Signals(-status).name if status < 0 else status
        return JobAnswer(
            ending=Ending.CRASHED,
            reason=f"The process of the job ended ({status}) without an answer.",
            exit_code=StepCrashed.exit_code,
            trace=self.log.read_text(encoding="utf-8", errors="replace")[-_LAST_WORDS:],
        )


def _new_folder(within: Path | None) -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix=temporary_prefix("job"), dir=within))
    except OSError as error:
        raise SetupError(
            f"No folder for the files of jobs can be made: {error}",
            cure="Free some space, or choose another folder.",
        ) from error
