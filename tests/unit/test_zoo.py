"""The zoo's list and its state file; nothing is built or converted."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))


def test_the_list_is_long_and_a_part_of_it_has_all_families():
    from zoo_models.listing import FAMILIES, LISTED

    names = [one.name for one in LISTED]
    assert len(names) == len(set(names)) >= 80
    first = set(names[: len(FAMILIES)])
    assert all(first & {one.name for one in family} for family in FAMILIES)


def test_samples_differ_and_are_the_same_in_every_run():
    from zoo_models.listing import LISTED
    from zoo_models.samples import samples

    feeds = {feed.kind: feed for one in LISTED for feed in one.feeds}
    assert set(feeds) == {"picture", "noise", "ids", "mask", "step"}
    for feed in feeds.values():
        found = samples(feed, 5, 1)
        assert found.shape == (5, *feed.shape[1:])
        np.testing.assert_array_equal(found, samples(feed, 5, 1))
        assert len(np.unique(found.reshape(5, -1), axis=0)) > 1


def test_a_line_that_was_cut_off_is_done_again(tmp_path: Path):
    import zoo

    row = zoo.Row(name="a", family="f", size="1", version="0", effort="none", kept_float=("1 X",))
    line = json.dumps(asdict(row))
    (tmp_path / "zoo.jsonl").write_text(f"{line}\n{line[:40]}\n", encoding="utf-8")
    assert zoo.kept(tmp_path / "zoo.jsonl") == [row]


def test_a_wrong_file_is_told_from_one_with_other_axes():
    import zoo

    right = np.random.default_rng(0).normal(size=(8, 1, 3, 5, 4))
    turned = right.transpose(0, 1, 3, 4, 2)
    found = (turned.transpose(0, *(1 + axis for axis in axes)) for axes in zoo._orders(4))
    assert max(zoo._db(right, one) for one in found if one.shape == right.shape) == 200.0
    assert zoo._db(right, right[::-1]) < zoo.RIGHT_DB
