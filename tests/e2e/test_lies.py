"""The battery of planted lies: none passes, and every honest twin does."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

pytestmark = pytest.mark.e2e


def test_no_lie_passes_and_every_honest_twin_does(tmp_path: Path) -> None:
    from lies import answers

    found = list(answers(tmp_path))
    assert sum(not one.honest for one in found) >= 60
    assert [f"{one.group}: {one.name}: {one.why}" for one in found if not one.as_it_should] == []
