"""What is known of each combination, and which of them are on the front."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, TypeVar

from edgekit.jobs.protocol import Ending
from edgekit.jobs.store import KeptJob
from edgekit.plain import from_plain
from edgekit.sweep.points import Combination

RowState = Literal["pass", "fail", "not proven", "failed", "dropped", "waiting"]
"""A verdict; or that a job failed, that a search dropped it, or that it has not ended yet."""
_AGAINST_LABELS = ("top1_accuracy", "map_50_95", "miou", "recall_at_1", "psnr_db")
_AGAINST_REFERENCE = ("top1_agreement", "map_agreement", "miou_agreement", "neighbour_agreement")
ACCURACY = (*_AGAINST_LABELS, *_AGAINST_REFERENCE, "centred_sqnr_db")
"""Figures by which files are compared, the one that says most first; more is better."""
LATENCY, SIZE = "latency_p50_ms", "size_mb"
_IDENTITY = ("cpu", "machine", "device", "system")
_RUNTIMES = ("ai-edge-litert", "tflite-runtime", "@litertjs/core")


@dataclass(frozen=True, kw_only=True)
class SweepRow:
    """One combination.

    Attributes:
        point: which.
        state: what became of it.
        why: gates that did not hold, or what failed.
        metrics: its figures, by the names of gates.
        machine: where it was measured, in words: latencies of two machines are never compared.
        samples: that it was measured on, 0 where only its file's own were.
        file, report: paths from the sweep's folder, empty where there is none.
        sha256: of the file.
        front: whether no other of its place and machine is better in all of accuracy, latency and
            size.
        seconds: that its own jobs took.
    """

    point: Combination
    state: RowState
    why: tuple[str, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    machine: str = ""
    samples: int = 0
    file: str = ""
    report: str = ""
    sha256: str = ""
    front: bool = False
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """What people call it."""
        return f"{self.point.name} on {self.point.on}"


def machine_words(facts: Mapping[str, str]) -> str:
    """A machine and the runtime on it, as far as they decide latencies."""
    known = [facts[name] for name in _IDENTITY if facts.get(name)]
    return ", ".join([*known, *(f"{name} {facts[name]}" for name in _RUNTIMES if name in facts)])


def failed_row(point: Combination, failed: KeptJob) -> SweepRow:
    """A combination that one of its jobs failed for."""
    return SweepRow(point=point, state="failed", why=(f"{failed.name}: {failed.reason}",))


@dataclass(frozen=True, kw_only=True)
class BuiltFacts:
    """What the job that makes a file returns, as far as a row needs it."""

    state: str
    file: str
    report: str
    sha256: str
    why: tuple[str, ...] = ()
    metrics: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the files in the job's folder."""
        return self.file, self.report


@dataclass(frozen=True, kw_only=True)
class MeasuredFacts:
    """What the job that measures a file returns."""

    machine: Mapping[str, str]
    state: str = "pass"
    report: str = ""
    why: tuple[str, ...] = ()
    samples: int = 0
    metrics: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the files in the job's folder."""
        return (self.report,) if self.report else ()


_Facts = TypeVar("_Facts", BuiltFacts, MeasuredFacts)


def make_row(point: Combination, made: KeptJob | None, measured: KeptJob | None) -> SweepRow:
    """A row of what a file's job and the last of its measuring jobs came to."""
    if made is None or measured is None:
        return SweepRow(point=point, state="waiting")
    for kept in (made, measured):
        if kept.ending != Ending.DONE:
            return failed_row(point, kept)
    built, found = _read(BuiltFacts, made.value), _read(MeasuredFacts, measured.value)
    states = {built.state, found.state}
    state: RowState = "fail" if "fail" in states else "pass"
    if "not proven" in states and state == "pass":
        state = "not proven"
    folder = f"artifacts/{made.files[:2]}/{made.files}"
    report = f"{folder}/{built.report}"
    if found.report:
        report = f"artifacts/{measured.files[:2]}/{measured.files}/{found.report}"
    # What was timed while the file was made had other jobs beside it.
    own = {name: one for name, one in built.metrics.items() if not name.startswith("latency")}
    metrics = {**own, **found.metrics}
    return SweepRow(
        point=point,
        state=state,
        why=tuple(dict.fromkeys((*built.why, *found.why))),
        metrics={name: value for name, value in metrics.items() if value is not None},
        machine=machine_words(found.machine),
        samples=found.samples,
        file=f"{folder}/{built.file}",
        report=report,
        sha256=built.sha256,
        seconds=made.seconds + measured.seconds,
    )


def _read(kind: type[_Facts], value: Any) -> _Facts:
    """What a job returned, as far as a row needs it.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(value, dict):
        raise TypeError(f"{value!r:.80} is not a table")
    known = {one.name for one in fields(kind)}
    facts = from_plain(kind, {name: part for name, part in value.items() if name in known})
    if any("/" in name or name in ("", "..") for name in facts.names):
        raise TypeError("a file's name is none")
    return facts


def accuracy_metric(rows: Iterable[SweepRow]) -> str:
    """The figure that all measured rows have and that says most."""
    measured = [row for row in rows if LATENCY in row.metrics and row.machine]
    return next(
        (name for name in ACCURACY if measured and all(name in row.metrics for row in measured)),
        ACCURACY[-1],
    )


def objectives(row: SweepRow, accuracy: str) -> tuple[float, float, float] | None:
    """What is to be small: accuracy lost, latency, size; ``None`` where one is not known."""
    wanted = [row.metrics.get(name) for name in (accuracy, LATENCY, SIZE)]
    if None in wanted:
        return None
    return -(wanted[0] or 0.0), wanted[1] or 0.0, wanted[2] or 0.0


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether nothing of the first is worse and something is better (Pareto)."""
    pairs = list(zip(one, other, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def with_front(rows: Sequence[SweepRow]) -> tuple[SweepRow, ...]:
    """The rows with their front marked: of files that passed, in each place and on each machine."""
    accuracy = accuracy_metric(rows)
    groups: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    for row in rows:
        found = objectives(row, accuracy)
        if row.state == "pass" and found is not None:
            groups.setdefault((row.point.on, row.machine), []).append(found)
    fronts = {group: set(front_of(found)) for group, found in groups.items()}
    return tuple(
        replace(
            row,
            front=row.state == "pass"
            and objectives(row, accuracy) in fronts.get((row.point.on, row.machine), set()),
        )
        for row in rows
    )


def front_of(found: Sequence[tuple[float, ...]]) -> list[tuple[float, ...]]:
    """Those that none dominates, sorted; each is held only against those before it."""
    front: list[tuple[float, ...]] = []
    for one in sorted(set(found)):  # what dominates another comes before it in this order
        if not any(dominates(other, one) for other in front):
            front.append(one)
    return front
