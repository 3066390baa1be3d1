"""The steps of a conversion, counted: ``4 of 9  Trying other ways to feed the model``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from edgekit.types import Progress

if TYPE_CHECKING:
    from edgekit.pipeline.plan import Plan

ConversionStep: TypeAlias = Literal[
    "model", "data", "reference", "probe", "convert", "quantize", "compare", "time", "write"
]


def steps_of(plan: Plan) -> tuple[ConversionStep, ...]:
    """The steps that a conversion takes, in their order; an accuracy budget repeats some."""
    probe: tuple[ConversionStep, ...] = () if plan.request.synthetic else ("probe",)
    convert: tuple[ConversionStep, ...] = ("convert",) if plan.routes else ()
    last: tuple[ConversionStep, ...] = ("quantize", "compare", "time", "write")
    return ("model", "data", "reference", *probe, *convert, *last)


class CountedProgress:
    """Passes progress on with the number of the step before each title, and keeps the notes.

    Args:
        inner: who is told.
        steps: that there will be.
    """

    def __init__(self, inner: Progress, steps: tuple[ConversionStep, ...]) -> None:
        self._inner, self._steps = inner, steps
        self._now = 0
        self.kept: list[str] = []

    def begin(self, step: ConversionStep) -> None:
        """What is told from now on belongs to this step; one that was not foreseen to the last."""
        if step in self._steps:
            self._now = self._steps.index(step) + 1

    def step(self, title: str) -> None:
        """A new part of the step begins."""
        count = f"{self._now} of {len(self._steps)}  " if self._now else ""
        self._inner.step(f"{count}{title}")

    def update(self, fraction: float, message: str = "") -> None:
        """The current part is at ``fraction``."""
        self._inner.update(fraction, message)

    def note(self, message: str) -> None:
        """Something the user should read; it stays for the report."""
        self.kept.append(message)
        self._inner.note(message)


def begin(progress: Progress, step: ConversionStep) -> None:
    """A step of a conversion begins; other commands that do the same do not count."""
    if isinstance(progress, CountedProgress):
        progress.begin(step)
