"""A summary in Markdown, for a pull request's comment or a CI job's page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from edgekit.text import escaped
from edgekit.types import GateResult, Verdict

_SIGNS = {
    "pass": "✅ pass",
    "fail": "❌ fail",
    "not measured": "➖ not measured",
    "not proven": "❔ not proven",
}


def to_markdown(
    verdicts: Mapping[str, Verdict],
    *,
    errors: Mapping[str, str] | None = None,
    strict: bool = False,
    title: str = "edgekit",
    facts: Mapping[str, str] | None = None,
    remarks: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """The verdict in a sentence, then a table per candidate.

    Args:
        verdicts: of each candidate, by its name.
        errors: candidates that could not be judged, with the reason.
        strict: what was not measured counts as failed.
        title: the heading.
        facts: lines for the end, such as the reference and the data, by what they are.
        remarks: sentences about a candidate, by its name, which come before its table.
    """
    lines = [f"## {_cell(title)}", "", _sentence(verdicts, errors or {}, strict)]
    for candidate, verdict in verdicts.items():
        sign = "✅" if _passed(verdict, strict) else "❔" if verdict.holds and not strict else "❌"
        lines += [
            "",
            f"### {sign} {_cell(candidate)}",
            "",
            *(f"{_cell(one)}\n" for one in verdict.wrong),
            *(f"Not proven: {_cell(one)}\n" for one in verdict.missing),
            *(f"{_cell(one)}\n" for one in (remarks or {}).get(candidate, ())),
            "| gate | measured | result |",
            "|---|---|---|",
            *(_row(result) for result in verdict.gates),
        ]
    for candidate, reason in (errors or {}).items():
        lines += ["", f"### ❌ {_cell(candidate)}", "", f"Not judged: {_cell(reason)}"]
    if facts:
        lines += ["", *(f"- {_cell(what)}: {_cell(value)}" for what, value in facts.items())]
    return "\n".join(lines) + "\n"


def _sentence(verdicts: Mapping[str, Verdict], errors: Mapping[str, str], strict: bool) -> str:
    candidates = dict.fromkeys((*verdicts, *errors))
    good = [
        name
        for name in candidates
        if name in verdicts and name not in errors and _passed(verdicts[name], strict)
    ]
    gaps = sum(
        result.state == "not measured" for verdict in verdicts.values() for result in verdict.gates
    )
    text = f"**{len(good)} of {len(candidates)} candidates passed.**"
    if not gaps:
        return text
    what = "1 gate was" if gaps == 1 else f"{gaps} gates were"
    return f"{text} {what} not measured{', which counts as failed' if strict else ''}."


def _row(result: GateResult) -> str:
    sign = _SIGNS[result.state] + (f": {_cell(result.why)}" if result.why else "")
    return f"| `{result.gate}` | {_measured(result)} | {sign} |"


def _measured(result: GateResult) -> str:
    if result.measured is None:
        return ""
    if math.isnan(result.measured):
        return "NaN"
    text = f"{result.measured:.4g}"
    if result.interval is None:
        return text
    return f"{text} ({result.interval.low:.4g} … {result.interval.high:.4g})"


def _passed(verdict: Verdict, strict: bool) -> bool:
    return verdict.passed_strictly if strict else verdict.passed


def _cell(text: str) -> str:
    """Text that cannot end a table's cell or start HTML."""
    clean = escaped(" ".join(text.split()))
    for sign, instead in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|")):
        clean = clean.replace(sign, instead)
    return clean
