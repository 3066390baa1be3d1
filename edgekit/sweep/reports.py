"""A sweep's results as files: page, tables, JSON, a summary for a pull request."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.pipeline.publish import disk_errors, scratch_folder
from edgekit.plain import to_plain
from edgekit.report import tensorboard, words
from edgekit.sweep.page import to_page
from edgekit.sweep.result import SweepResult
from edgekit.sweep.rows import LATENCY, SIZE, SweepRow, accuracy_metric
from edgekit.text import escaped
from edgekit.version import __version__

PAGE, JSON, CSV, PARQUET, MARKDOWN = (
    "sweep.html",
    "sweep.json",
    "sweep.csv",
    "sweep.parquet",
    "sweep.md",
)
SCHEMA = "edgekit-sweep"
SCHEMA_VERSION = 1


def write_reports(result: SweepResult) -> tuple[Path, ...]:
    """Write all of them into the sweep's folder; Parquet where pandas and a writer are there.

    Returns:
        The files.

    Raises:
        SetupError: the disk is full, or the folder cannot be written.
    """
    texts = {PAGE: to_page(result), JSON: to_json(result), CSV: to_csv(result.table)}
    texts[MARKDOWN] = to_markdown(result)
    folder = result.folder
    with disk_errors(folder), scratch_folder(folder) as work:
        for name, text in texts.items():
            (work / name).write_text(text, encoding="utf-8")
        written = [*texts, *([PARQUET] if _write_parquet(result.table, work / PARQUET) else [])]
        for name in written:
            (work / name).replace(folder / name)
    return tuple(folder / name for name in written)


def flat(row: SweepRow) -> dict[str, Any]:
    """A row as a line of a table: what it is, what became of it, and its figures by their names."""
    return {
        "name": row.name,
        **vars(row.point),
        "state": row.state,
        "front": row.front,
        "why": "; ".join(row.why),
        "machine": row.machine,
        "samples": row.samples,
        "file": row.file,
        "sha256": row.sha256,
        "seconds": round(row.seconds, 3),
        **row.metrics,
    }


def to_json(result: SweepResult, rows: Sequence[SweepRow] | None = None) -> str:
    """The result as strict JSON with a versioned schema."""
    table = result.table if rows is None else rows
    document = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "edgekit": __version__,
        "complete": result.complete,
        "passed": result.passed,
        "jobs": result.jobs,
        "done": result.done,
        "rows": [_row(row) for row in table],
        "failures": to_plain(result.failures),
    }
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def _row(row: SweepRow) -> dict[str, Any]:
    table: dict[str, Any] = to_plain(row)
    figures = {name: value if math.isfinite(value) else None for name, value in row.metrics.items()}
    return {"name": row.name, **table.pop("point"), **table, "metrics": figures}


def to_csv(rows: Sequence[SweepRow]) -> str:
    """A line for each combination; a column for each figure that any has."""
    lines = [flat(row) for row in rows]
    out = io.StringIO()
    writer = csv.DictWriter(out, dict.fromkeys(name for line in lines for name in line))
    writer.writeheader()
    writer.writerows({name: _safe(value) for name, value in line.items()} for line in lines)
    return out.getvalue()


def _safe(value: Any) -> Any:
    """Names come from files: none is to be a formula where a spreadsheet opens it."""
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") else value


def _write_parquet(rows: Sequence[SweepRow], path: Path) -> bool:
    """Whether there is what writes it."""
    try:
        import pandas as pd

        pd.DataFrame([flat(row) for row in rows]).to_parquet(path)
    except ImportError:  # of pandas, or of pyarrow where pandas has no writer
        return False
    return True


def write_hparams(result: SweepResult, folder: Path) -> tuple[Path, ...]:
    """Write all measured combinations for TensorBoard's HParams, a run each.

    Raises:
        SetupError: the ``tensorboard`` package is not installed, or the folder cannot be written.
    """
    return tensorboard.write_hparams(
        {
            row.name: ({**vars(row.point), "state": row.state}, row.metrics)
            for row in result.table
            if row.metrics
        },
        folder,
    )


def to_markdown(result: SweepResult, baseline: SweepResult | None = None) -> str:
    """The front in a table, what failed, and with a baseline what changed against it."""
    accuracy = accuracy_metric(result.table)
    states = [row.state for row in result.table]
    counts = [f"{states.count(one)} {one}" for one in dict.fromkeys(states)]
    lines = ["## edgekit sweep", "", f"{len(states)} combinations: {', '.join(counts)}.", ""]
    columns = ("file", "on", words.name(accuracy), words.name(LATENCY), words.name(SIZE))
    lines += ["### Front", "", *_markdown(columns, (_front(row, accuracy) for row in result.front))]
    if baseline is not None:
        changes = list(_changes(result, baseline, accuracy))
        lines += ["", "### Against the baseline", ""]
        lines += (
            _markdown(("file", "what", "before", "now"), changes) if changes else ["No change."]
        )
    if result.failures:
        lines += ["", "### Failed", ""]
        lines += [
            f"- {_cell(one.name)} ({one.ending}): {_cell(one.reason)}" for one in result.failures
        ]
    if not result.complete:
        lines += ["", "The sweep has not ended."]
    return "\n".join(lines) + "\n"


def _front(row: SweepRow, accuracy: str) -> tuple[str, ...]:
    return (row.point.name, row.point.on, *(_said(row, name) for name in (accuracy, LATENCY, SIZE)))


def _said(row: SweepRow, name: str) -> str:
    return words.number(name, row.metrics[name]) if name in row.metrics else "–"


def _changes(
    result: SweepResult, baseline: SweepResult, accuracy: str
) -> Iterable[tuple[str, ...]]:
    """What is new, gone or other; a latency only where both were taken on the same machine."""
    before = {row.name: row for row in baseline.table}
    now = {row.name: row for row in result.table}
    for name, row in now.items():
        old = before.get(name)
        if old is None:
            yield name, "combination", "–", row.state
            continue
        if old.state != row.state:
            yield name, "verdict", old.state, row.state
        if old.front != row.front:
            yield name, "front", *("yes" if one.front else "no" for one in (old, row))
        for metric in (accuracy, SIZE, LATENCY):
            if metric == LATENCY and old.machine != row.machine:
                continue
            if _differ(old.metrics, row.metrics, metric):
                yield name, words.name(metric), _said(old, metric), _said(row, metric)
    for name, old in before.items():
        if name not in now:
            yield name, "combination", old.state, "–"


_NOISE = 0.1
"""Latencies of the same file differ by as much from one run to the next."""


def _differ(old: Mapping[str, float], new: Mapping[str, float], metric: str) -> bool:
    if metric not in old or metric not in new:
        return metric in old or metric in new
    near = _NOISE if metric == LATENCY else 1e-6
    return not math.isclose(old[metric], new[metric], rel_tol=near)


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(map(_cell, row))} |" for row in (head, *rows)]
    return [lines[0], "|---" * len(head) + "|", *lines[1:]]


def _cell(text: str) -> str:
    """Names come from files: nothing in them is Markdown or HTML."""
    text = escaped(text).replace("\\", "\\\\")
    for sign in "|<>`*_[]":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("\n", " ")
