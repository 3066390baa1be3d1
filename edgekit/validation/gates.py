"""Gates: conditions that a file must meet, their defaults, and the verdict."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, cast

from edgekit.contract import Task
from edgekit.errors import UsageError
from edgekit.types import (
    SCHEMES,
    Gate,
    GateResult,
    LatencyReport,
    ParityReport,
    Scheme,
    Verdict,
)

METRICS = {
    "sqnr_db": "signal-to-noise ratio over all samples, of the worst output, in dB",
    "worst_sqnr_db": "the same for the worst single sample",
    "cosine": "cosine similarity of the worst output",
    "max_abs": "largest absolute difference of any value",
    "mean_abs": "mean absolute difference",
    "top1_agreement": "share of samples with the reference's arg-max",
    "top1_accuracy": "share of samples with the labelled class first",
    "top1_drop": "the reference's top-1 accuracy minus the file's",
    "nonfinite": "number of NaN or infinite values that the reference does not have",
    "latency_p50_ms": "median time of one inference in milliseconds",
    "latency_p90_ms": "90th percentile",
    "latency_p99_ms": "99th percentile",
    "size_mb": "file size in units of 1,000,000 bytes",
    "integer_share": "share of operators that compute in integers",
}

FLOAT_SQNR_DB = 60.0
"""A float conversion is right when every output has at least this; rounding alone leaves > 90."""

_PATTERN = re.compile(
    r"\s*(?:(?P<scheme>[\w-]+):)?(?P<metric>\w+)\s*(?P<cmp><=|>=|<|>)\s*"
    r"(?P<limit>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(?P<percent>%?)\s*",
    re.ASCII,
)


def parse(text: str) -> tuple[Scheme | None, Gate]:
    """``[SCHEME:]METRIC COMPARISON LIMIT[%]``, for example ``int8:top1_agreement >= 95%``.

    Raises:
        UsageError: another form, an unknown metric or an unknown scheme.
    """
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise UsageError(
            f"The gate {text!r} is not METRIC COMPARISON LIMIT.",
            cure='For example --gate "top1_agreement >= 95%" or --gate "int8:size_mb <= 6"',
        )
    if match["metric"] not in METRICS:
        raise UsageError(
            f"The gate {text!r} names no known metric.", cure=f"Metrics: {', '.join(METRICS)}"
        )
    if match["scheme"] and match["scheme"] not in SCHEMES:
        raise UsageError(
            f"The gate {text!r} names no known scheme.", cure=f"Schemes: {', '.join(SCHEMES)}"
        )
    limit = float(match["limit"]) / (100 if match["percent"] else 1)
    comparison = cast(Literal["<=", ">=", "<", ">"], match["cmp"])
    return cast(
        "tuple[Scheme | None, Gate]",
        (match["scheme"], Gate(metric=match["metric"], comparison=comparison, limit=limit)),
    )


def defaults(scheme: Scheme, task: Task | None) -> tuple[Gate, ...]:
    """What a file of a scheme must meet where the user says nothing.

    A float file must equal the framework. A quantized one must still carry the signal (10 dB is
    where the error has a third of the signal's amplitude), and a classifier must decide the same.
    """

    def at_least(metric: str, limit: float) -> Gate:
        return Gate(metric=metric, comparison=">=", limit=limit)

    finite = Gate(metric="nonfinite", comparison="<=", limit=0)
    if scheme == "fp32":
        return at_least("sqnr_db", FLOAT_SQNR_DB), finite
    gates = [at_least("sqnr_db", 35 if scheme == "fp16" else 10)]
    if task == "classification":
        gates.append(at_least("top1_agreement", 0.95 if scheme == "fp16" else 0.8))
    return *gates, finite


def for_file(
    scheme: Scheme, task: Task | None, stated: Sequence[tuple[Scheme | None, Gate]]
) -> tuple[Gate, ...]:
    """The gates of one file: the stated ones that apply to it, and defaults for the rest.

    A later statement replaces an earlier one about the same side of the same metric, so that a flag
    wins over the configuration; one that names the scheme wins over one for all.
    """
    mine: dict[tuple[str, str], Gate] = {}
    for wanted in (None, scheme):
        for only, gate in stated:
            if only == wanted:
                mine[gate.metric, gate.comparison[0]] = gate
    named = {gate.metric for gate in mine.values()}
    return *mine.values(), *(gate for gate in defaults(scheme, task) if gate.metric not in named)


def metrics(
    parity: ParityReport | None,
    latency: LatencyReport | None,
    *,
    size_bytes: int,
    integer_share: float | None,
) -> dict[str, float]:
    """Everything that could be measured, by the names in `METRICS`; the rest is left out."""
    result: dict[str, float] = {"size_mb": size_bytes / 1e6}
    if integer_share is not None:
        result["integer_share"] = integer_share
    if latency is not None:
        for percent in (50, 90, 99):
            result[f"latency_p{percent}_ms"] = latency.percentile(percent)
    if parity is None:
        return result
    result |= {
        "sqnr_db": _worst(min, [output.sqnr_db for output in parity.outputs]),
        "worst_sqnr_db": _worst(min, [output.worst_sqnr_db for output in parity.outputs]),
        "cosine": _worst(min, [output.cosine for output in parity.outputs]),
        "max_abs": _worst(max, [output.max_abs for output in parity.outputs]),
        "mean_abs": _worst(max, [output.mean_abs for output in parity.outputs]),
        "nonfinite": sum(output.nonfinite for output in parity.outputs),
    }
    if (agreement := parity.outputs[0].top1_agreement) is not None:
        result["top1_agreement"] = agreement
    if parity.accuracy is not None and parity.reference_accuracy is not None:
        result["top1_accuracy"] = parity.accuracy
        result["top1_drop"] = parity.reference_accuracy - parity.accuracy
    return result


def _worst(choose: Callable[[list[float]], float], values: list[float]) -> float:
    """The least or largest, or NaN if there is one: `min` and `max` alone may overlook it."""
    return math.nan if any(map(math.isnan, values)) else choose(values)


def judge(gates: Sequence[Gate], measured: Mapping[str, float]) -> Verdict:
    """Hold each gate against what was measured; NaN fails every gate."""
    return Verdict(gates=tuple(_judge_one(gate, measured.get(gate.metric)) for gate in gates))


def _judge_one(gate: Gate, value: float | None) -> GateResult:
    if value is None:
        return GateResult(gate=gate, state="not measured", why="nothing to measure it on")
    holds = {
        "<=": value <= gate.limit,
        ">=": value >= gate.limit,
        "<": value < gate.limit,
        ">": value > gate.limit,
    }[gate.comparison]
    state: Literal["pass", "fail"] = "pass" if holds and not math.isnan(value) else "fail"
    return GateResult(gate=gate, state=state, measured=value)
