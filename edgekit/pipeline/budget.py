"""The accuracy budget of the int8 schemes: what its flags ask, as gates."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from edgekit.contract import Task
from edgekit.errors import UsageError
from edgekit.types import EIGHT_BIT_SCHEMES, Gate, Scheme

if TYPE_CHECKING:
    from edgekit.pipeline.request import ConversionRequest

AGREEMENT: dict[Task, str] = {
    "detection": "map_50_agreement",
    "segmentation": "pixel_agreement",
    "embedding": "neighbour_agreement",
    "image-to-image": "ssim_to_reference",
    "sequence": "text_agreement",
    "keypoints": "pck_agreement",
    "depth": "delta1_agreement",
}
"""Where there is no top-1: the figure of the task that is 1 for a file that does as the framework.
What is missing to 1 is what was lost."""
BUDGET_METRICS = frozenset({"drop", "top1_agreement", *AGREEMENT.values()})
"""What a budget may be about besides the SQNR; not every model has them."""


def is_stated(request: ConversionRequest) -> bool:
    """Whether an accuracy is asked for, so that the int8 schemes climb the ladder."""
    return bool(_flags(request))


def check_int8_wishes(request: ConversionRequest, schemes: Sequence[Scheme]) -> None:
    """The budget and single layers' precision are about int8 files made with real data.

    Raises:
        UsageError: they are not, or a limit makes no sense.
    """
    stated = _flags(request) + ["--max-latency"] * (request.max_latency is not None)
    if stated and request.synthetic:
        raise UsageError(
            f"{stated[0]} cannot be held with random inputs.",
            cure="Give real inputs with --calibration.",
        )
    _check_limits(request)
    stated += ["--keep-float"] * bool(request.keep_float)
    stated += ["--keep-int16"] * bool(request.keep_int16)
    if stated and not set(schemes) & EIGHT_BIT_SCHEMES:
        raise UsageError(
            f"{stated[0]} is about int8, which is not among the schemes.",
            cure="Add --scheme int8.",
        )


def budget_gates(request: ConversionRequest, task: Task | None) -> Iterator[Gate]:
    """The budget as gates of an int8 file.

    Raises:
        UsageError: the task has nothing that could agree.
    """
    if request.min_sqnr is not None:
        yield Gate(metric="centred_sqnr_db", comparison=">=", limit=request.min_sqnr)
    drop, agreement = request.max_drop, request.min_agreement
    if task == "regression" and not drop is agreement is None:
        raise UsageError(
            "--max-drop and --min-agreement count decisions, and a regression makes none.",
            cure="State --min-sqnr, or besides it --gate 'int8:rmse_to_reference <= LIMIT'.",
        )
    if (metric := AGREEMENT.get(task) if task else None) is not None:
        limits = [] if agreement is None else [agreement]
        limits += [] if drop is None else [round(1 - drop, 9)]
        if limits:
            yield Gate(metric=metric, comparison=">=", limit=max(limits))
        return
    if drop is not None:
        yield Gate(metric="drop", comparison="<=", limit=drop)
    if agreement is not None:
        yield Gate(metric="top1_agreement", comparison=">=", limit=agreement)


def _flags(request: ConversionRequest) -> list[str]:
    limits = {
        "--max-drop": request.max_drop,
        "--min-sqnr": request.min_sqnr,
        "--min-agreement": request.min_agreement,
    }
    return [flag for flag, limit in limits.items() if limit is not None]


def _check_limits(request: ConversionRequest) -> None:
    """NaN would hold on no rung, and a share beyond 1 on all of them."""
    if request.min_sqnr is not None and not math.isfinite(request.min_sqnr):
        raise UsageError(
            f"--min-sqnr {request.min_sqnr} is not a number of decibels.", cure="For example 22"
        )
    latency = request.max_latency
    if latency is not None and not (math.isfinite(latency) and latency >= 1):
        raise UsageError(
            f"--max-latency {latency} is not a multiple of the time that plain int8 takes.",
            cure="For example 1.25: a quarter more",
        )
    shares = {"--max-drop": request.max_drop, "--min-agreement": request.min_agreement}
    for flag, limit in shares.items():
        if limit is not None and not 0 <= limit <= 1:
            raise UsageError(f"{flag} {limit} is not a share.", cure="For example 1% or 0.01")
