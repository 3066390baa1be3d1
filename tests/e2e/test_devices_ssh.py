"""A device behind a real OpenSSH server on loopback, and what can go wrong on the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from tflite_builder import quantized_bytes, random_image

from edgekit.devices.session import DeviceLimits
from edgekit.devices.target import Device, open_device
from edgekit.errors import DeviceBusy, DeviceLost, DeviceUnreachable
from tests.e2e.conftest import tflite_outputs
from tests.e2e.ssh_server import MISSING, SSHD, SshServer

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(SSHD is None, reason=MISSING)]

IMAGES = np.concatenate([random_image(seed) for seed in range(20)])


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    server = SshServer(tmp_path_factory.mktemp("ssh"))
    yield server
    server.stop()


@pytest.fixture
def server(started, tmp_path, monkeypatch) -> SshServer:
    monkeypatch.setenv("EDGEKIT_SSH_CONFIG", str(started.config))
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    started.know("host")
    return started


@pytest.fixture
def int8_model(tmp_path):
    path = tmp_path / "tiny_int8.tflite"
    path.write_bytes(quantized_bytes("static_wi8_ai8"))
    return path


def reach(server: SshServer, **more) -> Device:
    return open_device(server.address, python=sys.executable, **more)


def test_outputs_equal_the_runtime_here(server, int8_model):
    with reach(server) as device, device.runner(int8_model) as runner:
        assert runner.describe().versions["ai-edge-litert"]
        (outputs,) = runner.run([IMAGES])
        timing = runner.benchmark([IMAGES], runs=5)
    np.testing.assert_array_equal(outputs, tflite_outputs(int8_model, IMAGES).astype(np.float32))
    assert len(timing.latency.samples_ms) == 5
    found = sorted(path.name for path in server.cache.rglob("*"))
    assert len(found) == 4, found  # the folder, the lock, and the agent in a folder of its own
    assert "agent.pyz" in found


def test_the_agent_is_sent_once_and_found_there_afterwards(server, int8_model):
    with reach(server) as device:
        device.session()
    (agent,) = server.cache.rglob("agent.pyz")
    before = agent.stat()
    with reach(server) as device, device.runner(int8_model) as runner:
        runner.run([IMAGES[:1]])
    (agent,) = server.cache.rglob("agent.pyz")
    assert (agent.stat().st_ino, agent.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_another_host_key(server):
    server.know("other")
    with pytest.raises(DeviceUnreachable, match="another host key") as caught:
        reach(server).session()
    assert f"ssh-keygen -R '[127.0.0.1]:{server.port}'" in caught.value.cure


def test_an_unknown_host_key(server):
    server.know(None)
    with pytest.raises(DeviceUnreachable, match="not known yet") as caught:
        reach(server).session()
    assert f"ssh -p {server.port} " in caught.value.cure


def test_a_user_who_may_not(server):
    address = f"ssh://nobody@127.0.0.1:{server.port}"
    with pytest.raises(DeviceUnreachable, match="with a key"):
        open_device(address).session()


def test_a_port_where_nobody_listens(server):
    with pytest.raises(DeviceUnreachable, match="refuses"):
        open_device("ssh://root@127.0.0.1:1").session()


def test_a_python_that_is_not_there(server):
    with pytest.raises(DeviceUnreachable, match="cannot start /no/such"):
        open_device(server.address, python="/no/such; touch /tmp/x").session()


def test_a_python_in_the_address(server, int8_model):
    """Every command that takes an address can be told which one."""
    command = [sys.executable, "-m", "edgekit", "benchmark", str(int8_model), "--json"]
    answer = subprocess.run(
        [*command, "--device", f"{server.address}{sys.executable}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer
    with pytest.raises(DeviceUnreachable, match="cannot start /no/such") as caught:
        open_device(f"{server.address}/no/such/$(touch%20x);python").session()
    assert "ssh://user@host/path" in caught.value.cure


def test_two_runs_at_once(server):
    with reach(server) as one:
        one.session()
        with pytest.raises(DeviceBusy, match=rf"process {os.getpid()}, since"):
            reach(server).session()


def test_a_connection_that_breaks(server, int8_model):
    """The server's process for the connection ends, as with a device that reboots."""
    with reach(server, limits=DeviceLimits(silence=20)) as device:
        with device.runner(int8_model) as runner:
            runner.run([IMAGES])
            for process in server.connections():
                process.kill()
            with pytest.raises(DeviceLost):
                runner.run([IMAGES])
        deadline = time.monotonic() + 60
        while list(server.cache.glob("edgekit-agent/work-*")):  # the agent saw it and cleaned up
            assert time.monotonic() < deadline
            time.sleep(0.1)
        with device.runner(int8_model) as runner:
            assert runner.run([IMAGES])[0].shape == (20, 5)


def test_the_command_line(server):
    command = [sys.executable, "-m", "edgekit", "device", "check", server.address, "--json"]
    answer = subprocess.run(
        [*command, "--python", sys.executable], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer
    assert json.loads(answer.stdout)["runtime"].startswith("ai-edge-litert")
