"""Candidates and gates of a validation, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgekit.report import words
from edgekit.report.validation_plots import EXACT_DB, sqnr
from edgekit.types import GateResult, GateState
from edgekit.validation_result import CandidateResult, Figure, ValidationResult


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A place in a table: text, the state of a gate, and what more there is to know."""

    text: str = ""
    state: GateState | None = None
    hover: str = ""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A figure of the reference and of each candidate, in their order."""

    title: str
    cells: tuple[Cell, ...]


def table(result: ValidationResult) -> list[Row]:
    """Candidates side by side, after the reference; a row per figure, none that is empty."""
    rows = [
        _row("scheme", None, [one.scheme for one in result.candidates]),
        _row("file size", None, [_size(one) for one in result.candidates]),
        _row(
            "SQNR of what varies",
            None,
            [_db(one.metrics.get("centred_sqnr_db")) for one in result.candidates],
        ),
        _row("raw SQNR", None, [_db(sqnr(one)) for one in result.candidates]),
        _row("SQNR, worst sample", None, [_db(_worst_db(one)) for one in result.candidates]),
        *_figure_rows(result),
        *_timing_rows(result),
        _row(
            "integer operators",
            None,
            [_optional("integer_share", one.integer_share) for one in result.candidates],
        ),
    ]
    return [row for row in rows if any(cell.text for cell in row.cells)]


def _row(title: str, reference: str | None, cells: Sequence[str | None]) -> Row:
    return Row(title=title, cells=tuple(Cell(text=text or "") for text in (reference, *cells)))


def _optional(metric: str, value: float | None) -> str:
    return "" if value is None else words.number(metric, value)


def _db(value: float | None) -> str:
    if value is not None and value >= EXACT_DB:
        return "exact"
    return _optional("_db", value)


def _size(one: CandidateResult) -> str:
    return words.number("size_mb", one.size_bytes / 1e6) if one.size_bytes else ""


def _worst_db(one: CandidateResult) -> float | None:
    if "worst_sqnr_db" in one.metrics:
        return one.metrics["worst_sqnr_db"]
    if one.parity is None or not one.parity.outputs:
        return None
    real = [output for output in one.parity.outputs if output.index_agreement is None]
    return min((output.worst_sqnr_db for output in real), default=None)


def _figure_rows(result: ValidationResult) -> Iterator[Row]:
    by_name: dict[str, dict[int, Figure]] = {}
    for place, one in enumerate(result.candidates):
        for each in one.figures:
            by_name.setdefault(each.name, {})[place] = each
    references = {each.name: each for each in result.reference.figures}
    for name, found in by_name.items():
        if name.startswith("reference_"):  # it stands in the column of the reference
            continue
        theirs = references.get(name)
        known = next(
            (each.reference for each in found.values() if each.reference is not None), None
        )
        value = theirs.value if theirs is not None else known
        first = Cell(text=_optional(name, value))
        mine = [found.get(place) for place in range(len(result.candidates))]
        cells = [Cell() if each is None else _figure_cell(each) for each in mine]
        yield Row(title=words.name(name), cells=(first, *cells))


def _figure_cell(each: Figure) -> Cell:
    hover = f"{each.samples:,} samples" if each.samples else ""
    if each.interval is not None:
        sure = words.number("top1_", each.interval.confidence, limit=True)
        method = f", {each.interval.method}" if each.interval.method else ""
        hover = f"{sure} interval {words.span(each.name, each.interval)}{method}\n{hover}"
    text = words.with_interval(each.name, each.value, each.interval)
    return Cell(text=text, hover=hover.strip())


def _timing_rows(result: ValidationResult) -> Iterator[Row]:
    timings = [result.reference.timing, *(one.timing for one in result.candidates)]
    texts: list[dict[str, str]] = []
    for timing in timings:
        row: dict[str, str] = {}
        if timing is not None:
            latency = timing.latency
            if latency.samples_ms:
                for percent in (50, 90, 99):
                    row[f"latency p{percent}"] = words.number("_ms", latency.percentile(percent))
            row["first inference"] = words.number("_ms", latency.first_ms)
            row["loading"] = words.number("_ms", latency.load_ms)
            row["threads"] = str(latency.threads)
            row["peak memory"] = _optional("_mb", timing.peak_memory_mb)
            row["tensor arena"] = _optional("_mb", timing.arena_mb)
        texts.append(row)
    for title in dict.fromkeys(title for row in texts for title in row):
        yield Row(title=title, cells=tuple(Cell(text=row.get(title, "")) for row in texts))


def confidence(result: ValidationResult) -> str:
    """How sure the intervals of the figures are: ``95 %``."""
    found = {
        each.interval.confidence
        for one in result.candidates
        for each in one.figures
        if each.interval is not None
    }
    return " and ".join(words.number("top1_", value, limit=True) for value in sorted(found))


def gate_table(result: ValidationResult) -> list[Row]:
    """A row per gate, a cell per candidate that it was asked of."""
    found: dict[str, dict[int, GateResult]] = {}
    for place, one in enumerate(result.candidates):
        for gate in one.verdict.gates:
            found.setdefault(words.condition(gate), {})[place] = gate
    return [
        Row(
            title=title,
            cells=tuple(
                _gate_cell(asked[place]) if place in asked else Cell()
                for place in range(len(result.candidates))
            ),
        )
        for title, asked in found.items()
    ]


def _gate_cell(gate: GateResult) -> Cell:
    metric = gate.gate.metric
    if gate.measured is None:
        return Cell(state=gate.state, hover=gate.why)
    text = words.with_interval(metric, gate.measured, gate.interval)
    return Cell(text=text, state=gate.state, hover=gate.why)
