"""``edgekit validate`` with its candidates on a device: the same figures, and what can go wrong."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from tflite_builder import quantized_bytes, random_image, tiny_bytes

sys.path.append(str(Path(__file__).parents[1] / "unit"))

import validate_nets as nets

import edgekit
from edgekit.devices.runner import DeviceRunner
from edgekit.devices.target import open_device
from edgekit.errors import DeviceBusy, DeviceError, DeviceLost, UsageError
from edgekit.toolchain.workshop import Limits
from tests.e2e.ssh_server import MISSING, SSHD, SshServer

pytestmark = pytest.mark.e2e
HERE = f"exec:{shlex.quote(sys.executable)}"
CLASSES = ("ant", "bee", "cat", "dog", "elk")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Caches of the test's own, edgekit's and the agent's."""
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "home"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    nets.pictures(tmp_path / "data", 40, CLASSES)
    return tmp_path / "data"


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    return nets.classifier(tmp_path / "reference.tflite", said=nets.contract(labels=CLASSES))


@pytest.fixture
def candidate(tmp_path: Path) -> Path:
    said = nets.contract(labels=CLASSES)
    return nets.classifier(tmp_path / "candidate.tflite", noise=0.1, said=said)


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    if SSHD is None:
        pytest.skip(MISSING)
    server = SshServer(tmp_path_factory.mktemp("ssh"))
    agent = server.cache / "edgekit-agent"
    agent.mkdir(mode=0o700, parents=True)
    (agent / "venv").symlink_to(sys.prefix)  # where the agent finds a runtime by itself
    yield server
    server.stop()


@pytest.fixture
def server(started, monkeypatch) -> SshServer:
    monkeypatch.setenv("EDGEKIT_SSH_CONFIG", str(started.config))
    return started


def cli(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgekit", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def slow(tmp_path: Path, seconds: float, log: Path | None = None) -> str:
    """A device whose every inference takes so long; it notes the time of each in ``log``."""
    site = tmp_path / "slow"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(
        "import time\n"
        "import ai_edge_litert.interpreter as module\n"
        "real = module.Interpreter.invoke\n"
        "def invoke(self):\n"
        f"    time.sleep({seconds})\n"
        f"    open({str(log)!r}, 'a').write('.')\n"
        "    return real(self)\n"
        "module.Interpreter.invoke = invoke\n"
    )
    return f"exec:env PYTHONPATH={site} {shlex.quote(sys.executable)}"


def watched(monkeypatch, act) -> list[str]:
    """Samples travel one by one; ``act`` is called with the number of each that leaves."""
    sent: list[str] = []
    real = DeviceRunner._packed

    def packed(self, verb, *rest):
        sent.append(verb)
        act(len(sent))
        return real(self, verb, *rest)

    monkeypatch.setattr(DeviceRunner, "_packed", packed)
    monkeypatch.setattr("edgekit.devices.runner._CHUNK", 1)
    return sent


def judged(result: edgekit.ValidationResult) -> list[object]:
    """All that must not depend on where the candidates ran."""
    return [
        [one.name, one.metrics, one.parity, one.figures, one.details, one.drift, one.worst]
        for one in result.candidates
    ]


def test_the_figures_are_those_of_the_runtime_here(tmp_path, data, reference, candidate):
    files = [candidate, nets.classifier(tmp_path / "quantized.tflite", noise=0.3)]
    asked = {"reference": reference, "data": data, "latency": False, "worst": 3}
    here = edgekit.validate(*files, **asked)
    there = edgekit.validate(*files, **asked, address=HERE)
    assert judged(there) == judged(here)
    assert there.data == here.data
    assert "device" not in here.environment
    assert there.environment["device"] == HERE
    assert there.environment["ai-edge-litert"]
    assert not list((tmp_path / "home").glob("validations/*"))  # nothing is left


def test_a_recorded_reference_and_times_by_the_device(tmp_path, data, reference, candidate):
    bundle = tmp_path / "reference.edgeref"
    recorded = cli("reference", "record", reference, "--data", data, "-o", bundle)
    assert recorded.returncode == 0, recorded.stderr
    address = slow(tmp_path, 0.02, tmp_path / "log")
    result = edgekit.validate(candidate, reference=bundle, data=data, limit=5, address=address)
    (one,) = result.candidates
    assert one.metrics["latency_p50_ms"] > 20
    assert one.metrics["top1_agreement"] > 0.5
    assert result.data.samples == 5


def test_ssh(server, data, reference, candidate, tmp_path):
    asked = {"reference": reference, "data": data, "latency": False}
    finished = cli(
        *("validate", candidate, "--reference", reference, "--data", data),
        *("--device", server.address, "--json", "-o", tmp_path / "out"),
    )
    assert finished.returncode in (0, 4, 8), finished.stderr
    report = json.loads(finished.stdout)
    assert report["environment"]["device"] == server.address
    here = edgekit.validate(candidate, **asked)
    found = report["candidates"][0]["metrics"]
    wanted = here.candidates[0].metrics
    same = [name for name in wanted if not name.startswith("latency")]
    # The report has six digits.
    assert {name: found[name] for name in same} == pytest.approx(
        {name: wanted[name] for name in same}, rel=1e-4
    )
    assert server.address in (tmp_path / "out" / "report.html").read_text()


def test_a_name_from_the_configuration(tmp_path, data, reference, candidate):
    (tmp_path / "edgekit.toml").write_text(f'[devices]\nbench = "{HERE}"\n')
    finished = cli(
        *("validate", candidate, "--reference", reference, "--data", data, "--limit", 3),
        *("--device", "bench", "--no-latency"),
        cwd=tmp_path,
    )
    assert finished.returncode in (0, 4, 8), finished.stderr
    assert f"Ran on  {HERE}" in finished.stdout
    unknown = cli(
        *("validate", candidate, "--reference", reference, "--data", data, "--device", "nobody"),
    )
    assert unknown.returncode == 2
    assert "is not an address of a device" in unknown.stderr


def test_a_device_or_a_runtime(candidate, reference, data):
    with pytest.raises(UsageError, match="about another"):
        edgekit.validate(
            candidate, reference=reference, data=data, address=HERE, runtime="ai-edge-litert==1.4.0"
        )


def test_another_runtime_here(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_HOME", str(Path.home() / ".cache" / "edgekit"))
    reference, candidate = tmp_path / "float.tflite", tmp_path / "int8.tflite"
    reference.write_bytes(tiny_bytes())
    candidate.write_bytes(quantized_bytes("static_wi8_ai8"))
    np.save(tmp_path / "images.npy", np.concatenate([random_image(seed) for seed in range(8)]))
    asked = {"reference": reference, "data": tmp_path / "images.npy"}
    result = edgekit.validate(candidate, **asked, runtime="tflite-runtime==2.14.0")
    assert result.environment["tflite-runtime"] == "2.14.0"
    (one,) = result.candidates
    here = edgekit.validate(candidate, **asked).candidates[0]
    assert one.metrics["sqnr_db"] == pytest.approx(here.metrics["sqnr_db"], abs=1)
    assert one.timing.latency.samples_ms


def test_a_delegate_that_is_wrong_in_an_older_runtime(data, reference, candidate, monkeypatch):
    """Found by this test: XNNPACK of 2.14 misreads a dense layer whose input was not flattened."""
    monkeypatch.setenv("EDGEKIT_HOME", str(Path.home() / ".cache" / "edgekit"))
    asked = {"reference": reference, "data": data, "latency": False}
    here = edgekit.validate(candidate, **asked).candidates[0]
    result = edgekit.validate(candidate, **asked, runtime="tflite-runtime==2.14.0")
    assert here.metrics["sqnr_db"] > result.candidates[0].metrics["sqnr_db"] + 3
    assert not result.passed


def test_a_lost_connection_and_resume(server, data, reference, candidate, monkeypatch):
    """What the device had said before it vanished is not asked again."""
    asked = {"reference": reference, "data": data, "latency": False, "worst": 0}
    asked["explain"] = "never"

    def kill(number: int) -> None:
        if number == 25:
            for process in server.connections():
                process.kill()

    sent = watched(monkeypatch, kill)
    with pytest.raises(DeviceLost, match=r"(\d+) of 40 samples are done, and kept") as caught:
        edgekit.validate(candidate, **asked, address=server.address)
    assert "--resume" in caught.value.cure
    kept = int(re.search(r"(\d+) of 40", caught.value.cause)[1])
    assert 20 <= kept <= 24
    wait_until(lambda: not list(server.cache.glob("edgekit-agent/work-*")))
    sent.clear()
    result = edgekit.validate(candidate, **asked, address=server.address, resume=True)
    assert len(sent) == 1 + 40 - kept  # one to find out which tensor is which
    assert result.complete
    monkeypatch.undo()
    assert judged(result) == judged(edgekit.validate(candidate, **asked))


def test_a_killed_agent_ends_the_command_with_exit_code_7(tmp_path, data, reference, candidate):
    address = slow(tmp_path, 0.2, tmp_path / "log")
    command = ["validate", candidate, "--reference", reference, "--data", data, "--no-latency"]
    command += ["--device", address]
    process = subprocess.Popen(
        [sys.executable, "-m", "edgekit", *map(str, command)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: inferences(tmp_path) > 5)
    (agent,) = (
        one
        for one in psutil.Process(process.pid).children(recursive=True)
        if "EDGEKIT" not in one.name()
        and str(tmp_path / "slow") in one.environ().get("PYTHONPATH", "")
    )
    agent.kill()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 7, errors
    assert "vanished in the middle" in errors
    assert "--resume" in errors
    finished = cli(*command, "--resume")
    assert finished.returncode in (0, 4, 8), finished.stderr


def test_a_device_that_hangs_is_given_up(tmp_path, data, reference, candidate):
    asked = {"reference": reference, "data": data, "latency": False, "worst": 0}
    address = slow(tmp_path, 0, tmp_path / "log")
    text = (tmp_path / "slow" / "sitecustomize.py").read_text()
    (tmp_path / "slow" / "sitecustomize.py").write_text(
        text.replace("time.sleep(0)", "time.sleep(600 if inferences() == 12 else 0)").replace(
            "def invoke(",
            f"from pathlib import Path\nlog = Path({str(tmp_path / 'log')!r})\n"
            "inferences = lambda: log.stat().st_size if log.exists() else 0\ndef invoke(",
        )
    )
    with pytest.raises(DeviceLost, match="finished nothing for 8 s"):
        edgekit.validate(candidate, **asked, address=address, limits=Limits(seconds=8))
    (tmp_path / "slow" / "sitecustomize.py").write_text("")
    result = edgekit.validate(candidate, **asked, address=address, resume=True)
    assert result.data.samples == 40


def test_a_device_in_use_is_refused_at_once(data, reference, candidate):
    with open_device(HERE) as device:
        assert device.facts.pid
        with pytest.raises(DeviceBusy, match=rf"process {os.getpid()}, since"):
            edgekit.validate(candidate, reference=reference, data=data, address=HERE)


def test_a_full_disk(data, reference, candidate):
    if not shutil.which("prlimit"):
        pytest.skip("no prlimit here")
    address = f"exec:prlimit --fsize=2000 {shlex.quote(sys.executable)}"
    # The agent itself is larger than that: it is there already.
    edgekit.validate(candidate, reference=reference, data=data, limit=2, address=HERE)
    with pytest.raises(DeviceError, match="cannot store the model"):
        edgekit.validate(candidate, reference=reference, data=data, address=address)


def test_a_runtime_that_crashes_is_the_candidates_failure(tmp_path, data, reference, candidate):
    """The other candidate goes on, in an agent of its own."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import os\n"
        "import ai_edge_litert.interpreter as module\n"
        "real = module.Interpreter.invoke\n"
        "count = []\n"
        "def invoke(self):\n"
        "    count.append(1)\n"
        "    if len(count) == 20 and self.get_input_details()[0]['name'] == 'image':\n"
        "        os.abort()\n"
        "    return real(self)\n"
        "module.Interpreter.invoke = invoke\n"
    )
    other = nets.classifier(tmp_path / "other.tflite", noise=0.3)
    address = f"exec:env PYTHONPATH={site} {shlex.quote(sys.executable)}"
    result = edgekit.validate(
        candidate, other, reference=reference, data=data, latency=False, address=address
    )
    failed = [one for one in result.candidates if one.error]
    sound = [one for one in result.candidates if not one.error]
    assert len(failed) + len(sound) == 2
    assert all("crashed: Aborted" in one.error for one in failed)
    assert failed


def test_ctrl_c_keeps_what_was_measured(tmp_path, data, reference, candidate):
    address = slow(tmp_path, 0.1, tmp_path / "log")
    nets.pictures(tmp_path / "more", 120, CLASSES)
    command = ["validate", candidate, "--reference", reference, "--data", tmp_path / "more"]
    command += ["--device", address, "--no-latency", "--worst", "0", "--explain", "never"]
    process = subprocess.Popen(
        [sys.executable, "-m", "edgekit", *map(str, command)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: inferences(tmp_path) > 60)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "Interrupted" in output
    before = inferences(tmp_path)
    finished = cli(*command, "--resume")
    assert finished.returncode in (0, 4, 8), finished.stderr
    # One each time to find out which tensor is which, and two pieces that were on their way.
    assert before < inferences(tmp_path) <= 1 + 120 + 1 + 2 * 20


def inferences(tmp_path: Path) -> int:
    log = tmp_path / "log"
    return log.stat().st_size if log.exists() else 0


def wait_until(holds, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
