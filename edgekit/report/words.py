"""Figures, gates and verdicts in words, the same in every report that people read."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgekit.text import escaped
from edgekit.types import GateResult, Interval, Verdict
from edgekit.validation.probe import Probe
from edgekit.validation_result import CandidateResult

_NAMES = {
    "centred_sqnr_db": "SQNR of what varies",
    "r2": "R²",
    "lost_share": "share of channels that are lost",
    "systematic_error": "constant factor or offset",
    "classes_lost": "number of classes that are never chosen any more",
    "sqnr_db": "raw SQNR",
    "worst_sqnr_db": "SQNR of the worst sample",
    "cosine": "cosine similarity",
    "max_abs": "largest difference",
    "mean_abs": "mean difference",
    "drop": "loss of top-1",
    "index_agreement": "same indices",
    "index_skill": "indices met beyond a still answer",
    "indices_lost": "number of frequent indices that are never met",
    "nonfinite": "number of NaN or infinite values",
    "latency_p50_ms": "latency p50",
    "latency_p90_ms": "latency p90",
    "latency_p99_ms": "latency p99",
    "size_mb": "file size",
    "integer_share": "integer operators",
    "ece": "calibration error",
    "map_50_95": "mAP 50–95",
    "map_50": "mAP 50",
    "map_agreement": "mAP 50–95 against the reference's boxes",
    "map_50_agreement": "mAP 50 against the reference's boxes",
    "miou": "mIoU",
    "miou_agreement": "mIoU against the reference's classes",
    "mae": "MAE",
    "rmse": "RMSE",
    "mae_to_reference": "MAE to the reference",
    "rmse_to_reference": "RMSE to the reference",
    "text_agreement": "same texts",
    "cer_to_reference": "character errors to the reference",
    "symbols_lost": "number of symbols that are never read any more",
    "text_accuracy": "texts right",
    "cer": "character error rate",
    "oks": "OKS",
    "oks_to_reference": "OKS to the reference",
    "pck": "keypoints right (PCK)",
    "pck_agreement": "same keypoints (PCK)",
    "keypoints_lost": "number of keypoints that are lost",
    "absrel": "relative error",
    "absrel_to_reference": "relative error to the reference",
    "delta1": "depths within a factor of 1.25",
    "delta1_agreement": "same depths within a factor of 1.25",
    "absrel_aligned": "relative error, scaled",
    "delta1_aligned": "depths within a factor of 1.25, scaled",
    "psnr_db": "PSNR",
    "ssim": "SSIM",
    "psnr_to_reference_db": "PSNR to the reference",
    "ssim_to_reference": "SSIM to the reference",
}
_FALLING = {
    "top1_drop": "top-1",
    "top5_drop": "top-5",
    "map_drop": "mAP",
    "map_50_drop": "mAP 50",
    "miou_drop": "mIoU",
    "pixel_accuracy_drop": "pixel accuracy",
    "recall_at_1_drop": "recall@1",
    "text_accuracy_drop": "texts right",
    "pck_drop": "keypoints right (PCK)",
    "delta1_drop": "depths within a factor of 1.25",
    "delta1_aligned_drop": "depths within a factor of 1.25, scaled",
    "recall_at_5_drop": "recall@5",
    "psnr_drop_db": "PSNR",
    "ssim_drop": "SSIM",
}
_RISING = {
    "mae_increase": "MAE",
    "rmse_increase": "RMSE",
    "cer_increase": "character error rate",
}
_PERCENT = (
    "top1_",
    "top5_",
    "map_",
    "miou",
    "pixel_",
    "recall_",
    "index_",
    "text_",
    "cer",
    "pck",
    "delta1",
    "absrel",
)
_PERCENT_NAMES = {
    "lost_share",
    "systematic_error",
    "drop",
    "ece",
    "integer_share",
    "neighbour_agreement",
}
_MOST_NAMED = 3


def name(metric: str) -> str:
    """What a metric of `edgekit.validation.gates` is called; a user's own keeps its name."""
    if metric in _FALLING:
        return f"drop of {_FALLING[metric]}"
    if metric in _RISING:
        return f"growth of {_RISING[metric]}"
    if metric in _NAMES:
        return _NAMES[metric]
    words = metric.replace("top1", "top-1").replace("top5", "top-5").replace("_at_", "@")
    return words.replace("_", " ")


def heading(text: str) -> str:
    """With a capital letter, but for names such as mAP."""
    return text if text[1:2].isupper() else text[:1].upper() + text[1:]


def unit(metric: str) -> str:
    """``%`` where a figure of 1 is everything, ``dB``, ``ms``, ``MB``, or nothing."""
    if metric in _PERCENT_NAMES or metric.startswith(_PERCENT):
        return "%"
    for end, sign in (("_db", "dB"), ("_ms", "ms"), ("_mb", "MB")):
        if metric.endswith(end):
            return sign
    return ""


def number(metric: str, value: float, *, limit: bool = False) -> str:
    """A figure with its unit. A ``limit`` keeps the digits that somebody stated."""
    sign = unit(metric)
    shown = 100 * value if sign == "%" else value
    return f"{_digits(shown, sign, limit)} {sign}".rstrip()


def _digits(value: float, sign: str, limit: bool) -> str:
    value = float(value)
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    if limit:
        text = f"{value:.6g}"
    elif sign in ("%", "dB"):
        small = 5e-7 < abs(value) < 0.095  # below it is what rounding left over
        text = f"{value:.2g}" if small else f"{value:.1f}"
    elif sign:
        text = f"{value:.0f}" if abs(value) >= 99.95 else f"{value:.3g}"
    else:
        text = f"{value:.0f}" if value.is_integer() and abs(value) < 1e9 else f"{value:.4g}"
    if float(text) == 0:
        return text.lstrip("-")
    return text.replace("-", "−", 1) if text.startswith("-") else text


def with_interval(metric: str, value: float, interval: Interval | None) -> str:
    """``0.4 % ± 0.3 %``: the farther end of the interval decides the margin."""
    text = number(metric, value)
    if interval is None or math.isnan(value):
        return text
    return f"{text} ± {number(metric, interval.margin(value))}"


def span(metric: str, interval: Interval) -> str:
    """Both ends: ``0.1 … 0.7 %``."""
    low, high = number(metric, interval.low), number(metric, interval.high)
    return f"{low.removesuffix(' ' + unit(metric)) if unit(metric) else low} … {high}"


def condition(result: GateResult) -> str:
    """A gate as a row of a table names it: ``drop of top-1 ≤ 1 %``."""
    gate = result.gate
    sign = {"<=": "≤", ">=": "≥"}.get(gate.comparison, gate.comparison)
    bound = f" ({gate.bound} end of the interval)" if gate.bound else ""
    return f"{name(gate.metric)} {sign} {number(gate.metric, gate.limit, limit=True)}{bound}"


def clause(result: GateResult) -> str:
    """A gate's result as part of a sentence.

    ``top-1 drops 0.4 % ± 0.3 %, within the 1 % asked for``
    """
    gate, value = result.gate, result.measured
    if value is None or result.state == "not measured":
        return f"{name(gate.metric)} was not measured" + (f" ({result.why})" if result.why else "")
    limit = number(gate.metric, gate.limit, limit=True)
    if result.state == "not proven":
        asked = "at most" if gate.comparison in ("<", "<=") else "at least"
        return f"{_statement(result, value)}, which is too uncertain for {asked} {limit}"
    reached = result.state == "pass"
    if gate.comparison in ("<", "<="):
        judged = f"within the {limit} asked for" if reached else f"more than the {limit} asked for"
    else:
        judged = f"at least the {limit} asked for" if reached else f"below the {limit} asked for"
    end = ""
    if gate.bound and result.interval is not None:
        tested = result.interval.low if gate.bound == "lower" else result.interval.high
        end = f" (the {gate.bound} end is {number(gate.metric, tested)})"
    why = f" ({result.why})" if result.why else ""
    return f"{_statement(result, value)}{end}, {judged}{why}"


def _statement(result: GateResult, value: float) -> str:
    metric, interval = result.gate.metric, result.interval
    if metric in _FALLING or metric in _RISING:
        subject = _FALLING.get(metric) or _RISING[metric]
        more, less = ("drops", "gains") if metric in _FALLING else ("grows by", "falls by")
        if math.isnan(value):
            return f"the change of {subject} is NaN"
        margin = f" ± {number(metric, interval.margin(value))}" if interval else ""
        return f"{subject} {more if value >= 0 else less} {number(metric, abs(value))}{margin}"
    return f"{name(metric)} is {with_interval(metric, value, interval)}"


def headline(gates: list[GateResult]) -> list[GateResult]:
    """The same gates, the one that says most about the model's job first."""

    def weight(result: GateResult) -> int:
        metric = result.gate.metric
        ends = (("_drop", "drop_db", "_increase"), ("accuracy", "agreement"), ("sqnr_db",))
        ranks = [rank for rank, some in enumerate(ends) if metric.endswith(some)]
        return ranks[0] if ranks else len(ends)

    return sorted(gates, key=weight)


def sentence(one: CandidateResult, *, strict: bool = False, complete: bool = True) -> str:
    """The verdict on a candidate, without its name.

    ``may ship: top-1 drops 0.4 % ± 0.3 %, within the 1 % asked for``
    """
    gates = one.verdict.gates
    gaps = [gate for gate in gates if gate.state == "not measured"]
    if one.error:
        return f"must not ship: {one.error}"
    known = one.state(strict=strict)
    if known == "fail":
        failed = [gate for gate in gates if gate.state == "fail"]
        reasons = headline(failed) + (gaps if strict else [])
        said = [text.rstrip(".") for text in one.verdict.wrong]
        said += [clause(gate) for gate in reasons[:_MOST_NAMED]]
        more = _more(len(reasons) - _MOST_NAMED, "more gate", "failed")
        return f"must not ship: {'; '.join(said)}{more}"
    if known == "not proven":
        return f"is not proven: {'; '.join(unproven(one.verdict))}"
    held = headline([gate for gate in gates if gate.state == "pass"])
    may = "may ship" if complete else "may ship, as far as the run got"
    return f"{may}: {clause(held[0])}{_gaps(gaps)}"


def _gaps(gaps: Sequence[GateResult]) -> str:
    """The gates that could not be measured, by name."""
    if not gaps:
        return ""
    names = [name(gate.gate.metric) for gate in gaps]
    shown = ", ".join(names[:_MOST_NAMED]) + ("…" if len(names) > _MOST_NAMED else "")
    return f"; not measured: {shown}"


def unproven(verdict: Verdict) -> list[str]:
    """What keeps a verdict from being a proof, the weightiest first."""
    found = [text.rstrip(".") for text in verdict.missing]
    found += [clause(gate) for gate in verdict.gates if gate.state == "not proven"]
    if not found:
        found.append(
            "none of its gates could be measured" if verdict.gates else "no gate was asked for"
        )
    return found


def reference_words(probe: Probe) -> str:
    """How often the reference itself is right, beside chance, and whether it is fed right."""
    said = []
    if (right := probe.accuracy) is not None:
        value = with_interval("top1_accuracy", right.value, right.interval)
        chance = number("top1_accuracy", right.chance)
        said.append(f"right on {value} of {right.samples} labelled samples (chance: {chance})")
    if probe.tried and probe.found is None:
        said.append(f"none of {len(probe.tried)} other ways to feed it is clearly better")
    elif probe.why:
        said.append(f"other ways to feed it were not tried: {probe.why}")
    return "; ".join(said)


def diagnosis(one: CandidateResult) -> list[str]:
    """Why a candidate is as it is, and what to try, a sentence or two each; perhaps nothing."""
    found = one.diagnosis
    if found is None:
        return []
    start = "Inside" if one.verdict.holds else "Why"
    reason = f"{start}: {found.finding} {found.why}".strip()
    return [reason, f"Try: {found.advice}"] if found.advice else [reason]


def _more(count: int, what: str, done: str) -> str:
    return f"; {count} {what}{'s' if count > 1 else ''} {done}" if count > 0 else ""


def clean(text: str, most: int = 0) -> str:
    """Text with what steers escaped; with ``most``, no longer than that many characters."""
    printable = escaped(text)
    if not most or len(printable) <= most:
        return printable
    half = (most - 1) // 2
    return f"{printable[: most - 1 - half]}…{printable[-half:]}"
