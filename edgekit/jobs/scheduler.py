"""From a graph of jobs to a result for each: order, retries, and what becomes of the rest.

Each event (a job ends, a job starts) costs a heap operation and a look at the jobs that wait for
it, so the time does not grow with the number of jobs that are there. Nothing is kept in memory of a
finished job but that it is done.
"""

from __future__ import annotations

import heapq
import math
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Protocol

from edgekit.errors import SetupError, UsageError
from edgekit.jobs.protocol import Ending, Executor, Job, Outcome, Resources
from edgekit.jobs.store import KeptJob, Store

RETRIES: Mapping[Ending, int] = {Ending.CRASHED: 2, Ending.LOST: 5}
"""How often a job is started again in one run, by how it ended. All others never are."""
_POLL = 0.25
_LONGEST_WAIT = 60.0
_STUCK = 20.0
"""Seconds in which a cluster may get a node back before a job is given up that fits on no other."""


class Watcher(Protocol):
    """Told what happens while jobs run."""

    def started(self, job: Job) -> None:
        """A job was given to the executor."""

    def ended(self, kept: KeptJob) -> None:
        """A job has come to its end, also one that was never started."""

    def retried(self, job: Job, outcome: Outcome) -> None:
        """A job ended in a way that is tried again."""

    def interrupted(self, running: int) -> None:
        """No more jobs are started; so many still run."""


@dataclass
class PatienceClock:
    """Time and patience, which a simulation has its own of."""

    now: Callable[[], float] = time.monotonic


@dataclass
class JobTally:
    """What a run of the scheduler came to: jobs by ending, and those that were there before."""

    endings: Counter[Ending] = field(default_factory=Counter)
    known: int = 0
    interrupted: bool = False


class Scheduler:
    """Runs jobs in the order of their priority, each after those that it needs.

    A job that does not fit holds back those of lower priority, so that large ones get their turn;
    one that waits for its device does not. A job that cannot succeed any more takes with it what
    needs it: the reason is told, and nothing else is held up.

    Args:
        executor: runs them.
        store: keeps them.
        watcher: told what happens.
        retries: see `RETRIES`.
        again: also start what ended for good in an earlier run, but not well.
        clock: of the waits before a lost job is started again.
    """

    def __init__(
        self,
        executor: Executor,
        store: Store,
        watcher: Watcher,
        *,
        retries: Mapping[Ending, int] = RETRIES,
        again: bool = False,
        clock: PatienceClock | None = None,
    ) -> None:
        self._executor = executor
        self._store = store
        self._watcher = watcher
        self._retries = retries
        self._again = again
        self._clock = clock or PatienceClock()

    def run(self, jobs: Sequence[Job], priority: Callable[[Job], int] = lambda _: 0) -> JobTally:
        """Run all that is not done yet.

        The first Ctrl-C lets what runs come to its end and starts nothing more; the second ends it.

        Args:
            jobs: of which each needs only such as are among them.
            priority: of a job; lower ones first, equal ones in their order.

        Raises:
            UsageError: a job needs one that is not there, or needs itself by others.
            SetupError: the store cannot keep a result; what had finished is kept.
        """
        graph = _Graph.of(jobs, priority)
        run = _Course(
            graph,
            self._executor,
            self._store,
            self._watcher,
            retries=self._retries,
            clock=self._clock,
        )
        run.skip(self._known(graph))
        try:
            with _interrupts() as pressed:
                run.carry_out(pressed)
        finally:
            run.stop()
        return run.tally

    def _known(self, graph: _Graph) -> dict[str, KeptJob]:
        found = self._store.find(graph.jobs)
        return {key: kept for key, kept in found.items() if self._stays(kept)}

    def _stays(self, kept: KeptJob) -> bool:
        """Whether a job would end as it did: the same input, and not a full disk or the like."""
        wrong = kept.ending == Ending.WRONG_INPUT and kept.exit_code != SetupError.exit_code
        return kept.ending == Ending.DONE or (wrong and not self._again)


@dataclass(kw_only=True)
class _Graph:
    """Jobs by their keys, with their ranks and who waits for whom."""

    jobs: dict[str, Job]
    rank: dict[str, tuple[int, int]]
    waiting: dict[str, int]
    needed_by: dict[str, list[str]]

    @classmethod
    def of(cls, jobs: Sequence[Job], priority: Callable[[Job], int]) -> _Graph:
        table = {job.key: job for job in jobs}
        needed_by: dict[str, list[str]] = {key: [] for key in table}
        for job in table.values():
            for need in dict.fromkeys(job.needs):
                if need not in table:
                    raise UsageError(f"The job {job.name} needs one that is not planned: {need}.")
                needed_by[need].append(job.key)
        graph = cls(
            jobs=table,
            rank={key: (priority(job), place) for place, (key, job) in enumerate(table.items())},
            waiting={key: len(set(job.needs)) for key, job in table.items()},
            needed_by=needed_by,
        )
        graph.check()
        return graph

    def check(self) -> None:
        """Refuse a circle (Kahn 1962: what is left when nothing can start any more)."""
        waiting = dict(self.waiting)
        free = [key for key, count in waiting.items() if not count]
        seen = 0
        while free:
            seen += 1
            for key in self.needed_by[free.pop()]:
                waiting[key] -= 1
                if not waiting[key]:
                    free.append(key)
        if seen < len(self.jobs):
            names = sorted(self.jobs[key].name for key, count in waiting.items() if count)
            raise UsageError(f"These jobs need each other in a circle: {', '.join(names[:5])}.")


class _Course:
    """One run: what is ready, what runs, what waits for a second try."""

    def __init__(
        self,
        graph: _Graph,
        executor: Executor,
        store: Store,
        watcher: Watcher,
        *,
        retries: Mapping[Ending, int],
        clock: PatienceClock,
    ) -> None:
        self.tally = JobTally()
        self._graph = graph
        self._executor = executor
        self._store = store
        self._watcher = watcher
        self._retries = retries
        self._clock = clock
        self._left = len(graph.jobs)
        self._files: dict[str, str] = {}
        self._tries: Counter[str] = Counter()
        self._lives: Counter[tuple[str, Ending]] = Counter()
        self._running: dict[str, Job] = {}
        self._held: set[str] = set()
        # By what a job occupies: whether one fits is asked once for all that are alike.
        self._ready: dict[Resources, list[tuple[tuple[int, int], str]]] = {}
        self._later: list[tuple[float, str]] = []
        self._over: set[str] = set()
        self._started = False
        self._stuck_since = math.inf

    def skip(self, known: Mapping[str, KeptJob]) -> None:
        """Take what earlier runs came to, and offer what can start."""
        self.tally.known = len(known)
        self._over |= known.keys()
        for kept in known.values():
            self._settle(kept)
            if kept.ending != Ending.DONE:
                self._watcher.ended(kept)
        self._started = True
        for key, count in self._graph.waiting.items():
            if not count and key not in self._over:
                self._offer(key)

    def carry_out(self, pressed: Callable[[], int]) -> None:
        """Start and collect, until nothing is left or Ctrl-C was pressed."""
        told = False
        while self._left > 0 or self._running:
            if pressed() and not told:
                told = self.tally.interrupted = True
                self._watcher.interrupted(len(self._running))
            if pressed() > 1:
                return
            if not told:
                self._start_ready()
            if not self._running and (told or self._left <= 0):
                return
            self._collect(self._executor.outcomes(self._patience()))
            self._refuse_too_large()

    def stop(self) -> None:
        """End what still runs."""
        for key in self._running:
            self._executor.cancel(key)

    def _patience(self) -> float:
        if not self._later:
            return _POLL
        return min(_POLL, max(0.0, self._later[0][0] - self._clock.now()))

    def _offer(self, key: str) -> None:
        resources = self._graph.jobs[key].resources
        heapq.heappush(self._ready.setdefault(resources, []), (self._graph.rank[key], key))

    def _start_ready(self) -> None:
        now = self._clock.now()
        while self._later and self._later[0][0] <= now:
            self._offer(heapq.heappop(self._later)[1])
        blocked: set[Resources] = set()
        while True:
            heads = [
                (heap[0], resources)
                for resources, heap in self._ready.items()
                if heap and resources not in blocked
            ]
            if not heads:
                return
            _, resources = min(heads, key=lambda head: head[0][0])
            if resources.devices & self._held:
                blocked.add(resources)
                continue
            if not self._executor.fits(resources):
                return
            self._start(heapq.heappop(self._ready[resources])[1])

    def _start(self, key: str) -> None:
        job = self._graph.jobs[key]
        inputs = {need: self._store.path(self._files[need]) for need in job.needs}
        self._tries[key] += 1
        self._running[key] = job
        self._held |= job.resources.devices
        self._executor.start(job, inputs)
        self._watcher.started(job)

    def _collect(self, outcomes: Sequence[Outcome]) -> None:
        final = []
        for outcome in outcomes:
            job = self._running.pop(outcome.key)
            self._held -= job.resources.devices
            if self._goes_on(job, outcome):
                continue
            final.append((job, outcome, self._tries[job.key]))
        if final:
            for kept in self._store.keep(final):
                self._watcher.ended(kept)
                self._settle(kept)

    def _goes_on(self, job: Job, outcome: Outcome) -> bool:
        """Whether a job that ended badly is tried once more, now or a little later."""
        lives = self._lives[job.key, outcome.ending]
        if self.tally.interrupted or lives >= self._retries.get(outcome.ending, 0):
            return False
        self._lives[job.key, outcome.ending] += 1
        self._watcher.retried(job, outcome)
        if outcome.ending == Ending.LOST:
            wait = min(_LONGEST_WAIT, 2.0**lives)
            heapq.heappush(self._later, (self._clock.now() + wait, job.key))
        else:
            self._offer(job.key)
        return True

    def _settle(self, kept: KeptJob) -> None:
        """Let those go on that waited for a job, or take them with it."""
        self._left -= 1
        self._over.add(kept.key)
        self.tally.endings[kept.ending] += 1
        if kept.ending != Ending.DONE:
            self._drop(kept)
            return
        self._files[kept.key] = kept.files
        for key in self._graph.needed_by[kept.key]:
            self._graph.waiting[key] -= 1
            if not self._graph.waiting[key] and self._started and key not in self._over:
                self._offer(key)

    def _drop(self, failed: KeptJob) -> None:
        """Everything that needs what failed, directly or not, ends here; it is not kept."""
        if failed.ending == Ending.CANCELLED and self.tally.interrupted:
            return
        todo = list(self._graph.needed_by[failed.key])
        while todo:
            key = todo.pop()
            if key in self._over:
                continue
            self._over.add(key)
            self._left -= 1
            self.tally.endings[Ending.CANCELLED] += 1
            job = self._graph.jobs[key]
            reason = f"It needs {failed.name}, which failed: {failed.reason}"
            self._watcher.ended(_never(job, reason))
            todo += self._graph.needed_by[key]

    def _refuse_too_large(self) -> None:
        """Give up on the next job where nothing runs, and it still does not fit after a while."""
        if self._running or self._later or not self._left or self.tally.interrupted:
            self._stuck_since = math.inf
            return
        now = self._clock.now()
        self._stuck_since = min(self._stuck_since, now)
        if now - self._stuck_since < _STUCK:
            return
        heap = min((one for one in self._ready.values() if one), key=lambda one: one[0][0])
        job = self._graph.jobs[heapq.heappop(heap)[1]]
        free = self._executor.free()
        kept = _never(
            job,
            f"It needs {job.resources.cores:g} cores and {job.resources.gpus:g} graphics cards; "
            f"there are {free.cores:g} and {free.gpus:g}.",
        )
        self._watcher.ended(kept)
        self._settle(kept)


def _never(job: Job, reason: str) -> KeptJob:
    return KeptJob(key=job.key, name=job.name, ending=Ending.CANCELLED, tries=0, reason=reason)


@contextmanager
def _interrupts() -> Iterator[Callable[[], int]]:
    """Count Ctrl-C and `kill` in place of being torn out of the middle of something."""
    count = [0]

    def press(_signal: int, _frame: FrameType | None) -> None:
        count[0] += 1

    if threading.current_thread() is not threading.main_thread():
        yield lambda: count[0]
        return
    before = {one: signal.signal(one, press) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: count[0]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
