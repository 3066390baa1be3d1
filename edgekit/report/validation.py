"""What ``edgekit validate`` found, as a page: may this file ship, and if not, why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgekit.report import following, words
from edgekit.report import validation_details as details
from edgekit.report import validation_tables as tables
from edgekit.report.pages import render
from edgekit.report.validation_plots import all_plots
from edgekit.types import VerdictState
from edgekit.validation_result import CandidateResult, ValidationResult

__all__ = ["to_html"]


def to_html(result: ValidationResult, *, pictures: bool = True) -> str:
    """The result as one HTML file of less than 3 MB that loads nothing and holds no script.

    Args:
        result: what to show.
        pictures: whether worst samples are shown; without, they are named only, so that private
            pictures do not leave the machine with the report.

    Raises:
        SetupError: Matplotlib is not installed.
    """
    drawn = all_plots(result)
    return render(
        "validation",
        result=result,
        summary=summary(result),
        verdicts=list(verdicts(result)),
        following=following.after_validation(result),
        table=tables.table(result),
        confidence=tables.confidence(result),
        gates=tables.gate_table(result),
        plots=drawn,
        operators=list(details.operators(result)),
        flips=list(details.flips(result)),
        classes=list(details.classes(result)),
        steps=list(details.steps(result)),
        cards=details.cards(result, pictures=pictures),
        pictures=pictures,
        drifts=list(details.drifts(result)),
    )


# ------------------------------------------------------------------------------- verdicts


@dataclass(frozen=True, kw_only=True)
class ToldVerdict:
    """A verdict in words."""

    place: int
    name: str
    state: VerdictState
    sentence: str
    diagnosis: list[str]
    facts: list[str]


def summary(result: ValidationResult) -> str:
    """All verdicts in a few words, as for the title of the page."""
    states = result.states
    if not states:
        return "no candidate was validated"
    if len(states) == 1:
        one = result.candidates[0]
        known: dict[VerdictState, str] = {
            "pass": "may ship",
            "fail": "must not ship",
            "not proven": "is not proven",
        }
        return f"{one.name} {known[states[0]]}"
    return f"{states.count('pass')} of {len(states)} candidates may ship"


def verdicts(result: ValidationResult) -> Iterator[ToldVerdict]:
    """The verdict on each candidate as a sentence."""
    for place, one in enumerate(result.candidates):
        yield ToldVerdict(
            place=place,
            name=one.name,
            state=one.state(strict=result.strict),
            sentence=words.sentence(one, strict=result.strict, complete=result.complete),
            diagnosis=words.diagnosis(one),
            facts=[] if one.error else list(_facts(one)),
        )


_FACTS = ("size_mb", "centred_sqnr_db", "top1_agreement", "top1_accuracy", "map_50_95", "miou")


def _facts(one: CandidateResult) -> Iterator[str]:
    """The figures that everybody asks for, with their names where the unit does not tell."""
    values = {"size_mb": one.size_bytes / 1e6, **one.metrics}
    for metric in _FACTS:
        if metric in values:
            name = "" if metric in ("size_mb", "centred_sqnr_db") else f" {words.name(metric)}"
            yield f"{words.number(metric, values[metric])}{name}"
    if "latency_p50_ms" in values:
        yield f"{words.number('latency_p50_ms', values['latency_p50_ms'])} p50"
