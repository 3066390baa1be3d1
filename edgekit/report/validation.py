"""What ``edgekit validate`` found, as a page: may this file ship, and if not, why."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgekit import __version__
from edgekit.report import words
from edgekit.report.pages import render
from edgekit.report.plots import MARKERS, SERIES
from edgekit.report.thumbnails import Thumbnail, thumbnail
from edgekit.report.validation_plots import LayerSqnr, all_plots, sqnr
from edgekit.report.words import State
from edgekit.types import GateResult, GateState
from edgekit.validation_result import CandidateResult, Figure, ValidationResult, WorstSample

__all__ = ["LayerSqnr", "to_html"]

MOST_CARDS = 16
"""Pictures of bad samples in a page; the JSON has all of them."""
PICTURE_BYTES = 1_200_000
"""All pictures of a page together; what is beyond is named without its picture."""
_WORST_EACH = 8
_ROWS = 12
_FEW_ROWS = 8
_A_STEP_DB = -1.0
"""A layer that costs less than this is not worth a row."""
_SIGNS = dict(zip(("o", "s", "D", "^", "v", "P"), "●■◆▲▼✚", strict=True))


def to_html(
    result: ValidationResult, *, layers: Sequence[LayerSqnr] = (), pictures: bool = True
) -> str:
    """The result as one HTML file of less than 3 MB that loads nothing and holds no script.

    Args:
        result: what to show.
        layers: the SQNR of tensors inside the candidates, in the order of the network.
        pictures: whether worst samples are shown; without, they are named only, so that private
            pictures do not leave the machine with the report.

    Raises:
        SetupError: Matplotlib is not installed.
    """
    drawn = all_plots(result, layers)
    page = render(
        "validation",
        filters={
            "words": _tight,
            "sign": lambda place: _SIGNS[MARKERS[place % len(MARKERS)]],
            "series": lambda place: place % len(SERIES) + 1,
            "number": words.number,
            "short": lambda text, most=60: words.clean(str(text), most),
        },
        result=result,
        version=__version__,
        summary=summary(result),
        verdicts=list(_verdicts(result)),
        table=table(result),
        confidence=_confidence(result),
        gates=gate_table(result),
        plots=drawn,
        operators=list(_operators(result)),
        flips=list(_flips(result)),
        classes=list(_classes(result)),
        steps=list(_steps(result, layers)),
        cards=cards(result, pictures=pictures),
        pictures=pictures,
        drifts=list(_drifts(result)),
    )
    # Halves of surrogate pairs, which a path that is not UTF-8 brings along, cannot be written.
    return page.encode("utf-8", "replace").decode("utf-8")


# ------------------------------------------------------------------------------- verdicts


@dataclass(frozen=True, kw_only=True)
class _Verdict:
    place: int
    name: str
    state: State
    sentence: str


def summary(result: ValidationResult) -> str:
    """All verdicts in a few words, as for the title of the page."""
    states = [words.state(one, strict=result.strict) for one in result.candidates]
    if not states:
        return "no candidate was validated"
    if len(states) == 1:
        one = result.candidates[0]
        known: dict[State, str] = {
            "pass": "may ship",
            "fail": "must not ship",
            "unknown": "is not judged",
        }
        return f"{one.name} {known[states[0]]}"
    return f"{states.count('pass')} of {len(states)} candidates may ship"


def _verdicts(result: ValidationResult) -> Iterator[_Verdict]:
    for place, one in enumerate(result.candidates):
        yield _Verdict(
            place=place,
            name=one.name,
            state=words.state(one, strict=result.strict),
            sentence=words.sentence(one, strict=result.strict, complete=result.complete),
        )


# --------------------------------------------------------------------------------- tables


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
        _row("SQNR, all samples", None, [_db(sqnr(one)) for one in result.candidates]),
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
    return _optional("_db", value)


def _size(one: CandidateResult) -> str:
    return words.number("size_mb", one.size_bytes / 1e6) if one.size_bytes else ""


def _worst_db(one: CandidateResult) -> float | None:
    if "worst_sqnr_db" in one.metrics:
        return one.metrics["worst_sqnr_db"]
    if one.parity is None or not one.parity.outputs:
        return None
    return min(output.worst_sqnr_db for output in one.parity.outputs)


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
        known = next((each.reference for each in found.values() if each.reference is not None), None)
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


def _confidence(result: ValidationResult) -> str:
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


# ---------------------------------------------------------------------------- explanations


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A row of bars; ``share`` is how much of the track it fills, 0 to 1."""

    name: str
    below: str
    share: float
    number: str


@dataclass(frozen=True, kw_only=True)
class Section:
    """What is known of one candidate, in rows; ``hidden`` more were left out."""

    place: int
    name: str
    rows: Sequence[Any]
    hidden: int = 0
    text: str = ""


def _operators(result: ValidationResult) -> Iterator[Section]:
    for place, one in enumerate(result.candidates):
        shown = one.timing.operators if one.timing else ()
        if not shown:
            continue
        most = max(each.ms for each in shown) or 1.0
        bars = [
            Bar(
                name=each.operator,
                below=f"{each.count} of them" + (f", {each.delegate}" if each.delegate else ""),
                share=_clipped(each.ms / most),
                number=f"{words.number('_ms', each.ms)}, {words.number('drop', each.share)}",
            )
            for each in shown[:_FEW_ROWS]
        ]
        yield Section(place=place, name=one.name, rows=bars, hidden=len(shown) - len(bars))


def _flips(result: ValidationResult) -> Iterator[Section]:
    for place, one in enumerate(result.candidates):
        found = one.details.get("flips")
        if not isinstance(found, Mapping):
            continue
        labels = _labels(one)
        pairs = list(found.get("pairs", ()))
        most = max((pair["count"] for pair in pairs), default=1)
        bars = [
            Bar(
                name=f"{_class(labels, pair['reference'])} → {_class(labels, pair['candidate'])}",
                below="",
                share=_clipped(pair["count"] / most),
                number=f"{pair['count']:,}",
            )
            for pair in pairs[:_FEW_ROWS]
        ]
        yield Section(
            place=place,
            name=one.name,
            rows=bars,
            hidden=len(pairs) - len(bars),
            text=_flips_text(found, one),
        )


def _flips_text(found: Mapping[str, Any], one: CandidateResult) -> str:
    """``312 decisions changed: 141 right became wrong, … (McNemar's test: p = 0.24)``."""
    kinds = {
        "right became wrong": found.get("right_to_wrong", 0),
        "wrong became right": found.get("wrong_to_right", 0),
        "wrong stayed wrong": found.get("wrong_to_wrong", 0),
    }
    count = found.get("count", 0)
    text = f"{count:,} decision{'s' if count != 1 else ''} changed" if count else "none changed"
    if any(kinds.values()):
        text += ": " + ", ".join(f"{number:,} {kind}" for kind, number in kinds.items() if number)
    test = one.details.get("mcnemar")
    if isinstance(test, Mapping) and isinstance(p_value := test.get("p_value"), float):
        text += f" (McNemar's test: p = {p_value:.2g})"
    return text


def _labels(one: CandidateResult) -> tuple[str, ...]:
    outputs = one.contract.outputs if one.contract else ()
    return next((output.labels for output in outputs if output.labels), ())


def _class(labels: Sequence[str], number: int) -> str:
    if number < 0:
        return "no decision (NaN)"
    return labels[number] if number < len(labels) else f"class {number}"


def _classes(result: ValidationResult) -> Iterator[Section]:
    """Classes whose average precision or IoU changed most, the largest loss first."""
    for place, one in enumerate(result.candidates):
        for key, metric in (("ap_by_class", "map_50_95"), ("iou_by_class", "miou")):
            theirs = _by_class(one.details.get(f"reference_{key}"))
            mine = _by_class(one.details.get(f"candidate_{key}"))
            both = [number for number in theirs if number in mine]
            if not both:
                continue
            both.sort(key=lambda number: mine[number] - theirs[number])
            labels = _labels(one)
            rows = [
                (
                    _class(labels, number),
                    *(words.number(metric, value[number]) for value in (theirs, mine)),
                    words.number(metric, mine[number] - theirs[number]),
                )
                for number in both[:_ROWS]
            ]
            yield Section(
                place=place,
                name=one.name,
                rows=rows,
                hidden=len(both) - len(rows),
                text="average precision" if metric == "map_50_95" else "IoU",
            )


def _by_class(values: Any) -> dict[int, float]:
    """Figures by class, which come as a list or by number, where they are finite."""
    pairs = values.items() if isinstance(values, Mapping) else enumerate(values or ())
    return {
        int(number): float(value)
        for number, value in pairs
        if isinstance(value, int | float) and math.isfinite(value)
    }


def _steps(result: ValidationResult, layers: Sequence[LayerSqnr]) -> Iterator[Section]:
    """The layers with a known cause, and those after which the SQNR is well below what it was."""
    for place, one in enumerate(result.candidates):
        mine = [layer for layer in layers if layer.candidate == one.name]
        falls = [
            (after.sqnr_db - before.sqnr_db, after)
            for before, after in zip(mine, mine[1:], strict=False)
            if math.isfinite(after.sqnr_db - before.sqnr_db)
        ]
        causes = {id(layer) for layer in mine if layer.cause}
        falls.sort(key=lambda fall: (id(fall[1]) not in causes, fall[0]))
        rows = [
            (layer, fall) for fall, layer in falls if fall <= _A_STEP_DB or layer.cause
        ][:_ROWS]
        if rows:
            yield Section(place=place, name=one.name, rows=rows)


@dataclass(frozen=True, kw_only=True)
class Card:
    """A sample on which candidates are bad: its picture and what each model says."""

    sample: WorstSample
    picture: Thumbnail | None
    said: tuple[tuple[int, str, WorstSample], ...]
    """Place and name of each candidate, and what it says."""


def cards(result: ValidationResult, *, pictures: bool) -> list[Card]:
    """The worst samples of all candidates, the lowest SQNR first, each of them once."""
    said: dict[str, list[tuple[int, str, WorstSample]]] = {}
    for place, one in enumerate(result.candidates):
        for sample in one.worst[:_WORST_EACH]:
            said.setdefault(sample.id, []).append((place, one.name, sample))

    def lowest(entries: list[tuple[int, str, WorstSample]]) -> float:
        # NaN, where an output is not finite, is worse than everything.
        return min(-math.inf if math.isnan(s.sqnr_db) else s.sqnr_db for _, _, s in entries)

    left, found = PICTURE_BYTES, []
    for entries in sorted(said.values(), key=lowest)[:MOST_CARDS]:
        sample = entries[0][2]
        picture = thumbnail(sample.path) if pictures and sample.path is not None else None
        if picture is not None and len(picture.data) > left:
            picture = None
        left -= len(picture.data) if picture else 0
        found.append(Card(sample=sample, picture=picture, said=tuple(entries)))
    return found


def _drifts(result: ValidationResult) -> Iterator[Section]:
    for place, one in enumerate(result.candidates):
        rows = []
        for each in sorted(one.drift, key=lambda drift: -_finite(drift.clipped)):
            ends = [_finite(end) for end in (*each.calibrated, *each.seen)]
            low, wide = min(ends), (max(ends) - min(ends)) or 1.0
            places = [_clipped((end - low) / wide) for end in ends]
            rows.append((each, places))
        if rows:
            shown = rows[:_ROWS]
            yield Section(place=place, name=one.name, rows=shown, hidden=len(rows) - len(shown))


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _clipped(share: float) -> float:
    return min(1.0, max(0.0, _finite(share)))


def _tight(text: str) -> str:
    """A number and its unit stay on one line."""
    for unit in ("%", "dB", "ms", "MB"):
        text = text.replace(f" {unit}", f"\N{NO-BREAK SPACE}{unit}")
    return text.replace(" ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}")
