"""Some of the points of ``python -m tests.fuzz.kill_points``, which has them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.kill_points import COMMANDS, Bench

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize(
    ("name", "place"),
    [("convert --force", -2), ("validate -o, then --resume", 0.5), ("sweep", 0.6)],
)
def test_a_run_that_is_killed_there(tmp_path: Path, name: str, place: float) -> None:
    (command,) = [one for one in COMMANDS if one.name == name]
    bench = Bench(tmp_path / "bench", command, pictures=96)
    bench.kill(change=int(bench.count + place if place < 0 else bench.count * place))
    assert bench.row.changes == 1
    assert bench.row.faults == []
