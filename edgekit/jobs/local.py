"""Jobs in processes of this machine."""

from __future__ import annotations

import itertools
import os
import select
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import SetupError
from edgekit.files import temporary_prefix
from edgekit.jobs.machine import this_machine
from edgekit.jobs.process import JobAnswer, JobProcess
from edgekit.jobs.protocol import Ending, Job, Outcome, Resources
from edgekit.toolchain import home

MOST_JOBS = 64
"""Of one process: what they leave in its memory goes with it."""
_LOOKED_SECONDS = 0.2
"""Between two looks at how much time and memory jobs take."""
_CANCELLED = 130


@dataclass(kw_only=True)
class RunningJob:
    """A job in its process.

    Attributes:
        job: the job.
        process: that runs it.
        folder: that it writes to.
        cards: the graphics cards that it has, and how much of each.
        started: when, by the monotonic clock.
    """

    job: Job
    process: JobProcess
    folder: Path
    cards: Mapping[str, float]
    started: float


class LocalExecutor:
    """Runs jobs in processes of this machine; all calls come from one thread.

    Args:
        cores: that jobs may occupy together; those of the machine where it is ``None``.
        memory: bytes that they may reserve; those of the machine where it is ``None``. A job that
            takes more than it reserved is stopped.
        gpus: names of graphics cards, as in ``CUDA_VISIBLE_DEVICES``; those of the machine where it
            is ``None``. A job sees only its own.
        seconds: that a job may take; 0 for any.
        folder: an existing one, in which the jobs' files are made; a temporary one without.

    Raises:
        SetupError: a folder cannot be made.
    """

    def __init__(
        self,
        *,
        cores: float | None = None,
        memory: int | None = None,
        gpus: tuple[str, ...] | None = None,
        seconds: float = 0.0,
        folder: Path | None = None,
    ) -> None:
        import psutil

        self._cores = float(cores if cores is not None else os.cpu_count() or 1)
        self._memory = memory if memory is not None else psutil.virtual_memory().total
        self._cards = dict.fromkeys(gpus if gpus is not None else graphics_cards(), 1.0)
        self._seconds = seconds
        try:
            self._folder = Path(tempfile.mkdtemp(prefix=temporary_prefix("jobs"), dir=folder))
        except OSError as error:
            raise SetupError(
                f"No folder for the jobs' files can be made: {error}",
                cure="Free some space, or choose another folder.",
            ) from error
        self.logs = home.new_logs("jobs")
        self._running: dict[str, RunningJob] = {}
        self._idle: list[JobProcess] = []
        self._ended: list[Outcome] = []
        self._count = itertools.count()
        self._looked = 0.0

    def free(self) -> Resources:
        """What is not occupied now; ``devices`` is empty, since nobody lists them."""
        taken = [one.job.resources for one in self._running.values()]
        return Resources(
            cores=max(0.0, self._cores - sum(one.cores for one in taken)),
            memory=max(0, self._memory - sum(one.memory for one in taken)),
            gpus=sum(self._cards.values()),
        )

    def fits(self, resources: Resources) -> bool:
        """Whether a job that needs these could start at once."""
        free = self.free()
        held = frozenset().union(*(one.job.resources.devices for one in self._running.values()))
        return (
            resources.cores <= free.cores + 1e-9
            and resources.memory <= free.memory
            and not resources.devices & held
            and self._choose(resources.gpus) is not None
        )

    def start(self, job: Job, inputs: Mapping[str, Path]) -> None:
        """Start a job that fits.

        Raises:
            SetupError: its folder or a process cannot be made.
        """
        cards = self._choose(job.resources.gpus) or {}
        folder = self._folder / f"{job.key[:16]}-{next(self._count)}.part"
        try:
            folder.mkdir()
        except OSError as error:
            raise SetupError(
                f"No folder for the files of the job {job.name} can be made: {error}",
                cure="Free some space, or choose another folder.",
            ) from error
        process = self._process({"CUDA_VISIBLE_DEVICES": ",".join(cards)} if self._cards else {})
        for name, share in cards.items():
            self._cards[name] -= share
        self._running[job.key] = RunningJob(
            job=job, process=process, folder=folder, cards=cards, started=time.monotonic()
        )
        process.start(job, inputs, folder)

    def outcomes(self, timeout: float) -> list[Outcome]:
        """Those that ended since the last call; waits at most ``timeout`` seconds for the first."""
        deadline = time.monotonic() + timeout
        while not self._ended:
            left = deadline - time.monotonic()
            processes = [one.process for one in self._running.values()]
            ready = set(select.select(processes, [], [], max(0.0, min(left, _LOOKED_SECONDS)))[0])
            for running in list(self._running.values()):
                if running.process in ready and (answer := running.process.answer(0)):
                    self._end(running, answer)
            self._look()
            if left <= 0 or not self._running:
                break
        ended, self._ended = self._ended, []
        return ended

    def cancel(self, key: str) -> None:
        """End a running job with all that it started; one that is not running is left alone."""
        if running := self._running.get(key):
            running.process.close()
            self._end(running, JobAnswer(ending=Ending.CANCELLED, exit_code=_CANCELLED))

    def close(self) -> None:
        """End everything that still runs; folders that nobody has taken over are removed."""
        for process in (*self._idle, *(one.process for one in self._running.values())):
            process.close()
        self._running.clear()
        self._idle.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _look(self) -> None:
        """End jobs that are over their limits."""
        now = time.monotonic()
        if now - self._looked < _LOOKED_SECONDS:
            return
        self._looked = now
        for running in list(self._running.values()):
            took, memory = now - running.started, running.job.resources.memory
            if answer := running.process.over_limits(took, self._seconds, memory):
                self._end(running, answer)

    def _end(self, running: RunningJob, answer: JobAnswer) -> None:
        """Keep the job's outcome, and give back what it occupied."""
        del self._running[running.job.key]
        for name, share in running.cards.items():
            self._cards[name] += share
        if running.process.served >= MOST_JOBS:
            running.process.close()
        elif not running.process.closed:
            self._idle.append(running.process)
        folder = running.folder.with_suffix("")
        if answer.ending == Ending.DONE:
            running.folder.rename(folder)
        else:
            shutil.rmtree(running.folder, ignore_errors=True)
        self._ended.append(
            Outcome(
                key=running.job.key,
                ending=answer.ending,
                value=answer.value,
                folder=folder if answer.ending == Ending.DONE else None,
                reason=with_log(answer, running.job, self.logs),
                exit_code=answer.exit_code,
                seconds=answer.seconds or time.monotonic() - running.started,
                machine=this_machine(),
            )
        )

    def _process(self, environment: Mapping[str, str]) -> JobProcess:
        """An idle process that has this environment, or a new one."""
        for process in list(self._idle):
            if process.environment == environment:
                self._idle.remove(process)
                if process.alive:
                    return process
                process.close()
        if self._idle and len(self._idle) + len(self._running) >= 2 * self._cores:
            self._idle.pop(0).close()
        log = self.logs / f"process-{next(self._count)}.log"
        return JobProcess(self._folder, log=log, environment=environment)

    def _choose(self, gpus: float) -> dict[str, float] | None:
        """Cards with so much free: whole ones, or a share of one; ``None`` where there are none."""
        share = gpus if gpus < 1 else 1.0
        free = [name for name, left in self._cards.items() if left >= share - 1e-9]
        wanted = 0 if not gpus else max(1, round(gpus))
        return dict.fromkeys(free[:wanted], share) if len(free) >= wanted else None


def with_log(answer: JobAnswer, job: Job, logs: Path) -> str:
    """The reason of an ending; of a bug and a crash with a log of what the process said."""
    if answer.ending not in (Ending.BUG, Ending.CRASHED) or not answer.trace:
        return answer.reason
    log = logs / f"{answer.ending}-{job.key[:16]}.log"
    log.write_text(answer.trace, encoding="utf-8")
    report = " This is a bug. Please report it with the log." if answer.ending == Ending.BUG else ""
    return f"{answer.reason}{report} Log: {log}"


def graphics_cards() -> tuple[str, ...]:
    """The NVIDIA cards that this process may use, as in ``CUDA_VISIBLE_DEVICES``."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return tuple(filter(None, chosen.split(",")))
    found = Path("/proc/driver/nvidia/gpus")
    return tuple(map(str, range(len(list(found.iterdir()))))) if found.is_dir() else ()
