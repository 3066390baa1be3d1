"""What ``edgekit compat`` found, as a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekit.compat.rows import ClientRow, State
from edgekit.compat.run import Compatibility
from edgekit.report.pages import render
from edgekit.types import VerdictState

_MARKS = {None: "–", True: "yes", False: "no"}
_COLOURS: dict[State, str] = {"agrees": "pass", "differs": "fail", "baseline": ""}


def to_html(results: Sequence[Compatibility], verdicts: Sequence[tuple[VerdictState, str]]) -> str:
    """All files as one HTML page that loads nothing.

    Args:
        results: one a file, at least one.
        verdicts: on each, and why.
    """
    name = Path(results[0].file).name
    files = [
        {"found": found, "state": state, "why": why}
        for found, (state, why) in zip(results, verdicts, strict=True)
    ]
    return render(
        "compat",
        filters={
            "name": lambda file: Path(file).name,
            "cells": cells,
            "said": said,
            "colour": lambda state: _COLOURS.get(state, "unknown"),
        },
        heading=name if len(results) == 1 else f"{name} and {len(results) - 1} more",
        most_steps=results[0].most_steps,
        files=files,
    )


def cells(row: ClientRow) -> tuple[str, ...]:
    """Opens, runs, most steps, share over half a step, same decisions, median time."""
    worst, same = row.worst, row.same_decisions
    return (
        _MARKS[row.opens],
        _MARKS[row.runs],
        "–" if worst is None else f"{worst.largest:.3g}",
        "–" if worst is None else f"{max(one.share for one in row.outputs):.1%}",
        "–" if same is None else f"{same:.1%}",
        "–" if row.p50_ms is None else f"{row.p50_ms:.3g}",
    )


def said(row: ClientRow) -> str:
    """Its reason, what to do about it, and what it tells of the file."""
    reason = f"{row.reason.rstrip('.')}. {row.cure}" if row.reason else ""
    facts = [f"{name.replace('_', ' ')} {value:,}" for name, value in row.facts.items()]
    return " ".join((reason.rstrip(), "; ".join(facts))).strip()
