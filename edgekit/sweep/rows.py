"""What is known of each combination, and which of them are on the front."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from edgekit.jobs.protocol import Ending
from edgekit.jobs.store import Kept
from edgekit.sweep.points import Point

RowState = Literal["pass", "fail", "not proven", "failed", "dropped", "waiting"]
"""A verdict; or that a job failed, that a search dropped it, or that it has not ended yet."""
ACCURACY = (
    "top1_accuracy",
    "map",
    "miou",
    "top1_agreement",
    "centred_sqnr_db",
)
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

    point: Point
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


def machine_words(facts: Mapping[str, str]) -> str:
    """A machine and the runtime on it, as far as they decide latencies."""
    known = [facts[name] for name in _IDENTITY if facts.get(name)]
    return ", ".join([*known, *(f"{name} {facts[name]}" for name in _RUNTIMES if name in facts)])


def make_row(
    point: Point, made: Kept | None, measured: Kept | None, *, dropped: bool = False
) -> SweepRow:
    """A row of what a file's job and the last of its measuring jobs came to."""
    for kept in (made, measured):
        if kept is not None and kept.ending != Ending.DONE:
            return SweepRow(point=point, state="failed", why=(kept.reason,), seconds=kept.seconds)
    if made is None:
        return SweepRow(point=point, state="waiting")
    built, found = _table(made.value), _table(measured.value) if measured else {}
    metrics = {**built["metrics"], **found.get("metrics", {})}
    states = [built["state"], *([found["state"]] if "state" in found else [])]
    state: RowState = next(
        (one for one in ("fail", "not proven") if one in states),  # type: ignore[arg-type]
        "pass",
    )
    if measured is None or dropped:
        state = "dropped" if dropped else "waiting"
    folder = f"artifacts/{made.files[:2]}/{made.files}"
    report = f"{folder}/{built['report']}"
    if measured is not None and found.get("report"):
        report = f"artifacts/{measured.files[:2]}/{measured.files}/{found['report']}"
    return SweepRow(
        point=point,
        state=state,
        why=tuple(dict.fromkeys((*built["why"], *found.get("why", ())))),
        metrics={name: value for name, value in metrics.items() if value is not None},
        machine=machine_words(found.get("machine", {})),
        samples=found.get("samples", 0),
        file=f"{folder}/{built['file']}",
        report=report,
        sha256=built["sha256"],
        seconds=made.seconds + (measured.seconds if measured else 0.0),
    )


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


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
