"""Quantizing one file into one or more schemes; the calibration set is observed once for all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from tempfile import mkdtemp

from edgekit.errors import ConversionError, UsageError
from edgekit.quantize import heads, mixed_precision, ranges
from edgekit.quantize.advice import CalibrationAdvice, Screened, screen, unlike
from edgekit.quantize.emit import NO_EXCEPTIONS, Exceptions, emit, refuse_bad_source
from edgekit.quantize.integer_ops.emitted import Left
from edgekit.quantize.integer_ops.rewrites import before_passes
from edgekit.quantize.judge import Judge
from edgekit.quantize.layer_costs import restore
from edgekit.quantize.observe import SampleFeed, choose_samples, count_samples, observe
from edgekit.quantize.prepare import Prepared, TriedPass, held_out, prepare, split_feeds
from edgekit.quantize.settling import settling
from edgekit.quantize.weight_schemes import WeightResult, prepare_weights
from edgekit.tflite.model import read
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
        work: a folder for intermediate files.
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
        refuse_bad_source(read(model))
        self._as_it_came = model
        self.model = before_passes(model, work)
        self._feeds, self._work, self._parity = feeds, work, parity
        self._without = without
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
            exceptions: operators of the int8 schemes that compute with more than 8 bits.
            keep_prepared: where to put the prepared float model.
            progress: told the fraction done.

        Raises:
            DataError: the calibration samples lead to NaN or infinite values.
            UsageError: an unknown method.
        """
        outcome = QuantizeOutcome()
        integer = bool(EIGHT_BIT_SCHEMES & set(outputs))
        prepared, cut, feeds = Prepared(model=self.model, ranges={}), None, self._feeds
        if _INTEGER_WEIGHTS & set(outputs):
            care: Effort = effort if integer else "none"
            cut, screened = self._screen(care, progress)
            prepared = self._prepare(
                care, method, lambda fraction, message: progress(0.6 * fraction, message)
            )
            feeds = screened.feeds
            outcome.mixed, outcome.passes = cut.mixed, tuple(prepared.passes)
            outcome.advice = self._advise(cut, screened, prepared, effort)
        outcome.weights = _prepare_weights(self.model, outputs, feeds, self._work, effort, progress)
        cut = cut or heads.Split(model=self.model)
        if keep_prepared is not None:
            _keep(keep_prepared, prepared, cut, outcome.weights, integer=integer)
        if "int16x8" in outputs and cut.model != self.model:
            # From the whole model: 16 bits have steps enough, and apps keep their one output.
            histograms = observe(self.model, feeds, work=self._work, progress=progress)
            prepared = replace(prepared, widest=ranges.choose(histograms, "minmax"))
        prepared = replace(prepared, model=self._restored(prepared, exceptions))
        for number, (scheme, output) in enumerate(outputs.items()):
            progress(0.9 + 0.1 * number / len(outputs), scheme)
            try:
                source = self._as_it_came if scheme in _FLOAT else self.model
                _write(source, prepared, cut, scheme, output, outcome, exceptions)
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
            Judge(cut.model, half if count > 1 else held, work=self._work) for half in halves
        )
        return mixed_precision.find_front(
            prepared.model,
            prepared.ranges,
            choosing,
            judging,
            self._work,
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
            cut = heads.cut(self.model, self._feeds, work=self._work, mend=mend)
            # Samples are left out only where it can be measured what that does.
            measurable = mend and len(read(cut.model).subgraphs) == 1
            self._cuts[mend] = cut
            self._screened[mend] = screen(
                cut.model,
                self._feeds,
                work=self._work,
                held_out=(lambda clean: split_feeds(clean)[1]) if measurable else None,
                progress=lambda fraction, message: progress(0.18 * fraction, message),
            )
        return self._cuts[mend], self._screened[mend]

    def _prepare(
        self, effort: Effort, method: str, progress: Callable[[float, str], None]
    ) -> Prepared:
        if (effort, method) not in self._prepared:
            cut, screened = self._screen(effort, progress)
            folder = Path(mkdtemp(prefix="prepared-", dir=self._work))
            self._prepared[effort, method] = prepare(
                cut.model,
                feeds=screened.feeds,
                work=folder,
                effort=effort,
                method=method,
                observed=screened.histograms,
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
            advice += unlike(cut.model, screened.histograms, self._parity, work=self._work)
        return tuple(advice)

    def _restored(self, prepared: Prepared, exceptions: Exceptions) -> Path:
        """The prepared model, with the original weights of what computes in float.

        Raises:
            UsageError: an exception names no operator.
        """
        known = {operator.outputs[0].name for operator in read(prepared.model).main.operators}
        for name in sorted((exceptions.floating | exceptions.sixteen) - known):
            raise UsageError(
                f"No operator of the model makes a tensor named {name!r}."
                + "".join(f" Did you mean {near!r}?" for near in get_close_matches(name, known, 1)),
                cure="The names are in the report's ladder and in: edgekit sensitivity",
            )
        output = self._work / "restored.tflite"
        return restore(prepared.model, prepared.unrounded, exceptions, output)


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
    others = [result.model for result in weights]
    if integer or not others or others[0] == prepared.model:
        heads.join(prepared.model, cut, path)
    else:
        shutil.copyfile(others[0], path)


def _prepare_weights(
    model: Path,
    outputs: Mapping[Scheme, Path],
    feeds: Sequence[SampleFeed],
    work: Path,
    effort: Effort,
    progress: Callable[[float, str], None],
) -> tuple[WeightResult, ...]:
    """The schemes with float or nearly exact activations, where there is enough to learn from."""
    wanted = [scheme for scheme in outputs if scheme in _WITH_EXACT_ACTIVATIONS]
    if not wanted or len(read(model).subgraphs) > 1 or count_samples(feeds) < 4:
        return ()
    learn, judged = split_feeds(feeds)
    return tuple(
        prepare_weights(
            model,
            wanted,
            learn=learn,
            judged=judged,
            work=work,
            effort=effort,
            progress=lambda fraction, message: progress(0.6 + 0.3 * fraction, message),
        )
    )


def _write(
    model: Path,
    prepared: Prepared,
    cut: heads.Split,
    scheme: Scheme,
    output: Path,
    outcome: QuantizeOutcome,
    exceptions: Exceptions,
) -> None:
    """Write a scheme and note in the outcome what is to be said about the file."""
    if _written_as(scheme) == "int8-float-io" and cut.joins:
        joined, made = heads.emit_joined(prepared, cut, output, exceptions)
        outcome.joined[scheme], outcome.left[scheme] = joined, tuple(made.left)
    elif scheme in EIGHT_BIT_SCHEMES:
        made = emit(prepared.model, output, _written_as(scheme), prepared.ranges, exceptions)
        outcome.left[scheme] = tuple(made.left)
        if cut.joins:
            outcome.cut = (*outcome.cut, scheme)
    elif scheme == "fp32":
        shutil.copyfile(model, output)
    else:
        sources = {result.scheme: result.model for result in outcome.weights}
        # Clipping pays where steps are coarse; 16 bits have steps enough for the whole range.
        emit(sources.get(scheme, model), output, scheme, prepared.widest)
