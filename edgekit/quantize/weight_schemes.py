"""Preparing a float model for the schemes whose activations stay in float, or nearly do (int16x8).

As for int8, weights are rounded so that each layer's output is close, and what is left in the mean
goes into its bias. But nothing else disturbs what the layers read, so it is taken from the float
graph, and one look at it serves all of these schemes. Each scheme is judged by its own file on
held-out samples and keeps the model as it came where that is as good.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from edgekit.errors import ConversionError
from edgekit.quantize import passes
from edgekit.quantize.emit import Emissions
from edgekit.quantize.grids import grid_of, steps
from edgekit.quantize.judge import Judge
from edgekit.quantize.layers import Layer, find_layers
from edgekit.quantize.moments import Moments, collect, in_groups
from edgekit.quantize.observe import SampleFeed
from edgekit.quantize.passes import Bench
from edgekit.tflite.model import Model
from edgekit.types import Effort, Ranges, Scheme

_NOISE_DB = 0.02
"""Less than this is not a gain."""
_GRIDS: dict[Scheme, Scheme] = {
    "dynamic-int8": "weight-only-int8",
    "int16x8": "weight-only-int8",
    "dynamic-int4": "weight-only-int4",
}
"""Schemes whose weights lie on the grid of another one's, and are the same then."""
_JUDGED_AS: dict[Scheme, Scheme] = {"int16x8": "weight-only-int8"}
"""Activations of 16 bits are nearly exact, and their kernels take twenty times as long."""


@dataclass(frozen=True, kw_only=True)
class WeightResult:
    """What the preparation of one scheme came to, on the held-out samples.

    Attributes:
        scheme: which.
        model: the float model to write it from.
        did: in words; empty where nothing was tried.
        plain_db: SQNR of the worst output without preparation, in decibels.
        prepared_db: the same with it.
    """

    scheme: Scheme
    model: Model
    did: str = ""
    kept: bool = False
    plain_db: float | None = None
    prepared_db: float | None = None
    seconds: float = 0.0


def prepare_weights(
    model: Model,
    schemes: Sequence[Scheme],
    *,
    learn: Sequence[SampleFeed],
    judged: Sequence[SampleFeed],
    emissions: Emissions,
    effort: Effort,
    progress: Callable[[float, str], None],
) -> list[WeightResult]:
    """Find, for each scheme, the float model whose file is closest to the original.

    Args:
        model: the float one, with one subgraph; stays as it is.
        schemes: of `edgekit.types.WEIGHT_SCHEMES`, and ``int16x8``.
        learn: the samples to learn from.
        judged: the held-out samples.
        emissions: makes the quantized files.
        effort: ``none`` does nothing, ``fast`` corrects biases, the others round with care.
        progress: told the fraction done.
    """
    if effort == "none" or not schemes or not find_layers(model):
        return [WeightResult(scheme=scheme, model=model) for scheme in schemes]
    started = time.monotonic()
    grids = list(dict.fromkeys(_GRIDS.get(scheme, scheme) for scheme in schemes))
    bench = Bench(feeds=learn, emissions=emissions)
    try:
        judge = Judge(model, judged, emissions)
        prepared, did = _prepare_grids(model, grids, bench, effort, progress)
    except ConversionError as error:
        why = f"gave up: {error}"
        return [WeightResult(scheme=scheme, model=model, did=why) for scheme in schemes]
    shared = (time.monotonic() - started) / len(schemes)
    results = []
    for number, scheme in enumerate(schemes):
        progress(0.7 + 0.3 * number / len(schemes), f"judging {scheme}")
        candidate = prepared[_GRIDS.get(scheme, scheme)]
        results.append(_settle(scheme, model, candidate, did, judge, bench, shared))
    return results


def _prepare_grids(
    model: Model,
    grids: Sequence[Scheme],
    bench: Bench,
    effort: Effort,
    progress: Callable[[float, str], None],
) -> tuple[dict[Scheme, Model], str]:
    """One float model per grid, all from one look at what the layers read."""
    models = {grid: model.copy() for grid in grids}
    layers = {grid: find_layers(loaded) for grid, loaded in models.items()}
    rounding = effort != "fast"
    done = 0
    everything = find_layers(model)
    for group in in_groups(everything):
        moments = collect(model, group, bench.feeds, second=rounding)
        for grid in grids:
            mine = layers[grid][done : done + len(group)]
            for layer, sums in zip(mine, moments, strict=True):
                _prepare_layer(layer, sums, grid, rounding=rounding)
        done += len(group)
        progress(0.7 * done / len(everything), f"{done} of {len(everything)} layers")
    what = "error-compensated rounding" if rounding else "bias correction"
    return models, f"{what} of {len(everything)} layers"


def _prepare_layer(layer: Layer, sums: Moments, scheme: Scheme, *, rounding: bool) -> None:
    """Round a layer with care, or to the nearest where that is asked for or all that can be."""
    import numpy as np

    grid = grid_of(layer, scheme)
    if rounding and passes.round_layer(layer, sums, grid):
        return
    step = steps(layer, grid)
    step = step if step.ndim == 2 else step[:, None]
    index = np.clip(np.rint(layer.matrix() / step), -grid.limit, grid.limit)
    passes.replace_weights(layer, index * step, sums)


def _settle(
    scheme: Scheme,
    model: Model,
    candidate: Model,
    did: str,
    judge: Judge,
    bench: Bench,
    seconds: float,
) -> WeightResult:
    """The prepared model, with or without its drift corrected, or the one as it came."""
    started = time.monotonic()
    judged_as = _JUDGED_AS.get(scheme, scheme)
    ranges: Ranges = {}  # none of the schemes that are judged by needs them
    try:
        plain = judge.int8(model, ranges, scheme=judged_as).worst_db
    except ConversionError as error:  # the file cannot be made at all, which its writing will tell
        return WeightResult(scheme=scheme, model=model, did=f"gave up: {error}")
    best, value, done = candidate, float("-inf"), did
    try:
        value = judge.int8(candidate, ranges, scheme=judged_as).worst_db
        drift = passes.CorrectDrift(bench=bench, source=candidate, original=model, scheme=judged_as)
        corrected, words = drift.prepared()
        if words.changed:
            better = judge.int8(corrected, ranges, scheme=judged_as).worst_db
            if better > value + _NOISE_DB:
                best, value = corrected, better
                done = f"{did}, drift correction of {words.notes[0]}"
        elif words.failures:
            done = f"{did}, {words.failures[0]}"
    except ConversionError as error:
        done = f"{did}, gave up: {error}"
    result = WeightResult(
        scheme=scheme,
        model=best,
        did=done,
        kept=value > plain + _NOISE_DB,
        plain_db=round(plain, 2),
        prepared_db=round(value, 2) if value > float("-inf") else None,
        seconds=round(seconds + time.monotonic() - started, 2),
    )
    return result if result.kept else replace(result, model=model)
