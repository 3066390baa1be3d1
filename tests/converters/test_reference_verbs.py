"""``describe`` with a device, ``benchmark``, the weights' digest: each worker in a process."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worker_process import WorkerFailure, WorkerProcess

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.e2e

NET = """
import torch
from torch import nn

def build(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5))

def other():
    return build(1)
"""
SPECS = [{"name": "x", "shape": [1, 3, 8, 8], "dtype": "float32", "layout": None}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verbs")
    (folder / "tiny_net.py").write_text(NET, encoding="utf-8")
    x = np.random.default_rng(0).standard_normal((6, 3, 8, 8)).astype(np.float32)
    np.save(folder / "x.npy", x)
    return folder


def describe(worker: WorkerProcess, location: Path | str, kind: str, **more: Any) -> dict[str, Any]:
    source = {"location": str(location), "kind": kind, "weights": None, "trust_pickle": False}
    return worker.call("describe", source=source, inputs=SPECS, **more)


def benchmark(worker: WorkerProcess, folder: Path, specs: list[dict[str, Any]]) -> dict[str, Any]:
    (spec,) = specs
    inputs = {spec["name"]: str(folder / "x.npy")}
    times = worker.call("benchmark", inputs=inputs, specs=specs, runs=9, warmup=2, seconds=30)
    assert set(times) == {"load_ms", "first_ms", "samples_ms", "threads"}
    assert len(times["samples_ms"]) == 9
    assert min(times["samples_ms"]) > 0
    assert times["load_ms"] > 0
    assert times["first_ms"] > 0
    assert times["threads"] >= 1
    return times


def test_pytorch_is_timed_and_its_weights_are_known(folder: Path) -> None:
    with WorkerProcess("torch", folder / "torch.log") as worker:
        one = describe(worker, f"{folder}/tiny_net.py:build", "torch", device="cpu", digest=True)
        # Not this process's own count: other tests may have changed it.
        assert re.fullmatch(r"CPU, \d+ threads", one["device"])
        benchmark(worker, folder, SPECS)
        few = worker.call(
            "benchmark",
            inputs={"x": str(folder / "x.npy")},
            specs=SPECS,
            runs=10**6,
            warmup=0,
            seconds=0.05,
        )
        assert 5 <= len(few["samples_ms"]) < 10**6
        again = describe(worker, f"{folder}/tiny_net.py:build", "torch", digest=True)
        other = describe(worker, f"{folder}/tiny_net.py:other", "torch", digest=True)
        plain = describe(worker, f"{folder}/tiny_net.py:build", "torch")
    assert one["digest"] == again["digest"] != other["digest"]
    assert "digest" not in plain


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_told(folder: Path) -> None:
    with WorkerProcess("torch", folder / "none.log") as worker:
        with pytest.raises(WorkerFailure) as caught:
            describe(worker, f"{folder}/tiny_net.py:build", "torch", device="cuda")
        assert caught.value.kind == "setup"
        assert "--reference-device cpu" in caught.value.cure
        auto = describe(worker, f"{folder}/tiny_net.py:build", "torch", device="auto")
        assert auto["device"].startswith("CPU")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that PyTorch sees")
def test_pytorch_on_a_gpu_is_timed_with_events_and_says_the_same(folder: Path) -> None:
    outputs = {}
    for device in ("cpu", "cuda"):
        with WorkerProcess("torch", folder / f"{device}.log") as worker:
            described = describe(
                worker, f"{folder}/tiny_net.py:build", "torch", device=device, digest=True
            )
            if device == "cuda":
                assert described["device"] == torch.cuda.get_device_name()
                benchmark(worker, folder, SPECS)
            (folder / device).mkdir()
            (output,) = worker.call(
                "reference",
                inputs={"x": str(folder / "x.npy")},
                specs=SPECS,
                outputs_folder=str(folder / device),
            )["outputs"]
            outputs[device] = (described["digest"], np.load(output["path"]))
    assert outputs["cpu"][0] == outputs["cuda"][0]
    # Without TF32; with it the difference would be about 1e-3.
    np.testing.assert_allclose(outputs["cuda"][1], outputs["cpu"][1], rtol=1e-4, atol=1e-5)


def test_onnx_is_timed(folder: Path) -> None:
    pytest.importorskip("onnxruntime")
    nn = torch.nn
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5))
    path = folder / "net.onnx"
    torch.onnx.export(net, torch.zeros(1, 3, 8, 8), path, input_names=["x"], dynamo=False)
    with WorkerProcess("onnx", folder / "onnx.log") as worker:
        described = describe(worker, path, "onnx", device="auto", digest=True)
        assert described["device"].startswith("CPU")
        benchmark(worker, folder, SPECS)


def test_keras_is_timed(folder: Path) -> None:
    keras = pytest.importorskip("keras")
    layers = keras.layers
    net = keras.Sequential([keras.Input((3, 8, 8), name="x"), layers.Flatten(), layers.Dense(5)])
    net.save(folder / "net.keras")
    with WorkerProcess("keras", folder / "keras.log") as worker:
        described = describe(worker, folder / "net.keras", "keras", device="auto", digest=True)
        assert described["device"].startswith("CPU")
        name = described["inputs"][0]["name"]
        benchmark(worker, folder, [{**SPECS[0], "name": name}])
