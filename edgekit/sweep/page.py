"""The page of a sweep: fronts as small multiples, and a table that is sorted without a script.

Drawings are written here and not by Matplotlib: each point is a link to its report, and thousands
of points stay small. The rows are sorted by the style sheet: each knows its place in every order,
and the button that is pressed says which of these counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgekit.report import words
from edgekit.report.pages import render
from edgekit.sweep.result import SweepResult
from edgekit.sweep.rows import LATENCY, SIZE, SweepRow, accuracy_metric, objectives

_WIDTH, _HEIGHT = 380.0, 250.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 12.0, 10.0, 40.0
_COLOURS = 6
_WIDE = 8.0
"""Values that differ by more than this factor are drawn on a logarithmic axis."""


@dataclass(frozen=True, kw_only=True)
class FrontMark:
    """A point of a drawing, in its units; ``colour`` is a number of the style sheet's."""

    x: float
    y: float
    colour: int
    front: bool
    passed: bool
    title: str
    link: str


@dataclass(frozen=True, kw_only=True)
class AxisTick:
    """A number on an axis."""

    at: float
    text: str


@dataclass(frozen=True, kw_only=True)
class FrontDrawing:
    """Accuracy against latency or size, of one place and machine.

    ``line`` is the front as an SVG path, empty where it has one point or none.
    """

    title: str
    x_name: str
    y_name: str
    marks: tuple[FrontMark, ...]
    line: str
    x_ticks: tuple[AxisTick, ...]
    y_ticks: tuple[AxisTick, ...]


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """A row of the table: cells in order, and its place in each order."""

    row: SweepRow
    colour: int
    cells: tuple[str, ...]
    places: tuple[int, ...]


def to_page(result: SweepResult) -> str:
    """The page, which needs nothing else; its links lead into the sweep's folder."""
    accuracy = accuracy_metric(result.table)
    models = list(dict.fromkeys(row.point.model for row in result.table))
    colours = {model: place % _COLOURS + 1 for place, model in enumerate(models)}
    metrics = tuple(dict.fromkeys((accuracy, "centred_sqnr_db", LATENCY, SIZE)))
    states = [row.state for row in result.table]
    return render(
        "sweep",
        filters={"heading": words.heading},
        result=result,
        counts=[(one, states.count(one)) for one in dict.fromkeys(states)],
        models=[(model, colours[model]) for model in models],
        drawings=list(_drawings(result.table, accuracy, colours)),
        orders=["as planned", *map(words.name, metrics)],
        columns=[words.name(metric) for metric in metrics],
        rows=list(_rows(result.table, metrics, colours)),
        size=(_WIDTH, _HEIGHT),
        frame=(_LEFT, _TOP, _WIDTH - _RIGHT, _HEIGHT - _BOTTOM),
    )


def _rows(
    table: Sequence[SweepRow], metrics: Sequence[str], colours: dict[str, int]
) -> Iterable[TableRow]:
    orders = []
    for metric in metrics:
        falling = metric not in (LATENCY, SIZE)  # the better ones first, unknown ones last

        def key(row: SweepRow, metric: str = metric, falling: bool = falling) -> tuple[bool, float]:
            value = row.metrics.get(metric)
            return value is None, 0.0 if value is None else -value if falling else value

        ranked = sorted(range(len(table)), key=lambda place: key(table[place]))
        orders.append({place: rank for rank, place in enumerate(ranked)})
    for place, row in enumerate(table):
        yield TableRow(
            row=row,
            colour=colours[row.point.model],
            cells=tuple(
                words.number(metric, row.metrics[metric]) if metric in row.metrics else "–"
                for metric in metrics
            ),
            places=(place, *(order[place] for order in orders)),
        )


def _drawings(
    table: Sequence[SweepRow], accuracy: str, colours: dict[str, int]
) -> Iterable[FrontDrawing]:
    groups: dict[tuple[str, str], list[SweepRow]] = {}
    for row in table:
        if objectives(row, accuracy) is not None:
            groups.setdefault((row.point.on, row.machine), []).append(row)
    several = len({machine for _, machine in groups}) > len({on for on, _ in groups})
    for (on, machine), rows in groups.items():
        where = f"{on} ({machine})" if several else on
        for metric in (LATENCY, SIZE):
            yield _drawing(rows, where, metric, accuracy, colours)


def _drawing(
    rows: Sequence[SweepRow], where: str, metric: str, accuracy: str, colours: dict[str, int]
) -> FrontDrawing:
    across = _Axis([row.metrics[metric] for row in rows], _LEFT, _WIDTH - _RIGHT)
    up = _Axis([row.metrics[accuracy] for row in rows], _HEIGHT - _BOTTOM, _TOP, straight=True)
    marks = tuple(
        FrontMark(
            x=across.at(row.metrics[metric]),
            y=up.at(row.metrics[accuracy]),
            colour=colours[row.point.model],
            front=row.front,
            passed=row.state == "pass",
            title=_tip(row, (accuracy, LATENCY, SIZE)),
            link=row.report,
        )
        for row in sorted(rows, key=lambda row: row.front)  # the front is drawn last
    )
    best = _best([(row.metrics[metric], row.metrics[accuracy]) for row in rows if row.front])
    steps = [(across.at(x), up.at(y)) for x, y in best]
    line = "".join(
        f"M{x:.1f} {y:.1f}" if place == 0 else f"H{x:.1f}V{y:.1f}"
        for place, (x, y) in enumerate(steps)
    )
    return FrontDrawing(
        title=f"{words.heading(words.name(accuracy))} against {words.name(metric)} on {where}",
        x_name=words.name(metric),
        y_name=words.name(accuracy),
        marks=marks,
        line=line if len(steps) > 1 else "",
        x_ticks=across.ticks(metric),
        y_ticks=up.ticks(accuracy),
    )


def _best(pairs: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of (cost, accuracy) those that are more accurate than all that cost less."""
    found: list[tuple[float, float]] = []
    for cost, accuracy in sorted(pairs, key=lambda pair: (pair[0], -pair[1])):
        if not found or accuracy > found[-1][1]:
            found.append((cost, accuracy))
    return found


def _tip(row: SweepRow, metrics: Iterable[str]) -> str:
    said = [f"{words.name(one)} {words.number(one, row.metrics[one])}" for one in metrics]
    return "\n".join([f"{row.name}: {row.state}", *said])


class _Axis:
    """Values as places from ``start`` to ``end``, with some room on both sides."""

    def __init__(
        self, values: Sequence[float], start: float, end: float, *, straight: bool = False
    ) -> None:
        low, high = min(values), max(values)
        self._log = not straight and low > 0 and high / low > _WIDE
        low, high = self._scaled(low), self._scaled(high)
        room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
        self._low, self._high = low - room, high + room
        self._start, self._end = start, end

    def at(self, value: float) -> float:
        """Where a value is."""
        share = (self._scaled(value) - self._low) / (self._high - self._low)
        return self._start + share * (self._end - self._start)

    def ticks(self, metric: str) -> tuple[AxisTick, ...]:
        """Three to five round numbers within it."""
        found = self._powers() if self._log else self._round()
        return tuple(AxisTick(at=self.at(one), text=words.number(metric, one)) for one in found)

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self._log else value

    def _round(self) -> list[float]:
        span = self._high - self._low
        step = 10 ** math.floor(math.log10(span / 3))
        step = next(step * one for one in (1, 2, 2.5, 5, 10) if span / (step * one) <= 4)
        first = math.ceil(self._low / step)
        return [step * n for n in range(first, math.floor(self._high / step) + 1)]

    def _powers(self) -> list[float]:
        wanted = range(math.floor(self._low), math.ceil(self._high) + 1)
        every = (1, 2, 5) if self._high - self._low < 1.5 else (1,)
        found = [one * 10.0**power for power in wanted for one in every]
        return [one for one in found if self._low <= math.log10(one) <= self._high]
