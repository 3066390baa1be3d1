"""Gates: conditions that a file must meet, their defaults, and the verdict."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal, cast

from edgekit.arguments import nearest
from edgekit.contract import Task
from edgekit.errors import UsageError
from edgekit.types import (
    SCHEMES,
    Gate,
    GateResult,
    GateState,
    Interval,
    LatencyReport,
    OutputParity,
    ParityReport,
    PartParity,
    Scheme,
)

FILE_METRICS = {
    "centred_sqnr_db": "what varies in the reference against the error, of the worst output, in dB",
    "r2": "R²: how much of the reference's variance the file explains, of the worst output",
    "lost_share": "share of an output's channels whose variation is lost, of the worst output",
    "systematic_error": "what a constant factor or offset is wrong by, of what varies",
    "classes_lost": "number of classes that the reference chose often and the file never",
    "sqnr_db": "raw signal-to-noise ratio, offsets included, of the worst output, in dB",
    "worst_sqnr_db": "the same for the worst single sample",
    "cosine": "cosine similarity of the worst output",
    "max_abs": "largest absolute difference of any value",
    "mean_abs": "mean absolute difference",
    "top1_agreement": "share of samples with the reference's arg-max",
    "top1_accuracy": "share of samples with the labelled class first",
    "top1_drop": "the reference's top-1 accuracy minus the file's",
    "drop": "top1_drop; without labels the share of changed decisions, which it cannot exceed",
    "index_agreement": "share of indices that equal the reference's, of the worst output of them",
    "index_skill": "how much of what differs in the indices from sample to sample is met",
    "indices_lost": "number of frequent indices that the file never has where the reference does",
    "nonfinite": "number of NaN or infinite values that the reference does not have",
    "latency_p50_ms": "median time of one inference in milliseconds",
    "latency_p90_ms": "90th percentile",
    "latency_p99_ms": "99th percentile",
    "size_mb": "file size in units of 1,000,000 bytes",
    "integer_share": "share of operators that compute in integers",
    "target_violations": "what keeps the file from fitting the targets, counted over all of them",
    "client_violations": "clients of --compat that do not run the file, or say something else",
}

IN_CLIENTS = "compat:"
"""How a gate begins that names clients in place of a metric: ``compat: openvino``."""

COST_METRICS = frozenset(
    {
        "latency_p50_ms",
        "latency_p90_ms",
        "latency_p99_ms",
        "size_mb",
        "integer_share",
        "target_violations",
        "client_violations",
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
    "text_agreement": "share of samples that are read exactly as by the reference",
    "cer_to_reference": "edits for each symbol of the reference's texts",
    "symbols_lost": "number of symbols that the reference reads often and the file never with it",
    "text_accuracy": "share of samples that are read exactly as labelled",
    "text_accuracy_drop": "the reference's text_accuracy minus the file's",
    "cer": "character error rate: edits for each character of the labelled texts",
    "cer_increase": "the file's cer minus the reference's",
    "oks": "mean object keypoint similarity with labelled keypoints",
    "oks_to_reference": "mean object keypoint similarity with the reference's keypoints",
    "pck": "share of labelled keypoints that are met within a tenth of the pose's longer side",
    "pck_agreement": "share of the reference's sure keypoints that the file has as near",
    "pck_drop": "the reference's pck minus the file's",
    "keypoints_lost": "number of keypoints that the file mostly has elsewhere",
    "absrel": "mean of the error over the labelled depth",
    "absrel_to_reference": "mean of the difference over the reference's depth",
    "delta1": "share of labelled depths that are met within a factor of 1.25",
    "delta1_agreement": "share of the reference's depths that the file has within a factor of 1.25",
    "delta1_drop": "the reference's delta1 minus the file's",
    "absrel_aligned": "absrel after each map was scaled to the labels' median",
    "delta1_aligned": "delta1 after each map was scaled to the labels' median",
    "delta1_aligned_drop": "the reference's delta1_aligned minus the file's",
    "psnr_db": "mean peak signal-to-noise ratio against the labelled pictures, in dB",
    "ssim": "mean structural similarity with the labelled pictures",
    "psnr_drop_db": "the reference's psnr_db minus the file's",
    "ssim_drop": "the reference's ssim minus the file's",
    "psnr_to_reference_db": "mean peak signal-to-noise ratio against the reference's pictures",
    "ssim_to_reference": "mean structural similarity with the reference's pictures",
}
"""Figures of a task (`edgekit.validation.metrics`), which have confidence intervals."""

METRICS = FILE_METRICS | TASK_METRICS

_SHARES = frozenset(
    name
    for name in METRICS
    if name.endswith(("_agreement", "_accuracy", "_share")) or name in ("top1_drop", "drop")
)
"""Those from 0 to 1, which are often written as percent."""

FLOAT_SQNR_DB = 60.0
"""A float conversion is right when every output has at least this; rounding alone leaves > 90."""
PARITY_METRICS = frozenset(FILE_METRICS) - COST_METRICS
"""Those that compare outputs, whatever they mean."""
MOST_LOST = 0.05
"""Share of an output's channels, and of what varies, that a quantized file may lose or shift."""
LEAST_SKILL = 0.6
"""A file that always says the same is below 0.5, see `edgekit.validation.nominal`."""
MARGIN = 0.05
"""A share is proven where the far end of its interval misses the limit by at most this."""

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
            cure=nearest(match["metric"], (*METRICS, *own)),
        )
    if match["scheme"] and match["scheme"] not in SCHEMES:
        raise UsageError(
            f"The gate {text!r} names no known scheme.", cure=nearest(match["scheme"], SCHEMES)
        )
    if match["metric"] in _SHARES and not match["percent"] and float(match["limit"]) > 1:
        meant = text.replace(match["limit"], f"{match['limit']}%", 1)
        raise UsageError(
            f"The gate {text!r} asks for more than there is: {match['metric']} is a share, at "
            "most 1.",
            cure=f"Did you mean {meant!r}?",
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


def defaults(
    scheme: Scheme | None, task: Task | None, *, allow_float: bool = False
) -> tuple[Gate, ...]:
    """What a file must meet where the user says nothing: the one table, for every command.

    A float file must equal the framework. A quantized one must still carry what varies in the
    reference (10 dB is where the error has a third of its amplitude), may lose hardly a channel,
    and must not be off by a constant factor. Of the task's figures, at most one point of accuracy
    may be lost where the data has labels, and the file must agree with the reference; a float file
    is held to a tenth of the loss. A scheme that promises integers from input to output must keep
    that promise, unless ``allow_float``.

    Args:
        scheme: ``None`` where it is not known: then what every quantized file is held to.
        task: of the first output.
        allow_float: operators may stay in float.
    """
    exact, half = scheme == "fp32", scheme == "fp16"
    gates = [_at_least("centred_sqnr_db", FLOAT_SQNR_DB if exact else 35 if half else 10)]
    if not exact:
        gates += [_at_most("lost_share", MOST_LOST), _at_most("systematic_error", MOST_LOST)]
    if task == "classification":
        gates.append(_at_most("classes_lost", 0))
    gates += _of_task(scheme, task)
    if scheme in ("int8", "int8-uint8-io") and not allow_float:
        gates.append(_at_least("integer_share", 1))
    return *gates, _at_most("nonfinite", 0)


def _of_task(scheme: Scheme | None, task: Task | None) -> tuple[Gate, ...]:
    loss = 0.001 if scheme == "fp32" else 0.01
    same = _same(scheme)
    table: dict[Task | None, tuple[Gate, ...]] = {
        None: (),
        "classification": (_at_most("top1_drop", loss), _at_least("top1_agreement", same)),
        "detection": (_at_most("map_drop", loss), _at_least("map_50_agreement", same)),
        "segmentation": (
            _at_most("miou_drop", loss),
            _at_least("pixel_agreement", 1 - 10 * loss),
        ),
        "embedding": (
            _at_most("recall_at_1_drop", loss),
            _at_least("mean_cosine", 1 - 5 * loss),
        ),
        "image-to-image": (
            _at_most("psnr_drop_db", 100 * loss),
            _at_least("ssim_to_reference", 1 - 5 * loss),
        ),
        "regression": (_at_least("r2", 1 - 10 * loss),),
        "sequence": (
            _at_most("text_accuracy_drop", loss),
            _at_least("text_agreement", same),
            _at_most("cer_to_reference", 5 * loss),
            _at_most("symbols_lost", 0),
        ),
        "keypoints": (
            _at_most("pck_drop", loss),
            _at_least("pck_agreement", same),
            _at_least("oks_to_reference", 1 - 10 * loss),
            _at_most("keypoints_lost", 0),
        ),
        "depth": (
            _at_most("delta1_drop", loss),
            _at_most("delta1_aligned_drop", loss),
            _at_least("delta1_agreement", 1 - 10 * loss),
            _at_most("absrel_to_reference", 10 * loss),
        ),
    }
    return table[task]


def for_outputs(
    wanted: Sequence[Gate], scheme: Scheme | None, outputs: Sequence[OutputParity]
) -> tuple[Gate, ...]:
    """The gates of a file whose outputs are known: indices are held to being equal.

    Nothing changes where no output is an index. Where all are, the defaults on decibels, channels
    and factors are left out, since those would say nothing.
    """
    indices = [one.index_agreement is not None for one in outputs]
    if not any(indices):
        return tuple(wanted)
    kept = [gate for gate in wanted if not (gate.default and all(indices) and _is_real(gate))]
    named = {gate.metric for gate in kept}
    share = _at_least("index_agreement", _same(scheme))
    more = (share, _at_least("index_skill", LEAST_SKILL), _at_most("indices_lost", 0))
    return *kept, *(gate for gate in more if gate.metric not in named)


def _is_real(gate: Gate) -> bool:
    """Whether a gate compares numbers that have a magnitude, or scores."""
    return gate.metric in ("centred_sqnr_db", "lost_share", "systematic_error", "classes_lost")


def _same(scheme: Scheme | None) -> float:
    """Which share of a file's decisions must be the reference's."""
    return {"fp32": 0.98, "fp16": 0.95}.get(scheme or "", 0.8)


def _at_most(metric: str, limit: float) -> Gate:
    return Gate(metric=metric, comparison="<=", limit=limit, default=True)


def _at_least(metric: str, limit: float) -> Gate:
    return Gate(metric=metric, comparison=">=", limit=limit, default=True)


def for_file(
    scheme: Scheme | None,
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
    client_violations: int | None = None,
) -> dict[str, float]:
    """Everything that could be measured, by the names in `METRICS`; the rest is left out."""
    result: dict[str, float] = {"size_mb": size_bytes / 1e6}
    known = {
        "integer_share": integer_share,
        "target_violations": target_violations,
        "client_violations": client_violations,
    }
    result |= {name: value for name, value in known.items() if value is not None}
    if latency is not None:
        for percent in (50, 90, 99):
            result[f"latency_p{percent}_ms"] = latency.percentile(percent)
    if parity is None:
        return result
    result |= _of_outputs(parity.outputs)
    lost = [output.lost_share for output in parity.outputs if output.lost_share is not None]
    if lost:
        result["lost_share"] = max(lost)
    if (classes_lost := parity.outputs[0].classes_lost) is not None:
        result["classes_lost"] = classes_lost
    if (agreement := parity.outputs[0].top1_agreement) is not None:
        result["top1_agreement"] = agreement
        result["drop"] = 1 - agreement
    if parity.accuracy is not None and parity.reference_accuracy is not None:
        result["top1_accuracy"] = parity.accuracy
        result["top1_drop"] = result["drop"] = parity.reference_accuracy - parity.accuracy
    return result


def _of_outputs(outputs: Sequence[OutputParity]) -> dict[str, float]:
    """What compares outputs: numbers in decibels, indices by being equal."""
    result: dict[str, float] = {"nonfinite": sum(output.nonfinite for output in outputs)}
    if real := [output for output in outputs if output.index_agreement is None]:
        result |= _of_real(real)
    choices: dict[str, Callable[[list[float]], float]] = {
        "index_agreement": min,
        "index_skill": min,
        "indices_lost": max,
    }
    for name, choose in choices.items():
        if named := [found for one in outputs if (found := getattr(one, name)) is not None]:
            result[name] = choose(named)
    return result


def _of_real(outputs: Sequence[OutputParity]) -> dict[str, float]:
    """The figures of outputs whose values have a magnitude."""
    # The parts of an output that mixes ranges count as outputs: a loud one must not hide another.
    compared: list[OutputParity | PartParity] = [*outputs]
    compared += [part for output in outputs for part in output.parts]
    centred = _worst(min, [part.centred_db for part in compared])
    return {
        "centred_sqnr_db": centred,
        "r2": 1 - 10 ** (-centred / 10),
        "systematic_error": _worst(max, [output.systematic for output in outputs]),
        "sqnr_db": _worst(min, [part.sqnr_db for part in compared]),
        "worst_sqnr_db": _worst(min, [part.worst_sqnr_db for part in compared]),
        "cosine": _worst(min, [output.cosine for output in outputs]),
        "max_abs": _worst(max, [output.max_abs for output in outputs]),
        "mean_abs": _worst(max, [output.mean_abs for output in outputs]),
    }


def _worst(choose: Callable[[list[float]], float], values: list[float]) -> float:
    """The least or largest, or NaN if there is one: `min` and `max` alone may overlook it."""
    return math.nan if any(map(math.isnan, values)) else choose(values)


def judge(
    gates: Sequence[Gate],
    measured: Mapping[str, float],
    intervals: Mapping[str, Interval] | None = None,
    reasons: Mapping[str, str] | None = None,
    *,
    accept_few: bool = False,
    exact: bool = False,
) -> tuple[GateResult, ...]:
    """Hold each gate against what was measured; NaN fails every gate.

    A stated gate that cannot be measured fails; a default one is *not measured*. A share whose
    interval reaches more than `MARGIN` past the limit is *not proven*, and so is a default gate on
    a loss that a few samples show and chance explains.

    Args:
        gates: of one file.
        measured: by metric.
        intervals: by metric, where there is one.
        reasons: by metric, why a figure is what it is or is missing; repeated by a gate on it.
        accept_few: the figures themselves decide, on however few samples.
        exact: the file computes in float; that its decisions are the same follows from its values,
            so the defaults on them need no more samples than those do.
    """
    known, whys = intervals or {}, reasons or {}
    return tuple(
        _judge_one(
            gate,
            measured.get(gate.metric),
            known.get(gate.metric),
            whys.get(gate.metric, ""),
            few_do=accept_few or (exact and gate.default),
        )
        for gate in gates
    )


def _judge_one(
    gate: Gate, value: float | None, interval: Interval | None, why: str, *, few_do: bool
) -> GateResult:
    if value is None:
        gap: GateState = "not measured" if gate.default else "fail"
        return GateResult(gate=gate, state=gap, why=why or "nothing to measure it on")
    if gate.bound and interval is None and not math.isnan(value):
        why = "it has no interval"
        return GateResult(gate=gate, state="fail", measured=value, why=why)
    if gate.bound and interval is not None:
        tested = interval.low if gate.bound == "lower" else interval.high
        state: GateState = "pass" if _holds(gate, tested) else "fail"
    elif interval is None or few_do:
        state = "pass" if _holds(gate, value) else "fail"
    else:
        state = _state(gate, value, interval)
    return GateResult(
        gate=gate,
        state=state,
        measured=value,
        interval=interval,
        why=why if state == "fail" else "",
    )


def _state(gate: Gate, value: float, interval: Interval) -> GateState:
    """By the figure and both ends of its interval."""
    wants_more = gate.comparison in (">", ">=")
    good, bad = (interval.high, interval.low) if wants_more else (interval.low, interval.high)
    if not _holds(gate, value):
        is_loss = gate.default and gate.metric.endswith("_drop")
        return "not proven" if is_loss and _holds(gate, good) else "fail"
    missed = gate.limit - bad if wants_more else bad - gate.limit
    return "pass" if missed <= MARGIN or not _is_share(gate.metric) else "not proven"


def _holds(gate: Gate, value: float) -> bool:
    """NaN compares with nothing."""
    return {
        "<=": value <= gate.limit,
        ">=": value >= gate.limit,
        "<": value < gate.limit,
        ">": value > gate.limit,
    }[gate.comparison]


def _is_share(metric: str) -> bool:
    """Whether a figure counts decisions: those of which a few samples say little."""
    return metric == "drop" or metric.endswith(("_agreement", "_accuracy", "_drop"))
