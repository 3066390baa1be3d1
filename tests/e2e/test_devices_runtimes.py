"""Runtimes of other versions, and an emulated aarch64 device on which int8 kernels are wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tflite_builder import quantized_bytes, random_image

from edgekit.devices.matrix import compare_runtimes
from edgekit.devices.runtimes import parse_runtime, runtime_device
from edgekit.devices.target import open_device
from edgekit.errors import EnvironmentNotReady, ModelError, UsageError
from edgekit.types import SilentProgress
from tests.devices import aarch64
from tests.e2e.conftest import tflite_outputs

pytestmark = pytest.mark.e2e

IMAGES = np.concatenate([random_image(seed) for seed in range(8)])


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("EDGEKIT_HOME", str(Path.home() / ".cache" / "edgekit"))


@pytest.fixture
def int8_model(tmp_path) -> Path:
    path = tmp_path / "tiny_int8.tflite"
    path.write_bytes(quantized_bytes("static_wi8_ai8"))
    return path


def step_difference(path: Path, got: np.ndarray, images: np.ndarray) -> float:
    """The largest difference from the runtime here, in steps of the output."""
    from ai_edge_litert.interpreter import Interpreter

    scale = Interpreter(str(path)).get_output_details()[0]["quantization"][0]
    return float(np.abs(got - tflite_outputs(path, images)).max() / scale)


@pytest.mark.parametrize("runtime", ["tflite-runtime==2.14.0", "ai-edge-litert==1.4.0"])
def test_another_version_here(runtime, int8_model):
    wanted = parse_runtime(runtime)
    with runtime_device(wanted) as device, device.runner(int8_model) as runner:
        assert runner.describe().versions[wanted.name] == wanted.version
        (outputs,) = runner.run([IMAGES])
    assert step_difference(int8_model, outputs, IMAGES) < 1.5


def test_the_table(int8_model):
    command = [sys.executable, "-m", "edgekit", "runtimes", str(int8_model), "--json"]
    matrix = "tflite-runtime==2.14.0,ai-edge-litert==0.0.0"
    answer = subprocess.run(
        [*command, "--runtime-matrix", matrix, "--synthetic", "--samples", "4"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 3, answer
    own, older, none = json.loads(answer.stdout)
    assert own["steps"] == 0
    assert older["runtime"] == "tflite-runtime==2.14.0"
    assert older["steps"] < 1.5
    assert "no such version" in none["error"]


def test_a_damaged_file_is_no_matter_of_the_runtime(tmp_path):
    (tmp_path / "x.tflite").write_text("nothing")
    with pytest.raises(ModelError, match=r"x\.tflite"):
        compare_runtimes(tmp_path / "x.tflite", [], data=None, progress=SilentProgress())


@pytest.mark.parametrize("text", ["tensorflow==2.14", "tflite-runtime", "tflite-runtime==2;x"])
def test_no_runtime(text):
    with pytest.raises(UsageError):
        parse_runtime(text)


def test_a_version_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    with pytest.raises(EnvironmentNotReady, match="no such version"):
        runtime_device(parse_runtime("tflite-runtime==99.0"))
    left = [path for path in tmp_path.glob("home/environments/*") if path.is_dir()]
    assert not left


def emulated(runtime: str, cpu: str) -> str:
    try:
        return aarch64.address(runtime, cpu)
    except aarch64.Unavailable as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("runtime", aarch64.RUNTIMES)
def test_an_emulated_arm_runs_the_same_agent(runtime, int8_model):
    with open_device(emulated(runtime, "cortex-a72")) as device:
        assert device.facts.machine == "aarch64"
        with device.runner(int8_model) as runner:
            (outputs,) = runner.run([IMAGES[:2]])
    assert step_difference(int8_model, outputs, IMAGES[:2]) < 1.5


def test_int8_is_right_on_one_core_and_wrong_on_another(efficientnet):
    """FACTS.md, Devices: right on the desktop, wrong on the device. Random smooth inputs do."""
    model = efficientnet / "efficientnet_lite0_int8.tflite"
    generator = np.random.default_rng(0)
    images = generator.normal(0, 1, (2, 7, 7, 3)).astype(np.float32).repeat(32, 1).repeat(32, 2)
    steps = {}
    for cpu in ("cortex-a72", "max"):
        address = emulated("ai-edge-litert==2.1.6", cpu)
        with open_device(address) as device, device.runner(model) as runner:
            (outputs,) = runner.run([images])
        steps[cpu] = step_difference(model, outputs, images)
    assert steps["cortex-a72"] <= 1.5
    assert steps["max"] > 20
