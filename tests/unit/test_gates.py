"""Gates: how they are written, which apply, and that nothing passes by mistake."""

from __future__ import annotations

import math
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.contract import Task
from edgekit.errors import UsageError
from edgekit.types import SCHEMES, Gate, Interval, LatencyReport, OutputParity, ParityReport
from edgekit.validation.gates import (
    FILE_METRICS,
    METRICS,
    defaults,
    for_file,
    judge,
    metrics,
    parse,
    task_defaults,
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


def test_defaults():
    assert written("fp32", "classification") == {"sqnr_db >= 60", "nonfinite <= 0"}
    assert written("int8", None) == {"sqnr_db >= 10", "nonfinite <= 0", "integer_share >= 1"}
    assert "top1_agreement >= 0.8" in written("int8", "classification")
    assert "top1_agreement >= 0.95" in written("fp16", "classification")
    for scheme in SCHEMES:
        assert any(one.metric == "nonfinite" for one in defaults(scheme, None))


def test_a_statement_replaces_the_default_of_its_metric_only():
    assert written("fp32", None, "sqnr_db >= 40") == {"sqnr_db >= 40", "nonfinite <= 0"}
    assert written("fp32", None, "size_mb <= 4") == {
        "size_mb <= 4",
        "sqnr_db >= 60",
        "nonfinite <= 0",
    }


def test_a_scheme_s_gate_is_for_that_scheme():
    texts = ("int8:sqnr_db >= 20",)
    assert "sqnr_db >= 20" in written("int8", None, *texts)
    assert "sqnr_db >= 10" in written("int8-float-io", None, *texts)
    assert "sqnr_db >= 60" in written("fp32", None, *texts)


@pytest.mark.parametrize("order", [1, -1])
def test_the_gate_of_a_scheme_wins_over_the_one_for_all(order):
    texts = ("sqnr_db >= 50", "int8:sqnr_db >= 20")[::order]
    assert written("int8-float-io", None, "int8-float-io:sqnr_db >= 20", "sqnr_db >= 50") == {
        "sqnr_db >= 20",
        "nonfinite <= 0",
    }
    assert "sqnr_db >= 20" in written("int8", None, *texts)
    assert "sqnr_db >= 50" not in written("int8", None, *texts)
    assert written("fp16", None, *texts) == {"sqnr_db >= 50", "nonfinite <= 0"}


def test_a_later_statement_wins_as_flags_do_over_the_configuration():
    assert written("fp32", None, "sqnr_db >= 50", "sqnr_db > 30") == {
        "sqnr_db > 30",
        "nonfinite <= 0",
    }


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
    share, size = judge(gates, {"integer_share": 0.9, "size_mb": 4}, reasons=reasons).gates
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
    verdict = judge([wanted], {wanted.metric: value})
    assert verdict.gates[0].state == state
    assert verdict.passed == (state == "pass")


def test_what_was_not_measured_is_said():
    verdict = judge([gate("top1_accuracy >= 0.5"), gate("size_mb <= 5")], {"size_mb": 1.0})
    assert [result.state for result in verdict.gates] == ["not measured", "pass"]
    assert verdict.gates[0].measured is None
    assert verdict.gates[0].why


@given(st.floats(allow_nan=False), st.floats(allow_nan=False, allow_infinity=False))
def test_opposite_gates_disagree(value, limit):
    def passes(comparison) -> bool:
        wanted = Gate(metric="max_abs", comparison=comparison, limit=limit)
        return judge([wanted], {"max_abs": value}).passed

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
    }
    return OutputParity(**{**values, **changes})


def report(*outputs: OutputParity, **changes) -> ParityReport:
    return ParityReport(
        reference="r", candidate="c", data="d", samples=1, outputs=outputs, **changes
    )


def test_the_worst_output_counts():
    good = output(sqnr_db=80.0, worst_sqnr_db=70.0, cosine=1.0, max_abs=0.1, mean_abs=0.01)
    for order in ((output(), good), (good, output())):
        found = metrics(report(*order), None, size_bytes=2_500_000, integer_share=0.5)
        assert found == {
            "size_mb": 2.5,
            "integer_share": 0.5,
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
        report(output(top1_agreement=0.9), accuracy=0.7, reference_accuracy=0.8),
        latency,
        size_bytes=1,
        integer_share=1.0,
        target_violations=0,
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
    verdict = judge([gate(text)], {"top1_drop": 0.004}, {"top1_drop": interval})
    assert verdict.gates[0].state == state
    assert verdict.gates[0].measured == 0.004
    assert verdict.gates[0].interval == interval


def test_a_bound_without_an_interval_is_not_measured():
    verdict = judge([gate("top1_drop <= 1% (upper)")], {"top1_drop": 0.0})
    assert verdict.gates[0].state == "not measured"
    assert "interval" in verdict.gates[0].why
    assert verdict.passed
    assert not verdict.passed_strictly
    assert judge([gate("ece <= 1 (upper)")], {"ece": math.nan}).gates[0].state == "fail"


def test_the_figure_and_its_bound_can_both_be_asked_for():
    texts = ("top1_drop <= 1%", "top1_drop <= 2% (upper)")
    assert {"top1_drop <= 0.01", "top1_drop <= 0.02 (upper)"} <= written("int8", None, *texts)


def test_a_users_own_metric_can_be_a_gate():
    assert parse("far <= 1", own=["far"])[1].metric == "far"
    with pytest.raises(UsageError, match="no known metric"):
        parse("far <= 1")


def test_every_task_has_defaults_of_known_metrics():
    for task in get_args(Task):
        wanted = task_defaults("int8", task)
        assert {one.metric for one in wanted} <= set(METRICS)
        assert bool(wanted) == (task != "regression")
    loose, tight = (task_defaults(scheme, "classification")[0] for scheme in ("int8", "fp32"))
    assert loose.limit > tight.limit
