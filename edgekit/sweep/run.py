"""A sweep from beginning to end."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

from edgekit.errors import UsageError
from edgekit.files import remove_leftovers
from edgekit.jobs.local import LocalExecutor
from edgekit.jobs.protocol import Ending, Executor, Job, Outcome
from edgekit.jobs.scheduler import Scheduler
from edgekit.jobs.store import STATE_NAME, KeptJob, Store
from edgekit.pipeline.publish import held
from edgekit.sweep.halving import survivors
from edgekit.sweep.planning import SweepCandidate, SweepPlan, priority
from edgekit.sweep.reports import write_reports
from edgekit.sweep.result import SweepResult, look, note_plan
from edgekit.sweep.rows import SweepRow, make_row
from edgekit.types import Progress, SilentProgress
from edgekit.version import __version__


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What a sweep would do.

    ``seconds`` is about what its jobs take one after the other, ``None`` where nobody knows yet.
    """

    jobs: tuple[Job, ...]
    done: frozenset[str] = frozenset()
    seconds: float | None = None


def carry_out(
    plan: SweepPlan,
    folder: Path,
    *,
    executor: Callable[[Path], Executor] | None = None,
    again: bool = False,
    progress: Progress | None = None,
) -> SweepResult:
    """Do what is not done yet, and say what all of it came to.

    Whatever ends this in the middle, what had finished is kept, and the next call goes on.

    Args:
        plan: what to do.
        folder: where everything is kept; another sweep there is refused while it runs.
        executor: makes what runs the jobs, given a folder for their files; processes of this
            machine by default.
        again: also try again what failed for good.
        progress: told of jobs, failures and retries.

    Raises:
        SetupError: another sweep has the folder, another version began it, it is damaged, or the
            disk is full.
    """
    make = executor or (lambda place: LocalExecutor(folder=place))
    with held(folder), Store(folder, version=__version__) as store:
        remove_leftovers(folder, "edgekit-jobs-")
        with closing(make(folder)) as running:
            watcher = _Told(progress or SilentProgress(), len(plan.jobs))
            scheduler = Scheduler(running, store, watcher, again=again)
            note_plan(store, plan, {})
            dropped, interrupted, known = _run(plan, store, scheduler)
        note_plan(store, plan, dropped)
        result = look(store)
        result = replace(result, interrupted=interrupted, known=known)
        return replace(result, written=write_reports(result))


def folder_of(file: Path) -> Path:
    """Where a sweep file's sweep is kept unless another folder is named."""
    return Path(f"{file.stem}_sweep")


def cores_here() -> float:
    """How many cores jobs may occupy together."""
    return float(os.cpu_count() or 1)


def require_new(folder: Path) -> None:
    """Refuse a folder that holds a sweep.

    Raises:
        UsageError: it does.
    """
    if (folder / STATE_NAME).exists():
        raise UsageError(
            f"{folder} holds a sweep already.", cure="Go on with it, or name another --output."
        )


def look_ahead(plan: SweepPlan, folder: Path) -> Outlook:
    """What a plan would do in a folder, without doing any of it.

    Raises:
        SetupError: the folder's state is damaged.
    """
    jobs = plan.needed([key for one in plan.candidates for key in one.rounds])
    if not (folder / STATE_NAME).is_file():
        return Outlook(jobs=tuple(jobs))
    with Store(folder) as store:
        found = store.find(job.key for job in jobs)
    kept = {key: one for key, one in found.items() if one.ending == Ending.DONE}
    took: dict[str, list[float]] = {}
    for job in jobs:
        if job.key in kept:
            took.setdefault(job.function, []).append(kept[job.key].seconds)
    left = [job.function for job in jobs if job.key not in kept]
    known = left and all(step in took for step in left)
    return Outlook(
        jobs=tuple(jobs),
        done=frozenset(kept),
        seconds=sum(mean(took[step]) for step in left) if known else None,
    )


def _run(plan: SweepPlan, store: Store, scheduler: Scheduler) -> tuple[dict[int, int], bool, int]:
    """Which candidates were dropped in which round, whether it was interrupted, known jobs."""
    alive = dict(enumerate(plan.candidates))
    dropped: dict[int, int] = {}
    known = 0
    for number in range(max(len(one.rounds) for one in plan.candidates)):
        keys = [one.rounds[min(number, len(one.rounds) - 1)] for one in alive.values()]
        tally = scheduler.run(plan.needed(keys), priority)
        known = max(known, tally.known)
        if tally.interrupted:
            return dropped, True, known
        search = plan.sweep.search
        if search is None or number >= len(search.samples):
            continue
        rows = _rows(store, list(alive.values()), number)
        left = {row.point for row in survivors(rows, search.keep)}
        for place, one in list(alive.items()):
            if one.point not in left:
                dropped[place] = number
                del alive[place]
    return dropped, False, known


def _rows(store: Store, candidates: Sequence[SweepCandidate], number: int) -> list[SweepRow]:
    pairs = [(one.file, one.rounds[min(number, len(one.rounds) - 1)]) for one in candidates]
    kept = store.find({key for pair in pairs for key in pair})
    return [
        make_row(one.point, kept.get(file), kept.get(measured))
        for one, (file, measured) in zip(candidates, pairs, strict=True)
    ]


class _Told:
    """Passes on what happens, as one step with a bar."""

    def __init__(self, progress: Progress, jobs: int) -> None:
        self._progress = progress
        self._jobs = jobs
        self._ended = 0
        progress.step(f"Running {jobs:,} jobs")

    def known(self, count: int) -> None:
        """So many were done before."""
        self._ended += count

    def started(self, job: Job) -> None:
        self._progress.update(self._ended / max(1, self._jobs), job.name)

    def ended(self, kept: KeptJob) -> None:
        self._ended += 1
        self._progress.update(self._ended / max(1, self._jobs), kept.name)
        if kept.ending not in (Ending.DONE, Ending.CANCELLED):
            self._progress.note(f"{kept.name} failed: {kept.reason}")

    def retried(self, job: Job, outcome: Outcome) -> None:
        self._progress.note(f"{job.name} is tried again: {outcome.reason}")

    def interrupted(self, running: int) -> None:
        jobs = "1 job runs" if running == 1 else f"{running} jobs run"
        self._progress.note(
            f"Interrupted: no more jobs are started, {jobs} to the end. Ctrl-C again ends them."
        )
