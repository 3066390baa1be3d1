"""Verdicts as sentences: what people read first must be right."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from validation_results import classifier, failed, gate, interval

from edgekit.report import words
from edgekit.types import GateResult, Verdict
from edgekit.validation.gates import METRICS
from edgekit.validation_result import CandidateResult

DROP = gate("top1_drop", "<=", 0.01, "pass", 0.004, interval=interval(0.004, 0.003))
LARGE = gate("top1_drop", "<=", 0.01, "fail", 0.031, interval=interval(0.031, 0.008))
SLOW = gate("latency_p90_ms", "<=", 12, "fail", 14.26)
NOISY = gate("sqnr_db", ">=", 20, "fail", 14.21)
CLEAN = gate("sqnr_db", ">=", 10, "pass", 22.34)
GAP = gate("map_drop", "<=", 0.01, "not measured", why="no labels")


def judged(*gates: GateResult) -> CandidateResult:
    return replace(failed("int8"), error="", verdict=Verdict(gates=gates))


@pytest.mark.parametrize(
    ("gates", "sentence"),
    [
        ((CLEAN, DROP), "may ship: top-1 drops 0.4 % ± 0.3 %, within the 1 % asked for"),
        (
            (DROP, GAP),
            (
                "may ship: top-1 drops 0.4 % ± 0.3 %, within the 1 % asked for; "
                "not measured: drop of mAP"
            ),
        ),
        (
            (NOISY, LARGE),
            (
                "must not ship: top-1 drops 3.1 % ± 0.8 %, more than the 1 % asked for; "
                "raw SQNR is 14.2 dB, below the 20 dB asked for"
            ),
        ),
        ((DROP, SLOW), "must not ship: latency p90 is 14.3 ms, more than the 12 ms asked for"),
        ((), "is not proven: no gate was asked for"),
        ((GAP,), "is not proven: none of its gates could be measured"),
        (
            (gate("top1_drop", "<=", 0.01, "pass", -0.002, interval=interval(-0.002, 0.003)),),
            "may ship: top-1 gains 0.2 % ± 0.3 %, within the 1 % asked for",
        ),
        (
            (gate("mae_increase", "<", 0.5, "fail", 0.75),),
            "must not ship: MAE grows by 0.75, more than the 0.5 asked for",
        ),
        (
            (gate("nonfinite", "<=", 0, "fail", 1234567.0),),
            "must not ship: number of NaN or infinite values is 1234567, more than the 0 asked for",
        ),
        (
            (gate("top1_drop", "<=", 0.01, "fail", math.nan),),
            "must not ship: the change of top-1 is NaN, more than the 1 % asked for",
        ),
        (
            (gate("my_score", ">=", 3, "pass", 4.5),),
            "may ship: my score is 4.5, at least the 3 asked for",
        ),
    ],
)
def test_sentences(gates: tuple[GateResult, ...], sentence: str) -> None:
    assert words.sentence(judged(*gates)) == sentence


def test_a_gate_on_the_end_of_an_interval_says_which_end_was_tested() -> None:
    upper = replace(LARGE, gate=replace(LARGE.gate, bound="upper"))
    assert words.clause(upper) == (
        "top-1 drops 3.1 % ± 0.8 % (the upper end is 3.9 %), more than the 1 % asked for"
    )
    assert words.condition(upper) == "drop of top-1 ≤ 1 % (upper end of the interval)"


def test_what_was_not_measured_stops_a_file_only_where_asked() -> None:
    one = judged(DROP, GAP)
    assert (one.state(), one.state(strict=True)) == ("pass", "fail")
    assert words.sentence(one, strict=True) == (
        "must not ship: drop of mAP was not measured (no labels)"
    )


def test_what_is_missing_is_named() -> None:
    few = gate("top1_agreement", ">=", 0.8, "not proven", 0.83, interval=interval(0.83, 0.2))
    one = replace(judged(CLEAN, few), verdict=Verdict(gates=(CLEAN, few), missing=("Too few.",)))
    assert words.sentence(one) == (
        "is not proven: Too few; top-1 agreement is 83.0 % ± 20.0 %, "
        "which is too uncertain for at least 80 %"
    )


def test_a_candidate_with_an_error_must_not_ship() -> None:
    assert failed().state() == "fail"
    assert words.sentence(failed()).startswith("must not ship: The runtime crashed")


def test_an_interrupted_run_promises_less() -> None:
    assert words.sentence(judged(DROP), complete=False).startswith(
        "may ship, as far as the run got: "
    )


def test_no_more_than_three_reasons_are_named() -> None:
    text = words.sentence(judged(*[SLOW] * 5))
    assert text.count("latency p90") == 3
    assert text.endswith("; 2 more gates failed")


def test_state_agrees_with_the_result() -> None:
    result = classifier(samples=8)
    states = list(result.states)
    assert states == ["pass", "pass", "fail", "fail"]
    assert not result.passed


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("top1_accuracy", 0.75123, "75.1 %"),
        ("top1_drop", 0.00004, "0.004 %"),
        ("top1_drop", -0.0, "0.0 %"),
        ("map_50", 2.2e-16, "0.0 %"),  # what sums leave over
        ("top1_drop", -0.012, "−1.2 %"),
        ("sqnr_db", 22.34, "22.3 dB"),
        ("size_mb", 4.932, "4.93 MB"),
        ("latency_p50_ms", 1234.5, "1234 ms"),
        ("latency_p50_ms", 99.97, "100 ms"),
        ("latency_p50_ms", 999.7, "1000 ms"),
        ("cosine", 0.99712, "0.9971"),
        ("nonfinite", 3, "3"),
        ("sqnr_db", math.nan, "NaN dB"),
        ("sqnr_db", -math.inf, "−∞ dB"),
    ],
)
def test_numbers(metric: str, value: float, text: str) -> None:
    assert words.number(metric, value) == text


def test_every_metric_has_a_unit_that_fits_its_description() -> None:
    for metric, description in METRICS.items():
        unit = words.unit(metric)
        assert (unit == "dB") == ("_db" in metric)
        assert (unit == "ms") == metric.endswith("_ms")
        if "share of" in description and metric != "nonfinite":
            assert unit == "%", metric
        assert "_" not in words.name(metric)


def test_clean_text_can_be_written_anywhere() -> None:
    dirty = "a\x00b\x1b[31m\udcff\u202e<c>"
    text = words.clean(dirty)
    assert text == r"a\u0000b\u001b[31m\udcff\u202e<c>"
    assert text.encode("utf-8")
    assert words.clean("x" * 300, 20) == "x" * 10 + "…" + "x" * 9
