"""What a sweep costs beside its jobs, and what it loses when it is killed (docs/sweep.md).

    python benchmarks/sweep.py overhead [--jobs 1000]
    python benchmarks/sweep.py kills [--kills 20]
    python benchmarks/sweep.py simulate [--jobs 100000] [--workers 200] [--plot FILE.svg]

``overhead`` runs jobs that write one small file, with the real scheduler, store and processes.
``kills`` ends a run by SIGKILL at random times, lets the next go on, and counts what is done twice.
``simulate`` has the real scheduler and store, and workers and a clock that are made up.
"""

from __future__ import annotations

import argparse
import hashlib
import heapq
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from edgekit.files import remove_leftovers
from edgekit.jobs.local import LocalExecutor
from edgekit.jobs.protocol import Ending, Job, Outcome, Plain, Resources
from edgekit.jobs.scheduler import PatienceClock, Scheduler
from edgekit.jobs.store import STATE_NAME, KeptJob, Store

_MODULE = "sweep"


def small_job(arguments: Mapping[str, Any], inputs: Mapping[str, Path], folder: Path) -> Plain:
    """Write a file that depends on what the job needs; tell a log that it began."""
    if log := arguments.get("log"):
        handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, f"{arguments['name']}\n".encode())
        os.close(handle)
    time.sleep(arguments.get("seconds", 0.0))
    texts = [(inputs[key] / "said.txt").read_text() for key in sorted(inputs)]
    said = hashlib.sha256("".join([arguments["name"], *texts]).encode()).hexdigest()
    (folder / "said.txt").write_text(said)
    return {"said": said}


def graph(jobs: int, **arguments: Plain) -> list[Job]:
    """Jobs in the form of a sweep: a tenth are models, each of the others needs one of them."""
    found: list[Job] = []
    models = max(1, jobs // 10)
    for number in range(jobs):
        name = f"job {number}"
        needs = (found[number % models].key,) if number >= models else ()
        found.append(
            Job(
                key=hashlib.sha256(name.encode()).hexdigest(),
                name=name,
                function=f"{_MODULE}:small_job",
                arguments={"name": name, **arguments},
                needs=needs,
            )
        )
    return found


class Watching:
    """Counts, and calls back at every end."""

    def __init__(self, then: Callable[[int], None] = lambda _: None) -> None:
        self.count = 0
        self._then = then

    def started(self, job: Job) -> None:
        """Not of interest."""

    def ended(self, kept: KeptJob) -> None:
        assert kept.ending == Ending.DONE, kept.reason
        self.count += 1
        self._then(self.count)

    def retried(self, job: Job, outcome: Outcome) -> None:
        raise AssertionError(outcome.reason)

    def interrupted(self, running: int) -> None:
        """Not of interest."""


def run(folder: Path, jobs: Sequence[Job], watching: Watching) -> None:
    """What `edgekit sweep` does with its jobs."""
    remove_leftovers(folder, "edgekit-jobs-")
    with (
        Store(folder, version="benchmark") as store,
        closing(LocalExecutor(cores=2, folder=folder)) as executor,
    ):
        Scheduler(executor, store, watching).run(jobs)


def overhead(jobs: int) -> None:
    """Wall time a job, memory and the size of the state, for jobs that do next to nothing."""
    memory: dict[int, float] = {}
    process = psutil.Process()

    def look(count: int) -> None:
        if count in (jobs // 10, jobs):
            memory[count] = process.memory_info().rss / 1e6

    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        run(folder / "warm", graph(10), Watching())  # bytecode and imports
        started = time.perf_counter()
        run(folder / "sweep", graph(jobs), Watching(look))
        seconds = time.perf_counter() - started
        state = (folder / "sweep" / STATE_NAME).stat().st_size / 1e6
    print(f"{jobs} jobs, two at a time: {seconds:.1f} s, {1000 * seconds / jobs:.1f} ms a job")
    first, last = memory.values()
    print(f"memory after a tenth {first:.0f} MB, in the end {last:.0f} MB")
    print(f"state file {state:.2f} MB")


def kills(count: int) -> None:
    """Kill runs at random times; what finished before must not begin again."""
    draw = random.Random(17)  # noqa: S311  no secret
    with tempfile.TemporaryDirectory() as root:
        folder, log = Path(root), Path(root) / "log"
        whole = folder / "whole"
        started = time.perf_counter()
        _child(whole, folder / "log-of-whole").wait()
        seconds = time.perf_counter() - started
        broken, done, twice, begun = folder / "broken", 0, 0, 0
        log.touch()
        while done < count:
            finished = set(_finished(broken))
            if len(finished) == _KILLED_JOBS:  # begin anew: there is nothing left to kill
                _require_equal(whole, broken)
                broken = folder / f"broken-{done}"
                finished = set()
            log.write_text("")
            child = _child(broken, log)
            try:
                child.wait(timeout=draw.uniform(0.2, 0.5 * seconds))
            except subprocess.TimeoutExpired:
                os.kill(child.pid, signal.SIGKILL)
                done += 1
            child.wait()
            time.sleep(0.2)  # job processes end when nobody waits for them
            names = log.read_text().splitlines()
            begun += len(names)
            twice += sum(name in finished for name in names)
        _child(broken, log).wait()
        _require_equal(whole, broken)
        print(f"{done} kills, {begun} jobs begun, {twice} of them finished before")
        print("results and files are those of an unbroken run, byte for byte")


_KILLED_JOBS = 150


def _child(folder: Path, log: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, __file__, "child", str(folder), str(log)])


def _finished(folder: Path) -> list[str]:
    if not (folder / STATE_NAME).exists():
        return []
    with Store(folder) as store:
        return [kept.name for kept in store.find(job.key for job in graph(_KILLED_JOBS)).values()]


def _require_equal(whole: Path, broken: Path) -> None:
    """The same values, and the same bytes in the same places."""
    assert _state(whole) == _state(broken)
    trees = [
        {
            path.relative_to(folder): path.read_bytes()
            for path in sorted((folder / "artifacts").rglob("*"))
            if path.is_file()
        }
        for folder in (whole, broken)
    ]
    named = {files for _, _, files in _state(whole).values()}
    kept = [{path: text for path, text in tree.items() if path.parts[2] in named} for tree in trees]
    assert kept[0] == kept[1]


def _state(folder: Path) -> dict[str, tuple[str, str, str]]:
    with Store(folder) as store:
        found = store.find(job.key for job in graph(_KILLED_JOBS))
    return {key: (one.ending, json.dumps(one.value), one.files) for key, one in found.items()}


class Simulated:
    """So many workers, whose jobs take as long as they are drawn to."""

    def __init__(self, workers: int, seconds: float) -> None:
        self.now = 0.0
        self.spent = 0.0
        self.busy: list[tuple[float, float]] = []
        self._free = workers
        self._draw = random.Random(5)  # noqa: S311  no secret
        self._mean = seconds
        self._running: list[tuple[float, str, float]] = []
        self._since = time.perf_counter()
        self._told = 0.0

    def free(self) -> Resources:
        """Workers without a job."""
        return Resources(cores=self._free)

    def fits(self, resources: Resources) -> bool:
        """Whether a worker is free."""
        return self._free > 0

    def start(self, job: Job, inputs: Mapping[str, Path]) -> None:
        """Decide when it will end."""
        self._free -= 1
        seconds = self._draw.expovariate(1 / self._mean)
        heapq.heappush(self._running, (self.now + seconds, job.key, seconds))

    def outcomes(self, timeout: float) -> list[Outcome]:
        """Let time go by until the next job ends; what passed outside of here was real work."""
        begun = time.perf_counter()
        self.spent += begun - self._since
        first = self._running[0][0] if self._running else self.now + timeout
        self.now = min(first, self.now + timeout)
        ended = []
        while self._running and self._running[0][0] <= self.now:
            _, key, seconds = heapq.heappop(self._running)
            self._free += 1
            ended.append(Outcome(key=key, ending=Ending.DONE, value={"n": 1}, seconds=seconds))
        if self.now - self._told > 60:
            self.busy.append((self.now, self.spent))
            self._told = self.now
        self._since = time.perf_counter()
        return ended

    def cancel(self, key: str) -> None:
        """Nobody asks for it."""

    def close(self) -> None:
        """Nothing is held."""


def simulate(jobs: int, workers: int, seconds: float, plot: Path | None) -> None:
    """How much of the time the scheduler and the store are busy."""
    with tempfile.TemporaryDirectory() as root, Store(Path(root), version="benchmark") as store:
        planned = graph(jobs)
        executor = Simulated(workers, seconds)
        clock = PatienceClock(now=lambda: executor.now)
        Scheduler(executor, store, Watching(), clock=clock).run(planned)
        state = (Path(root) / STATE_NAME).stat().st_size / 1e6
    share = executor.spent / executor.now
    print(f"{jobs} jobs of {seconds:g} s on {workers} workers: {executor.now:.0f} s simulated")
    print(f"scheduler and store busy {executor.spent:.1f} s, {share:.2%} of the time")
    print(f"{1000 * executor.spent / jobs:.2f} ms a job; state file {state:.1f} MB")
    memory = psutil.Process().memory_info().rss / 1e6
    print(f"memory {memory:.0f} MB")
    if plot is not None:
        _draw(executor.busy, plot, jobs, workers)


def _draw(busy: Sequence[tuple[float, float]], plot: Path, jobs: int, workers: int) -> None:
    """The share of each minute that was work."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "edgekit"
    figure, axes = plt.subplots(figsize=(6, 2.4))
    spans = list(pairwise(busy))
    shares = [100 * (b[1] - a[1]) / (b[0] - a[0]) for a, b in spans]
    axes.plot([b[0] / 60 for _, b in spans], shares, linewidth=1)
    axes.axhline(10, linewidth=1, linestyle="--", color="grey")
    axes.set(
        xlabel="simulated minutes",
        ylabel="busy, %",
        ylim=(0, 11),
        title=f"Scheduler and store, {jobs:,} jobs on {workers} workers",
    )
    figure.tight_layout()
    figure.savefig(plot, metadata={"Date": None})


def main() -> None:
    """One of the three."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("overhead").add_argument("--jobs", type=int, default=1000)
    verbs.add_parser("kills").add_argument("--kills", type=int, default=20)
    simulating = verbs.add_parser("simulate")
    simulating.add_argument("--jobs", type=int, default=100_000)
    simulating.add_argument("--workers", type=int, default=200)
    simulating.add_argument("--seconds", type=float, default=10.0, help="that a job takes")
    simulating.add_argument("--plot", type=Path)
    child = verbs.add_parser("child")
    child.add_argument("folder", type=Path)
    child.add_argument("log", type=Path)
    told = parser.parse_args()
    match told.verb:
        case "overhead":
            overhead(told.jobs)
        case "kills":
            kills(told.kills)
        case "simulate":
            simulate(told.jobs, told.workers, told.seconds, told.plot)
        case "child":
            jobs = graph(_KILLED_JOBS, log=str(told.log), seconds=0.02)
            run(told.folder, jobs, Watching())


if __name__ == "__main__":
    main()
