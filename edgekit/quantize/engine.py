"""Quantizing one file into one or more schemes; the calibration set is observed once for all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path

from edgekit.errors import ConversionError, UsageError
from edgekit.quantize import heads, mixed_precision, ranges
from edgekit.quantize.advice import CalibrationAdvice, Screened, screen, unlike
from edgekit.quantize.emit import (
    NO_EXCEPTIONS,
    Emissions,
    Exceptions,
    by_tensor,
    refuse_bad_source,
)
from edgekit.quantize.integer_ops.emitted import Left
from edgekit.quantize.integer_ops.rewrites import Simplify
from edgekit.quantize.judge import Judge
from edgekit.quantize.layer_costs import restore
from edgekit.quantize.observe import (
    SampleFeed,
    choose_samples,
    count_samples,
    laid_out,
    observe,
)
from edgekit.quantize.prepare import GAVE_UP, Prepared, TriedPass, held_out, prepare, split_feeds
from edgekit.quantize.settling import settling
from edgekit.quantize.weight_schemes import WeightResult, prepare_weights
from edgekit.tflite.model import Model, read, write, write_bytes
from edgekit.tflite.passes import attempt
from edgekit.types import (
    CALIBRATED_SCHEMES,
    EIGHT_BIT_SCHEMES,
    WEIGHT_SCHEMES,
    Effort,
    Pass,
    Scheme,
)

_INTEGER_WEIGHTS: frozenset[Scheme] = CALIBRATED_SCHEMES | WEIGHT_SCHEMES
_WITH_EXACT_ACTIVATIONS: frozenset[Scheme] = WEIGHT_SCHEMES | {"int16x8"}
_FLOAT: frozenset[Scheme] = frozenset({"fp32", "fp16"})


@dataclass(kw_only=True)
class QuantizeOutcome:
    """Which schemes could not be written and why, what the passes did, advice on the data."""

    failures: dict[Scheme, str] = field(default_factory=dict)
    passes: tuple[TriedPass, ...] = ()
    advice: tuple[CalibrationAdvice, ...] = ()
    weights: tuple[WeightResult, ...] = ()
    mixed: tuple[heads.MixedTensor, ...] = ()
    cut: tuple[Scheme, ...] = ()
    """Schemes whose files have the parts of mixed outputs as their outputs."""
    left: dict[Scheme, tuple[Left, ...]] = field(default_factory=dict)
    """What computes in float in the int8 schemes, and why."""
    joined: dict[Scheme, str] = field(default_factory=dict)
    """Schemes whose files have mixed outputs joined in float, and how."""

    @property
    def gave_up(self) -> tuple[str, ...]:
        """Which steps of the preparation could not be done, and why."""
        tried = [(one.name, one.did) for one in self.passes]
        tried += [(f"the preparation for {one.scheme}", one.did) for one in self.weights]
        return tuple(f"{name} was left out: {did}" for name, did in tried if GAVE_UP in did)


def quantize(
    model: Path,
    outputs: Mapping[Scheme, Path],
    *,
    feeds: Sequence[SampleFeed],
    work: Path,
    effort: Effort = "balanced",
    method: str = "auto",
    keep_prepared: Path | None = None,
    parity: Sequence[SampleFeed] = (),
    without: Collection[Pass] = (),
    progress: Callable[[float, str], None],
) -> QuantizeOutcome:
    """Write one file per scheme; see `Engine` and `Engine.write`."""
    engine = Engine(model, feeds, work=work, parity=parity, without=without)
    return engine.write(
        outputs, effort=effort, method=method, keep_prepared=keep_prepared, progress=progress
    )


class Engine:
    """A float model and its calibration samples; what was found out about them is kept.

    Args:
        model: the float `.tflite`.
        feeds: calibration samples, one feed per input.
        work: a folder for the samples in the layout of the file.
        parity: samples that the files will be compared on; only for a look whether the
            calibration samples are like them.
        without: passes that are left out of every preparation.

    Raises:
        ModelError: the file is quantized already.
    """

    def __init__(
        self,
        model: Path,
        feeds: Sequence[SampleFeed],
        *,
        work: Path,
        parity: Sequence[SampleFeed] = (),
        without: Collection[Pass] = (),
    ) -> None:
        self._file, self._as_it_came = model, read(model)
        refuse_bad_source(self._as_it_came)
        self.model = self._as_it_came.copy()
        attempt(Simplify(), self.model)
        self._feeds, self._parity = laid_out(feeds, work), parity
        self._without, self._emissions = without, Emissions()
        self._cuts: dict[bool, heads.Split] = {}
        self._screened: dict[bool, Screened] = {}
        self._prepared: dict[tuple[Effort, str], Prepared] = {}

    def write(
        self,
        outputs: Mapping[Scheme, Path],
        *,
        effort: Effort = "balanced",
        method: str = "auto",
        exceptions: Exceptions = NO_EXCEPTIONS,
        keep_prepared: Path | None = None,
        progress: Callable[[float, str], None],
    ) -> QuantizeOutcome:
        """Write one file per scheme.

        Args:
            outputs: where to write each scheme.
            effort: how carefully the model is prepared, see `edgekit.types.Effort`.
            method: how ranges are chosen, see `edgekit.quantize.ranges`.
            exceptions: operators of the int8 schemes that compute with more than 8 bits, by their
                first outputs or by the layers that they come from.
            keep_prepared: where to put the prepared float model.
            progress: told the fraction done.

        Raises:
            DataError: the calibration samples lead to NaN or infinite values.
            UsageError: an unknown method.
        """
        outcome = QuantizeOutcome()
        integer = bool(EIGHT_BIT_SCHEMES & set(outputs))
        prepared, cut = Prepared(model=self.model, ranges={}), None
        feeds: Sequence[SampleFeed] = self._feeds
        if _INTEGER_WEIGHTS & set(outputs):
            care: Effort = effort if integer else "none"
            cut, screened = self._screen(care, progress)
            prepared = self._prepare(
                care, method, lambda fraction, message: progress(0.6 * fraction, message)
            )
            feeds = screened.feeds
            outcome.mixed, outcome.passes = cut.mixed, tuple(prepared.passes)
            outcome.advice = self._advise(cut, screened, prepared, effort)
        outcome.weights = self._prepare_weights(outputs, feeds, effort, progress)
        cut = cut or heads.Split(model=self.model)
        if keep_prepared is not None:
            _keep(keep_prepared, prepared, cut, outcome.weights, integer=integer)
        if "int16x8" in outputs and cut.model is not self.model:
            # From the whole model: 16 bits have steps enough, and apps keep their one output.
            histograms = observe(self.model, feeds, progress=progress)
            prepared = replace(prepared, widest=ranges.choose(histograms, "minmax"))
        exceptions = by_tensor(exceptions, prepared.model)
        prepared = replace(prepared, model=self._restored(prepared, exceptions))
        for number, (scheme, output) in enumerate(outputs.items()):
            progress(0.9 + 0.1 * number / len(outputs), scheme)
            try:
                self._write(prepared, cut, scheme, output, outcome, exceptions)
            except ConversionError as error:
                outcome.failures[scheme] = f"{error.cause} {error.cure}".strip()
        return outcome

    def front(
        self,
        *,
        effort: Effort,
        method: str,
        scheme: Scheme = "int8",
        progress: Callable[[float, str], None],
    ) -> list[mixed_precision.Mix]:
        """Which layers to take out of 8 bits, from the fastest mix to the most accurate.

        Empty where nothing can be measured.
        """
        cut, screened = self._screen(effort, progress)
        prepared = self._prepare(
            effort, method, lambda fraction, text: progress(0.2 * fraction, text)
        )
        if prepared.judge is None:
            return []
        _, held = split_feeds(screened.feeds, effort)
        count = count_samples(held)
        halves = [choose_samples(held, range(first, count, 2)) for first in (0, 1)]
        choosing, judging = (
            Judge(cut.model, half if count > 1 else held, self._emissions) for half in halves
        )
        return mixed_precision.find_front(
            prepared.model,
            prepared.ranges,
            choosing,
            judging,
            scheme=_written_as(scheme),
            unrounded=prepared.unrounded,
            progress=lambda fraction, text: progress(0.2 + 0.8 * fraction, text),
        )

    def _screen(
        self, effort: Effort, progress: Callable[[float, str], None]
    ) -> tuple[heads.Split, Screened]:
        """Cut mixed outputs apart, and look at the samples; with effort none nothing is mended."""
        mend = effort != "none"
        if mend not in self._screened:
            cut = heads.cut(self.model, self._feeds, mend=mend)
            # Samples are left out only where it can be measured what that does.
            measurable = mend and len(cut.model.subgraphs) == 1
            self._cuts[mend] = cut
            self._screened[mend] = screen(
                cut.model,
                self._feeds,
                held_out=(lambda clean: split_feeds(clean)[1]) if measurable else None,
                progress=lambda fraction, message: progress(0.18 * fraction, message),
            )
        return self._cuts[mend], self._screened[mend]

    def _prepare(
        self, effort: Effort, method: str, progress: Callable[[float, str], None]
    ) -> Prepared:
        if (effort, method) not in self._prepared:
            cut, screened = self._screen(effort, progress)
            self._prepared[effort, method] = prepare(
                cut.model,
                feeds=screened.feeds,
                effort=effort,
                method=method,
                observed=screened.histograms,
                emissions=self._emissions,
                without=self._without,
                progress=progress,
            )
        return self._prepared[effort, method]

    def _advise(
        self, cut: heads.Split, screened: Screened, prepared: Prepared, effort: Effort
    ) -> tuple[CalibrationAdvice, ...]:
        """Everything that is to be said about the calibration samples."""
        advice = [*screened.advice]
        if not screened.degenerate:
            learn, _ = split_feeds(screened.feeds, effort)
            found = settling(
                prepared.histograms,
                model=prepared.model,
                chosen=prepared.ranges,
                # Measuring the curve costs three int8 files and their runs: not for a fast look.
                judge=prepared.judge if effort in ("balanced", "thorough") else None,
                learned=count_samples(learn),
                held=held_out(count_samples(screened.feeds)),
            )
            advice.append(found)
        if self._parity:
            advice += unlike(cut.model, screened.histograms, self._parity)
        return tuple(advice)

    def _restored(self, prepared: Prepared, exceptions: Exceptions) -> Model:
        """The prepared model, with the original weights of what computes in float.

        Raises:
            UsageError: an exception names no operator.
        """
        known = {operator.outputs[0].name for operator in prepared.model.main.operators}
        for name in sorted((exceptions.floating | exceptions.sixteen) - known):
            raise UsageError(
                f"No operator of the model makes a tensor named {name!r}."
                + "".join(f" Did you mean {near!r}?" for near in get_close_matches(name, known, 1)),
                cure="The names are in the report's ladder and in: edgekit sensitivity",
            )
        return restore(prepared.model, prepared.unrounded, exceptions)

    def _prepare_weights(
        self,
        outputs: Mapping[Scheme, Path],
        feeds: Sequence[SampleFeed],
        effort: Effort,
        progress: Callable[[float, str], None],
    ) -> tuple[WeightResult, ...]:
        """The schemes with float or nearly exact activations, where there is enough to learn."""
        wanted = [scheme for scheme in outputs if scheme in _WITH_EXACT_ACTIVATIONS]
        if not wanted or len(self.model.subgraphs) > 1 or count_samples(feeds) < 4:
            return ()
        learn, judged = split_feeds(feeds)
        return tuple(
            prepare_weights(
                self.model,
                wanted,
                learn=learn,
                judged=judged,
                emissions=self._emissions,
                effort=effort,
                progress=lambda fraction, message: progress(0.6 + 0.3 * fraction, message),
            )
        )

    def _write(
        self,
        prepared: Prepared,
        cut: heads.Split,
        scheme: Scheme,
        output: Path,
        outcome: QuantizeOutcome,
        exceptions: Exceptions,
    ) -> None:
        """Write a scheme and note in the outcome what is to be said about the file."""
        if scheme == "fp32":
            shutil.copyfile(self._file, output)
            return
        if _written_as(scheme) == "int8-float-io" and cut.joins:
            outcome.joined[scheme], made = heads.emit_joined(
                prepared, cut, self._emissions, exceptions
            )
        elif scheme in EIGHT_BIT_SCHEMES:
            made = self._emissions(prepared.model, _written_as(scheme), prepared.ranges, exceptions)
            if cut.joins:
                outcome.cut = (*outcome.cut, scheme)
        else:
            source = self._as_it_came if scheme in _FLOAT else self.model
            sources = {result.scheme: result.model for result in outcome.weights}
            # Clipping pays where steps are coarse; 16 bits have steps enough for the whole range.
            made = self._emissions(sources.get(scheme, source), scheme, prepared.widest)
        if scheme in EIGHT_BIT_SCHEMES:
            outcome.left[scheme] = tuple(made.result.left)
        write_bytes(made.data, output)


def _written_as(scheme: Scheme) -> Scheme:
    """A mixed file is one with float inputs and outputs, and with exceptions."""
    return "int8-float-io" if scheme == "int8-mixed" else scheme


def _keep(
    path: Path,
    prepared: Prepared,
    cut: heads.Split,
    weights: Sequence[WeightResult],
    *,
    integer: bool,
) -> None:
    """Put the prepared float model where the user finds it."""
    if integer or not weights or weights[0].model is prepared.model:
        write(heads.join(prepared.model, cut), path)
    else:
        write(weights[0].model, path)
