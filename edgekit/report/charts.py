"""Points against two axes as SVG, without a library: thousands stay small, each may be a link.

Drawn as wide as a phone; the style sheet of the pages has the colours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.report import words

WIDTH, HEIGHT = 380.0, 250.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 12.0, 10.0, 40.0
FRAME = (_LEFT, _TOP, WIDTH - _RIGHT, HEIGHT - _BOTTOM)
"""Left, top, right and bottom of where the points are."""
SERIES = 6
"""So many colours the style sheet has for things that are told apart."""
_WIDE = 8.0
"""Values that differ by more than this factor are drawn on a logarithmic axis."""
_LABEL = 13.0
"""Names beside points are at least so far apart."""


@dataclass(frozen=True, kw_only=True)
class ChartPoint:
    """What is drawn as one point.

    Attributes:
        x, y: its figures.
        colour: a number of the style sheet's series, from 1.
        front: no other point is better in both.
        passed: drawn full; else as a ring.
        title: what the pointer finds out.
        link: where a click leads; empty for nowhere.
        name: written beside it; empty for no text.
    """

    x: float
    y: float
    colour: int
    front: bool = False
    passed: bool = True
    title: str = ""
    link: str = ""
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class ChartMark:
    """A point in the units of the drawing; ``text_x``, ``text_y`` and ``anchor`` are its name's."""

    point: ChartPoint
    x: float
    y: float
    text_x: float = 0.0
    text_y: float = 0.0
    anchor: str = "start"


@dataclass(frozen=True, kw_only=True)
class AxisTick:
    """A number on an axis."""

    at: float
    text: str


@dataclass(frozen=True, kw_only=True)
class FrontDrawing:
    """One figure against another.

    ``line`` is the front as an SVG path, empty where it has one point or none.
    """

    title: str
    x_name: str
    y_name: str
    marks: tuple[ChartMark, ...]
    line: str
    x_ticks: tuple[AxisTick, ...]
    y_ticks: tuple[AxisTick, ...]


def scatter(
    points: Sequence[ChartPoint],
    *,
    title: str,
    metrics: tuple[str, str],
    names: tuple[str, str] | None = None,
) -> FrontDrawing:
    """Points with their front as a line.

    Args:
        points: at least one.
        title: above the drawing.
        metrics: of x and y, by the names of `edgekit.validation.gates.METRICS`.
        names: what the axes are called, by default as the metrics are.
    """
    x_metric, y_metric = metrics
    x_name, y_name = names or (words.name(x_metric), words.name(y_metric))
    across = _Axis([one.x for one in points], _LEFT, WIDTH - _RIGHT)
    up = _Axis([one.y for one in points], HEIGHT - _BOTTOM, _TOP, straight=True)
    best = _best([(one.x, one.y) for one in points if one.front])
    steps = [(across.at(x), up.at(y)) for x, y in best]
    line = "".join(
        f"M{x:.1f} {y:.1f}" if place == 0 else f"H{x:.1f}V{y:.1f}"
        for place, (x, y) in enumerate(steps)
    )
    return FrontDrawing(
        title=title,
        x_name=x_name,
        y_name=y_name,
        marks=_marks(points, across, up),
        line=line if len(steps) > 1 else "",
        x_ticks=across.ticks(x_metric),
        y_ticks=up.ticks(y_metric),
    )


def _marks(points: Sequence[ChartPoint], across: _Axis, up: _Axis) -> tuple[ChartMark, ...]:
    """The front is drawn last; names are moved until none covers another."""
    used: dict[str, float] = {}
    marks = []
    for one in sorted(points, key=lambda one: up.at(one.y)):
        x, y = across.at(one.x), up.at(one.y)
        anchor = "end" if x > (_LEFT + WIDTH - _RIGHT) / 2 else "start"
        text_y = max(y + 3.5, used.get(anchor, -math.inf) + _LABEL)
        if one.name:
            used[anchor] = text_y
        away = -9 if anchor == "end" else 9
        marks.append(ChartMark(point=one, x=x, y=y, text_x=x + away, text_y=text_y, anchor=anchor))
    return tuple(sorted(marks, key=lambda mark: mark.point.front))


def _best(pairs: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of (cost, accuracy) those that are more accurate than all that cost less."""
    found: list[tuple[float, float]] = []
    for cost, accuracy in sorted(pairs, key=lambda pair: (pair[0], -pair[1])):
        if not found or accuracy > found[-1][1]:
            found.append((cost, accuracy))
    return found


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
