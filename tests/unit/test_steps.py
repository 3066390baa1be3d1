"""A conversion says at which of its steps it is, in words that are printed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from edgekit.cli.progress import Display
from edgekit.pipeline.steps import CountedProgress, begin, steps_of
from edgekit.types import SilentProgress


def plan(*, synthetic: bool = False, routes: tuple[str, ...] = ("onnx2tf",)) -> SimpleNamespace:
    return SimpleNamespace(request=SimpleNamespace(synthetic=synthetic), routes=routes)


@pytest.mark.parametrize(
    ("asked", "count"),
    [(plan(), 9), (plan(synthetic=True), 8), (plan(routes=()), 8)],
)
def test_only_what_will_be_done_is_counted(asked, count) -> None:
    assert len(steps_of(asked)) == count


def test_the_count_is_printed_and_goes_back_where_a_budget_tries_again(capsys, monkeypatch) -> None:
    with Display() as display:
        progress = CountedProgress(display, steps_of(plan()))  # type: ignore[arg-type]
        progress.step("Loading net")
        begin(progress, "quantize")
        progress.step("Quantizing")
        begin(progress, "compare")
        progress.step("Loading int8")
        progress.step("Running int8")
        progress.step("Loading int8")  # as runners do for each of their questions
        progress.step("Running int8")
        begin(progress, "quantize")
        progress.step("Quantizing")
        progress.note("a note")
    lines = [" ".join(line.split()) for line in capsys.readouterr().err.splitlines() if line]
    assert lines == [
        "Loading net …",
        "6 of 9 Quantizing …",
        "7 of 9 Loading int8 …",
        "7 of 9 Running int8 …",
        "6 of 9 Quantizing …",
        "note a note",
    ]
    assert progress.kept == ["a note"]


def test_other_commands_do_not_count() -> None:
    silent = SilentProgress()
    begin(silent, "quantize")
    silent.note("still there")
    assert silent.notes == ["still there"]
