"""Gates: how they are written, which apply, and that nothing passes by mistake."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.contract import Task
from edgekit.errors import UsageError
from edgekit.types import (
    SCHEMES,
    Gate,
    Interval,
    LatencyReport,
    OutputParity,
    ParityReport,
    Verdict,
)
from edgekit.validation.gates import (
    FILE_METRICS,
    METRICS,
    _holds,
    defaults,
    for_file,
    judge,
    metrics,
    parse,
)


def gate(text: str) -> Gate:
    return parse(text)[1]


@pytest.mark.parametrize(
    ("text", "scheme", "metric", "comparison", "limit"),
    [
        ("sqnr_db >= 60", None, "sqnr_db", ">=", 60),
        ("int8:top1_agreement>=95%", "int8", "top1_agreement", ">=", 0.95),
        ("  int8-float-io:size_mb  <  5.5  ", "int8-float-io", "size_mb", "<", 5.5),
        ("max_abs <= 1e-3", None, "max_abs", "<=", 1e-3),
        ("max_abs <= 1E-3", None, "max_abs", "<=", 1e-3),
        ("top1_drop <= .5 %", None, "top1_drop", "<=", 0.005),
        ("cosine > -1.", None, "cosine", ">", -1),
        ("fp16:mean_abs < +2", "fp16", "mean_abs", "<", 2),
    ],
)
def test_parse(text, scheme, metric, comparison, limit):
    found, parsed = parse(text)
    assert found == scheme
    assert (parsed.metric, parsed.comparison) == (metric, comparison)
    assert parsed.limit == pytest.approx(limit)


@given(
    st.none() | st.sampled_from(SCHEMES),
    st.sampled_from(sorted(METRICS)),
    st.sampled_from(["<=", ">=", "<", ">"]),
    st.integers(-(10**6), 10**6).map(lambda number: number / 100),
)
def test_a_gate_written_out_is_read_back(scheme, metric, comparison, limit):
    if limit > 1 and metric.endswith(("agreement", "accuracy", "share", "drop")):
        limit /= 10**6  # a share
    for bound in (None, "lower", "upper"):
        number = float(f"{limit:g}")
        wanted = Gate(metric=metric, comparison=comparison, limit=number, bound=bound)
        assert parse(f"{scheme}:{wanted}" if scheme else str(wanted)) == (scheme, wanted)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "METRIC COMPARISON LIMIT"),
        ("sqnr_db", "METRIC COMPARISON LIMIT"),
        ("sqnr_db = 60", "METRIC COMPARISON LIMIT"),
        ("top1_agreement >= 95", "at most 1"),
        ("int8:integer_share >= 99.5", "at most 1"),
        ("sqnr_db >= sixty", "METRIC COMPARISON LIMIT"),
        ("sqnr_db >= 1.2.3", "METRIC COMPARISON LIMIT"),
        ("sqnr_db >= .", "METRIC COMPARISON LIMIT"),
        ("sqnr_db >= nan", "METRIC COMPARISON LIMIT"),
        ("sqnr_db >= ٣", "METRIC COMPARISON LIMIT"),
        ("sqnr_db >= 60 dB", "METRIC COMPARISON LIMIT"),
        ("snr >= 60", "no known metric"),
        ("int4:sqnr_db >= 60", "no known scheme"),
    ],
)
def test_what_is_no_gate(text, words):
    with pytest.raises(UsageError, match=words) as caught:
        parse(text)
    assert caught.value.cure


@given(st.text(max_size=20) | st.from_regex(r"sqnr_db ?[<>]=? ?[-+.\deE%]+", fullmatch=True))
def test_any_text_is_a_gate_or_a_usage_error(text):
    try:
        _, parsed = parse(text)
    except UsageError:
        return
    assert not math.isnan(parsed.limit)


# ------------------------------------------------------------------------- which apply


def stated(*texts: str):
    return [parse(text) for text in texts]


def written(scheme, task, *texts: str) -> set[str]:
    return set(map(str, for_file(scheme, task, stated(*texts))))


FLOAT = {"centred_sqnr_db >= 60", "nonfinite <= 0"}
QUANTIZED = {
    "centred_sqnr_db >= 10",
    "lost_share <= 0.05",
    "systematic_error <= 0.05",
    "nonfinite <= 0",
}


def test_defaults():
    assert written("fp32", None) == FLOAT
    assert written("int8", None) == {*QUANTIZED, "integer_share >= 1"}
    assert written(None, None) == QUANTIZED
    assert {"top1_drop <= 0.001", "classes_lost <= 0"} <= written("fp32", "classification")
    assert "top1_drop <= 0.01" in written("int8", "classification")
    assert "top1_agreement >= 0.8" in written("int8", "classification")
    assert "top1_agreement >= 0.95" in written("fp16", "classification")
    for scheme in SCHEMES:
        assert any(one.metric == "nonfinite" for one in defaults(scheme, None))


def test_a_statement_replaces_the_default_of_its_metric_only():
    assert written("fp32", None, "centred_sqnr_db >= 40") == {
        "centred_sqnr_db >= 40",
        "nonfinite <= 0",
    }
    assert written("fp32", None, "size_mb <= 4") == {"size_mb <= 4", *FLOAT}
    assert written("fp32", None, "sqnr_db >= 40") == {"sqnr_db >= 40", *FLOAT}


def test_a_scheme_s_gate_is_for_that_scheme():
    texts = ("int8:centred_sqnr_db >= 20",)
    assert "centred_sqnr_db >= 20" in written("int8", None, *texts)
    assert "centred_sqnr_db >= 10" in written("int8-float-io", None, *texts)
    assert "centred_sqnr_db >= 60" in written("fp32", None, *texts)


@pytest.mark.parametrize("order", [1, -1])
def test_the_gate_of_a_scheme_wins_over_the_one_for_all(order):
    texts = ("max_abs <= 50", "int8:max_abs <= 20")[::order]
    assert "max_abs <= 20" in written("int8", None, *texts)
    assert "max_abs <= 50" not in written("int8", None, *texts)
    assert "max_abs <= 50" in written("fp16", None, *texts)


def test_a_later_statement_wins_as_flags_do_over_the_configuration():
    found = written("fp32", None, "max_abs <= 50", "max_abs < 30")
    assert "max_abs < 30" in found
    assert "max_abs <= 50" not in found


def test_both_sides_of_a_metric_can_be_bounded():
    assert {"size_mb >= 1", "size_mb <= 5"} <= written("fp32", None, "size_mb >= 1", "size_mb <= 5")


@pytest.mark.parametrize("scheme", ["int8", "int8-uint8-io"])
def test_integer_means_integer_unless_float_is_allowed(scheme):
    assert "integer_share >= 1" in written(scheme, None)
    assert Gate(metric="integer_share", comparison=">=", limit=1) not in for_file(
        scheme, None, [], allow_float=True
    )
    assert "integer_share >= 1" not in written(scheme, None, "integer_share >= 0.9")


def test_schemes_that_do_not_promise_integers_may_have_floats():
    for scheme in set(SCHEMES) - {"int8", "int8-uint8-io"}:
        assert "integer_share >= 1" not in written(scheme, None)


# ------------------------------------------------------------------------- judging


def test_a_failed_gate_says_why_the_figure_is_what_it_is():
    gates = [gate("integer_share >= 1"), gate("size_mb <= 5")]
    reasons = {"integer_share": "SIN wave computes in float", "size_mb": "large"}
    share, size = judge(gates, {"integer_share": 0.9, "size_mb": 4}, reasons=reasons)
    assert (share.state, share.why) == ("fail", "SIN wave computes in float")
    assert (size.state, size.why) == ("pass", "")


@pytest.mark.parametrize(
    ("text", "value", "state"),
    [
        ("sqnr_db >= 60", 60.0, "pass"),
        ("sqnr_db >= 60", 59.999, "fail"),
        ("sqnr_db > 60", 60.0, "fail"),
        ("size_mb <= 5", 5.0, "pass"),
        ("size_mb < 5", 5.0, "fail"),
        ("sqnr_db >= 60", math.nan, "fail"),
        ("size_mb <= 5", math.nan, "fail"),
        ("max_abs <= 5", math.inf, "fail"),
    ],
)
def test_judge(text, value, state):
    wanted = gate(text)
    (result,) = judge([wanted], {wanted.metric: value})
    assert result.state == state
    assert Verdict(gates=(result,)).passed == (state == "pass")


def test_a_stated_gate_that_cannot_be_measured_fails():
    """What a user asks for and nobody can tell is not a success."""
    asked = [gate("top1_accuracy >= 0.5"), gate("size_mb <= 5")]
    missing, size = judge(asked, {"size_mb": 1.0}, reasons={"top1_accuracy": "no labels"})
    assert (missing.state, size.state) == ("fail", "pass")
    assert (missing.measured, missing.why) == (None, "no labels")


def test_a_default_gate_that_cannot_be_measured_is_said():
    (missing,) = judge([Gate(metric="map_drop", comparison="<=", limit=0.01, default=True)], {})
    assert missing.state == "not measured"
    assert missing.why


@given(st.floats(allow_nan=False), st.floats(allow_nan=False, allow_infinity=False))
def test_opposite_gates_disagree(value, limit):
    def passes(comparison) -> bool:
        wanted = Gate(metric="max_abs", comparison=comparison, limit=limit)
        return judge([wanted], {"max_abs": value})[0].state == "pass"

    assert passes(">=") != passes("<")
    assert passes("<=") != passes(">")


# ------------------------------------------------------------------------- metrics


def output(**changes) -> OutputParity:
    values = {
        "name": "y",
        "worst_sample": "s",
        "worst_sqnr_db": 30.0,
        "sqnr_db": 40.0,
        "cosine": 0.99,
        "max_abs": 0.5,
        "mean_abs": 0.1,
        "centred_db": 35.0,
    }
    return OutputParity(**{**values, **changes})


def report(*outputs: OutputParity, **changes) -> ParityReport:
    return ParityReport(
        reference="r", candidate="c", data="d", samples=1, outputs=outputs, **changes
    )


def test_the_worst_output_counts():
    good = output(
        centred_db=75.0, sqnr_db=80.0, worst_sqnr_db=70.0, cosine=1.0, max_abs=0.1, mean_abs=0.01
    )
    for order in ((output(), good), (good, output())):
        found = metrics(report(*order), None, size_bytes=2_500_000, integer_share=0.5)
        assert found == {
            "size_mb": 2.5,
            "integer_share": 0.5,
            "centred_sqnr_db": 35.0,
            "r2": pytest.approx(1 - 10**-3.5),
            "systematic_error": 0.0,
            "sqnr_db": 40.0,
            "worst_sqnr_db": 30.0,
            "cosine": 0.99,
            "max_abs": 0.5,
            "mean_abs": 0.1,
            "nonfinite": 0,
        }


@pytest.mark.parametrize("metric", ["cosine", "max_abs", "mean_abs"])
def test_nan_in_any_output_is_not_overlooked(metric):
    for order in (1, -1):
        outputs = (output(), output(**{metric: math.nan}))[::order]
        found = metrics(report(*outputs), None, size_bytes=0, integer_share=None)
        assert math.isnan(found[metric])


def test_all_metrics_have_a_description_and_what_is_unknown_is_left_out():
    latency = LatencyReport(
        samples_ms=tuple(float(n) for n in range(101)), threads=1, load_ms=0, first_ms=0
    )
    full = metrics(
        report(
            output(top1_agreement=0.9, lost_share=0.1, classes_lost=1),
            output(index_agreement=0.9, index_skill=0.8, indices_lost=1),
            accuracy=0.7,
            reference_accuracy=0.8,
        ),
        latency,
        size_bytes=1,
        integer_share=1.0,
        target_violations=0,
        client_violations=0,
    )
    assert set(full) == set(FILE_METRICS)
    assert full["top1_drop"] == pytest.approx(0.1)
    assert [full[f"latency_p{p}_ms"] for p in (50, 90, 99)] == [50, 90, 99]
    assert set(metrics(None, None, size_bytes=1, integer_share=None)) == {"size_mb"}


@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=30),
    st.floats(0, 100),
)
def test_percentiles_are_numpys(samples, q):
    import numpy as np

    latency = LatencyReport(samples_ms=tuple(samples), threads=1, load_ms=0, first_ms=0)
    assert latency.percentile(q) == pytest.approx(float(np.percentile(samples, q)), rel=1e-9)


# ------------------------------------------------------------------------- bounds and tasks


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("top1_drop <= 1%", "pass"),
        ("top1_drop <= 1% (upper)", "fail"),
        ("top1_drop <= 2 % ( upper )", "pass"),
        ("top1_drop <= 1%(lower)", "pass"),
        ("top1_drop > 0 (lower)", "fail"),
    ],
)
def test_a_gate_on_a_bound(text, state):
    interval = Interval(low=-0.001, high=0.015)
    (result,) = judge([gate(text)], {"top1_drop": 0.004}, {"top1_drop": interval})
    assert result.state == state
    assert result.measured == 0.004
    assert result.interval == interval


def test_a_bound_without_an_interval_fails():
    (result,) = judge([gate("top1_drop <= 1% (upper)")], {"top1_drop": 0.0})
    assert result.state == "fail"
    assert "interval" in result.why
    assert judge([gate("ece <= 1 (upper)")], {"ece": math.nan})[0].state == "fail"


@pytest.mark.parametrize(
    ("text", "default", "value", "interval", "state"),
    [
        ("top1_agreement >= 80%", True, 1.0, (0.757, 1.0), "pass"),  # 12 of 12
        ("top1_agreement >= 80%", True, 0.83, (0.55, 0.95), "not proven"),  # 10 of 12
        ("top1_agreement >= 80%", True, 0.7, (0.4, 0.9), "fail"),
        ("top1_accuracy >= 90%", False, 0.92, (0.7, 0.99), "not proven"),
        ("top1_accuracy >= 90%", False, 0.92, (0.9, 0.94), "pass"),
        ("top1_drop <= 1%", True, 0.0, (-0.05, 0.05), "pass"),
        ("top1_drop <= 1%", True, 0.0, (-0.08, 0.08), "not proven"),
        ("top1_drop <= 1%", True, 0.03, (-0.03, 0.09), "not proven"),
        ("top1_drop <= 1%", True, 0.05, (0.02, 0.08), "fail"),
        ("top1_drop <= 1%", False, 0.03, (-0.03, 0.09), "fail"),
        ("ece <= 10%", False, 0.05, (0.0, 0.5), "pass"),
    ],
)
def test_a_share_is_proven_by_its_interval(text, default, value, interval, state):
    wanted = replace(gate(text), default=default)
    ends = {wanted.metric: Interval(low=interval[0], high=interval[1])}
    (result,) = judge([wanted], {wanted.metric: value}, ends)
    assert result.state == state
    (few,) = judge([wanted], {wanted.metric: value}, ends, accept_few=True)
    assert few.state == ("pass" if _holds(wanted, value) else "fail")


def test_the_figure_and_its_bound_can_both_be_asked_for():
    texts = ("top1_drop <= 1%", "top1_drop <= 2% (upper)")
    assert {"top1_drop <= 0.01", "top1_drop <= 0.02 (upper)"} <= written("int8", None, *texts)


def test_a_users_own_metric_can_be_a_gate():
    assert parse("far <= 1", own=["far"])[1].metric == "far"
    with pytest.raises(UsageError, match="no known metric"):
        parse("far <= 1")


def test_every_task_has_defaults_of_known_metrics():
    plain = {one.metric for one in defaults("int8", None)}
    for task in get_args(Task):
        mine = {one.metric for one in defaults("int8", task)} - plain
        assert mine
        assert mine <= set(METRICS)
    loose, tight = (
        next(one for one in defaults(scheme, "classification") if one.metric == "top1_drop")
        for scheme in ("int8", "fp32")
    )
    assert loose.limit > tight.limit


@pytest.mark.parametrize("task", get_args(Task))
def test_every_task_has_defaults_and_a_metric_that_measures_them(task):
    """A default on a figure that nobody measures would never fail."""
    agreeing = [gate.metric for gate in defaults("int8", task) if gate.default]
    assert set(agreeing) <= set(METRICS)
    assert len(agreeing) > len(defaults("int8", None))
