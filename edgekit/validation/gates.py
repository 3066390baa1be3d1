"""Gates: conditions that a file must meet, their defaults, and the verdict."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal, assert_never, cast

from edgekit.contract import Task
from edgekit.errors import UsageError
from edgekit.types import (
    SCHEMES,
    Gate,
    GateResult,
    Interval,
    LatencyReport,
    OutputParity,
    ParityReport,
    PartParity,
    Scheme,
    Verdict,
)

FILE_METRICS = {
    "sqnr_db": "signal-to-noise ratio over all samples, of the worst output, in dB",
    "worst_sqnr_db": "the same for the worst single sample",
    "cosine": "cosine similarity of the worst output",
    "max_abs": "largest absolute difference of any value",
    "mean_abs": "mean absolute difference",
    "top1_agreement": "share of samples with the reference's arg-max",
    "top1_accuracy": "share of samples with the labelled class first",
    "top1_drop": "the reference's top-1 accuracy minus the file's",
    "drop": "top1_drop; without labels the share of changed decisions, which it cannot exceed",
    "nonfinite": "number of NaN or infinite values that the reference does not have",
    "latency_p50_ms": "median time of one inference in milliseconds",
    "latency_p90_ms": "90th percentile",
    "latency_p99_ms": "99th percentile",
    "size_mb": "file size in units of 1,000,000 bytes",
    "integer_share": "share of operators that compute in integers",
    "target_violations": "what keeps the file from fitting the targets, counted over all of them",
}

COST_METRICS = frozenset(
    {
        "latency_p50_ms",
        "latency_p90_ms",
        "latency_p99_ms",
        "size_mb",
        "integer_share",
        "target_violations",
    }
)
"""Those that say nothing about what a file computes."""

TASK_METRICS = {
    "top5_accuracy": "share of samples with the labelled class among the first five",
    "top5_drop": "the reference's top-5 accuracy minus the file's",
    "top5_agreement": "share of samples with the reference's arg-max among the file's first five",
    "ece": "expected calibration error: how far confidences are from the share of right answers",
    "map_50_95": "COCO mean average precision over IoU 0.50 to 0.95",
    "map_50": "mean average precision at IoU 0.50",
    "map_drop": "the reference's map_50_95 minus the file's",
    "map_agreement": "map_50_95 with the reference's confident detections as ground truth",
    "map_50_agreement": "the same at IoU 0.50",
    "map_50_drop": "the reference's map_50 minus the file's",
    "miou": "mean intersection over union of the classes, against labels",
    "miou_drop": "the reference's miou minus the file's",
    "miou_agreement": "miou with the reference's classes as labels",
    "pixel_accuracy": "share of labelled pixels with the right class",
    "pixel_agreement": "share of pixels with the reference's class",
    "pixel_accuracy_drop": "the reference's pixel accuracy minus the file's",
    "recall_at_1": "share of embeddings whose nearest neighbour has their label",
    "recall_at_5": "share of embeddings with their label among the five nearest",
    "recall_at_1_drop": "the reference's recall_at_1 minus the file's",
    "recall_at_5_drop": "the reference's recall_at_5 minus the file's",
    "neighbour_agreement": "share of embeddings whose nearest neighbour is the reference's",
    "mean_cosine": "mean cosine similarity of embeddings with the reference's",
    "mae": "mean absolute error against labels",
    "rmse": "root of the mean squared error against labels",
    "mae_increase": "the file's mae minus the reference's",
    "rmse_increase": "the file's rmse minus the reference's",
    "mae_to_reference": "mean absolute difference from the reference, over all values",
    "rmse_to_reference": "root of the mean squared difference from the reference",
    "psnr_db": "mean peak signal-to-noise ratio against the labelled pictures, in dB",
    "ssim": "mean structural similarity with the labelled pictures",
    "psnr_drop_db": "the reference's psnr_db minus the file's",
    "ssim_drop": "the reference's ssim minus the file's",
    "psnr_to_reference_db": "mean peak signal-to-noise ratio against the reference's pictures",
    "ssim_to_reference": "mean structural similarity with the reference's pictures",
}
"""Figures of a task (`edgekit.validation.metrics`), which have confidence intervals."""

METRICS = FILE_METRICS | TASK_METRICS

FLOAT_SQNR_DB = 60.0
"""A float conversion is right when every output has at least this; rounding alone leaves > 90."""

_PATTERN = re.compile(
    r"\s*(?:(?P<scheme>[\w-]+):)?(?P<metric>\w+)\s*(?P<cmp><=|>=|<|>)\s*"
    r"(?P<limit>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(?P<percent>%?)\s*"
    r"(?:\(\s*(?P<bound>lower|upper)\s*\)\s*)?",
    re.ASCII,
)


def parse(text: str, *, own: Collection[str] = ()) -> tuple[Scheme | None, Gate]:
    """``[SCHEME:]METRIC COMPARISON LIMIT[%] [(lower|upper)]``.

    For example ``int8:top1_agreement >= 95%``, or ``top1_drop <= 1% (upper)``, which asks that the
    upper end of the drop's confidence interval is at most 1 %. ``own`` names a user's own metrics.

    Raises:
        UsageError: another form, an unknown metric or an unknown scheme.
    """
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise UsageError(
            f"The gate {text!r} is not METRIC COMPARISON LIMIT.",
            cure='For example --gate "top1_agreement >= 95%", --gate "int8:size_mb <= 6", or '
            'with the end of an interval --gate "top1_drop <= 1% (upper)"',
        )
    if match["metric"] not in METRICS and match["metric"] not in own:
        raise UsageError(
            f"The gate {text!r} names no known metric.",
            cure=f"Metrics: {', '.join((*METRICS, *own))}",
        )
    if match["scheme"] and match["scheme"] not in SCHEMES:
        raise UsageError(
            f"The gate {text!r} names no known scheme.", cure=f"Schemes: {', '.join(SCHEMES)}"
        )
    limit = float(match["limit"]) / (100 if match["percent"] else 1)
    comparison = cast(Literal["<=", ">=", "<", ">"], match["cmp"])
    return cast(
        "tuple[Scheme | None, Gate]",
        (
            match["scheme"],
            Gate(
                metric=match["metric"],
                comparison=comparison,
                limit=limit,
                bound=cast("Literal['lower', 'upper'] | None", match["bound"]),
            ),
        ),
    )


def defaults(scheme: Scheme, task: Task | None, *, allow_float: bool = False) -> tuple[Gate, ...]:
    """What a file of a scheme must meet where the user says nothing.

    A float file must equal the framework. A quantized one must still carry the signal (10 dB is
    where the error has a third of the signal's amplitude), and a classifier must decide the same.
    A scheme that promises integers from input to output must keep that promise, unless
    ``allow_float``.
    """

    def at_least(metric: str, limit: float) -> Gate:
        return Gate(metric=metric, comparison=">=", limit=limit)

    finite = Gate(metric="nonfinite", comparison="<=", limit=0)
    if scheme == "fp32":
        return at_least("sqnr_db", FLOAT_SQNR_DB), finite
    gates = [at_least("sqnr_db", 35 if scheme == "fp16" else 10)]
    if task == "classification":
        gates.append(at_least("top1_agreement", 0.95 if scheme == "fp16" else 0.8))
    if scheme in ("int8", "int8-uint8-io") and not allow_float:
        gates.append(at_least("integer_share", 1))
    return *gates, finite


def for_file(
    scheme: Scheme,
    task: Task | None,
    stated: Sequence[tuple[Scheme | None, Gate]],
    *,
    allow_float: bool = False,
) -> tuple[Gate, ...]:
    """The gates of one file: the stated ones that apply to it, and defaults for the rest.

    A later statement replaces an earlier one about the same side of the same metric, so that a flag
    wins over the configuration; one that names the scheme wins over one for all.
    """
    mine: dict[tuple[str, str, str | None], Gate] = {}
    for wanted in (None, scheme):
        for only, gate in stated:
            if only == wanted:
                mine[gate.metric, gate.comparison[0], gate.bound] = gate
    named = {gate.metric for gate in mine.values()}
    rest = defaults(scheme, task, allow_float=allow_float)
    return *mine.values(), *(gate for gate in rest if gate.metric not in named)


def metrics(
    parity: ParityReport | None,
    latency: LatencyReport | None,
    *,
    size_bytes: int,
    integer_share: float | None,
    target_violations: int | None = None,
) -> dict[str, float]:
    """Everything that could be measured, by the names in `METRICS`; the rest is left out."""
    result: dict[str, float] = {"size_mb": size_bytes / 1e6}
    if integer_share is not None:
        result["integer_share"] = integer_share
    if target_violations is not None:
        result["target_violations"] = target_violations
    if latency is not None:
        for percent in (50, 90, 99):
            result[f"latency_p{percent}_ms"] = latency.percentile(percent)
    if parity is None:
        return result
    # The parts of an output that mixes ranges count as outputs: a loud one must not hide another.
    compared: list[OutputParity | PartParity] = [*parity.outputs]
    compared += [part for output in parity.outputs for part in output.parts]
    result |= {
        "sqnr_db": _worst(min, [part.sqnr_db for part in compared]),
        "worst_sqnr_db": _worst(min, [part.worst_sqnr_db for part in compared]),
        "cosine": _worst(min, [output.cosine for output in parity.outputs]),
        "max_abs": _worst(max, [output.max_abs for output in parity.outputs]),
        "mean_abs": _worst(max, [output.mean_abs for output in parity.outputs]),
        "nonfinite": sum(output.nonfinite for output in parity.outputs),
    }
    if (agreement := parity.outputs[0].top1_agreement) is not None:
        result["top1_agreement"] = agreement
        result["drop"] = 1 - agreement
    if parity.accuracy is not None and parity.reference_accuracy is not None:
        result["top1_accuracy"] = parity.accuracy
        result["top1_drop"] = result["drop"] = parity.reference_accuracy - parity.accuracy
    return result


def _worst(choose: Callable[[list[float]], float], values: list[float]) -> float:
    """The least or largest, or NaN if there is one: `min` and `max` alone may overlook it."""
    return math.nan if any(map(math.isnan, values)) else choose(values)


def judge(
    gates: Sequence[Gate],
    measured: Mapping[str, float],
    intervals: Mapping[str, Interval] | None = None,
    reasons: Mapping[str, str] | None = None,
) -> Verdict:
    """Hold each gate against what was measured; NaN fails every gate.

    A gate on the bound of a figure that has no interval, as of a single sample, is *not measured*:
    the figure itself would be held against a promise that it cannot give. ``reasons`` says, by
    metric, why a figure is what it is; a gate that fails on it repeats that.
    """
    known, whys = intervals or {}, reasons or {}
    return Verdict(
        gates=tuple(
            _judge_one(gate, measured.get(gate.metric), known.get(gate.metric), whys)
            for gate in gates
        )
    )


def _judge_one(
    gate: Gate, value: float | None, interval: Interval | None, whys: Mapping[str, str]
) -> GateResult:
    if value is None:
        return GateResult(gate=gate, state="not measured", why="nothing to measure it on")
    tested = value
    if gate.bound and not math.isnan(value):
        if interval is None:
            return GateResult(
                gate=gate, state="not measured", measured=value, why="it has no interval"
            )
        tested = interval.low if gate.bound == "lower" else interval.high
    holds = {
        "<=": tested <= gate.limit,
        ">=": tested >= gate.limit,
        "<": tested < gate.limit,
        ">": tested > gate.limit,
    }[gate.comparison]
    state: Literal["pass", "fail"] = "pass" if holds and not math.isnan(tested) else "fail"
    why = whys.get(gate.metric, "") if state == "fail" else ""
    return GateResult(gate=gate, state=state, measured=value, interval=interval, why=why)


def task_defaults(scheme: Scheme | None, task: Task | None) -> tuple[Gate, ...]:
    """What ``edgekit validate`` asks of a task's figures where the user says nothing.

    At most one point of accuracy may be lost where the data has labels; where it has none, the
    file must agree with the reference. What is not measured does not fail, so both may be stated. A
    float file is held to a tenth of the loss. ``scheme`` is ``None`` where it is not known.
    """
    loss = 0.001 if scheme == "fp32" else 0.01

    def at_most(metric: str, limit: float) -> Gate:
        return Gate(metric=metric, comparison="<=", limit=limit)

    def at_least(metric: str, limit: float) -> Gate:
        return Gate(metric=metric, comparison=">=", limit=limit)

    match task:
        case "classification":
            return at_most("top1_drop", loss), at_least("top1_agreement", 1 - 20 * loss)
        case "detection":
            return at_most("map_drop", loss), at_least("map_50_agreement", 1 - 20 * loss)
        case "segmentation":
            return at_most("miou_drop", loss), at_least("pixel_agreement", 1 - 10 * loss)
        case "embedding":
            return at_most("recall_at_1_drop", loss), at_least("mean_cosine", 1 - 5 * loss)
        case "image-to-image":
            return at_most("psnr_drop_db", 100 * loss), at_least("ssim_to_reference", 1 - 5 * loss)
        case "regression" | None:
            return ()  # the unit of the values decides; parity has its own defaults
    assert_never(task)
