"""The real agent behind ``exec:``: parity with the runtime here, clean-up, and faults."""

from __future__ import annotations

import itertools
import json
import os
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
from tflite_builder import oracle, quantized_bytes, random_image, random_weights, tiny_bytes

from edgekit.devices.session import DeviceLimits
from edgekit.devices.target import open_device
from edgekit.errors import ConversionError, DataError, DeviceBusy, DeviceError, DeviceLost
from edgekit.runners.protocol import Timed
from tests.e2e.conftest import tflite_outputs
from tests.e2e.runtime_envs import environment

pytestmark = pytest.mark.e2e

HERE = f"exec:{shlex.quote(sys.executable)}"
IMAGES = np.concatenate([random_image(seed) for seed in range(20)])


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """The agent's folder and edgekit's own, for this test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    return tmp_path / "cache" / "edgekit-agent"


@pytest.fixture
def model(tmp_path) -> Path:
    path = tmp_path / "tiny.tflite"
    path.write_bytes(tiny_bytes())
    return path


@pytest.fixture
def int8_model(tmp_path) -> Path:
    path = tmp_path / "tiny_int8.tflite"
    path.write_bytes(quantized_bytes("static_wi8_ai8"))
    return path


def leftovers(cache: Path) -> list[str]:
    return [path.name for path in cache.glob("work-*")]


def test_a_float_file_says_what_it_computes(model, cache):
    weights = random_weights()
    with open_device(HERE) as device, device.runner(model) as runner:
        described = runner.describe()
        (outputs,) = runner.run([IMAGES])
    assert [spec.shape for spec in described.inputs] == [(1, 8, 8, 3)]
    assert described.inputs[0].name == "image"  # of the signature
    assert described.versions["ai-edge-litert"]
    wanted = np.concatenate([oracle(weights, image[None]) for image in IMAGES])
    np.testing.assert_allclose(outputs, wanted, atol=1e-5)
    assert not leftovers(cache)
    assert [path.name for path in next(cache.glob("?" * 64)).iterdir()] == ["agent.pyz"]


def test_an_int8_file_equals_the_runtime_here_bit_for_bit(int8_model):
    with open_device("local") as device, device.runner(int8_model) as runner:
        (outputs,) = runner.run([IMAGES])
    np.testing.assert_array_equal(outputs, tflite_outputs(int8_model, IMAGES).astype(np.float32))


def test_many_chunks_and_compression_change_nothing(int8_model, monkeypatch):
    monkeypatch.setattr("edgekit.devices.runner._CHUNK", 3 * 192)
    with open_device(HERE) as device, device.runner(int8_model) as runner:
        device.session().compress = True
        pieces = list(runner.run_chunks([IMAGES]))
    assert [(piece.start, piece.stop) for piece, _ in pieces][-2:] == [(15, 18), (18, 20)]
    outputs = np.concatenate([columns[0] for _, columns in pieces])
    np.testing.assert_array_equal(outputs, tflite_outputs(int8_model, IMAGES).astype(np.float32))


def test_two_models_on_one_device(model, int8_model):
    with open_device(HERE) as device:
        one, other = device.runner(model), device.runner(int8_model, threads=2)
        with one, other:
            first, second = one.run([IMAGES]), other.run([IMAGES])
        assert first[0].shape == second[0].shape
        assert not np.array_equal(first[0], second[0])
        assert device.session().alive


def test_timing_is_raw_and_alone(model):
    with open_device(HERE) as device, device.runner(model) as runner:
        assert isinstance(runner, Timed)
        runner.run([IMAGES])
        before = device.facts.pid
        timing = runner.benchmark([IMAGES], runs=7, warmup=2)
        assert device.facts.pid != before  # an agent that has run nothing else
    assert len(timing.latency.samples_ms) == 7
    assert timing.latency.warmup == 2
    assert 0 < min(timing.latency.samples_ms) < timing.latency.load_ms + 1000
    assert 20 < timing.peak_memory_mb < 1000


def test_stacks_that_do_not_fit(model):
    with open_device(HERE) as device, device.runner(model) as runner:
        with pytest.raises(DataError, match="shape"):
            runner.run([IMAGES[:, :4]])
        assert runner.run([IMAGES])[0].shape == (20, 5)  # the session goes on


def test_a_file_that_the_runtime_refuses(tmp_path):
    path = tmp_path / "broken.tflite"
    path.write_bytes(tiny_bytes()[:2000])
    with open_device(HERE) as device, pytest.raises(ConversionError, match="does not load"):
        device.runner(path).describe()


def test_a_device_without_a_runtime(model, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    address = f"exec:{tmp_path}/bare/bin/python"
    with open_device(address) as device, device.runner(model) as runner:
        assert device.facts.runtime is None
        with pytest.raises(DeviceError, match="no TFLite runtime") as caught:
            runner.describe()
        assert "ai-edge-litert" in caught.value.cure


def test_two_runs_at_once_are_refused_with_who_holds_it(model):
    with open_device(HERE) as one:
        assert one.facts.pid
        with pytest.raises(DeviceBusy, match=rf"process {os.getpid()}, since"):
            open_device(HERE).session()
        with open_device(HERE, hold=False) as other:  # as `device check` asks
            assert other.facts.machine == one.facts.machine
    with open_device(HERE) as again:
        assert again.facts.pid


def test_a_killed_agent_frees_the_device_and_the_next_one_cleans_up(model, cache):
    with open_device(HERE) as device, device.runner(model) as runner:
        runner.run([IMAGES])
        os.kill(device.facts.pid, signal.SIGKILL)
        with pytest.raises(DeviceLost, match="vanished"):
            runner.run([IMAGES])
        (left,) = cache.glob("work-*")
        os.utime(left, (0, 0))  # as if a while ago
        assert runner.run([IMAGES])[0].shape == (20, 5)  # connects anew
        assert left.name not in leftovers(cache)
    assert not leftovers(cache)


def test_what_came_before_the_device_vanished_is_kept(int8_model, monkeypatch):
    monkeypatch.setattr("edgekit.devices.runner._CHUNK", 192)
    kept = []
    with open_device(HERE) as device, device.runner(int8_model) as runner:
        pieces = runner.run_chunks([IMAGES])
        kept += [piece for piece, _ in itertools.islice(pieces, 5)]
        os.kill(device.facts.pid, signal.SIGKILL)
        with pytest.raises(DeviceLost):
            kept.extend(piece for piece, _ in pieces)
        done = kept[-1].stop
        assert 5 <= done < 20
        (rest,) = runner.run([IMAGES[done:]])
    wanted = tflite_outputs(int8_model, IMAGES[done:]).astype(np.float32)
    np.testing.assert_array_equal(rest, wanted)


def test_a_stopped_agent_is_a_hang(model, cache):
    limits = DeviceLimits(silence=6)  # a beat comes every 2 s
    with open_device(HERE, limits=limits) as device, device.runner(model) as runner:
        runner.run([IMAGES])
        os.kill(device.facts.pid, signal.SIGSTOP)
        with pytest.raises(DeviceLost, match="silent for 6 s"):
            runner.run([IMAGES])


def test_the_host_is_killed_and_the_device_is_clean(model, cache, tmp_path):
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from edgekit.devices.target import open_device\n"
        "device = open_device(sys.argv[1]); device.runner(Path(sys.argv[2])).describe()\n"
        "print(device.facts.pid, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, HERE, str(model)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as host:
        agent = int(host.stdout.readline())
        assert leftovers(cache)
        host.kill()
    wait_until(lambda: not leftovers(cache))
    wait_until(lambda: not psutil.pid_exists(agent))


def test_ctrl_c_does_not_wait_for_a_busy_agent_which_cleans_up(model, cache, tmp_path):
    site = tmp_path / "slow"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import time\n"
        "import ai_edge_litert.interpreter as module\n"
        "module.Interpreter.invoke = lambda self: time.sleep(3600)\n"
    )
    address = f"exec:env PYTHONPATH={site} {shlex.quote(sys.executable)}"

    agents = []

    def work() -> None:
        with open_device(address) as device, device.runner(model) as runner:
            runner.describe()
            agents.append(device.facts.pid)
            signal.alarm(1)
            runner.run([IMAGES])

    def interrupt(*_) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            work()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not leftovers(cache)
    assert not psutil.pid_exists(agents[0])


def test_a_limit_on_files_is_told_as_no_room(tmp_path, cache):
    """RLIMIT_FSIZE: what the disk of a device that is full does."""
    if not shutil.which("prlimit"):
        pytest.skip("no prlimit here")
    big = tmp_path / "big.tflite"
    big.write_bytes(os.urandom(3_000_000))
    address = f"exec:prlimit --fsize=1000000 {shlex.quote(sys.executable)}"
    with open_device(address) as device, device.runner(big) as runner:
        with pytest.raises(DeviceError, match="cannot store the model"):
            runner.describe()
        assert [path.name for path in next(cache.glob("work-*")).iterdir()] == ["alive"]
        with pytest.raises(DeviceError, match="cannot store the model"):
            runner.describe()  # the session has not lost step


def test_a_small_disk_is_refused_before_anything_is_sent(tmp_path, monkeypatch, model):
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a tmpfs here")
    try:
        monkeypatch.setenv("XDG_CACHE_HOME", str(small))
        with open_device(HERE) as device, pytest.raises(DeviceError, match="MB free, the model"):
            device.runner(model).describe()
    finally:
        wait_until(lambda: not subprocess.run(["umount", str(small)], check=False).returncode)


def test_a_runtime_that_prints_does_not_disturb(model, tmp_path):
    """Whatever native code writes to standard output goes elsewhere."""
    site = tmp_path / "noisy"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import os, threading, time\n"
        "def noise():\n"
        "    for _ in range(300): os.write(1, b'noise\\n'); time.sleep(0.01)\n"
        "def later():\n"
        "    import atexit; time.sleep(0.5); noise()\n"
        "threading.Thread(target=later, daemon=True).start()\n"
    )
    address = f"exec:env PYTHONPATH={site} {shlex.quote(sys.executable)}"
    with open_device(address) as device, device.runner(model) as runner:
        for _ in range(10):
            assert runner.run([IMAGES])[0].shape == (20, 5)
            time.sleep(0.1)


def python_3_8() -> str:
    """The oldest Python that the agent is written for."""
    root = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    python = next(map(str, root.glob("versions/3.8.*/bin/python")), "/usr/bin/python3.8")
    if not Path(python).exists():
        pytest.skip("no Python 3.8 here")
    return python


def test_the_oldest_python_with_the_oldest_runtime(int8_model):
    """NumPy 1.24 and tflite-runtime 2.14: what a board that is never updated has."""
    programs = environment("tflite-runtime==2.14.0", "numpy<2", python=python_3_8())
    with open_device(f"exec:{programs}/python") as device, device.runner(int8_model) as runner:
        assert device.facts.python.startswith("3.8.")
        assert device.facts.runtime_version == "2.14.0"
        (outputs,) = runner.run([IMAGES])
        assert len(runner.benchmark([IMAGES], runs=5).latency.samples_ms) == 5
        (scale,) = runner.output_scales
    assert np.abs(outputs - tflite_outputs(int8_model, IMAGES)).max() < 1.5 * scale


def test_a_python_3_8_without_anything_answers(cache):
    python = python_3_8()
    with open_device(f"exec:{python}") as device:
        assert device.facts.python.startswith("3.8.")
        assert device.facts.runtime is None


def test_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("edgekit.toml").write_text(f'[devices]\nbench = "{HERE}"\n')

    def edgekit(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "edgekit", "device", *arguments]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        return answer.returncode, answer.stdout + answer.stderr

    code, text = edgekit("check", "bench", "--json")
    found = json.loads(text)
    assert code == 0
    assert found["reachable"] is True
    assert found["runtime"].startswith("ai-edge-litert ")
    assert found["missing"] == []
    code, text = edgekit("list", "--json")
    assert code == 0
    rows = json.loads(text)
    assert [row["address"] for row in rows] == ["local", HERE]
    assert rows[1]["name"] == "bench"
    assert rows[1]["seen"]
    code, text = edgekit("check", "exec:false")
    assert code == 7
    assert "behave as python3" in text
    code, text = edgekit("check", "exec:/usr/bin/env -i /usr/bin/false", "--json")
    assert json.loads(text)["error"]["kind"] == "device-unreachable"


def test_benchmark_on_a_device(model):
    command = [sys.executable, "-m", "edgekit", "benchmark", str(model), "--device", HERE, "--json"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer
    document = json.loads(answer.stdout)
    assert document["device"] == document["environment"]["device"] == HERE
    assert document["environment"]["ai-edge-litert"]
    assert "opencv-python-headless" not in document["environment"]  # that is the host's
    assert len(document["timings"]["tiny"]["latency"]["samples_ms"]) >= 5


def test_what_was_timed_before_the_device_vanished_is_told(model, int8_model, tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import os\n"
        "import ai_edge_litert.interpreter as module\n"
        "real = module.Interpreter.__init__\n"
        "def init(self, model_path, **more):\n"
        f"    if os.path.getsize(model_path) == {int8_model.stat().st_size}: os._exit(1)\n"
        "    real(self, model_path, **more)\n"
        "module.Interpreter.__init__ = init\n"
    )
    address = f"exec:env PYTHONPATH={site} {shlex.quote(sys.executable)}"
    command = [sys.executable, "-m", "edgekit", "benchmark", "--device", address, "--json"]
    answer = subprocess.run(
        [*command, str(model), str(int8_model)], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 7, answer
    document = json.loads(answer.stdout)
    assert list(document["timings"]) == ["tiny"]
    assert "vanished in the middle" in document["failures"]["tiny_int8"]
    assert "tiny_int8 was not timed" in answer.stderr


def wait_until(holds, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)
