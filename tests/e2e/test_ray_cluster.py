"""Jobs on a real Ray cluster: a head and a second node on loopback addresses, each of its own.

Ray is an extra; where it is not installed these tests are skipped with a message.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

# Nobody else on this machine can use the cluster. Ray reads these when it is imported.
os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
pytest.importorskip("ray", reason="Ray is not installed: pip install 'edgekit-tflite[ray]'")

import validate_nets as nets
from test_jobs_local import job, outcome, run, wait_for

import edgekit
from edgekit.errors import SetupError, UsageError
from edgekit.jobs.protocol import Ending, Resources
from edgekit.jobs.ray_cluster import RayExecutor

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform != "linux", reason="all of 127.0.0.0/8 is loopback on Linux"),
]
HEAD, SECOND = "127.0.0.2", "127.0.0.3"


@dataclass
class Cluster:
    address: str
    outside: str
    folder: Path
    second: subprocess.Popen[bytes] | None = None

    def add(self, *more: str) -> None:
        """Start the second node."""
        self.second = _start(self.folder, SECOND, f"--address={self.address}", *more)


def _start(folder: Path, host: str, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *more]
    command += [f"--node-ip-address={host}", "--object-store-memory=100000000"]
    tests = Path(__file__).parents[1] / "unit"
    path = os.pathsep.join(filter(None, (str(tests), os.environ.get("PYTHONPATH", ""))))
    with (folder / f"{host}.log").open("wb") as log:
        return subprocess.Popen(
            command,
            env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": path},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _end(process: subprocess.Popen[bytes], *, at_once: bool = False) -> None:
    """A node with all that it started."""
    all_of_it = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    if not at_once:
        process.terminate()
        psutil.wait_procs(all_of_it, timeout=10)
    for one in all_of_it:
        if one.is_running():
            one.kill()
    process.wait()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind((HEAD, 0))
        return int(one.getsockname()[1])


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("ray")
    port = _free_port()
    client = _free_port()
    short = Path("/tmp") / f"edgekit-ray-{os.getpid()}"  # names of sockets are short
    head = _start(
        folder, HEAD, "--head", f"--port={port}", "--num-cpus=1", "--include-dashboard=false",
        f"--temp-dir={short}", f"--ray-client-server-port={client}",
    )  # fmt: skip
    made = Cluster(f"{HEAD}:{port}", f"ray://{HEAD}:{client}", folder)
    try:
        for _ in range(600):
            if "Ray runtime started" in (folder / f"{HEAD}.log").read_text():
                break
            time.sleep(0.1)
        made.add("--num-cpus=1", '--resources={"device:adb:1": 1}')
        yield made
    finally:
        if made.second is not None and made.second.poll() is None:
            _end(made.second)
        _end(head)
        subprocess.run(["rm", "-rf", str(short)], check=False)


@pytest.fixture(scope="module")
def executor(cluster) -> Iterator[RayExecutor]:
    made = RayExecutor(cluster.address)
    deadline = time.monotonic() + 60
    while made.free().cores < 2 and time.monotonic() < deadline:
        time.sleep(0.5)
    assert made.free().cores == 2
    yield made
    made.close()


def test_files_go_from_job_to_job(executor):
    first = run(executor, job("add", "first", numbers=[1, 2]))
    assert first.ending == Ending.DONE, first.reason
    assert first.value["sum"] == 3
    assert first.machine["python"]
    second = job("add", "second", numbers=[10], needs=(first.key,))
    then = run(executor, second, {first.key: first.folder})
    assert (then.folder / "sum.txt").read_text() == "13"


def test_endings_are_those_of_a_local_run(executor):
    found = {}
    for name in ("wrong", "bug", "too_slow", "busy"):
        one = run(executor, job(name))
        found[name] = one.ending, one.exit_code
        if name == "bug":
            assert "Traceback" in Path(one.reason.partition("Log: ")[2]).read_text()
    assert found == {
        "wrong": (Ending.WRONG_INPUT, 6),
        "bug": (Ending.BUG, 1),
        "too_slow": (Ending.CRASHED, 3),
        "busy": (Ending.LOST, 7),
    }
    died = run(executor, job("die", signal="SIGSEGV"))
    assert died.ending == Ending.CRASHED
    assert "SIGSEGV" in died.reason


def test_no_more_is_handed_over_than_there_is_room(executor, tmp_path):
    assert not executor.fits(Resources(cores=2))  # one on each node
    go = tmp_path / "go"
    for one in ("a", "b"):
        executor.start(job("wait", one, tell=str(tmp_path / one), until=str(go)), {})
    assert not executor.fits(Resources(cores=1))
    for one in ("a", "b"):
        wait_for(tmp_path / one)
    go.touch()
    assert {outcome(executor).ending, outcome(executor).ending} == {Ending.DONE}
    assert executor.fits(Resources(cores=1))


def test_a_device_is_where_its_node_says(executor, tmp_path):
    one = Resources(devices=frozenset({"adb:1"}))
    go = tmp_path / "go"
    executor.start(job("wait", tell=str(tmp_path / "told"), until=str(go), devices=one.devices), {})
    assert not executor.fits(one)
    go.touch()
    assert outcome(executor).ending == Ending.DONE
    assert executor.fits(one)


def test_cancelled_with_all_that_it_started(executor, tmp_path):
    one = job("wait", "cancelled", tell=str(tmp_path / "told"))
    executor.start(one, {})
    grandchild = psutil.Process(int(wait_for(tmp_path / "told")))
    executor.cancel(one.key)
    assert outcome(executor, one.key).ending == Ending.CANCELLED
    psutil.wait_procs([grandchild], timeout=10)
    assert not grandchild.is_running()


def test_more_memory_than_reserved(executor):
    found = run(executor, job("fill", megabytes=600, memory=256 << 20))
    assert found.ending == Ending.CRASHED
    assert "memory" in found.reason


def test_validate_measures_there(executor, cluster, tmp_path, monkeypatch):
    """The rows are those of one process, see `test_validate_cluster`; here the way to them."""
    said = nets.contract(labels=("ant", "bee", "cat", "dog", "elk"))
    nets.pictures(tmp_path / "data", 60, said.outputs[0].labels)
    one = nets.classifier(tmp_path / "one.tflite", noise=0.1, said=said)
    options = {
        "reference": nets.classifier(tmp_path / "reference.tflite", said=said),
        "data": tmp_path / "data",
        "latency": False,
        "explain": "never",
    }
    monkeypatch.setattr("edgekit.pipeline.validation.run._CHUNK", 4)
    spread = edgekit.validate(one, **options, cluster=cluster.address)
    alone = edgekit.validate(one, **options)
    assert spread.complete
    assert spread.candidates[0].metrics == alone.candidates[0].metrics
    assert spread.candidates[0].worst == alone.candidates[0].worst


def test_a_sweep_from_outside(executor, cluster, tmp_path):
    """`edgekit sweep --cluster ray://…`; a run without the cluster then has nothing left to do."""
    nets.classifier(tmp_path / "one.tflite", said=nets.contract())
    nets.pictures(tmp_path / "photos", 12)
    (tmp_path / "sweep.toml").write_text(
        '[sweep]\nschemes = ["fp16"]\n[settings]\ncalibration = "photos"\naccept_few = true\n'
        '[[models]]\nmodel = "one.tflite"\n'
    )
    command = [sys.executable, "-m", "edgekit", "sweep", "sweep.toml"]
    there = subprocess.run(
        [*command, "--cluster", cluster.outside], cwd=tmp_path, capture_output=True, text=True
    )
    assert there.returncode == 0, there.stdout + there.stderr
    assert "3 of 3 jobs are done" in there.stdout
    found = edgekit.sweep(tmp_path / "sweep.toml", output=tmp_path / "sweep_sweep")
    assert (found.known, found.complete, found.passed) == (3, True, True)
    (row,) = found.front
    assert (found.folder / row.file).is_file()
    assert row.metrics["latency_p50_ms"] > 0
    assert executor.free().cores == 2  # nobody else was in its way


def test_cancelled_from_outside(cluster, tmp_path):
    """In a process of its own: this one is in the cluster already."""
    lines = (
        "import sys",
        "from pathlib import Path",
        "import psutil",
        "from test_jobs_local import job, outcome, wait_for",
        "from edgekit.jobs.ray_cluster import RayExecutor",
        "executor = RayExecutor(sys.argv[1])",
        "one = job('wait', 'outside', tell=sys.argv[2])",
        "executor.start(one, {})",
        "child = psutil.Process(int(wait_for(Path(sys.argv[2]))))",
        "executor.cancel(one.key)",
        "print(outcome(executor, one.key).ending)",
        "psutil.wait_procs([child], timeout=10)",
        "print(child.is_running())",
        "executor.close()",
    )
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines), cluster.outside, str(tmp_path / "told")],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "unit")},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["cancelled", "False"], done.stderr


def test_a_node_with_other_code_is_named(executor, cluster, monkeypatch):
    monkeypatch.setattr("edgekit.jobs.ray_cluster.code_digest", lambda: "0" * 64)
    with pytest.raises(SetupError, match=r"node 127\.0\.0\.\d has other code"):
        RayExecutor(cluster.address)


def test_a_lost_worker_and_a_lost_node(executor, cluster, tmp_path):
    """Each costs only its job; the process of the job ends with the worker."""
    one = job("wait", "orphan", tell=str(tmp_path / "told"))
    executor.start(one, {})
    waiting = psutil.Process(int(wait_for(tmp_path / "told")))
    worker = next(up for up in waiting.parents() if "ray::" in up.name() or "ray::" in _title(up))
    worker.send_signal(signal.SIGKILL)
    found = outcome(executor, one.key)
    assert found.ending == Ending.LOST
    psutil.wait_procs([waiting], timeout=10)
    assert not waiting.is_running()

    device = frozenset({"adb:1"})
    two = job("wait", "lost", tell=str(tmp_path / "two"), devices=device)
    executor.start(two, {})
    wait_for(tmp_path / "two")
    _end(cluster.second, at_once=True)
    assert outcome(executor, two.key).ending == Ending.LOST
    assert run(executor, job("add", "after", numbers=[4])).value["sum"] == 4
    deadline = time.monotonic() + 30
    while executor.free().cores > 1 and time.monotonic() < deadline:
        time.sleep(0.5)
    assert executor.free().cores == 1


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@pytest.mark.parametrize("address", ["nonsense", "http://127.0.0.1:1", "ray://127.0.0.1"])
def test_what_is_no_address(address, monkeypatch):
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with pytest.raises(UsageError, match="not an address"):
        RayExecutor(address)


def test_nobody_there(monkeypatch):
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with pytest.raises(SetupError, match="No Ray cluster answers"):
        RayExecutor("127.0.0.1:9")
