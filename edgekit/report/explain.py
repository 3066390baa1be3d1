"""What ``edgekit explain`` found, as JSON, as a page, and as node data for Model Explorer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgekit.report.graph import DrawnGraph, GraphNode, grouped
from edgekit.report.json import plain
from edgekit.report.pages import render
from edgekit.validation.explain.points import EXACT_DB, Explanation, OpFinding
from edgekit.version import __version__

SCHEMA = "edgekit-explain"
SCHEMA_VERSION = 1
FULL_DB = 60.0
"""Lines and bars end here: above it nobody sees a difference."""
_WIDTH, _HEIGHT, _LEFT, _BELOW = 380.0, 190.0, 26.0, 18.0
_BAD_COLOUR = "#dc2626"
_GRADIENT = (
    {"stop": 0, "bgColor": "#f97316"},
    {"stop": 0.5, "bgColor": "#fde047"},
    {"stop": 1, "bgColor": "#86efac"},
)


def to_json(explanation: Explanation) -> str:
    """The explanation as strict JSON; the first bad operator and the worst ones by name."""
    document = plain(explanation)
    first = explanation.first
    head = {"schema": SCHEMA, "schema_version": SCHEMA_VERSION, "edgekit": __version__}
    document["first"] = first.name if first else None
    document["worst"] = [op.name for op in explanation.worst]
    return json.dumps({**head, **document}, indent=2, allow_nan=False) + "\n"


def to_html(explanation: Explanation) -> str:
    """The explanation as one HTML file that loads nothing."""
    return render(
        "explain",
        filters={"db": db_text, "sources": sources_text, "below": _below, "share": _share},
        report=explanation,
        chart=_chart(explanation.ops),
        graph=_graph(explanation),
        full_db=FULL_DB,
    )


def _graph(explanation: Explanation) -> DrawnGraph | None:
    """All operators with the error that each adds."""
    nodes = [
        GraphNode(
            place=op.place,
            name=op.called,
            tensor_name=op.name,
            operator=op.operator,
            tensor="",
            reads=(),
            integer=None,
            error_db=op.added_db,
        )
        for op in explanation.ops
        if op.place >= 0
    ]
    return DrawnGraph(file=explanation.candidate, groups=grouped(nodes)) if nodes else None


def model_explorer(explanation: Explanation) -> str:
    """Node data that Google's Model Explorer lays over the candidate's graph, as JSON.

    Its format is a table of graphs, each with ``results`` by the name of a node's output tensor,
    and a ``gradient`` from the lowest value to the highest (``node_data_builder.py`` of the package
    ai-edge-model-explorer). The value is the SQNR in decibels of what the operator adds.
    """
    results: dict[str, dict[str, Any]] = {}
    for op in (op for op in explanation.ops if op.place >= 0):
        results[op.name] = {"value": round(min(op.added_db, FULL_DB), 2)}
        if op.bad:
            results[op.name] |= {"bgColor": _BAD_COLOUR, "textColor": "#ffffff"}
    data = {
        explanation.graph: {
            "name": "SQNR of what the operator adds, dB",
            "results": results,
            "gradient": _GRADIENT,
        }
    }
    return json.dumps(data, indent=2, allow_nan=False) + "\n"


def db_text(level: float | None) -> str:
    """Decibels in words that fit a table."""
    if level is None:
        return "–"
    return "exact" if level >= EXACT_DB else f"{level:.1f} dB"


def sources_text(op: OpFinding) -> str:
    """Where an operator's own error comes from, the largest share first."""
    ranked = sorted(op.sources.items(), key=lambda entry: -entry[1])
    return ", ".join(f"{name} {share:.0%}" for name, share in ranked if share >= 0.01)


def _below(op: OpFinding) -> str:
    place = f"{op.place}: " if op.place >= 0 else ""
    return f"{place}{op.operator}{f', {op.cause}' if op.bad else ''}"


def _share(level: float) -> float:
    return min(1.0, max(0.0, level / FULL_DB))


@dataclass(frozen=True)
class _Chart:
    """Coordinates of the lines, in units of the drawing."""

    width: float
    height: float
    left: float
    total: str
    added: str
    grid: tuple[tuple[float, str], ...]
    marks: tuple[tuple[float, float, str], ...]
    last: str


def _chart(ops: Sequence[OpFinding]) -> _Chart | None:
    """SQNR along the network; ``None`` for fewer than two operators."""
    if len(ops) < 2:
        return None
    wide, high = _WIDTH - _LEFT - 6, _HEIGHT - _BELOW - 6

    def x(number: int) -> float:
        return _LEFT + wide * number / (len(ops) - 1)

    def y(level: float) -> float:
        return 6 + high * (1 - _share(level))

    def line(levels: Sequence[float]) -> str:
        return " ".join(f"{x(i):.1f},{y(level):.1f}" for i, level in enumerate(levels))

    return _Chart(
        width=_WIDTH,
        height=_HEIGHT,
        left=_LEFT,
        total=line([op.total_db for op in ops]),
        added=line([op.added_db for op in ops]),
        grid=tuple((y(level), f"{level:.0f}") for level in (0, 20, 40, 60)),
        marks=tuple(
            (x(i), y(op.total_db), f"{op.called}: {op.cause}") for i, op in enumerate(ops) if op.bad
        ),
        last=ops[-1].name,
    )
