"""Preparing a float model for int8: which passes, in which order, and what of them is kept.

Every step is measured on held-out samples as the quantizer's own int8 file, and kept only where it
helps. So the prepared model is never worse than the original there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, get_args

from edgekit.errors import ConversionError
from edgekit.quantize import passes, ranges
from edgekit.quantize.emit import Emissions
from edgekit.quantize.judge import Judge
from edgekit.quantize.observe import Histogram, SampleFeed, choose_samples, count_samples, observe
from edgekit.quantize.passes import Bench
from edgekit.tflite.model import Model, loaded
from edgekit.tflite.passes import PassResult
from edgekit.types import Effort, Pass, Ranges

_P = TypeVar("_P", bound=passes.Preparation)

GAVE_UP = "gave up: "
"""What is said of a step that could not be done has these words."""
_HELD_OUT = 0.25
_MOST_TO_LEARN, _MOST_TO_JUDGE = 128, 32
_MOST_TO_LEARN_THOROUGHLY = 512
_MOST_TO_COMPARE = 16
"""Samples that the ranges of the inputs are tried on, a dozen times."""
_EQUAL_DB = 70.0
"""An equalized float model must equal the original at least this well."""
_NOISE_DB = 0.02
"""Less than this is not a gain."""
_UNSURE_DB = 0.1
"""What a file whose weights are rounded to the nearest may lose by chance."""
_SHRINKS = (0.97, 0.94, 0.9)
"""Of either end of an input's range."""
_DRAWS = (1, 0.03), (2, 0.1), (3, 0.2), (4, 0.1)
"""Seed and damping of what thorough tries besides the first draw."""
_ALL: frozenset[Pass] = frozenset(get_args(Pass))
_PASSES: dict[Effort, frozenset[Pass]] = {
    "fast": frozenset({"bias-correction", "drift-correction"}),
    "balanced": _ALL,
    "thorough": _ALL,
}
_CANDIDATES: dict[Effort, tuple[str, ...]] = {
    "fast": ("mse",),
    "balanced": ("mse",),
    "thorough": ("mse", "percentile:99.99", "percentile:99.9", "entropy"),
}
"""What is tried besides minmax where the user states no way to choose ranges."""


@dataclass(frozen=True, kw_only=True)
class TriedPass:
    """What a pass did, and what it was worth on the held-out samples."""

    name: str
    did: str
    kept: bool
    int8_db: float | None
    seconds: float


@dataclass(kw_only=True)
class Prepared:
    """A float model, the ranges to quantize it with, and how it came about."""

    model: Model
    ranges: Ranges
    widest: Ranges = field(default_factory=dict)
    """True minimum and maximum, whatever was chosen for 8 bits."""
    int8_db: float | None = None
    passes: list[TriedPass] = field(default_factory=list)
    histograms: Mapping[str, Histogram] = field(default_factory=dict)
    """What the ranges were chosen from."""
    unrounded: Model | None = None
    """The model before its weights were moved onto their grid."""
    judge: Judge | None = None
    """Measures on the held-out samples, where anything was measured."""


def prepare(
    model: Model | Path,
    *,
    feeds: Sequence[SampleFeed],
    effort: Effort,
    method: str = "auto",
    observed: dict[str, Histogram] | None = None,
    emissions: Emissions | None = None,
    without: Collection[Pass] = (),
    progress: Callable[[float, str], None],
) -> Prepared:
    """Find the float model and the ranges whose int8 file is closest to the original.

    Args:
        model: the float one; stays as it is.
        feeds: calibration samples. Ranges come from all of them; a quarter is held out from the
            passes that learn, to judge them by.
        effort: see `edgekit.types.Effort`.
        method: see `edgekit.quantize.ranges.parse_method`; ``auto`` measures minmax and mse.
        observed: histograms of the samples in the model, where it has run on them before.
        emissions: makes the quantized files.
        without: passes that are left out. Where rounding is, biases are corrected as ``fast`` does.
        progress: told the fraction done.

    Raises:
        DataError: the samples lead to NaN or infinite values.
        UsageError: an unknown method.
    """
    chosen, percentile = ranges.parse_method(method)
    model, emissions = loaded(model), emissions or Emissions()
    histograms = observed or observe(model, feeds, progress=_part(progress, 0.0, 0.3))
    widest = ranges.choose(histograms, "minmax")
    stated = _limits(model, histograms, chosen, percentile)
    plain = Prepared(model=model, ranges=stated, widest=widest, histograms=histograms)
    if effort == "none" or len(model.subgraphs) > 1 or count_samples(feeds) < 4:
        return plain
    learn, judged = split_feeds(feeds, effort)
    try:
        plain.judge = judge = Judge(model, judged, emissions)
        plain.int8_db = judge.int8_db(model, plain.ranges)
    except (
        ConversionError
    ) as error:  # not even the plain int8 file can be made; other schemes still can
        plain.passes.append(_result("as it comes", f"{GAVE_UP}{error}", None, True, 0.0))
        return plain
    plain.passes.append(_result("as it comes", f"ranges {_name(chosen)}", plain.int8_db, True, 0.0))
    run = _Preparation(judge, Bench(feeds=learn, emissions=emissions), chosen, percentile, plain)
    wanted = _PASSES[effort] - set(without)
    if "equalization" in wanted:
        progress(0.35, "equalizing channels")
        run.equalize(feeds, _part(progress, 0.35, 0.45))
    if "input-ranges" in wanted:
        run.settle_inputs(_part(progress, 0.45, 0.55))
    run.best.unrounded = unrounded = run.best.model
    if "rounding" in wanted:
        progress(0.55, "rounding weights")
        run.try_pass("error-compensated rounding", run.pass_of(passes.RoundWeights))
        if effort == "thorough":
            run.draw_again(unrounded, _part(progress, 0.6, 0.9))
    elif "bias-correction" in wanted:  # rounding does it on its way
        progress(0.55, "correcting biases")
        run.try_pass("bias correction", run.pass_of(passes.CorrectBias))
    progress(0.9, "choosing ranges")
    run.choose_ranges(run.histograms or histograms, _CANDIDATES[effort])
    if "drift-correction" in wanted:
        progress(0.95, "correcting drift")
        run.try_pass("drift correction", run.pass_of(passes.CorrectDrift, original=model))
    return _never_worse(run.best, plain)


def _limits(
    model: Model, histograms: Mapping[str, Histogram], method: ranges.Method, percentile: float
) -> Ranges:
    """The ranges by a method, minmax where it is not stated yet."""
    found = ranges.choose(histograms, _name(method), percentile)
    return ranges.without_ignored(found, model)


def _name(method: ranges.Method) -> ranges.Method:
    return "minmax" if method == "auto" else method


def _never_worse(best: Prepared, plain: Prepared) -> Prepared:
    """The model as it came where all the care led nowhere."""
    if best.int8_db is None or plain.int8_db is None or best.int8_db > plain.int8_db:
        return best
    gone = _result("back to the model as it came", "nothing helped", plain.int8_db, True, 0.0)
    return replace(plain, passes=[*best.passes, gone])


class _Preparation:
    """The best model so far, and the passes that try to better it."""

    def __init__(
        self, judge: Judge, bench: Bench, method: ranges.Method, percentile: float, plain: Prepared
    ) -> None:
        self.best = plain
        self.histograms: dict[str, Histogram] | None = None
        self._judge, self._bench = judge, bench
        self._method, self._percentile = method, percentile
        self._settled: dict[str, tuple[float, float]] = {}
        self._learned = count_samples(bench.feeds)
        self._compared = min(_MOST_TO_COMPARE, self._learned)

    def equalize(self, feeds: Sequence[SampleFeed], progress: Callable[[float, str], None]) -> None:
        """Equalize; kept where the float model stays what it was, whatever int8 says yet.

        Equalized weights only pay off once they are rounded with care, so the judgement is left to
        the end, where the whole is compared with the model as it came.
        """
        started = time.monotonic()
        model, done = self.pass_of(passes.EqualizeChannels).prepared()
        if not (done.changed or done.failures):
            return
        equal = done.changed and self._judge.float_db(model) >= _EQUAL_DB
        if equal:
            self.histograms = observe(model, feeds, progress=progress)
            widest = ranges.choose(self.histograms, "minmax")
            limits = self._limits(model, self.histograms, self._method, self._percentile)
            value = self._judge.int8_db(model, limits)
            self.best = replace(
                self.best,
                model=model,
                ranges=limits,
                widest=widest,
                int8_db=value,
                histograms=self.histograms,
            )
        seconds = time.monotonic() - started
        result = _result("channel equalization", _said(done), self.best.int8_db, equal, seconds)
        self.best.passes.append(result)

    def settle_inputs(self, progress: Callable[[float, str], None]) -> None:
        """Narrow the inputs' ranges where the outputs gain by it, everything else in float.

        8-bit pictures lie on grids of their own, one per channel after normalization. Rounding them
        to the grid of the file shifts whole areas of like colour, and no later layer averages that
        out. Which range has the luckiest grid cannot be told from histograms: it is measured.
        """
        if self._method != "auto":
            return
        started = time.monotonic()
        few = choose_samples(self._bench.feeds, _spread(range(self._learned), self._compared))
        value: float | None = None
        kept = False
        try:
            judge = Judge(self.best.model, few, self._bench.emissions)
            found = self._narrowest(judge, progress)
            changed = [name for name in found if found[name] != self.best.ranges[name]]
            if not changed:
                return
            before = self._judge.inputs_db(self.best.model, self.best.ranges)
            after = self._judge.inputs_db(self.best.model, found)
            value = self._judge.int8_db(self.best.model, found)
        except ConversionError as error:
            did = f"{GAVE_UP}{error}"
        else:
            did = f"{len(changed)} inputs, alone {before:.1f} dB before and {after:.1f} dB now"
            # With weights that are not rounded with care yet, the whole file tells less exactly.
            unhurt = self.best.int8_db is None or value > self.best.int8_db - _UNSURE_DB
            kept = after > before + _NOISE_DB and unhurt
        if kept:
            self._settled = {name: found[name] for name in changed}
            self.best = replace(self.best, ranges=found, int8_db=value)
        seconds = time.monotonic() - started
        self.best.passes.append(_result("input ranges", did, value, kept, seconds))

    def _narrowest(self, judge: Judge, progress: Callable[[float, str], None]) -> Ranges:
        """The ranges with the best of some shrinks of each input's upper, then its lower end."""
        best = dict(self.best.ranges)
        best_db = judge.inputs_db(self.best.model, best)
        inputs = self.best.model.main.inputs
        names = [t.name for t in inputs if t.name in best and t.stated_range is None]
        shrinks = [(1.0, up) for up in _SHRINKS] + [(down, 1.0) for down in _SHRINKS]
        for number, name in enumerate(names):
            for place, (down, up) in enumerate(shrinks):
                done = (number + place / len(shrinks)) / len(names)
                progress(done, "settling the inputs' ranges")
                low, high = self.best.ranges[name]
                # The upper end that was best so far stays while the lower one is tried.
                tried = {**best, name: (low * down, high * up if up < 1 else best[name][1])}
                value = judge.inputs_db(self.best.model, tried)
                if value > best_db + _NOISE_DB:
                    best, best_db = tried, value
        return best

    def draw_again(self, unrounded: Model, progress: Callable[[float, str], None]) -> None:
        """Round with other draws and dampings, then in stages.

        Which patches are drawn decides thousands of roundings, and by chance some draws are better
        than others; how good a draw is on held-out samples tells how good it is on new ones.
        """
        for number, (seed, damping) in enumerate(_DRAWS):
            progress(number / len(_DRAWS), f"rounding weights, draw {number + 2}")
            bench = replace(self._bench, seed=seed, damping=damping)
            draw = passes.RoundWeights(bench=bench, source=unrounded, ranges=self.best.ranges)
            self.try_pass(f"rounding with seed {seed}, damping {damping}", draw)
        progress(0.9, "rounding weights in stages")
        stages = self.pass_of(passes.RoundInSequence, unrounded=unrounded)
        self.try_pass("rounding in stages", stages)

    def choose_ranges(self, histograms: dict[str, Histogram], methods: Sequence[str]) -> None:
        """Where no method was stated: each of some, if it measures better than those before."""
        if self._method != "auto":
            return
        for method in methods:
            started = time.monotonic()
            limits = self._limits(self.best.model, histograms, *ranges.parse_method(method))
            value = self._judge.int8_db(self.best.model, limits)
            better = self._gains(value)
            if better:
                self.best = replace(self.best, ranges=limits, int8_db=value)
            seconds = time.monotonic() - started
            self.best.passes.append(_result("ranges", method, value, better, seconds))

    def pass_of(self, kind: Callable[..., _P], **more: Any) -> _P:
        """A pass over the best model so far, with its ranges."""
        return kind(bench=self._bench, source=self.best.model, ranges=self.best.ranges, **more)

    def try_pass(self, name: str, one: passes.Preparation) -> None:
        """Run a pass; keep its model if that measures better."""
        started = time.monotonic()
        model, done = one.prepared()
        if not (done.changed or done.failures):
            return
        did, value = _said(done), float("-inf")
        if done.changed:
            try:
                value = self._judge.int8_db(model, self.best.ranges)
            except ConversionError as error:
                did = f"{GAVE_UP}{error}"
        kept = self._gains(value)
        if kept:
            self.best = replace(self.best, model=model, int8_db=value)
        seconds = time.monotonic() - started
        self.best.passes.append(_result(name, did, value, kept, seconds))

    def _limits(
        self,
        model: Model,
        histograms: Mapping[str, Histogram],
        method: ranges.Method,
        percentile: float,
    ) -> Ranges:
        return {**_limits(model, histograms, method, percentile), **self._settled}

    def _gains(self, value: float) -> bool:
        return self.best.int8_db is None or value > self.best.int8_db + _NOISE_DB


def split_feeds(
    feeds: Sequence[SampleFeed], effort: Effort = "balanced"
) -> tuple[list[SampleFeed], list[SampleFeed]]:
    """The samples to learn from and the held-out ones, both bounded so that time is."""
    count = count_samples(feeds)
    most = _MOST_TO_LEARN_THOROUGHLY if effort == "thorough" else _MOST_TO_LEARN
    judged = held_out(count)
    left = sorted(set(range(count)) - set(judged))
    learn = _spread(left, min(most, len(left)))
    return choose_samples(feeds, learn), choose_samples(feeds, judged)


def held_out(count: int) -> list[int]:
    """The places of the held-out ones among so many samples."""
    held = max(2, min(_MOST_TO_JUDGE, round(count * _HELD_OUT)))
    return _spread(range(count), held)


def _spread(places: Sequence[int], count: int) -> list[int]:
    """So many of the places, evenly: samples often come sorted by class or by time."""
    return [places[(2 * number + 1) * len(places) // (2 * count)] for number in range(count)]


def _said(done: PassResult) -> str:
    return "; ".join([*done.notes, *done.failures])


def _result(name: str, did: str, value: float | None, kept: bool, seconds: float) -> TriedPass:
    finite = value is not None and value > float("-inf")
    shown = round(value, 2) if finite and value is not None else None
    return TriedPass(name=name, did=did, kept=kept, int8_db=shown, seconds=round(seconds, 2))


def _part(
    progress: Callable[[float, str], None], start: float, end: float
) -> Callable[[float, str], None]:
    return lambda fraction, message: progress(start + (end - start) * fraction, message)
