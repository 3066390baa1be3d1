"""The page of a sweep: fronts as small multiples, and a table that is sorted without a script.

Drawings are written here and not by Matplotlib: each point is a link to its report, and thousands
of points stay small. The rows are sorted by the style sheet: each knows its place in every order,
and the button that is pressed says which of these counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgekit.report import words
from edgekit.report.charts import SERIES, ChartPoint, FrontDrawing, scatter
from edgekit.report.pages import render
from edgekit.sweep.result import SweepResult
from edgekit.sweep.rows import LATENCY, SIZE, SweepRow, accuracy_metric, objectives


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
    colours = {model: place % SERIES + 1 for place, model in enumerate(models)}
    metrics = tuple(dict.fromkeys((accuracy, "centred_sqnr_db", LATENCY, SIZE)))
    states = [row.state for row in result.table]
    return render(
        "sweep",
        result=result,
        counts=[(one, states.count(one)) for one in dict.fromkeys(states)],
        models=[(model, colours[model]) for model in models],
        drawings=list(_drawings(result.table, accuracy, colours)),
        orders=["as planned", *map(words.name, metrics)],
        columns=[words.name(metric) for metric in metrics],
        rows=list(_rows(result.table, metrics, colours)),
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
    points = [
        ChartPoint(
            x=row.metrics[metric],
            y=row.metrics[accuracy],
            colour=colours[row.point.model],
            front=row.front,
            passed=row.state == "pass",
            title=_tip(row, (accuracy, LATENCY, SIZE)),
            link=row.report,
        )
        for row in rows
    ]
    title = f"{words.heading(words.name(accuracy))} against {words.name(metric)} on {where}"
    return scatter(points, title=title, metrics=(metric, accuracy))


def _tip(row: SweepRow, metrics: Iterable[str]) -> str:
    said = [f"{words.name(one)} {words.number(one, row.metrics[one])}" for one in metrics]
    return "\n".join([f"{row.name}: {row.state}", *said])
