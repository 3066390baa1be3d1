"""The climb through the settings, with a made-up engine that says how good each one is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.errors import UsageError
from edgekit.pipeline.ladder import RungFiles, climb
from edgekit.pipeline.request import Setting
from edgekit.results import FileResult, KeptLayer
from edgekit.types import Artifact, Gate, GateResult, Verdict

_LAYERS = tuple(
    KeptLayer(name=f"layer{n}", members=(f"tensor{n}",), precision="float") for n in range(5)
)


def _file(decibels: float | None, wanted: float, *, metric: str = "centred_sqnr_db") -> FileResult:
    gate = Gate(metric=metric, comparison=">=", limit=wanted)
    if decibels is None:
        result = GateResult(gate=gate, state="not measured")
    else:
        state = "pass" if decibels >= wanted else "fail"
        result = GateResult(gate=gate, state=state, measured=decibels)
    return FileResult(
        scheme="int8",
        artifact=Artifact(path=Path("x.tflite"), sha256="", kind="tflite"),
        parity=None,
        latency=None,
        verdict=Verdict(gates=(result,)),
        metrics={} if decibels is None else {"centred_sqnr_db": decibels},
    )


def _climb(
    decibels: Callable[[Setting], float], wanted: float
) -> tuple[list[Setting], RungFiles, int]:
    made: list[Setting] = []
    ranked: list[Setting] = []

    def make(setting: Setting) -> RungFiles:
        made.append(setting)
        return RungFiles(files=(_file(decibels(setting), wanted),))

    def rank(setting: Setting) -> tuple[KeptLayer, ...]:
        ranked.append(setting)
        return _LAYERS

    batch, rungs = climb(make, rank, ranges="auto", note=lambda text: None)
    assert [rung.number for rung in rungs] == list(range(1, len(made) + 1))
    assert [rung.effort for rung in rungs] == [setting.effort for setting in made]
    assert [rung.passed for rung in rungs[:-1]] == [False] * (len(rungs) - 1)
    return made, batch, len(ranked)


_BY_EFFORT = {"fast": 18.0, "balanced": 22.0, "thorough": 23.0}


def _quality(setting: Setting) -> float:
    return _BY_EFFORT[setting.effort] + 2 * len(setting.kept)


@pytest.mark.parametrize(
    ("wanted", "efforts", "kept"),
    [
        (10, ["fast"], 0),
        (20, ["fast", "balanced"], 0),
        (23, ["fast", "balanced", "thorough"], 0),
        (25, ["fast", "balanced", "thorough", "thorough"], 1),
        (28, ["fast", "balanced", *["thorough"] * 4], 4),  # 1, 2, then 4 layers
        (33, ["fast", "balanced", *["thorough"] * 5], 5),  # at last all that were ranked
    ],
)
def test_the_first_setting_that_holds_is_taken(wanted: float, efforts: list[str], kept: int):
    made, batch, ranked = _climb(_quality, wanted)
    assert [setting.effort for setting in made] == efforts
    assert [layer.name for layer in made[-1].kept] == [f"layer{n}" for n in range(kept)]
    assert batch.files[0].metrics["centred_sqnr_db"] >= wanted
    assert ranked == (kept > 0)  # sensitivity costs a minute: only where it is needed


def test_where_nothing_holds_the_best_of_all_rungs_is_given():
    def worse_and_worse(setting: Setting) -> float:
        return 30.0 - len(setting.kept) if setting.effort == "balanced" else 20.0

    made, batch, _ = _climb(worse_and_worse, 40)
    assert len(made) == 7
    assert batch.files[0].metrics["centred_sqnr_db"] == 30.0
    assert not batch.files[0].verdict.passed


def test_a_scheme_that_cannot_be_written_ends_the_climb():
    from dataclasses import replace

    made: list[Setting] = []

    def make(setting: Setting) -> RungFiles:
        made.append(setting)
        return RungFiles(files=(replace(_file(float("nan"), 1), error="has a loop"),))

    _, rungs = climb(make, lambda setting: _LAYERS, ranges="auto", note=lambda text: None)
    assert len(made) == len(rungs) == 1
    assert rungs[0].misses == ("int8: has a loop",)


@pytest.mark.parametrize("metric", ["drop", "top1_agreement", "pixel_agreement"])
def test_a_budget_that_cannot_be_measured_is_refused_at_once(metric: str):
    made: list[Setting] = []

    def make(setting: Setting) -> RungFiles:
        made.append(setting)
        return RungFiles(files=(_file(None, 0.01, metric=metric),))

    with pytest.raises(UsageError, match="--max-drop"):
        climb(make, lambda setting: _LAYERS, ranges="auto", note=lambda text: None)
    assert len(made) == 1
