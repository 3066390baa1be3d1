"""Which plots a validation has, and what stands below each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from edgekit.report import plots, words
from edgekit.report.plots import PlotPoint, Series
from edgekit.types import Gate
from edgekit.validation_result import CandidateResult, Figure, LayerSqnr, ValidationResult

Placed = tuple[int, CandidateResult]
"""A candidate with its place among all of them, which decides its colour."""

BEST_FIRST = (
    "top1_accuracy", "map_50_95", "miou", "recall_at_1", "psnr_db", "ssim", "top1_agreement",
    "map_50_agreement", "pixel_agreement", "mean_cosine", "psnr_to_reference_db",
    "ssim_to_reference",
)  # fmt: skip
"""Which figure stands for a task in the plot against latency; more is better for all of them."""
EXACT_DB = 200.0
"""What `edgekit.types.OutputParity` says of equal tensors."""
_DISTRIBUTION = 2
"""Fewer values have no distribution."""
_DROPS = (
    "top1_drop", "map_drop", "miou_drop", "recall_at_1_drop", "psnr_drop_db", "ssim_drop",
    "mae_increase",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A drawn plot, as SVG, with its heading and what the reader should know of it."""

    key: str
    title: str
    caption: str
    svg: str


def all_plots(result: ValidationResult) -> dict[str, Plot]:
    """The plots for which there is something to draw, by their keys.

    Raises:
        SetupError: Matplotlib is not installed.
    """
    plots.require()
    placed = [(place, one) for place, one in enumerate(result.candidates) if not one.error]
    found = (
        _tradeoff(result, placed),
        _drop(placed),
        _latency(placed),
        _sqnr(placed),
        _layers(placed, result.layers),
    )
    return {plot.key: plot for plot in found if plot is not None}


def figure(one: CandidateResult, name: str) -> Figure | None:
    """A candidate's figure by its name; ``None`` where it has none or a NaN."""
    return next(
        (each for each in one.figures if each.name == name and math.isfinite(each.value)), None
    )


def _shared(placed: Sequence[Placed], names: Sequence[str]) -> str | None:
    """The first name that most candidates have a figure of."""
    counts = {name: sum(figure(one, name) is not None for _, one in placed) for name in names}
    best = max(counts.values(), default=0)
    return next((name for name, count in counts.items() if count == best), None) if best else None


def _tradeoff(result: ValidationResult, placed: Sequence[Placed]) -> Plot | None:
    timed = [(place, one) for place, one in placed if one.timing is not None]
    name = _shared(timed, BEST_FIRST)
    metric = name or "sqnr_db"
    points = [point for place, one in timed if (point := _against_time(place, one, metric))]
    if not points:
        return None
    title = f"{words.heading(words.name(metric))} against latency"
    references = {each.name: each.value for each in result.reference.figures}
    for _, one in timed:
        if (each := figure(one, metric)) is not None and each.reference is not None:
            references.setdefault(metric, each.reference)
    caption = "Up and to the left is better."
    if any(point.interval for point in points):
        caption += " Upright bars: the interval of the figure."
    return Plot(
        key="tradeoff",
        title=title,
        caption=caption,
        svg=plots.tradeoff(
            points,
            y_label=words.name(metric) + (", dB" if words.unit(metric) == "dB" else ""),
            percent=words.unit(metric) == "%",
            title=f"{title}. " + "; ".join(point.title.replace("\n", ", ") for point in points),
            reference=references.get(metric),
        ),
    )


def _against_time(place: int, one: CandidateResult, metric: str) -> PlotPoint | None:
    assert one.timing is not None
    latency = one.timing.latency
    if not latency.samples_ms:
        return None
    each = figure(one, metric)
    value = each.value if each else None
    if metric == "sqnr_db":
        value = sqnr(one)
    if value is None or not math.isfinite(value):
        return None
    fast, slow = latency.percentile(50), latency.percentile(90)
    interval = each.interval if each else None
    return PlotPoint(
        name=one.name,
        place=place,
        x=fast,
        x_high=slow,
        y=value,
        interval=interval,
        title=f"{one.name}\n{words.name(metric)} {words.with_interval(metric, value, interval)}\n"
        f"p50 {words.number('_ms', fast)}\np90 {words.number('_ms', slow)}",
    )


def sqnr(one: CandidateResult) -> float | None:
    """The signal-to-noise ratio of the worst output over all samples, in dB."""
    known = one.metrics.get("sqnr_db")
    if known is None and one.parity is not None and one.parity.outputs:
        worst = one.parity.worst_output
        return worst.sqnr_db if worst.index_agreement is None else None
    return known


def _drop(placed: Sequence[Placed]) -> Plot | None:
    name = _shared(placed, _DROPS)
    if name is None:
        return None
    points = [
        PlotPoint(
            name=one.name,
            place=place,
            y=each.value,
            interval=each.interval,
            title=f"{one.name}\n{words.with_interval(name, each.value, each.interval)}",
        )
        for place, one in placed
        if (each := figure(one, name)) is not None
    ]
    limits = {
        limit
        for _, one in placed
        for gate in one.verdict.gates
        if (limit := _upper_limit(gate.gate, name)) is not None
    }
    title = words.heading(words.name(name)) + " against the reference"
    unit = words.unit(name)
    confidence = {point.interval.confidence for point in points if point.interval}
    sure = f"{min(confidence):.0%}".replace("%", " %") if confidence else ""
    caption = "Further left is better."
    return Plot(
        key="drop",
        title=title,
        caption=f"{caption} Lines: the {sure} interval." if sure else caption,
        svg=plots.forest(
            points,
            x_label=f"{words.name(name)}, {unit}" if unit not in ("", "%") else words.name(name),
            percent=unit == "%",
            title=f"{title}. " + "; ".join(point.title.replace("\n", ": ") for point in points),
            limit=limits.pop() if len(limits) == 1 else None,
        ),
    )


def _upper_limit(gate: Gate, name: str) -> float | None:
    return gate.limit if gate.metric == name and gate.comparison in ("<", "<=") else None


def _latency(placed: Sequence[Placed]) -> Plot | None:
    rows = []
    for place, one in placed:
        if one.timing is None or len(one.timing.latency.samples_ms) < _DISTRIBUTION:
            continue
        taken = one.timing.latency
        figures = [
            f"p{percent} {words.number('_ms', taken.percentile(percent))}"
            for percent in (50, 90, 99)
        ]
        rows.append(
            Series(
                name=one.name,
                place=place,
                values=taken.samples_ms,
                note=", ".join(figures[:2]),
                title="\n".join((one.name, f"{len(taken.samples_ms)} inferences", *figures)),
            )
        )
    if not rows:
        return None
    return Plot(
        key="latency",
        title="Latency distribution",
        caption="Every timed inference; lines at p50 and p90.",
        svg=plots.distributions(
            rows,
            x_label="latency, ms",
            title=_described("Latency", rows),
            quantiles=(50, 90),
            logarithmic=True,
        ),
    )


def _sqnr(placed: Sequence[Placed]) -> Plot | None:
    rows = []
    for place, one in placed:
        if one.parity is None or not one.parity.outputs:
            continue
        worst = one.parity.worst_output
        if worst.index_agreement is not None:
            continue
        values = [value for value in worst.per_sample_sqnr_db if math.isfinite(value)]
        if len(values) >= _DISTRIBUTION and min(values) < EXACT_DB:
            title = (
                f"{one.name}\noutput {worst.name}\n{len(values)} samples\nworst "
                f"{words.number('_db', min(values))}, best {words.number('_db', max(values))}"
            )
            note = f"median {words.number('_db', median(values))}"
            rows.append(Series(name=one.name, place=place, values=values, note=note, title=title))
    if not rows:
        return None
    return Plot(
        key="sqnr",
        title="SQNR per sample",
        caption="The worst output of each candidate; further right is closer to the reference. "
        "Line: the median.",
        svg=plots.distributions(
            rows, x_label="SQNR, dB", title=_described("SQNR per sample", rows), quantiles=(50,)
        ),
    )


def _described(what: str, rows: Sequence[Series]) -> str:
    return f"{what}. " + "; ".join(row.title.replace("\n", ", ") for row in rows)


def _layers(placed: Sequence[Placed], layers: Sequence[LayerSqnr]) -> Plot | None:
    rows = list(_along(placed, layers))
    if not rows:
        return None
    return Plot(
        key="layers",
        title="SQNR along the layers",
        caption="From the input on the left to the output on the right. A step down is where "
        "error comes in.",
        svg=plots.lines(
            rows, x_label="layer", y_label="SQNR, dB", title=_described("SQNR by layer", rows)
        ),
    )


def _along(placed: Sequence[Placed], layers: Sequence[LayerSqnr]) -> Iterator[Series]:
    for place, one in placed:
        mine = [layer.sqnr_db for layer in layers if layer.candidate == one.name]
        finite = [value for value in mine if math.isfinite(value)]
        if finite:
            title = f"{one.name}\n{len(mine)} layers\nlowest {words.number('_db', min(finite))}"
            yield Series(name=one.name, place=place, values=mine, title=title)
