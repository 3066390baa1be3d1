"""Rows and reference outputs on the disk."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from edgekit.errors import ConversionError
from edgekit.pipeline.validation.store import (
    ReferenceCache,
    RunStore,
    read_table,
    references,
    trim,
    write_table,
)

TYPES = st.sampled_from([np.float64, np.float32, np.int64, np.uint8, np.bool_, np.uint16])
COLUMN = TYPES.flatmap(lambda kind: arrays(kind, array_shapes(min_dims=1, min_side=0, max_side=4)))


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def opened(key: str, *, resume: bool = False) -> RunStore:
    """The store of a run that has ended since, as one that was interrupted leaves it."""
    with RunStore.open(key * 64, resume=resume) as store:
        return store


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(max_size=8), COLUMN, max_size=4))
def test_what_is_written_is_read_again(tmp_path_factory, columns):
    path = tmp_path_factory.mktemp("table") / "a.rows"
    write_table(path, columns, skipped=["ä", "b\n"])
    found, words = read_table(path)
    assert list(found) == list(columns)
    for name, column in columns.items():
        assert found[name].dtype == column.dtype
        np.testing.assert_array_equal(found[name], column)
    assert words == {"skipped": ["ä", "b\n"]}
    assert [one.name for one in path.parent.iterdir()] == ["a.rows"]


def test_a_table_that_is_cut_short_is_refused(tmp_path):
    path = tmp_path / "a.rows"
    write_table(path, {"x": np.arange(100)})
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ValueError, match="buffer"):
        read_table(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="Expecting value"):
        read_table(path)


def test_a_run_is_emptied_unless_it_is_resumed():
    store = opened("a")
    write_table(store.path(3), {})
    write_table(store.path(12), {})
    store.drop({1: "it crashed"})
    again = opened("a", resume=True)
    assert again.finished() == {3, 12}
    assert again.dropped() == {1: "it crashed"}
    assert opened("b", resume=True).finished() == set()
    assert opened("a").finished() == set()
    again.remove()
    assert not again.folder.exists()


def test_the_same_run_twice_at_a_time_does_not_share_rows(home):
    with RunStore.open("a" * 64, resume=False) as first:
        write_table(first.path(3), {})
        with RunStore.open("a" * 64, resume=True) as second:
            assert second.folder != first.folder
            assert second.finished() == set()
        assert not second.folder.exists()
        assert first.finished() == {3}
    assert opened("a", resume=True).finished() == {3}
    assert [one.name for one in (home / "validations").iterdir()] == [first.folder.name]


def test_tables_that_a_killed_process_was_writing_go():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    store = opened("a")
    write_table(store.path(3), {})
    half = [store.folder / f".chunk-0000004.rows.{pid}-77" for pid in (process.pid, os.getpid())]
    for path in half:
        path.write_bytes(b"half")
    opened("a", resume=True)
    assert {path.name for path in store.folder.iterdir()} == {store.path(3).name, half[1].name}


def test_runs_of_long_ago_are_forgotten():
    old = opened("a")
    write_table(old.path(1), {})
    long_ago = time.time() - 8 * 24 * 3600
    os.utime(old.folder, (long_ago, long_ago))
    opened("b")
    assert not old.folder.exists()


def test_the_cache_loses_what_was_not_used_for_longest():
    cache = ReferenceCache.open("k" * 64, opened("r"))
    for number in range(10):
        path = cache.folder / f"{number}.rows"
        write_table(path, {"0": np.zeros(1000, np.uint8)})
        os.utime(path, (1000 + number, 1000 + number))
    os.utime(cache.folder / "0.rows")  # used just now
    size = (cache.folder / "1.rows").stat().st_size
    assert trim(references(), 10 * size) == 0
    assert trim(references(), 5 * size) == 6  # down to 80 % of the limit
    left = sorted(path.stem for path in cache.folder.iterdir())
    assert left == ["0", "7", "8", "9"]


def test_outputs_that_were_used_are_kept_for_longer():
    cache = ReferenceCache.open("k" * 64, opened("r"))
    path = cache.place("0" * 64)
    write_table(path, {})
    os.utime(path, (1000, 1000))
    cache.used("0" * 64)
    assert path.stat().st_mtime > 1000
    cache.used("1" * 64)  # another run has trimmed it


@pytest.mark.parametrize("key", ["../../victim", "/etc/victim", "0" * 63, "0" * 63 + "/", ""])
def test_a_process_cannot_name_files_elsewhere(key):
    with pytest.raises(ConversionError, match="not its own"):
        ReferenceCache.open("k" * 64, opened("r")).place(key)


def test_outputs_of_a_reference_without_a_key_end_with_the_run(home):
    run = opened("r")
    cache = ReferenceCache.open(None, run)
    assert not cache.keep
    assert cache.folder.is_relative_to(run.folder)
    run.remove()
    assert not cache.folder.exists()
