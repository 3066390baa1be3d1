"""What ``edgekit diff`` found, as JSON and as a page."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from edgekit.diff.findings import Change, Diff, RangeChange, Side, WeightChange
from edgekit.report.json import plain
from edgekit.report.pages import render
from edgekit.version import __version__

SCHEMA = "edgekit-diff"
SCHEMA_VERSION = 1
_MOST_ROWS = 300


def to_json(found: Diff) -> str:
    """The difference as strict JSON; ``null`` where a number is infinite or was not measured."""
    head = {"schema": SCHEMA, "schema_version": SCHEMA_VERSION, "edgekit": __version__}
    verdict = {"same": found.same, "same_bytes": found.same_bytes}
    return json.dumps({**head, **verdict, **plain(found)}, indent=2, allow_nan=False) + "\n"


def to_html(found: Diff) -> str:
    """The difference as one HTML file that loads nothing."""
    return render(
        "diff",
        filters={
            "name": lambda side: Path(side.path).name,
            "relative": relative_text,
            "number": number_text,
            "change": change_text,
            "share": share_text,
            "percent": percent_text,
        },
        found=found,
        sentence=sentence(found),
        sizes=sizes(found),
        widest=max((w.relative_l2 or 0.0 for w in found.weights), default=0.0) or 1.0,
        most=_MOST_ROWS,
    )


def sentence(found: Diff) -> str:
    """What there is to know in a line."""
    if found.same_bytes:
        return "The files are equal byte for byte."
    if found.same:
        return "Nothing differs but how the bytes are ordered."
    kinds = Counter(one.kind for one in found.operators)
    parts = [f"{_count(kinds[kind], 'operator')} {kind}" for kind in sorted(kinds)]
    counts = {
        "constant": (found.weights, "with other values"),
        "range": (found.ranges, "changed"),
        "tensor": (found.tensors, "with another shape, type or name"),
    }
    parts += [f"{_count(len(rows), what)} {end}" for what, (rows, end) in counts.items() if rows]
    parts += ["another contract"] * bool(found.contract)
    parts += ["other metadata"] * bool(found.metadata)
    return f"{', '.join(parts)}; {_count(found.matched, 'operator')} in both files."


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


@dataclass(frozen=True, kw_only=True)
class SizeRow:
    """A figure of both files."""

    what: str
    before: str
    after: str
    change: str


def sizes(found: Diff) -> tuple[SizeRow, ...]:
    """The figures that both files have, with the change in per cent."""
    names = {
        "size": "size_bytes",
        "weights": "weights_bytes",
        "graph": "structure_bytes",
        "metadata": "metadata_bytes",
    }
    rows = [_row(what, found.before, found.after, key, " B") for what, key in names.items()]
    rows += [_row(key, found.before, found.after, key, "") for key in ("operators", "parameters")]
    return tuple(rows)


def _row(what: str, before: Side, after: Side, key: str, unit: str) -> SizeRow:
    old, new = getattr(before, key), getattr(after, key)
    change = percent_text((new / old - 1) * 100) if old else "–"
    return SizeRow(
        what=what,
        before=f"{old:,}{unit}",
        after=f"{new:,}{unit}",
        change=change if new != old else "–",
    )


def relative_text(change: WeightChange) -> str:
    """How far a constant is from what it was, of its own size."""
    if change.relative_l2 is None:
        return "not comparable"
    if change.relative_l2 == float("inf"):
        return "was all zeros"
    return "other storage, equal values" if not change.relative_l2 else f"{change.relative_l2:.3g}"


def percent_text(value: float | None) -> str:
    """A change in per cent with its sign."""
    if value is None:
        return "–"
    return f"{value:+.2f} %" if abs(value) >= 0.005 else f"{value:+.1e} %"


def share_text(value: float | None) -> str:
    """A share of 0 to 1; a small one is not shown as none."""
    if value is None:
        return "–"
    return f"{value:.2%}" if not 0 < value < 0.00005 else "< 0.01%"


def number_text(value: float | None) -> str:
    """A number to four digits."""
    return "–" if value is None else f"{value:.4g}"


def change_text(change: Change) -> str:
    """A fact before and after."""
    return f"{change.what}: {change.before or '–'} → {change.after or '–'}"


def range_text(change: RangeChange) -> str:
    """Scale and zero point before and after."""
    old = f"{number_text(change.scale_before)}, {_whole(change.zero_before)}"
    new = f"{number_text(change.scale_after)}, {_whole(change.zero_after)}"
    return f"{old} → {new}"


def _whole(value: int | None) -> str:
    return "–" if value is None else str(value)
