"""What ``edgekit validate`` found, as a page: may this file ship, and if not, why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgekit.report import validation_details as details
from edgekit.report import validation_tables as tables
from edgekit.report import words
from edgekit.report.pages import render
from edgekit.report.plots import MARKERS
from edgekit.report.svg import SERIES
from edgekit.report.validation_plots import all_plots
from edgekit.types import VerdictState
from edgekit.validation_result import ValidationResult
from edgekit.version import __version__

__all__ = ["to_html"]

_SIGNS = dict(zip(("o", "s", "D", "^", "v", "P"), "●■◆▲▼✚", strict=True))


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
    page = render(
        "validation",
        filters={
            "words": _tight,
            "sign": lambda place: _SIGNS[MARKERS[place % len(MARKERS)]],
            "series": lambda place: place % len(SERIES) + 1,
            "number": words.number,
            "short": lambda text, most=60: words.clean(str(text), most),
        },
        result=result,
        version=__version__,
        summary=summary(result),
        verdicts=list(_verdicts(result)),
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
    # Halves of surrogate pairs, which a path that is not UTF-8 brings along, cannot be written.
    return page.encode("utf-8", "replace").decode("utf-8")


# ------------------------------------------------------------------------------- verdicts


@dataclass(frozen=True, kw_only=True)
class _Verdict:
    place: int
    name: str
    state: VerdictState
    sentence: str
    diagnosis: list[str]


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


def _verdicts(result: ValidationResult) -> Iterator[_Verdict]:
    for place, one in enumerate(result.candidates):
        yield _Verdict(
            place=place,
            name=one.name,
            state=one.state(strict=result.strict),
            sentence=words.sentence(one, strict=result.strict, complete=result.complete),
            diagnosis=words.diagnosis(one),
        )


def _tight(text: str) -> str:
    """A number and its unit stay on one line."""
    for unit in ("%", "dB", "ms", "MB"):
        text = text.replace(f" {unit}", f"\N{NO-BREAK SPACE}{unit}")
    return text.replace(" ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}")
