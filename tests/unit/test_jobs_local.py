"""Jobs in processes of this machine: how they end, and what they leave."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from edgekit.jobs.local import LocalExecutor
from edgekit.jobs.protocol import Ending, Executor, Job, Resources

_SECONDS = 30
_MARK = "EDGEKIT_TEST_OF_JOBS"


def job(function: str, name: str = "", needs: tuple[str, ...] = (), **options) -> Job:
    """A job of `job_functions`; what is not a field of `Resources` is an argument."""
    fields = {one: options.pop(one) for one in list(options) if one in Resources.__annotations__}
    key = hashlib.sha256(f"{function} {name} {options}".encode()).hexdigest()
    return Job(
        key=key,
        name=name or function,
        function=f"job_functions:{function}",
        arguments=options,
        needs=needs,
        resources=Resources(**fields),
    )


def outcome(executor: Executor, key: str | None = None):
    """The next outcome."""
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        if found := executor.outcomes(1):
            assert len(found) == 1
            assert key in (None, found[0].key)
            return found[0]
    raise AssertionError("no job ended")


def run(executor: Executor, one: Job, inputs=None):
    executor.start(one, inputs or {})
    return outcome(executor, one.key)


def wait_for(path: Path) -> str:
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        if path.exists() and path.read_text():
            return path.read_text()
        time.sleep(0.01)
    raise AssertionError(f"{path} did not appear")


def marked() -> list[int]:
    """All processes that descend from jobs of this test."""
    found = []
    for process in psutil.process_iter():
        try:
            mark = process.environ().get(_MARK)
            if mark == os.environ[_MARK] and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except (psutil.Error, OSError):
            continue
    return [pid for pid in found if pid != os.getpid()]


@pytest.fixture(autouse=True)
def _marks(tmp_path, monkeypatch):
    monkeypatch.setenv(_MARK, str(tmp_path))


@pytest.fixture
def executor(tmp_path):
    made = LocalExecutor(cores=2, memory=8 << 30, gpus=("0", "1"), folder=tmp_path)
    yield made
    made.close()
    assert list(tmp_path.glob("edgekit-*")) == []


def test_what_a_job_gives_reaches_the_next(executor):
    first = run(executor, job("add", "first", numbers=[1, 2]))
    assert first.ending == Ending.DONE
    assert first.value["sum"] == 3
    assert first.value["pid"] != os.getpid()
    assert first.seconds > 0
    assert first.machine["python"]
    assert first.machine["numpy"]
    second = job("add", "second", numbers=[10], needs=(first.key,))
    then = run(executor, second, {first.key: first.folder})
    assert then.value["sum"] == 13
    assert (then.folder / "sum.txt").read_text() == "13"


def test_jobs_share_a_process_and_its_imports(executor):
    pids = [run(executor, job("add", str(one), numbers=[])).value["pid"] for one in range(3)]
    assert len(set(pids)) == 1


def test_two_run_at_the_same_time(executor, tmp_path):
    go = tmp_path / "go"
    for one in ("a", "b"):
        executor.start(job("wait", one, tell=str(tmp_path / one), until=str(go)), {})
    assert not executor.fits(Resources())
    assert executor.free().cores == 0
    for one in ("a", "b"):
        wait_for(tmp_path / one)
    assert executor.outcomes(0) == []
    go.touch()
    found = list(executor.outcomes(20))
    while len(found) < 2:  # they may also come together
        found.append(outcome(executor))
    assert {one.ending for one in found} == {Ending.DONE}


def test_a_user_s_mistake_is_told_in_its_words(executor, tmp_path):
    found = run(executor, job("wrong"))
    assert found.ending == Ending.WRONG_INPUT
    assert found.exit_code == 6
    assert found.reason == "photos/ is empty. Give a folder of pictures."
    assert found.folder is None
    assert list(tmp_path.rglob("half.txt")) == []


@pytest.mark.parametrize(
    ("function", "ending", "code"),
    [("busy", Ending.LOST, 7), ("too_slow", Ending.CRASHED, 3)],
)
def test_other_errors_of_edgekit(executor, function, ending, code):
    found = run(executor, job(function))
    assert (found.ending, found.exit_code) == (ending, code)


@pytest.mark.parametrize("function", ["bug", "no_plain_data", "not_there"])
def test_a_bug_is_loud_and_has_its_traceback_in_a_log(executor, function):
    found = run(executor, job(function))
    assert (found.ending, found.exit_code) == (Ending.BUG, 1)
    assert "bug" in found.reason
    log = Path(found.reason.partition("Log: ")[2])
    assert "Traceback" in log.read_text()


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV"])
def test_a_crash_costs_only_its_job(executor, tmp_path, name):
    go = tmp_path / "go"
    executor.start(job("wait", tell=str(tmp_path / "told"), until=str(go)), {})
    wait_for(tmp_path / "told")
    found = run(executor, job("die", signal=name))
    assert found.ending == Ending.CRASHED
    assert name in found.reason
    assert list(tmp_path.rglob("half.txt")) == []
    assert run(executor, job("add", numbers=[1])).value["sum"] == 1
    go.touch()
    assert outcome(executor).ending == Ending.DONE


def test_more_memory_than_reserved(executor):
    found = run(executor, job("fill", megabytes=600, memory=256 << 20))
    assert found.ending == Ending.CRASHED
    assert "memory" in found.reason


def test_longer_than_allowed(tmp_path):
    executor = LocalExecutor(cores=1, seconds=0.3, folder=tmp_path)
    found = run(executor, job("wait", tell=str(tmp_path / "told")))
    executor.close()
    assert found.ending == Ending.CRASHED
    assert "longer than 0.3 s" in found.reason


def test_cancelled_with_all_that_it_started(executor, tmp_path):
    one = job("wait", tell=str(tmp_path / "told"))
    executor.start(one, {})
    grandchild = int(wait_for(tmp_path / "told"))
    assert grandchild in marked()
    executor.cancel("0" * 64)  # is not running: left alone
    executor.cancel(one.key)
    found = outcome(executor)
    assert (found.ending, found.exit_code, found.folder) == (Ending.CANCELLED, 130, None)
    assert marked() == []
    assert executor.fits(Resources(cores=2))


def test_children_of_a_killed_process_end_too(executor, tmp_path):
    executor.start(job("wait", tell=str(tmp_path / "told")), {})
    grandchild = int(wait_for(tmp_path / "told"))
    parent = psutil.Process(grandchild).ppid()
    os.kill(parent, signal.SIGKILL)
    assert outcome(executor).ending == Ending.CRASHED
    assert marked() == []


def test_a_device_has_one_holder(executor, tmp_path):
    go = tmp_path / "go"
    device = frozenset({"adb:1"})
    executor.start(job("wait", tell=str(tmp_path / "told"), until=str(go), devices=device), {})
    assert not executor.fits(Resources(devices=device))
    assert executor.fits(Resources(devices=frozenset({"adb:2"})))
    go.touch()
    outcome(executor)
    assert executor.fits(Resources(devices=device))


def test_a_job_sees_its_own_card(executor):
    assert executor.free().gpus == 2
    assert run(executor, job("cards", "none")).value == ""
    assert run(executor, job("cards", "one", gpus=1)).value == "0"
    assert run(executor, job("cards", "both", gpus=2)).value == "0,1"
    assert not executor.fits(Resources(gpus=3))


def test_cards_are_shared_as_asked(executor, tmp_path):
    go = tmp_path / "go"
    executor.start(job("wait", tell=str(tmp_path / "a"), until=str(go), gpus=0.5, cores=0), {})
    executor.start(job("cards", "half", gpus=0.5, cores=0), {})
    assert not executor.fits(Resources(gpus=2))
    assert outcome(executor).value == "0"
    assert run(executor, job("cards", "whole", gpus=1, cores=0)).value == "1"
    go.touch()
    outcome(executor)


def test_resources_that_are_never_there(executor):
    assert not executor.fits(Resources(cores=3))
    assert not executor.fits(Resources(memory=9 << 30))
    assert executor.fits(Resources(cores=2, memory=8 << 30, gpus=2))


def test_close_ends_what_runs(tmp_path):
    executor = LocalExecutor(cores=1, folder=tmp_path)
    executor.start(job("wait", tell=str(tmp_path / "told")), {})
    wait_for(tmp_path / "told")
    executor.close()
    assert marked() == []
    assert list(tmp_path.glob("edgekit-*")) == []


def test_a_process_ends_with_its_parent(tmp_path):
    import subprocess
    import sys

    program = (
        "import time\n"
        "from pathlib import Path\n"
        "from test_jobs_local import job\n"
        "from edgekit.jobs.local import LocalExecutor\n"
        f"executor = LocalExecutor(cores=1, folder=Path({str(tmp_path)!r}))\n"
        f"executor.start(job('wait', tell={str(tmp_path / 'told')!r}), {{}})\n"
        "time.sleep(600)\n"
    )
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": str(here)}
    parent = subprocess.Popen([sys.executable, "-c", program], env=environment)
    wait_for(tmp_path / "told")
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + _SECONDS
    while marked() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert marked() == []


def test_a_process_is_replaced_now_and_then(executor, monkeypatch):
    monkeypatch.setattr("edgekit.jobs.local.MOST_JOBS", 2)
    pids = [run(executor, job("add", str(one), numbers=[])).value["pid"] for one in range(4)]
    assert pids[0] == pids[1] != pids[2] == pids[3]
