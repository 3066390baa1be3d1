"""The scheduler: order, resources, retries, what failures take with them, Ctrl-C, what is kept."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from job_fakes import FakeExecutor, Told, job

from edgekit.errors import UsageError
from edgekit.jobs.protocol import Ending, Job
from edgekit.jobs.scheduler import JobTally, PatienceClock, Scheduler
from edgekit.jobs.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "sweep", version="1") as opened:
        yield opened


@pytest.fixture
def executor(tmp_path: Path) -> FakeExecutor:
    (tmp_path / "work").mkdir()
    return FakeExecutor(tmp_path / "work")


class _Ticking(PatienceClock):
    """Seconds go by with every look at it."""

    def __init__(self) -> None:
        self.time = 0.0
        self.now = self._now

    def _now(self) -> float:
        self.time += 5.0
        return self.time


def run(
    executor: FakeExecutor,
    store: Store,
    *jobs: Job,
    told: Told | None = None,
    priority: Callable[[Job], int] = lambda _: 0,
    again: bool = False,
) -> JobTally:
    watcher = told or Told()
    scheduler = Scheduler(executor, store, watcher, again=again, clock=_Ticking())
    return scheduler.run(jobs, priority)


def test_each_job_comes_after_what_it_needs_and_gets_its_files(
    executor: FakeExecutor, store: Store
) -> None:
    model = job("model")
    files = [job(f"file {n}", model) for n in range(3)]
    last = job("last", *files)
    tally = run(executor, store, last, *files, model)
    assert executor.started[0] == "model"
    assert executor.started[-1] == "last"
    assert tally.endings == {Ending.DONE: 5}
    given = executor.inputs["file 1"][model.key]
    assert (given / "said.txt").read_text() == "model"


def test_a_large_graph_is_run_in_a_valid_order(executor: FakeExecutor, store: Store) -> None:
    draw = random.Random(3)
    jobs: list[Job] = []
    for number in range(300):
        jobs.append(job(str(number), *draw.sample(jobs, min(len(jobs), draw.randrange(4)))))
    names = {one.key: one.name for one in jobs}
    shuffled = draw.sample(jobs, len(jobs))
    executor.cores = 7
    assert run(executor, store, *shuffled).endings == {Ending.DONE: 300}
    place = {name: number for number, name in enumerate(executor.started)}
    assert len(place) == len(executor.started) == 300
    assert all(place[names[need]] < place[one.name] for one in jobs for need in one.needs)
    assert executor.most == 7


def test_lower_priorities_wait_and_a_large_job_is_not_starved(
    executor: FakeExecutor, store: Store
) -> None:
    small = [job(f"small {n}") for n in range(6)]
    large = job("large", cores=2)
    later = job("later")
    rank = {"later": 2, "large": 1}
    run(executor, store, later, *small, large, priority=lambda one: rank.get(one.name, 0))
    assert executor.started == [*(one.name for one in small), "large", "later"]


def test_a_device_has_one_holder_and_those_behind_go_on(
    executor: FakeExecutor, store: Store
) -> None:
    on = frozenset({"ssh://pi"})
    phone = [job(f"phone {n}", devices=on) for n in range(3)]
    executor.cores = 4
    run(executor, store, *phone, job("here"))
    assert executor.started[:2] == ["phone 0", "here"]
    assert executor.most == 2


def test_what_was_finished_is_not_done_again(executor: FakeExecutor, store: Store) -> None:
    model = job("model")
    run(executor, store, model)
    tally = run(executor, store, model, job("file", model))
    assert executor.started == ["model", "file"]
    assert tally.known == 1


def test_a_finished_job_stays_finished_where_what_it_needs_is_done_anew(
    executor: FakeExecutor, store: Store
) -> None:
    old, new = job("old"), job("new")
    run(executor, store, old, Job(key="f" * 64, name="file", function="a:b", needs=(old.key,)))
    run(executor, store, new, Job(key="f" * 64, name="file", function="a:b", needs=(new.key,)))
    assert executor.started == ["old", "file", "new"]


def test_crashes_and_lost_machines_are_retried_and_wrong_inputs_are_not(
    executor: FakeExecutor, store: Store
) -> None:
    def act(one: Job, number: int) -> Ending:
        if one.name == "wrong":
            return Ending.WRONG_INPUT
        if one.name == "hopeless":
            return Ending.CRASHED
        if one.name == "bug":
            return Ending.BUG
        return Ending.DONE if number == 3 else Ending(one.name)

    executor.act = act
    told = Told()
    names = ("wrong", "hopeless", "bug", "crashed", "lost")
    run(executor, store, *map(job, names), told=told)
    starts = {name: executor.started.count(name) for name in names}
    assert starts == {"wrong": 1, "hopeless": 3, "bug": 1, "crashed": 3, "lost": 3}
    assert {name: kept.ending for name, kept in told.endings.items()} == {
        "wrong": Ending.WRONG_INPUT,
        "hopeless": Ending.CRASHED,
        "bug": Ending.BUG,
        "crashed": Ending.DONE,
        "lost": Ending.DONE,
    }
    assert told.endings["hopeless"].tries == 3


def test_a_failure_takes_with_it_what_needs_it_and_nothing_else(
    executor: FakeExecutor, store: Store
) -> None:
    bad, good = job("bad"), job("good")
    file = job("file", bad, good)
    last = job("last", file)
    other = job("other", good)
    executor.act = lambda one, _: Ending.WRONG_INPUT if one.name == "bad" else Ending.DONE
    told = Told()
    tally = run(executor, store, last, file, other, bad, good, told=told)
    assert sorted(executor.started) == ["bad", "good", "other"]
    assert "needs bad, which failed: bad ended wrong-input" in told.endings["file"].reason
    assert "needs bad" in told.endings["last"].reason
    assert tally.endings[Ending.CANCELLED] == 2


def test_the_next_run_tries_again_what_crashed_but_not_what_was_wrong(
    executor: FakeExecutor, store: Store
) -> None:
    executor.act = lambda one, _: Ending(one.name)
    names = ("wrong-input", "crashed", "bug")
    run(executor, store, *map(job, names))
    executor.started.clear()
    executor.act = lambda one, _: Ending.DONE
    told = Told()
    run(executor, store, *map(job, names), told=told)
    assert sorted(executor.started) == ["bug", "crashed"]
    assert told.endings["wrong-input"].reason == "wrong-input ended wrong-input"
    run(executor, store, *map(job, names), again=True)
    assert executor.started[-1] == "wrong-input"


def test_the_first_ctrl_c_lets_running_jobs_finish(executor: FakeExecutor, store: Store) -> None:
    def act(one: Job, _: int) -> Ending:
        if one.name == "0":
            os.kill(os.getpid(), signal.SIGINT)
        return Ending.DONE

    executor.act = act
    told = Told()
    tally = run(executor, store, *(job(str(n)) for n in range(6)), told=told)
    assert tally.interrupted
    assert executor.started == ["0", "1"]
    assert sorted(told.endings) == ["0", "1"]
    assert told.interruptions == [1]
    executor.act = lambda one, _: Ending.DONE
    assert run(executor, store, *(job(str(n)) for n in range(6))).known == 2
    assert executor.started == ["0", "1", "2", "3", "4", "5"]


def test_the_second_ctrl_c_ends_them(executor: FakeExecutor, store: Store) -> None:
    def act(one: Job, _: int) -> Ending:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        return Ending.DONE

    executor.act = act
    tally = run(executor, store, *(job(str(n)) for n in range(6)))
    assert tally.interrupted
    assert executor.cancelled == ["1"]
    with pytest.raises(KeyboardInterrupt):  # the handler is what it was
        signal.raise_signal(signal.SIGINT)


def test_a_job_that_fits_nowhere_is_told_and_the_others_run(
    executor: FakeExecutor, store: Store
) -> None:
    told = Told()
    run(executor, store, job("huge", cores=64), job("small"), told=told)
    assert executor.started == ["small"]
    assert "64 cores" in told.endings["huge"].reason


def test_circles_and_gaps_are_refused(executor: FakeExecutor, store: Store) -> None:
    first = Job(key="a" * 64, name="first", function="a:b", needs=("b" * 64,))
    second = Job(key="b" * 64, name="second", function="a:b", needs=("a" * 64,))
    with pytest.raises(UsageError, match="circle: first, second"):
        run(executor, store, first, second)
    with pytest.raises(UsageError, match="first needs one that is not planned"):
        run(executor, store, first)
    assert not executor.started
