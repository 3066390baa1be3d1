"""What a sweep came to, read from its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast, get_args

from edgekit.errors import SetupError
from edgekit.jobs.protocol import Ending
from edgekit.jobs.store import Store
from edgekit.plain import from_plain, to_plain
from edgekit.shown import Shown
from edgekit.sweep.planning import SweepCandidate, SweepPlan
from edgekit.sweep.rows import SweepRow, failed_row, make_row, with_front
from edgekit.types import VerdictState

_PLAN = "plan"


@dataclass(frozen=True, kw_only=True)
class JobFailure:
    """A job that did not end well: its name, how it ended, and why."""

    name: str
    ending: str
    reason: str
    tries: int


@dataclass(frozen=True, kw_only=True, repr=False)
class SweepResult(Shown):
    """What a sweep came to, or has come to so far.

    Attributes:
        folder: with everything.
        table: a row for each combination, in the order of the sweep file.
        failures: jobs that did not end well; what needed them is not listed.
        jobs: how many there are.
        done: how many of them are done.
        complete: whether nothing is left to be done.
        known: how many had ended before this run.
        interrupted: whether Ctrl-C ended it.
        written: pages and tables about it.
    """

    folder: Path
    table: tuple[SweepRow, ...]
    failures: tuple[JobFailure, ...] = ()
    jobs: int = 0
    done: int = 0
    known: int = 0
    complete: bool = True
    interrupted: bool = False
    written: tuple[Path, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every combination passed, but for those that a search dropped."""
        return self.complete and all(row.state in ("pass", "dropped") for row in self.table)

    @property
    def front(self) -> tuple[SweepRow, ...]:
        """The rows that no other of their place and machine is better than."""
        return tuple(row for row in self.table if row.front)

    @property
    def states(self) -> tuple[VerdictState, ...]:
        """The verdict on each combination that has one."""
        verdicts = get_args(VerdictState)
        return tuple(cast(VerdictState, row.state) for row in self.table if row.state in verdicts)

    def rows(self) -> dict[str, tuple[str, dict[str, float]]]:
        """By combination: what became of it, and its figures."""
        return {row.name: (row.state, dict(row.metrics)) for row in self.table}


@dataclass(frozen=True, kw_only=True)
class _Noted:
    """A plan as its folder knows it: jobs by key, with their names and needs."""

    jobs: Mapping[str, tuple[str, tuple[str, ...]]]
    candidates: tuple[SweepCandidate, ...]
    dropped: Mapping[str, int]


def note_plan(store: Store, plan: SweepPlan, dropped: Mapping[int, int]) -> None:
    """Keep what is planned, and the round in which each candidate was dropped, by its place."""
    store.note(
        _PLAN,
        {
            "jobs": {key: [job.name, job.needs] for key, job in plan.jobs.items()},
            "candidates": to_plain(plan.candidates),
            "dropped": {str(place): number for place, number in dropped.items()},
        },
    )


def look(store: Store) -> SweepResult:
    """What a sweep has come to so far, from its folder alone.

    Raises:
        SetupError: the folder holds no plan, or a damaged one.
    """
    noted = store.noted(_PLAN)
    if noted is None:
        raise SetupError(
            f"{store.folder} holds no plan: its sweep ended before it began.",
            cure="Run edgekit sweep again.",
        )
    try:
        return _look(store, from_plain(_Noted, noted))
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise SetupError(
            f"What {store.folder} holds of its sweep makes no sense: {error}",
            cure="Restore it from a copy, or remove the folder and begin anew.",
        ) from error


def _look(store: Store, noted: _Noted) -> SweepResult:
    candidates = noted.candidates
    kept = store.find(noted.jobs)
    needs = {key: job[1] for key, job in noted.jobs.items()}
    rows: list[SweepRow] = []
    wanted: set[str] = set()
    for place, one in enumerate(candidates):
        last = noted.dropped.get(str(place), len(one.rounds) - 1)
        measured = one.rounds[last]
        wanted |= {*_with_needs(one.rounds[: last + 1], needs)}
        failed = next(
            (
                kept[key]
                for key in _with_needs((measured,), needs)
                if key in kept and kept[key].ending != Ending.DONE
            ),
            None,
        )
        row = make_row(one.point, kept.get(one.file), kept.get(measured))
        if failed is not None:
            row = failed_row(one.point, failed)
        elif str(place) in noted.dropped:
            row = replace(row, state="dropped")
        rows.append(row)
    return SweepResult(
        folder=store.folder,
        table=with_front(rows),
        failures=tuple(
            JobFailure(name=one.name, ending=one.ending, reason=one.reason, tries=one.tries)
            for one in (kept[key] for key in needs if key in kept)
            if one.ending != Ending.DONE
        ),
        jobs=len(wanted),
        done=sum(key in kept and kept[key].ending == Ending.DONE for key in wanted),
        complete=all(row.state != "waiting" for row in rows),
    )


def _with_needs(keys: Sequence[str], needs: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Keys and all that they need, each after those."""
    found: dict[str, None] = {}

    def add(key: str) -> None:
        if key not in found:
            for need in needs[key]:
                add(need)
            found[key] = None

    for key in keys:
        add(key)
    return list(found)
