"""Rows: verdicts of two steps in one, fronts, and machines that are never mixed."""

from __future__ import annotations

import random
from itertools import product
from typing import Any

from edgekit.jobs.protocol import Ending
from edgekit.jobs.store import KeptJob
from edgekit.sweep.halving import survivors
from edgekit.sweep.points import Combination
from edgekit.sweep.rows import SweepRow, front_of, make_row, with_front

HERE = {"cpu": "A", "machine": "x86_64", "ai-edge-litert": "2.1"}


def point(name: str = "net", on: str = "local") -> Combination:
    return Combination(model=name, size="", scheme="int8", effort="fast", on=on)


def kept(value: Any, ending: Ending = Ending.DONE) -> KeptJob:
    return KeptJob(
        key="k", name="the job", ending=ending, tries=1, value=value, files="ab" * 32, reason="why"
    )


def made(state: str = "pass", **metrics: float) -> KeptJob:
    return kept(
        {
            "file": "n.tflite",
            "report": "r.json",
            "sha256": "s",
            "state": state,
            "why": [],
            "metrics": metrics,
        }
    )


def found(state: str = "pass", **metrics: float) -> KeptJob:
    return kept(
        {"state": state, "why": [f"{state}!"], "metrics": metrics, "machine": HERE, "samples": 9}
    )


def row(name: str, accuracy: float, latency: float, size: float, **facts: Any) -> SweepRow:
    metrics = {"top1_accuracy": accuracy, "latency_p50_ms": latency, "size_mb": size}
    return SweepRow(
        **{"point": point(name), "state": "pass", "machine": "A", "metrics": metrics, **facts}
    )


def test_the_worse_verdict_of_both_steps_counts() -> None:
    order = ["pass", "not proven", "fail"]
    for first, second in product(order, order):
        worse = max(first, second, key=order.index)
        assert make_row(point(), made(first), found(second)).state == worse


def test_a_latency_that_was_taken_beside_other_jobs_is_not_reported() -> None:
    one = make_row(point(), made(latency_p50_ms=9.0, latency_p90_ms=9.0), found(latency_p50_ms=2.0))
    assert one.metrics == {"latency_p50_ms": 2.0}
    assert one.machine == "A, x86_64, ai-edge-litert 2.1"


def test_what_failed_and_what_has_not_ended() -> None:
    failed = make_row(point(), made(), kept(None, Ending.CRASHED))
    assert (failed.state, failed.why) == ("failed", ("the job: why",))
    assert make_row(point(), made(), None).state == "waiting"
    assert make_row(point(), None, None).state == "waiting"


def test_the_front_is_what_nothing_dominates() -> None:
    draw = random.Random(5)
    for _ in range(50):
        some = [
            tuple(draw.randrange(4) / 2 for _ in range(3)) for _ in range(draw.randrange(1, 25))
        ]
        by_hand = {
            one
            for one in some
            if not any(
                other != one and all(a <= b for a, b in zip(other, one, strict=True))
                for other in some
            )
        }
        assert set(front_of(some)) == by_hand


def test_only_files_that_passed_are_on_the_front_and_only_beside_their_own_machine() -> None:
    rows = with_front(
        [
            row("best", 0.9, 1.0, 1.0, state="fail"),
            row("slow", 0.8, 5.0, 1.0),
            row("worse", 0.7, 6.0, 1.0),
            row("elsewhere", 0.7, 9.0, 1.0, machine="B"),
            row("on a board", 0.7, 9.0, 1.0, point=point("x", on="ssh://pi")),
        ]
    )
    assert [one.front for one in rows] == [False, True, False, True, True]


def test_halving_keeps_the_front_and_no_more_than_the_share_beside_it() -> None:
    front = [row(f"front {n}", 0.5 + n / 10, 1.0 + n, 1.0) for n in range(2)]
    second = [row(f"second {n}", 0.4 + n / 10, 2.0 + n, 1.0) for n in range(2)]
    third = [row(f"third {n}", 0.1, 9.0 + n, 2.0) for n in range(4)]
    rows = [*third, *front, *second]
    assert {one.point.model for one in survivors(rows, 0.5)} == {
        "front 0",
        "front 1",
        "second 0",
        "second 1",
    }
    assert {one.point.model for one in survivors(rows, 0.1)} == {"front 0", "front 1"}


def test_halving_leaves_behind_what_has_no_figures() -> None:
    broken = SweepRow(point=point("broken"), state="failed")
    assert survivors([broken, row("good", 0.5, 1.0, 1.0)], 0.9) != []
    assert [one.point.model for one in survivors([broken, row("good", 0.5, 1.0, 1.0)], 0.9)] == [
        "good"
    ]
