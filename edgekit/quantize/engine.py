"""Quantizing one file into one or more schemes; the calibration set is observed once for all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from edgekit.quantize.emit import emit
from edgekit.quantize.observe import Feed, observe_ranges
from edgekit.types import CALIBRATED_SCHEMES, Scheme


def quantize(
    model: Path,
    outputs: Mapping[Scheme, Path],
    *,
    feeds: Sequence[Feed],
    work: Path,
    progress: Callable[[float, str], None],
) -> dict[Scheme, str]:
    """Write one file per scheme.

    Args:
        model: the float `.tflite`.
        outputs: where to write each scheme.
        feeds: calibration samples, one feed per input; may be empty where no scheme needs them.
        work: a folder for intermediate files.
        progress: told the fraction done.

    Returns:
        For each scheme that could not be written, why; empty where all could.

    Raises:
        DataError: the calibration samples lead to NaN or infinite values.
    """
    from edgekit.errors import ConversionError

    ranges = None
    if CALIBRATED_SCHEMES & set(outputs):
        ranges = observe_ranges(model, feeds, work=work, progress=_part(progress, 0.0, 0.8))
    failures: dict[Scheme, str] = {}
    for number, (scheme, output) in enumerate(outputs.items()):
        progress(0.8 + 0.2 * number / len(outputs), scheme)
        if scheme == "fp32":
            shutil.copyfile(model, output)
            continue
        try:
            emit(model, output, scheme, ranges)
        except ConversionError as error:
            failures[scheme] = f"{error.cause} {error.cure}".strip()
    return failures


def _part(
    progress: Callable[[float, str], None], start: float, end: float
) -> Callable[[float, str], None]:
    return lambda fraction, message: progress(start + (end - start) * fraction, message)
