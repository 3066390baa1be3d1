"""JUnit XML and Markdown: what a CI system or a reader makes of a verdict."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from edgekit.report.junit import to_junit
from edgekit.report.markdown import to_markdown
from edgekit.types import GateResult, Interval, Verdict
from edgekit.validation.gates import parse


def result(text, state, measured=None, why="", interval=None):
    return GateResult(
        gate=parse(text)[1], state=state, measured=measured, why=why, interval=interval
    )


VERDICT = Verdict(
    gates=(
        result("size_mb <= 6", "pass", 5.0),
        result("top1_drop <= 1% (upper)", "fail", 0.008, interval=Interval(low=0.001, high=0.015)),
        result("latency_p90_ms <= 12", "not measured", why="nothing to measure it on"),
        result("sqnr_db >= 20", "fail", math.nan),
    )
)


def counts(element):
    return [int(element.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")]


def test_a_suite_per_candidate_and_a_case_per_gate():
    root = ET.fromstring(
        to_junit(
            {"a.tflite": VERDICT, "b.tflite": Verdict(gates=VERDICT.gates[:1])},
            errors={"c.tflite": "it crashed <here> & now"},
            seconds={"a.tflite": 1.5},
        )
    )
    assert root.tag == "testsuites"
    assert [suite.get("name") for suite in root] == ["a.tflite", "b.tflite", "c.tflite"]
    assert [counts(suite) for suite in root] == [[4, 2, 0, 1], [1, 0, 0, 0], [1, 0, 1, 0]]
    assert counts(root)[:3] == [6, 2, 1]
    assert root[0].get("time") == "1.500"
    cases = {case.get("name"): case for case in root[0]}
    assert list(cases) == [str(one.gate) for one in VERDICT.gates]
    assert all(case.get("classname") == "a.tflite" for case in root[0])
    kinds = [[child.tag for child in case] for case in root[0]]
    assert kinds == [[], ["failure"], ["skipped"], ["failure"]]
    failed = cases["top1_drop <= 0.01 (upper)"].find("failure")
    assert failed.get("message") == "top1_drop is 0.008 (0.001 to 0.015)"
    assert failed.text == failed.get("message")
    assert "NaN" in cases["sqnr_db >= 20"].find("failure").get("message")
    assert "nothing to measure" in cases["latency_p90_ms <= 12"].find("skipped").get("message")
    assert root[2][0].find("error").get("message") == "it crashed <here> & now"


def test_counts_are_what_is_there():
    for strict in (False, True):
        root = ET.fromstring(to_junit({"a": VERDICT}, errors={"a": "and a crash"}, strict=strict))
        for suite in root:
            tags = [child.tag for case in suite for child in case]
            wanted = [len(suite), *(tags.count(tag) for tag in ("failure", "error", "skipped"))]
            assert counts(suite) == wanted


def test_what_was_not_measured_fails_when_strict():
    verdict = Verdict(gates=VERDICT.gates[2:3])
    assert verdict.holds
    assert not verdict.passed_strictly
    root = ET.fromstring(to_junit({"a": verdict}, strict=True))
    assert counts(root[0]) == [1, 1, 0, 0]
    assert "❌ a" in to_markdown({"a": verdict}, strict=True)
    assert "❔ a" in to_markdown({"a": verdict})


@given(st.text(min_size=1), st.text())
def test_any_name_and_reason_is_well_formed(name, reason):
    root = ET.fromstring(to_junit({name: VERDICT}, errors={name: reason}).encode())
    assert len(root[0]) == 5


def test_markdown_says_the_verdict_first_and_keeps_its_tables():
    text = to_markdown(
        {"a|b.tflite": VERDICT, "good": Verdict(gates=VERDICT.gates[:1])},
        errors={"c": "crash\n| <b>x</b>"},
        title="Validation",
        facts={"data": "photos/ (256 samples)"},
    )
    lines = text.splitlines()
    assert lines[0] == "## Validation"
    assert lines[2] == "**1 of 3 candidates passed.** 1 gate was not measured."
    assert "| `size_mb <= 6` | 5 | ✅ pass |" in lines
    assert "| `top1_drop <= 0.01 (upper)` | 0.008 (0.001 … 0.015) | ❌ fail |" in lines
    assert "<b>" not in text
    assert "### ❌ a\\|b.tflite" in lines
    assert "- data: photos/ (256 samples)" in lines
    assert all(line.count(" | ") == 2 for line in lines if line.startswith("| `"))
