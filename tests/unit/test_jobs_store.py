"""The store: whole or not at all, damage and other versions in words."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from job_fakes import job

from edgekit.errors import SetupError
from edgekit.jobs.protocol import Ending, Outcome
from edgekit.jobs.store import STATE_NAME, Store


def outcome(name: str, folder: Path | None, **facts: object) -> Outcome:
    return Outcome(key=job(name).key, ending=Ending.DONE, folder=folder, value={"n": 1}, **facts)  # type: ignore[arg-type]


def filled(folder: Path, **texts: str) -> Path:
    folder.mkdir(parents=True)
    for name, text in texts.items():
        (folder / name).write_text(text)
    return folder


def test_a_job_is_found_again_with_its_files(tmp_path: Path) -> None:
    folder = filled(tmp_path / "new", a="one", b="two")
    with Store(tmp_path / "sweep", version="1") as store:
        done = outcome("x", folder, seconds=2.5, machine={"cpu": "C"})
        store.keep([(job("x"), done, 2)])
        assert not folder.exists()
    with Store(tmp_path / "sweep") as store:
        kept = store[job("x").key]
        assert (kept.value, kept.tries, kept.seconds) == ({"n": 1}, 2, 2.5)
        assert kept.machine == {"cpu": "C"}
        assert (store.path(kept.files) / "b").read_text() == "two"
        assert store.find([job("y").key]) == {}


def test_equal_files_are_kept_once_and_names_count(tmp_path: Path) -> None:
    with Store(tmp_path / "sweep", version="1") as store:
        for number, texts in enumerate(({"a": "one"}, {"a": "one"}, {"b": "one"})):
            folder = filled(tmp_path / str(number), **texts)
            store.keep([(job(str(number)), outcome(str(number), folder), 1)])
        files = [store[job(str(number)).key].files for number in range(3)]
    assert files[0] == files[1] != files[2]
    assert len(list((tmp_path / "sweep" / "artifacts").glob("*/*"))) == 2


def test_a_link_out_of_the_folder_is_not_kept(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    folder = filled(tmp_path / "new", a="one")
    (folder / "link").symlink_to(secret)
    with Store(tmp_path / "sweep", version="1") as store:
        store.keep([(job("x"), outcome("x", folder), 1)])
        place = store.path(store[job("x").key].files)
    assert [path.name for path in place.iterdir()] == ["a"]
    assert secret.read_text() == "x"


def test_a_row_that_is_not_committed_leaves_no_finished_job(tmp_path: Path) -> None:
    """As after a kill between the files and the row: the next run puts the same in their place."""
    with Store(tmp_path / "sweep", version="1") as store:
        store._adopt(filled(tmp_path / "first", a="one"))
    orphans = tmp_path / "sweep" / "artifacts"
    with Store(tmp_path / "sweep"):  # who only looks removes nothing
        assert len(list(orphans.glob("*/*"))) == 1
    with Store(tmp_path / "sweep", version="1") as store:
        assert list(orphans.glob("*/*")) == []
        assert store.find([job("x").key]) == {}
        store.keep([(job("x"), outcome("x", filled(tmp_path / "second", a="one")), 1)])
        assert (store.path(store[job("x").key].files) / "a").read_text() == "one"


def test_another_version_is_refused_and_may_be_looked_at(tmp_path: Path) -> None:
    with Store(tmp_path / "sweep", version="1.0") as store:
        store.note("plan", [1, 2])
    with (
        pytest.raises(SetupError, match=r"begun by edgekit 1\.0, and this is 2\.0"),
        Store(tmp_path / "sweep", version="2.0"),
    ):
        pass
    with Store(tmp_path / "sweep") as store:
        assert store.noted("plan") == [1, 2]
        assert store.noted("other") is None


def test_another_form_of_the_file_is_refused(tmp_path: Path) -> None:
    with Store(tmp_path / "sweep", version="1"):
        pass
    base = sqlite3.connect(tmp_path / "sweep" / STATE_NAME)
    base.execute("PRAGMA user_version = 7")
    base.close()
    with pytest.raises(SetupError, match="has the form 7"), Store(tmp_path / "sweep"):
        pass


@pytest.mark.parametrize("damage", ["not a database", "cut short", "pages overwritten"])
def test_a_damaged_file_is_told(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "sweep" / STATE_NAME
    with Store(tmp_path / "sweep", version="1") as store:
        store.keep([(job(str(n)), outcome(str(n), None), 1) for n in range(200)])
    whole = path.read_bytes()
    path.write_bytes(
        {
            "not a database": b"hello " * 1000,
            "cut short": whole[: len(whole) // 2],
            "pages overwritten": whole[:4096] + b"\xa5" * (len(whole) - 4096),
        }[damage]
    )
    with (
        pytest.raises(SetupError, match=r"state\.sqlite is damaged") as caught,
        Store(tmp_path / "sweep", version="1"),
    ):
        pass
    assert "begin anew" in caught.value.cure


def test_there_is_nothing_to_look_at(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="holds no sweep"), Store(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_keeps_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(tmp_path / "sweep", version="1") as store:
        store.keep([(job("first"), outcome("first", None), 1)])
        store._ready.execute("PRAGMA max_page_count = 6")  # SQLite's own way to have no more room
        many = [(job(str(n)), outcome(str(n), None, reason="r" * 900), 1) for n in range(200)]
        with pytest.raises(SetupError, match="is full"):
            store.keep(many)
        assert store[job("first").key].ending == Ending.DONE
        assert len(store.find(one.key for one, _, _ in many)) == 0
