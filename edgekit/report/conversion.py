"""What ``edgekit convert`` made, as a page: may it ship, how files compare, what is inside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgekit.report import following, words
from edgekit.report import validation_details as details
from edgekit.report import validation_tables as tables
from edgekit.report.charts import SERIES, ChartPoint, FrontDrawing, scatter
from edgekit.report.graph import DrawnGraph
from edgekit.report.pages import render
from edgekit.report.svg import SERIES as COLOURS
from edgekit.report.thumbnails import Thumbnail, encoded
from edgekit.report.validation import summary, verdicts
from edgekit.report.validation_plots import BEST_FIRST
from edgekit.results import ConversionResult, FileResult
from edgekit.runners.protocol import Timing
from edgekit.validation_result import (
    AnswerMask,
    CandidateResult,
    ReferenceResult,
    SampleAnswer,
    ValidationData,
    ValidationResult,
    WorstSample,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

LATENCY = "latency_p50_ms"


def to_html(
    result: ConversionResult,
    *,
    pictures: Mapping[str, Thumbnail] | None = None,
    graph: DrawnGraph | None = None,
) -> str:
    """The result as one HTML file of less than 3 MB that loads nothing.

    Args:
        result: what to show.
        pictures: of samples as the model sees them, by id; ``None`` to show none.
        graph: the operators of one of the files.
    """
    judged = as_validation(result)
    cards = details.cards(judged, given=pictures or {})
    return render(
        "conversion",
        result=result,
        judged=judged,
        summary=summary(judged),
        verdicts=list(verdicts(judged)),
        following=following.after_conversion(result),
        explaining=following.to_its_operators(result),
        table=[row for row in tables.table(judged) if row.title != "scheme"],
        confidence=tables.confidence(judged),
        gates=tables.gate_table(judged),
        drawings=list(_drawings(result)),
        fed=words.reference_words(result.probe),
        cards=[_drawn(card) for card in cards],
        pictures=pictures is not None,
        graph=graph,
        metrics=[one for one in _RUNGS if any(one in m for m in _rung_metrics(result))],
        worst_of=_worst_of,
        metric_name=words.name,
        seconds=sum(step.seconds for step in result.steps),
    )


def as_validation(result: ConversionResult) -> ValidationResult:
    """The files as candidates against the framework: what both commands show is shown alike."""
    return ValidationResult(
        title=result.source.name,
        reference=ReferenceResult(
            name=result.source.name,
            kind=result.source.kind,
            device="CPU",
            digest=result.source_digest,
            figures=next((one.reference_figures for one in result.files if one.figures), ()),
        ),
        data=ValidationData(
            path=result.data.path,
            layout="",
            samples=result.data.parity_samples,
            digest=result.data.parity_digest,
            skipped=result.data.skipped,
        ),
        candidates=tuple(_candidate(one, result) for one in result.files),
        environment={},
        command="",
        seconds=result.seconds,
        notes=result.notes,
        probe=result.probe,
    )


def _candidate(one: FileResult, result: ConversionResult) -> CandidateResult:
    return CandidateResult(
        name=one.scheme,
        path=one.artifact.path,
        sha256=one.artifact.sha256,
        size_bytes=one.artifact.size_bytes,
        scheme=one.scheme,
        contract=result.contract,
        parity=one.parity,
        figures=one.figures,
        timing=None if one.latency is None else Timing(latency=one.latency),
        worst=one.worst,
        integer_share=one.integer_share,
        metrics=one.metrics,
        verdict=one.verdict,
        error=one.error,
    )


# ------------------------------------------------------------------------------- drawings


def _drawings(result: ConversionResult) -> Iterator[FrontDrawing]:
    made = [(place, one) for place, one in enumerate(result.files) if LATENCY in one.metrics]
    names = (*BEST_FIRST, "centred_sqnr_db")
    metric = next((name for name in names if all(name in one.metrics for _, one in made)), None)
    if made and metric:
        points = [_point(one, place, metric) for place, one in made]
        costs = [(one.x, -one.y) for one in points]
        yield scatter(
            [_on_front(one, costs) for one in points],
            title=f"{words.heading(words.name(metric))} against latency",
            metrics=(LATENCY, metric),
        )
    if len(result.front) > 1:
        yield scatter(
            [
                ChartPoint(
                    x=one.slowdown,
                    y=one.db,
                    colour=2,
                    front=True,
                    name="chosen" if one.chosen else "",
                    title=f"{len(one.layers)} layers in more than 8 bits\n"
                    f"SQNR {words.number('_db', one.db)}, held out\n"
                    f"{one.slowdown:.2f} times the latency of plain int8",
                )
                for one in result.front
            ],
            title="Layers in more than 8 bits",
            metrics=("", "centred_sqnr_db"),
            names=("time, of plain int8", "SQNR, held out"),
        )


def _point(one: FileResult, place: int, metric: str) -> ChartPoint:
    shown = (metric, LATENCY, "size_mb")
    said = [
        f"{words.name(name)} {words.number(name, one.metrics[name])}"
        for name in shown
        if name in one.metrics
    ]
    return ChartPoint(
        x=one.metrics[LATENCY],
        y=one.metrics[metric],
        colour=place % SERIES + 1,
        passed=one.verdict.passed,
        name=one.scheme,
        title="\n".join([f"{one.scheme}: {one.verdict.state}", *said]),
    )


def _on_front(one: ChartPoint, costs: Sequence[tuple[float, float]]) -> ChartPoint:
    mine = (one.x, -one.y)
    beaten = any(x <= mine[0] and y <= mine[1] and (x, y) != mine for x, y in costs)
    return replace(one, front=one.passed and not beaten)


_RUNGS = ("centred_sqnr_db", "top1_agreement", "top1_drop", "latency_p50_ms")


def _rung_metrics(result: ConversionResult) -> list[dict[str, float]]:
    return [metrics for rung in result.ladder for metrics in rung.metrics.values()]


def _worst_of(metrics: Mapping[str, Mapping[str, float]], name: str) -> str:
    """The figure of a rung's worst file in words."""
    worst = min(metrics.values(), key=lambda one: one.get("centred_sqnr_db", 0.0), default={})
    return words.number(name, worst[name]) if name in worst else "–"


# -------------------------------------------------------------------------------- samples


@dataclass(frozen=True, kw_only=True)
class DrawnMask:
    """A mask as a picture, and the colours of its classes in the style sheet."""

    uri: str
    legend: tuple[tuple[int, str], ...]


@dataclass(frozen=True, kw_only=True)
class DrawnSample:
    """A bad sample with the answers of the reference and of the worst candidate to draw.

    ``panes`` are the two pictures side by side, none where classes stand below one picture.
    """

    card: details.Card
    panes: tuple[tuple[str, SampleAnswer, DrawnMask | None], ...]


def _drawn(card: details.Card) -> DrawnSample:
    sample, (_, name, _) = card.sample, card.said[0]
    both = (("reference", sample.reference_answer), (name, sample.candidate_answer))
    drawable = [one for _, one in both if one is not None and (one.boxes or one.mask)]
    if not drawable or card.picture is None:
        return DrawnSample(card=card, panes=())
    colours = _mask_colours(sample)
    return DrawnSample(
        card=card,
        panes=tuple(
            (who, said, _mask(said.mask, colours) if said.mask else None)
            for who, said in both
            if said is not None
        ),
    )


def _mask_colours(sample: WorstSample) -> dict[int, int]:
    """A colour for each class that covers much, but for the one that covers most."""
    answers = (sample.reference_answer, sample.candidate_answer)
    masks = [one.mask for one in answers if one is not None and one.mask is not None]
    kinds = dict.fromkeys(kind for mask in masks for kind in mask.names)
    return {kind: place % SERIES for place, kind in enumerate(list(kinds)[1:])}


def _mask(mask: AnswerMask, colours: Mapping[int, int]) -> DrawnMask | None:
    """A transparent picture of a cell a pixel."""
    import numpy as np

    cells = []
    for run in mask.runs.split():
        number, _, count = run.partition("*")
        cells.append(np.full(int(count), int(number)))
    plane = np.concatenate(cells).reshape(mask.height, mask.width)
    pixels = np.zeros((*plane.shape, 4), np.uint8)
    for kind, place in colours.items():
        red, green, blue = bytes.fromhex(COLOURS[place][1:])
        pixels[plane == kind] = (blue, green, red, 150)
    picture = encoded(pixels)
    legend = tuple(
        (colours[kind] + 1, name) for kind, name in mask.names.items() if kind in colours
    )
    return None if picture is None else DrawnMask(uri=picture.uri, legend=legend)
