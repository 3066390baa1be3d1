"""Two runs at a time into one place: the second is refused, and told who has it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.errors import SetupError
from edgekit.pipeline.publish import all_held, held, is_ours

HOLD = """
import sys
from pathlib import Path
from edgekit.pipeline.publish import held
with held(Path(sys.argv[1]), sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(folder: Path, name: str = "") -> subprocess.Popen[str]:
    """Another process that holds a place until it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), name, "a \x1b[2J b"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def end(process: subprocess.Popen[str], number: int) -> None:
    process.send_signal(number)
    process.communicate()


@pytest.mark.parametrize("name", ["", "page.html", "n" * 255])
def test_the_second_run_is_told_who_has_it(tmp_path, name):
    first = holder(tmp_path / "out", name)
    try:
        with pytest.raises(SetupError) as caught, held(tmp_path / "out", name):
            pytest.fail("it must not begin")
    finally:
        end(first, signal.SIGKILL)
    assert f"process {first.pid}" in caught.value.cause
    assert str(tmp_path / "out" / name) in caught.value.cause
    assert "-c" in caught.value.cause, "its command"
    assert "\x1b" not in caught.value.cause
    assert caught.value.cure


@pytest.mark.parametrize("name", ["", "page.html"])
def test_what_a_killed_run_had_is_taken_over(tmp_path, name):
    end(holder(tmp_path, name), signal.SIGKILL)
    assert [is_ours(one) for one in tmp_path.iterdir()] == [True], "the kernel leaves the file"
    mine = pytest.raises(SetupError, match=f"process {os.getpid()}")
    with held(tmp_path, name), mine, held(tmp_path, name):
        pytest.fail("it is held")
    assert list(tmp_path.iterdir()) == []


def test_the_next_run_removes_what_killed_ones_left_for_other_files(tmp_path):
    first = holder(tmp_path, "living.html")
    end(holder(tmp_path, "killed.html"), signal.SIGKILL)
    assert len(list(tmp_path.iterdir())) == 2
    with held(tmp_path, "mine.html"):
        pass
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(SetupError), held(tmp_path, "living.html"):
        pytest.fail("it is held")
    end(first, signal.SIGKILL)


def test_files_beside_each_other_do_not_disturb_each_other(tmp_path):
    with held(tmp_path, "a.html"), held(tmp_path, "b.html"), held(tmp_path):
        pass
    with all_held(files=[tmp_path / "a", None, tmp_path / "x/../a"], folders=[tmp_path, None]):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_made_for_it_goes_again_unless_it_is_used(tmp_path):
    with held(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()
    assert list(tmp_path.iterdir()) == []
    with held(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "file").touch()
    assert [one.name for one in (tmp_path / "a" / "b").iterdir()] == ["file"]


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to(path.parent / "mine")])
def test_what_is_no_lock_is_not_written_to(tmp_path, make):
    (tmp_path / "mine").write_text("precious")
    make(tmp_path / ".edgekit-lock")
    with pytest.raises(SetupError, match="cannot be written"), held(tmp_path):
        pytest.fail("it must not begin")
    assert (tmp_path / "mine").read_text() == "precious"
    assert (tmp_path / ".edgekit-lock").exists()


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    import errno
    import fcntl

    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with held(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
