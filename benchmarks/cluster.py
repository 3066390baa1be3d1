"""Ray against processes of this machine: the same bytes, how fast, and what a lost worker costs.

``python benchmarks/cluster.py jobs WORKERS REPEATS``, and ``… validate SAMPLES REPEATS``; needs
the extra ``ray``. All of it runs on this machine, so what is measured is the cost of going through
Ray, not what more machines gain.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
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


RUNNING = "HOST:PORT"
KINDS: dict[str, dict[str, Any]] = {
    "two processes": {"jobs": 2},
    "a cluster of this machine that is running": {"cluster": RUNNING},
    "a cluster of this machine that starts and ends with it": {"cluster": "local"},
    "one process": {"jobs": 1},
}


def compare_validate(samples: int, repeats: int) -> None:
    """Seconds of each kind, each a process from start to end, and whether rows are equal."""
    sys.path.insert(0, str(ROOT / "tests" / "unit"))
    nets: Any = importlib.import_module("validate_nets")
    classes = ("ant", "bee", "cat", "dog", "elk")
    preprocess = replace(nets.PREPROCESS, resize=(SIZE, SIZE))
    said = nets.contract(labels=classes, size=SIZE, preprocess=preprocess)
    seconds: dict[str, list[float]] = {name: [] for name in KINDS}
    rows = set()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        nets.pictures(folder / "few", 500, classes)
        files = sorted((folder / "few").rglob("*.png"))
        for number in range(samples):
            file = files[number % len(files)]
            target = folder / "data" / file.parent.name / f"{number:06d}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.hardlink_to(file)
        nets.classifier(folder / "one.tflite", noise=0.1, size=SIZE, said=said)
        nets.classifier(folder / "reference.tflite", size=SIZE, said=said)
        for _ in range(repeats):
            for name, options in KINDS.items():
                os.environ["EDGEKIT_HOME"] = tempfile.mkdtemp(dir=folder)  # nothing is kept there
                running = options.get("cluster") == RUNNING
                with running_cluster() if running else nullcontext() as address:
                    asked = {"cluster": address} if address else options
                    command = [sys.executable, __file__, "one", str(folder), json.dumps(asked)]
                    load = os.getloadavg()[0]
                    started = time.perf_counter()
                    rows.add(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
                    took = time.perf_counter() - started
                seconds[name].append(took)
                print(f"{name}: {took:.1f} s (load before {load:.1f})", flush=True)
    known = statistics.median(seconds["two processes"])
    for name, times in seconds.items():
        took = statistics.median(times)
        print(f"{name}: median {took:.1f} s of {len(times)}; {took / known - 1:+.1%}")
    print(f"rows equal: {len(rows) == 1}")


@contextlib.contextmanager
def running_cluster() -> Iterator[str]:
    """The address of a cluster with two cores that somebody else has started."""
    with socket.socket() as one:
        one.bind(("127.0.0.2", 0))
        port = one.getsockname()[1]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    command += ["--node-ip-address=127.0.0.2", f"--port={port}", "--num-cpus=2"]
    command += ["--include-dashboard=false", "--disable-usage-stats"]
    with tempfile.TemporaryDirectory(prefix="ray-") as place, Path(place, "log").open("w") as log:
        head = subprocess.Popen(
            [*command, f"--temp-dir={place}"], stdout=log, stderr=log, start_new_session=True
        )
        try:
            while "Ray runtime started" not in Path(place, "log").read_text():
                assert head.poll() is None, Path(place, "log").read_text()
                time.sleep(0.1)
            time.sleep(5)  # its own processes load
            yield f"127.0.0.2:{port}"
        finally:
            head.terminate()
            head.wait()


def validate_once(folder: Path, options: dict[str, Any]) -> None:
    """Print a digest of the rows."""
    import edgekit
    from edgekit.pipeline.validation.store import RunStore

    kept = hashlib.sha256()
    remove = RunStore.remove

    def keep(store: RunStore) -> None:
        for one in sorted(store.folder.glob("chunk-*.rows")):
            kept.update(one.name.encode() + one.read_bytes())
        remove(store)

    RunStore.remove = keep  # type: ignore[assignment, method-assign]
    edgekit.validate(
        folder / "one.tflite", reference=folder / "reference.tflite", data=folder / "data",
        latency=False, explain="never", **options,
    )  # fmt: skip
    print(kept.hexdigest())


if __name__ == "__main__":
    # Nobody else on this machine can use the cluster.
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    os.environ["PYTHONPATH"] = os.pathsep.join((str(Path(__file__).parent), str(ROOT)))
    match sys.argv[1:]:
        case ["jobs", workers, repeats]:
            compare_jobs(int(workers), int(repeats))
        case ["validate", samples, repeats]:
            compare_validate(int(samples), int(repeats))
        case ["one", folder, options]:
            validate_once(Path(folder), json.loads(options))
        case _:
            sys.exit(__doc__)
