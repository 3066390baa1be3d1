"""JUnit XML, as CI systems read it: a test suite per candidate, a test case per gate.

The shape is that of the schema of Jenkins' xUnit plugin, which GitLab, Azure and CircleCI take too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from xml.sax.saxutils import escape, quoteattr

from edgekit.text import escaped
from edgekit.types import GateResult, Verdict


def to_junit(
    verdicts: Mapping[str, Verdict],
    *,
    errors: Mapping[str, str] | None = None,
    seconds: Mapping[str, float] | None = None,
    strict: bool = False,
    name: str = "edgekit",
) -> str:
    """The verdicts as an XML document.

    Args:
        verdicts: of each candidate, by its name.
        errors: candidates that could not be judged, with the reason.
        seconds: how long each candidate took.
        strict: what was not measured is a failure, not a skipped test.
        name: of the whole.
    """
    suites, totals = [], [0, 0, 0, 0]
    for candidate in dict.fromkeys((*verdicts, *(errors or {}))):
        gates = verdicts[candidate].gates if candidate in verdicts else ()
        missing = verdicts[candidate].missing if candidate in verdicts else ()
        wrong = verdicts[candidate].wrong if candidate in verdicts else ()
        cases = [_case(candidate, result, strict) for result in gates]
        cases += [_failure(candidate, "evidence", "not proven", text) for text in missing]
        cases += [_failure(candidate, "reference", "fed wrongly", text) for text in wrong]
        counts = [len(cases), *(sum(kind == one for one, _ in cases) for kind in _KINDS)]
        lines = [text for _, text in cases]
        if errors and candidate in errors:
            reason = errors[candidate]
            lines.append(
                f"    <testcase classname={_attribute(candidate)} name={_attribute('runs')}>"
                f"<error message={_attribute(reason)}>{_text(reason)}</error></testcase>"
            )
            counts[0] += 1
            counts[2] += 1
        totals = [total + count for total, count in zip(totals, counts, strict=True)]
        time = (seconds or {}).get(candidate, 0.0)
        suites += [
            f'  <testsuite name={_attribute(candidate)} {_counts(counts)} time="{time:.3f}">',
            *lines,
            "  </testsuite>",
        ]
    head = f"<testsuites name={_attribute(name)} {_counts(totals, skipped=False)}>"
    return "\n".join(['<?xml version="1.0" encoding="UTF-8"?>', head, *suites, "</testsuites>", ""])


_KINDS = ("failure", "error", "skipped")


def _case(candidate: str, result: GateResult, strict: bool) -> tuple[str, str]:
    """What kind of result a gate is, and its element."""
    head = (
        f"    <testcase classname={_attribute(candidate)} name={_attribute(str(result.gate))} "
        'time="0.000"'
    )
    if result.state == "pass":
        return "pass", f"{head}/>"
    message = _message(result)
    if result.state == "not measured" and not strict:
        return "skipped", f"{head}><skipped message={_attribute(message)}/></testcase>"
    body = f'<failure type="gate" message={_attribute(message)}>{_text(message)}</failure>'
    return "failure", f"{head}>{body}</testcase>"


def _failure(candidate: str, name: str, kind: str, text: str) -> tuple[str, str]:
    """What is missing for a proof is a failure in CI, too: nobody looks at a skipped test."""
    head = f"    <testcase classname={_attribute(candidate)} name={_attribute(name)}"
    body = f'<failure type="{kind}" message={_attribute(text)}>{_text(text)}</failure>'
    return "failure", f'{head} time="0.000">{body}</testcase>'


def _message(result: GateResult) -> str:
    if result.measured is None:
        return f"not measured: {result.why}" if result.why else "not measured"
    value = result.measured
    measured = "NaN" if value is None or math.isnan(value) else f"{value:.6g}"
    if result.interval is None:
        return f"{result.gate.metric} is {measured}"
    return (
        f"{result.gate.metric} is {measured} "
        f"({result.interval.low:.6g} to {result.interval.high:.6g})"
    )


def _counts(counts: list[int], *, skipped: bool = True) -> str:
    tests, failures, errors, skips = counts
    text = f'tests="{tests}" failures="{failures}" errors="{errors}"'
    return f'{text} skipped="{skips}"' if skipped else text


def _attribute(text: str) -> str:
    return quoteattr(escaped(text))


def _text(text: str) -> str:
    return escape(escaped(text, keep="\n\t"))
