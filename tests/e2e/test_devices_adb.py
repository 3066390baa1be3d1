"""Android devices: the real adb client, and a device that speaks adb's protocol on loopback."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tflite_builder import quantized_bytes, random_image, tiny_bytes

from edgekit import validate
from edgekit.devices.adb import push, shell
from edgekit.devices.address import AdbAddress
from edgekit.devices.native import NativeRunner
from edgekit.devices.runner import DeviceRunner
from edgekit.devices.session import DeviceLimits
from edgekit.devices.target import open_device
from edgekit.errors import (
    ConversionError,
    DeviceBusy,
    DeviceError,
    DeviceLost,
    DeviceUnreachable,
)
from tests.devices.adbd import Adbd
from tests.e2e.conftest import tflite_outputs

ADB = shutil.which("adb")
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(ADB is None, reason="no adb here: apt-get install adb"),
]

IMAGES = np.concatenate([random_image(seed) for seed in range(20)])
RUNNER = Path(__file__).parents[1] / "devices" / "benchmark_model.sh"
TOOLS = (
    *("cat", "chmod", "df", "grep", "head", "mkdir", "nproc", "rm"),
    *("sh", "sleep", "sort", "tail", "uname", "wc"),
)


class Phone:
    """The device, as the client knows it."""

    def __init__(self, folder: Path) -> None:
        self.adbd = Adbd(folder / "device", f"{Path(sys.executable).parent}:/usr/bin:/bin")
        self.address = f"adb:{self.adbd.serial}"
        self.parsed = AdbAddress(serial=self.adbd.serial)

    def connect(self) -> None:
        """Until the client has it; it comes back by itself after a while, or when told to."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            adb("connect", self.adbd.serial)
            if adb("-s", self.adbd.serial, "get-state").strip() == "device":
                return
            time.sleep(0.2)
        raise AssertionError(adb("devices"))

    def without_python(self, folder: Path) -> None:
        """As a phone is: a few tools, and no Python."""
        folder.mkdir()
        for name in TOOLS:
            (folder / name).symlink_to(shutil.which(name))
        properties = folder / "getprop"
        properties.write_text(
            "#!/bin/sh\ncase $1 in *manufacturer) echo Acme ;; *model) echo One ;; "
            "*release) echo 15 ;; esac\n"
        )
        properties.chmod(0o755)
        self.adbd.path = str(folder)

    def left(self) -> list[str]:
        """What runs have left behind."""
        return sorted(path.name for path in self.adbd.tmp.iterdir())


def adb(*words: str) -> str:
    assert ADB
    done = subprocess.run([ADB, *words], capture_output=True, text=True, timeout=30)
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An adb server of our own: the user's, and the devices that it has, stay out of this."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("ADB_MDNS", "0")
        patch.delenv("ANDROID_SERIAL", raising=False)
        adb("start-server")
        yield
        adb("kill-server")


@pytest.fixture
def phone(server, tmp_path, monkeypatch) -> Iterator[Phone]:
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "edgekit"))
    phone = Phone(tmp_path)
    phone.connect()
    yield phone
    adb("disconnect", phone.adbd.serial)
    phone.adbd.stop()


@pytest.fixture
def int8_model(tmp_path) -> Path:
    path = tmp_path / "tiny_int8.tflite"
    path.write_bytes(quantized_bytes("static_wi8_ai8"))
    return path


def edgekit(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgekit", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


# The agent under the device's Python.


def test_outputs_equal_the_runtime_here(phone, int8_model):
    with open_device(phone.address) as device, device.runner(int8_model) as runner:
        assert runner.describe().versions["ai-edge-litert"]
        (outputs,) = runner.run([IMAGES])
        timing = runner.benchmark([IMAGES], runs=5)
    np.testing.assert_array_equal(outputs, tflite_outputs(int8_model, IMAGES).astype(np.float32))
    assert len(timing.latency.samples_ms) == 5
    assert phone.left() == ["edgekit-agent"]  # the agent itself stays, by its digest
    assert not list(phone.adbd.tmp.glob("edgekit-agent/work-*"))


def test_the_only_device_needs_no_serial(phone):
    answer = edgekit("device", "check", "adb", "--json")
    assert answer.returncode == 0, answer
    assert json.loads(answer.stdout)["runtime"].startswith("ai-edge-litert")


def test_two_runs_of_the_agent(phone):
    with open_device(phone.address) as one:
        one.session()
        with pytest.raises(DeviceBusy, match=rf"process {os.getpid()}, since"):
            open_device(phone.address).session()


def test_the_cable_is_pulled_while_the_agent_works(phone, int8_model):
    with open_device(phone.address, limits=DeviceLimits(silence=20)) as device:
        with device.runner(int8_model) as runner:
            runner.run([IMAGES])
            phone.adbd.cut()
            with pytest.raises(DeviceLost):
                runner.run([IMAGES])
        deadline = time.monotonic() + 60
        while list(phone.adbd.tmp.glob("edgekit-agent/work-*")):  # the agent saw it and cleaned up
            assert time.monotonic() < deadline
            time.sleep(0.1)
        phone.connect()
        with device.runner(int8_model) as runner:
            assert runner.run([IMAGES])[0].shape == (20, 5)


def test_a_validation_goes_on_after_the_cable_was_pulled(phone, int8_model, tmp_path, monkeypatch):
    (tmp_path / "float.tflite").write_bytes(tiny_bytes())
    np.save(tmp_path / "images.npy", IMAGES)
    asked = {"reference": tmp_path / "float.tflite", "data": tmp_path / "images.npy"}
    asked |= {"latency": False, "worst": 0, "explain": "never"}
    sent: list[str] = []
    packed = DeviceRunner._packed

    def pulled(self, verb, *rest):
        sent.append(verb)
        if len(sent) == 10:
            phone.adbd.cut()
        return packed(self, verb, *rest)

    monkeypatch.setattr(DeviceRunner, "_packed", pulled)
    monkeypatch.setattr("edgekit.devices.runner._CHUNK", 1)  # samples travel one by one
    with pytest.raises(DeviceLost, match=r"\d of 20 samples are done, and kept") as caught:
        validate(int8_model, **asked, address=phone.address)
    assert "--resume" in caught.value.cure
    phone.connect()
    wait_until(lambda: not list(phone.adbd.tmp.glob("edgekit-agent/work-*")))
    before = len(sent)
    there = validate(int8_model, **asked, address=phone.address, resume=True)
    assert 10 < len(sent) - before < 20
    here = validate(int8_model, **asked)
    assert there.candidates[0].metrics == here.candidates[0].metrics


def test_a_phone_without_python(phone, tmp_path, int8_model):
    phone.without_python(tmp_path / "tools")
    answer = edgekit("device", "check", phone.address, "--json")
    told = json.loads(answer.stdout)
    assert answer.returncode == 7
    assert (told["device"], told["system"], told["python"]) == ("Acme One", "Android 15", None)
    assert told["architecture"] == os.uname().machine
    assert told["cores"] == len(os.sched_getaffinity(0))
    assert told["free_bytes"] > 0
    assert told["memory_bytes"] > 0
    assert "Termux" in told["missing"][0]
    with pytest.raises(DeviceUnreachable, match="no Python") as caught:
        open_device(phone.address).session()
    assert "--runner-binary" in caught.value.cure
    # The native runner needs none.
    with NativeRunner(phone.address, RUNNER) as runner:
        assert runner.benchmark(int8_model).runs == 50


# The user's benchmark_model.


def test_figures_and_placement_of_the_native_runner(phone, int8_model):
    answer = edgekit(
        *("benchmark", int8_model, "--device", phone.address, "--runner-binary", RUNNER),
        *("--runner-arg=--use_gpu=true", "--threads", "4", "--json"),
    )
    assert answer.returncode == 0, answer
    timing = json.loads(answer.stdout)["timings"]["tiny_int8"]
    assert (timing["runs"], timing["p50_ms"], timing["load_ms"]) == (50, 27.995, 31.2)
    assert timing["first_ms"] == 37.401
    assert timing["peak_memory_mb"] == pytest.approx(23.75 * 1.048576, abs=0.05)
    (placed,) = timing["placement"]
    assert (placed["nodes"], placed["all_nodes"], placed["partitions"]) == (58, 64, 3)
    assert any("--num_threads=4" in command for command in phone.adbd.commands)
    assert phone.left() == []


def test_arguments_stay_words(phone, int8_model, tmp_path):
    """A quote, a substitution and a semicolon of the user's reach the runner as they are."""
    note = f"it's $(touch {tmp_path}/one) `touch {tmp_path}/two`; touch {tmp_path}/three"
    with NativeRunner(phone.address, RUNNER, arguments=[f"--note={note}"]) as runner:
        assert runner.benchmark(int8_model).runs == 50
    assert not {"one", "two", "three"} & {path.name for path in tmp_path.iterdir()}


def test_a_file_that_the_runner_refuses(phone, int8_model, tmp_path):
    other = tmp_path / "other.bin"
    other.write_bytes(bytes(100))
    with NativeRunner(phone.address, RUNNER) as runner:
        with pytest.raises(ConversionError, match="model identifier"):
            runner.benchmark(other)
        assert runner.benchmark(int8_model).runs == 50


def test_a_runner_for_another_processor(phone, int8_model, tmp_path):
    """An ELF file whose machine this kernel does not run."""
    binary = tmp_path / "benchmark_model"
    data = bytearray(Path("/bin/true").resolve().read_bytes())
    data[18:20] = b"\x08\x00"  # e_machine: MIPS
    binary.write_bytes(data)
    with (
        NativeRunner(phone.address, binary) as runner,
        pytest.raises(DeviceError, match="cannot start benchmark_model") as caught,
    ):
        runner.benchmark(int8_model)
    assert "architecture" in caught.value.cure


def test_the_cable_is_pulled_in_the_middle_of_a_push(phone, tmp_path):
    model = tmp_path / "large.tflite"
    model.write_bytes(b"\0\0\0\0TFL3" + os.urandom(3_000_000))
    with NativeRunner(phone.address, RUNNER) as runner:
        phone.adbd.drop_after = phone.adbd.pushed + 1_000_000
        with pytest.raises(DeviceLost, match=r"vanished while large\.tflite was sent"):
            runner.benchmark(model)
    phone.connect()
    with NativeRunner(phone.address, RUNNER) as again:  # removes what the first could not
        assert again.benchmark(model).runs == 50
    assert phone.left() == []


def test_what_was_timed_before_the_cable_was_pulled_is_told(phone, int8_model, tmp_path):
    other = tmp_path / "other.tflite"
    other.write_bytes(int8_model.read_bytes())
    phone.adbd.drop_after = RUNNER.stat().st_size + int8_model.stat().st_size
    answer = edgekit(
        *("benchmark", int8_model, other, "--device", phone.address, "--runner-binary", RUNNER),
        "--json",
    )
    assert answer.returncode == 7, answer
    document = json.loads(answer.stdout)
    assert list(document["timings"]) == ["tiny_int8"]
    assert "vanished while other.tflite was sent" in document["failures"]["other"]


def test_the_exit_code_of_a_push_that_was_cut(phone, int8_model):
    phone.adbd.drop_after = 0
    answer = edgekit("benchmark", int8_model, "--device", phone.address, "--runner-binary", RUNNER)
    assert answer.returncode == 7
    assert "vanished" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_the_cable_is_pulled_in_the_middle_of_a_command(phone):
    threading.Timer(1, phone.adbd.cut).start()
    with pytest.raises(DeviceLost, match="in the middle of a command"):
        shell(phone.parsed, ("sleep", "30"), seconds=20)


def test_a_command_that_hangs(phone):
    with pytest.raises(DeviceLost, match="within 1 s"):
        shell(phone.parsed, ("sleep", "30"), seconds=1)


def test_a_full_device(phone, int8_model):
    phone.adbd.full = True
    with pytest.raises(DeviceError, match="no room"):
        push(phone.parsed, int8_model, "/data/local/tmp/x")


@pytest.mark.parametrize("other", ["adb", "the same"])
def test_two_native_runs_at_once(phone, other):
    """Also where the second names the only device without its serial."""
    with (
        NativeRunner(phone.address, RUNNER),
        pytest.raises(DeviceBusy, match=rf"process {os.getpid()}, since 2"),
        NativeRunner(phone.address if other == "the same" else other, RUNNER),
    ):
        pass


def test_the_agent_and_the_native_runner_do_not_share_a_phone(phone, int8_model, tmp_path):
    slow = tmp_path / "slow.sh"
    slow.write_text("#!/bin/sh\nsleep 4\n" + RUNNER.read_text())
    with NativeRunner(phone.address, slow) as runner:
        with open_device(phone.address) as device:
            device.session()
            with pytest.raises(DeviceBusy, match=rf"process {os.getpid()}, since .* \(agent"):
                runner.benchmark(int8_model)
        timed: list[int] = []
        worker = threading.Thread(target=lambda: timed.append(runner.benchmark(int8_model).runs))
        worker.start()
        wait_until(lambda: str(os.getpid()) in (phone.adbd.tmp / "edgekit-agent/lock").read_text())
        with pytest.raises(DeviceBusy, match=rf"process {os.getpid()}, since [^(]*\.$"):
            open_device(phone.address).session()
        worker.join(60)
    assert timed == [50]
    with open_device(phone.address) as device:
        assert device.facts.pid


def test_a_device_that_writes_without_end(phone):
    with pytest.raises(DeviceLost, match="more than 8 MB"):
        shell(phone.parsed, ("cat", "/dev/zero"), seconds=20)


def test_words_and_exit_codes_of_commands(phone):
    assert shell(phone.parsed, ("sh", "-c", "echo 'a b'; echo c >&2; exit 5"), seconds=20) == (
        5,
        "a b\nc\n",
    )


def test_devices_that_are_not_there(phone):
    with pytest.raises(DeviceUnreachable, match="not connected"):
        open_device("adb:nothing").session()
    other = Phone(phone.adbd.root)
    other.connect()
    try:
        with pytest.raises(DeviceUnreachable, match="several devices"):
            open_device("adb").session()
    finally:
        adb("disconnect", other.adbd.serial)
        other.adbd.stop()


def test_no_adb(phone, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(DeviceUnreachable, match="adb") as caught:
        open_device(phone.address).session()
    assert "apt install adb" in caught.value.cure


def wait_until(holds, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
