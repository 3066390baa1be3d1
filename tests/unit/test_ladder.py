"""The climb through the settings, with a made-up engine that says how good each one is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.errors import UsageError
from edgekit.pipeline.ladder import RungFiles, climb, mark, pick
from edgekit.pipeline.request import Setting
from edgekit.results import FileResult, FrontPoint, KeptLayer
from edgekit.types import Artifact, Gate, GateResult, Verdict

_LAYERS = tuple(
    KeptLayer(name=f"layer{n}", members=(f"tensor{n}",), precision="float") for n in range(5)
)
_FRONT = tuple(
    FrontPoint(
        layers=_LAYERS[:count],
        db=20.0 + count,
        slowdown=1 + count / 10,
        predicted_db=0.0,
        predicted_slowdown=1.0,
    )
    for count in range(6)
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
    decibels: Callable[[Setting], float], wanted: float, *, most_latency: float | None = None
) -> tuple[list[Setting], RungFiles, int]:
    made: list[Setting] = []
    looked: list[Setting] = []

    def make(setting: Setting) -> RungFiles:
        made.append(setting)
        return RungFiles(files=(_file(decibels(setting), wanted),))

    def front(setting: Setting) -> tuple[FrontPoint, ...]:
        looked.append(setting)
        return _FRONT

    batch, rungs = climb(
        make, front, ranges="auto", most_latency=most_latency, note=lambda text: None
    )
    assert [rung.number for rung in rungs] == list(range(1, len(made) + 1))
    assert [rung.effort for rung in rungs] == [setting.effort for setting in made]
    assert [rung.passed for rung in rungs[:-1]] == [False] * (len(rungs) - 1)
    return made, batch, len(looked)


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
        (28, ["fast", "balanced", *["thorough"] * 4], 3),  # plain int8, then a mix at a time
        (33, ["fast", "balanced", *["thorough"] * 6], 5),
    ],
)
def test_the_first_setting_that_holds_is_taken(wanted: float, efforts: list[str], kept: int):
    made, batch, looked = _climb(_quality, wanted)
    assert [setting.effort for setting in made] == efforts
    assert [layer.name for layer in made[-1].kept] == [f"layer{n}" for n in range(kept)]
    assert batch.files[0].metrics["centred_sqnr_db"] >= wanted
    assert looked == (kept > 0)  # a front costs minutes: only where it is needed


def test_mixes_beyond_the_latency_are_not_tried():
    made, batch, _ = _climb(_quality, 33, most_latency=1.25)
    assert [len(setting.kept) for setting in made] == [0, 0, 0, 1, 2]
    assert not batch.files[0].verdict.passed
    assert [layer.name for layer in batch.kept] == ["layer0", "layer1"]  # the best that is allowed


def test_the_most_accurate_within_the_latency_is_picked():
    def chosen(most_latency: float | None) -> list[int]:
        front = pick(
            [replace(point, chosen=place == 4) for place, point in enumerate(_FRONT)], most_latency
        )
        return [len(point.layers) for point in front if point.chosen]

    assert chosen(None) == [4]  # the knee, as it was
    assert chosen(1.25) == [2]
    assert chosen(9) == [5]
    assert [len(p.layers) for p in mark(_FRONT, _LAYERS[:3]) if p.chosen] == [3]
    assert [p for p in mark(_FRONT, ()) if p.chosen] == []


def test_where_nothing_holds_the_best_of_all_rungs_is_given():
    def worse_and_worse(setting: Setting) -> float:
        return 30.0 - len(setting.kept) if setting.effort == "balanced" else 20.0

    made, batch, _ = _climb(worse_and_worse, 40)
    assert len(made) == 8
    assert batch.files[0].metrics["centred_sqnr_db"] == 30.0
    assert not batch.files[0].verdict.passed


def test_a_scheme_that_cannot_be_written_ends_the_climb():
    made: list[Setting] = []

    def make(setting: Setting) -> RungFiles:
        made.append(setting)
        return RungFiles(files=(replace(_file(float("nan"), 1), error="has a loop"),))

    _, rungs = climb(make, lambda setting: _FRONT, ranges="auto", note=lambda text: None)
    assert len(made) == len(rungs) == 1
    assert rungs[0].misses == ("int8: has a loop",)


@pytest.mark.parametrize("metric", ["drop", "top1_agreement", "pixel_agreement"])
def test_a_budget_that_cannot_be_measured_is_refused_at_once(metric: str):
    made: list[Setting] = []

    def make(setting: Setting) -> RungFiles:
        made.append(setting)
        return RungFiles(files=(_file(None, 0.01, metric=metric),))

    with pytest.raises(UsageError, match="--max-drop"):
        climb(make, lambda setting: _FRONT, ranges="auto", note=lambda text: None)
    assert len(made) == 1
