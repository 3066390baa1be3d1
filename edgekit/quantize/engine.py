"""Quantizing one file into one or more schemes; the calibration set is observed once for all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgekit.errors import ConversionError
from edgekit.quantize.emit import emit
from edgekit.quantize.observe import Feed
from edgekit.quantize.prepare import PassResult, Prepared, prepare
from edgekit.types import CALIBRATED_SCHEMES, Effort, Scheme

_INTEGER_WEIGHTS: frozenset[Scheme] = CALIBRATED_SCHEMES | {"dynamic-int8", "weight-only-int8"}


@dataclass(kw_only=True)
class Outcome:
    """Which schemes could not be written and why, and what the passes did."""

    failures: dict[Scheme, str] = field(default_factory=dict)
    passes: tuple[PassResult, ...] = ()


def quantize(
    model: Path,
    outputs: Mapping[Scheme, Path],
    *,
    feeds: Sequence[Feed],
    work: Path,
    effort: Effort = "balanced",
    method: str = "auto",
    keep_prepared: Path | None = None,
    progress: Callable[[float, str], None],
) -> Outcome:
    """Write one file per scheme.

    Args:
        model: the float `.tflite`.
        outputs: where to write each scheme.
        feeds: calibration samples, one feed per input.
        work: a folder for intermediate files.
        effort: how carefully the model is prepared, see `edgekit.types.Effort`.
        method: how ranges are chosen, see `edgekit.quantize.ranges`.
        keep_prepared: where to put the prepared float model.
        progress: told the fraction done.

    Raises:
        DataError: the calibration samples lead to NaN or infinite values.
        UsageError: an unknown method.
    """
    outcome = Outcome()
    prepared = Prepared(model=model, ranges={})
    if _INTEGER_WEIGHTS & set(outputs):
        prepared = prepare(
            model,
            feeds=feeds,
            work=work,
            effort=effort,
            method=method,
            progress=lambda fraction, message: progress(0.9 * fraction, message),
        )
        outcome.passes = tuple(prepared.passes)
    if keep_prepared is not None:
        shutil.copyfile(prepared.model, keep_prepared)
    for number, (scheme, output) in enumerate(outputs.items()):
        progress(0.9 + 0.1 * number / len(outputs), scheme)
        try:
            _write(model, prepared, scheme, output)
        except ConversionError as error:
            outcome.failures[scheme] = f"{error.cause} {error.cure}".strip()
    return outcome


def _write(model: Path, prepared: Prepared, scheme: Scheme, output: Path) -> None:
    if scheme == "fp32":
        shutil.copyfile(model, output)
    elif scheme == "fp16":
        emit(model, output, scheme)
    else:
        # Clipping pays where steps are coarse; 16 bits have steps enough for the whole range.
        ranges = prepared.widest if scheme == "int16x8" else prepared.ranges
        emit(prepared.model, output, scheme, ranges)
