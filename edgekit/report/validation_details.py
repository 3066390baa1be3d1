"""What explains the figures of a validation: times, decisions, classes, layers, samples, ranges."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgekit.report import words
from edgekit.report.thumbnails import Thumbnail, thumbnail
from edgekit.validation_result import CandidateResult, ValidationResult, WorstSample

MOST_CARDS = 24
"""Pictures of bad samples in a page; the JSON has all of them."""
PICTURE_BYTES = 1_200_000
"""All pictures of a page together; what is beyond is named without its picture."""
EQUAL_DB = 60.0
"""A sample that is this close is not a bad one, though it be a candidate's worst."""
_WORST_EACH = 8
_ROWS = 12
_FEW_ROWS = 8
_EXACT_DB = 120.0
"""A layer that adds less error than this rounds 32-bit floats."""


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


def operators(result: ValidationResult) -> Iterator[Section]:
    """The types of operators that take the time, for each candidate."""
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


def flips(result: ValidationResult) -> Iterator[Section]:
    """Which decisions of a classifier changed."""
    for place, one in enumerate(result.candidates):
        found = one.details.get("flips")
        if not isinstance(found, Mapping):
            continue
        labels = _labels(one)
        pairs = list(found.get("pairs", ()))
        total = found.get("count") or 1
        bars = [
            Bar(
                name=f"{_class(labels, pair['reference'])} → {_class(labels, pair['candidate'])}",
                below="",
                share=_clipped(pair["count"] / total),
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


def classes(result: ValidationResult) -> Iterator[Section]:
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


def steps(result: ValidationResult) -> Iterator[Section]:
    """The layers with a fault, then those that add most error; ``text`` has the first's cause."""
    for place, one in enumerate(result.candidates):
        mine = [
            layer
            for layer in result.layers
            if layer.candidate == one.name and (layer.cause or layer.added_db < _EXACT_DB)
        ]
        mine.sort(key=lambda layer: (not layer.cause, layer.added_db))
        if mine:
            yield Section(place=place, name=one.name, rows=mine[:_ROWS], text=mine[0].cause)


@dataclass(frozen=True, kw_only=True)
class Card:
    """A sample on which candidates are bad: its picture and what each model says."""

    sample: WorstSample
    picture: Thumbnail | None
    said: tuple[tuple[int, str, WorstSample], ...]
    """Place and name of each candidate, and what it says."""


def cards(
    result: ValidationResult,
    *,
    pictures: bool = False,
    given: Mapping[str, Thumbnail] | None = None,
) -> list[Card]:
    """The worst samples of all candidates, the lowest SQNR first, each of them once.

    Args:
        result: what was measured.
        pictures: whether the samples' files are read for their pictures.
        given: pictures that are there already, by the samples' ids.
    """
    said: dict[str, list[tuple[int, str, WorstSample]]] = {}
    for place, one in enumerate(result.candidates):
        bad = [sample for sample in one.worst if not sample.sqnr_db >= EQUAL_DB]  # NaN is bad
        for sample in bad[:_WORST_EACH]:
            said.setdefault(sample.id, []).append((place, one.name, sample))

    def lowest(entries: list[tuple[int, str, WorstSample]]) -> float:
        # NaN, where an output is not finite, is worse than everything.
        return min(-math.inf if math.isnan(s.sqnr_db) else s.sqnr_db for _, _, s in entries)

    left, found = PICTURE_BYTES, []
    for entries in sorted(said.values(), key=lowest)[:MOST_CARDS]:
        sample = entries[0][2]
        picture = (given or {}).get(sample.id)
        if picture is None and pictures and sample.path is not None:
            picture = thumbnail(sample.path)
        if picture is not None and len(picture.data) > left:
            picture = None
        left -= len(picture.data) if picture else 0
        found.append(Card(sample=sample, picture=picture, said=tuple(entries)))
    return found


def drifts(result: ValidationResult) -> Iterator[Section]:
    """How ranges differ from those of the calibration, the most clipped first."""
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
