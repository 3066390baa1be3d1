"""Ray against processes of this machine: the same bytes, how fast, and what a lost worker costs.

``python benchmarks/cluster.py jobs WORKERS REPEATS``, and ``… validate SAMPLES``; needs the extra
``ray``. All of it runs on this machine, so what is measured is the cost of going through Ray, not
what more machines gain.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
JOBS, ROUNDS = 80, 400_000
SIZE = 64


def work(arguments: Mapping[str, Any], _inputs: Mapping[str, Path], folder: Path) -> int:
    """About a third of a second of one core, and a file of a megabyte that depends on it."""
    found = str(arguments["number"]).encode()
    for _ in range(ROUNDS):
        found = hashlib.sha256(found).digest()
    (folder / "result.bin").write_bytes(found * 32768)
    return os.getpid()


def run_all(executor: Any, count: int, *, kill: bool = False) -> tuple[float, dict[str, str], int]:
    """Seconds, digests of the files by job, and how many jobs were lost and done again."""
    from edgekit.jobs.protocol import Ending, Job

    jobs = {}
    for number in range(count):
        key = hashlib.sha256(f"{number}".encode()).hexdigest()
        jobs[key] = Job(
            key=key, name=str(number), function="cluster:work", arguments={"number": number}
        )
    waiting, lost = list(jobs), 0
    digests: dict[str, str] = {}
    started = time.perf_counter()
    while len(digests) < count:
        while waiting and executor.fits(jobs[waiting[0]].resources):
            executor.start(jobs[waiting.pop(0)], {})
        for outcome in executor.outcomes(1):
            if outcome.ending == Ending.DONE:
                content = (outcome.folder / "result.bin").read_bytes()
                digests[outcome.key] = hashlib.sha256(content).hexdigest()
                continue
            assert outcome.ending == Ending.LOST, outcome.reason
            waiting.insert(0, outcome.key)
            lost += 1
        if kill and len(digests) >= count // 2:
            kill_a_worker()
            kill = False
    return time.perf_counter() - started, digests, lost


def kill_a_worker() -> None:
    """One of this cluster's worker processes that is running a job."""
    import psutil

    while True:  # all may be between two jobs
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "run_job" in " ".join(process.cmdline()):
                    os.kill(process.pid, signal.SIGKILL)
                    return
        time.sleep(0.01)


def compare_jobs(workers: int, repeats: int) -> None:
    """Rows for so many worker processes, each executor in turn."""
    from edgekit.jobs.local import LocalExecutor
    from edgekit.jobs.ray_cluster import RayExecutor

    seconds: dict[str, list[float]] = {"local": [], "ray": [], "ray, one killed": []}
    same, lost = True, 0
    local, cluster = LocalExecutor(cores=workers), RayExecutor("local", cores=workers)
    for executor in (local, cluster):  # starts the processes
        run_all(executor, 2 * workers)
    for _ in range(repeats):
        took, here, _ = run_all(local, JOBS)
        seconds["local"].append(took)
        for name, kill in (("ray", False), ("ray, one killed", True)):
            took, there, gone = run_all(cluster, JOBS, kill=kill)
            seconds[name].append(took)
            same, lost = same and here == there, lost + gone
    local.close()
    cluster.close()
    known = statistics.median(seconds["local"])
    for name, times in seconds.items():
        share = known / statistics.median(times)
        shown = ", ".join(f"{one:.1f}" for one in times)
        print(f"{workers} workers, {name}: {shown} s; {share:.1%} of the local throughput")
    print(f"{workers} workers: same bytes: {same}; jobs lost and done again: {lost}")


def compare_validate(samples: int) -> None:
    """Rows of one process, of all processes here, and of a cluster of this machine."""
    sys.path.insert(0, str(ROOT / "tests" / "unit"))
    import edgekit

    nets: Any = importlib.import_module("validate_nets")
    from edgekit.jobs.ray_cluster import RayExecutor
    from edgekit.pipeline.validation.store import RunStore

    kept: list[dict[str, bytes]] = []
    remove = RunStore.remove

    def keep(store: RunStore) -> None:
        kept.append({one.name: one.read_bytes() for one in store.folder.glob("chunk-*.rows")})
        remove(store)

    RunStore.remove = keep  # type: ignore[assignment, method-assign]
    classes = ("ant", "bee", "cat", "dog", "elk")
    preprocess = replace(nets.PREPROCESS, resize=(SIZE, SIZE))
    said = nets.contract(labels=classes, size=SIZE, preprocess=preprocess)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        nets.pictures(folder / "few", 500, classes)
        files = sorted((folder / "few").rglob("*.png"))
        for number in range(samples):
            file = files[number % len(files)]
            target = folder / "data" / file.parent.name / f"{number:06d}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.hardlink_to(file)
        one = nets.classifier(folder / "one.tflite", noise=0.1, size=SIZE, said=said)
        reference = nets.classifier(folder / "reference.tflite", size=SIZE, said=said)
        kinds: dict[str, dict[str, Any]] = {
            "two processes": {"jobs": 2},
            "a cluster of this machine, two processes": {"cluster": "local"},
            "one process": {"jobs": 1},
        }
        started = time.perf_counter()
        cluster = RayExecutor("local", cores=2)  # the validation finds it there
        print(f"starting the cluster: {time.perf_counter() - started:.1f} s", flush=True)
        for name, options in kinds.items():
            os.environ["EDGEKIT_HOME"] = str(folder / name)
            started = time.perf_counter()
            result = edgekit.validate(
                one, reference=reference, data=folder / "data", latency=False, explain="never",
                **options,
            )  # fmt: skip
            took = time.perf_counter() - started
            print(f"{name}: {took:.1f} s for {result.data.samples:,} samples", flush=True)
        cluster.close()
        print(f"rows equal: {all(rows == kept[0] for rows in kept)} ({len(kept[0])} chunks)")


if __name__ == "__main__":
    os.environ["PYTHONPATH"] = os.pathsep.join((str(Path(__file__).parent), str(ROOT)))
    match sys.argv[1:]:
        case ["jobs", workers, repeats]:
            compare_jobs(int(workers), int(repeats))
        case ["validate", samples]:
            compare_validate(int(samples))
        case _:
            sys.exit(__doc__)
