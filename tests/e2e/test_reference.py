"""Recorded references of every framework, and a real model server, from the command line."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from quantize_nets import mixed_net

from edgekit.runners.bundle import RecordedReference
from edgekit.toolchain.converters import Converter
from edgekit.toolchain.environments import ensure

from .conftest import Digits

pytestmark = pytest.mark.e2e

SERVER = Path(__file__).parent / "mlserver"
COUNT = 40


def edgekit(
    *arguments: object, folder: Path, exit_code: int = 0
) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(
        [sys.executable, "-m", "edgekit", *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == exit_code, result.stderr + result.stdout
    return result


def recall_all(path: Path) -> tuple[list[int], list[np.ndarray]]:
    """The places in the data of the recorded samples, and their outputs."""
    with RecordedReference(path) as bundle:
        bundle.verify()
        places = [int(name.partition("[")[2].rstrip("]")) for name, _ in bundle.samples]
        return places, bundle.recall([digest for _, digest in bundle.samples])


@pytest.fixture(scope="session")
def torch_scores(torch_digits: Path, digits: Digits) -> np.ndarray:
    """What PyTorch itself says about the held-out digits, here and without edgekit."""
    import torch

    net = torch.jit.load(torch_digits / "script.pt")
    with torch.inference_mode():
        return net(torch.from_numpy(digits.images[digits.test][:, None])).numpy()


@pytest.fixture(scope="session")
def keras_scores(keras_digits: Path, digits: Digits) -> np.ndarray:
    """What ONNX Runtime says, running Keras' own export."""
    import onnxruntime

    session = onnxruntime.InferenceSession(keras_digits / "digits_nhwc.onnx")
    name = session.get_inputs()[0].name
    images = digits.images[digits.test][..., None]
    return np.concatenate([session.run(None, {name: one[None]})[0] for one in images])


TORCH_FORMS = {
    "factory": ["digits_net.py:build", "--weights", "weights.pt", "--input", "image:1x1x8x8"],
    "torchscript": ["script.pt", "--input", "image:1x1x8x8"],
    "program": ["program.pt2"],
    "onnx": ["digits.onnx"],
}


@pytest.mark.parametrize("form", TORCH_FORMS)
def test_a_recording_holds_what_pytorch_says(
    form, torch_digits, torch_scores, digits_nchw, tmp_path
):
    path = tmp_path / "ref.edgeref"
    extra = ["--data", digits_nchw, "-o", path, "--limit", COUNT, "--runs", 7, "--json"]
    extra += ["--task", "classification", "--reference-device", "auto"]
    shown = json.loads(
        edgekit("reference", "record", *TORCH_FORMS[form], *extra, folder=torch_digits).stdout
    )
    places, (scores,) = recall_all(path)
    assert len(places) == COUNT == shown["samples"]
    np.testing.assert_allclose(scores, torch_scores[places], rtol=1e-4, atol=1e-4)
    assert len(shown["latency"]["samples_ms"]) == 7
    assert shown["latency"]["load_ms"] > 0
    assert shown["latency"]["first_ms"] > 0
    assert shown["peak_memory_mb"] > 20
    assert shown["contract"]["outputs"][0]["task"] == "classification"
    assert shown["contract"]["inputs"][0]["preprocess"] is None  # the arrays were ready
    digests = shown["origin"]["digests"]
    assert (
        set(digests)
        == {
            "factory": {"file", "weights", "state"},
            "torchscript": {"file", "state"},
            "program": {"file", "state"},
            "onnx": {"file"},
        }[form]
    )


@pytest.mark.parametrize("form", ["digits.keras", "digits_saved"])
def test_a_recording_holds_what_keras_says(form, keras_digits, keras_scores, digits_nhwc, tmp_path):
    path = tmp_path / "ref.edgeref"
    extra = ["--data", digits_nhwc, "-o", path, "--limit", COUNT, "--runs", 7]
    text = edgekit("reference", "record", form, *extra, folder=keras_digits).stdout
    places, (scores,) = recall_all(path)
    np.testing.assert_allclose(scores, keras_scores[places], rtol=1e-4, atol=1e-4)
    assert f"{COUNT} samples" in text
    assert "p50" in text
    again = edgekit("reference", "show", path, folder=tmp_path)
    # But for the command to type next: a recording knows its data by their name only.
    said, shown = (one.partition("Next")[0] for one in (text, again.stdout))
    assert shown.split()[1:] == said.split()[1:]


def test_an_existing_file_is_replaced_only_with_force(torch_digits, digits_nchw, tmp_path):
    path = tmp_path / "ref.edgeref"
    path.write_text("mine")
    record = ["reference", "record", "digits.onnx", "--data", digits_nchw, "-o", path]
    record += ["--limit", 2, "--runs", 0]
    refused = edgekit(*record, folder=torch_digits, exit_code=2)
    assert "--force" in refused.stderr
    assert path.read_text() == "mine"
    edgekit(*record, "--force", folder=torch_digits)
    assert len(recall_all(path)[0]) == 2
    with RecordedReference(path) as bundle:
        assert bundle.latency is None


def test_cuda_is_refused_where_it_cannot_be(torch_digits, digits_nchw, tmp_path):
    common = ["--data", digits_nchw, "-o", tmp_path / "a.edgeref", "--reference-device", "cuda"]
    onnx = edgekit("reference", "record", "digits.onnx", *common, folder=torch_digits, exit_code=2)
    assert "PyTorch" in onnx.stderr
    import torch

    if not torch.cuda.is_available():
        model = TORCH_FORMS["program"]
        none = edgekit("reference", "record", *model, *common, folder=torch_digits, exit_code=5)
        assert "sees no CUDA device" in none.stderr
    assert not list(tmp_path.iterdir())


SLOW = """
import time
import torch

class Slow(torch.nn.Module):
    def forward(self, x):
        time.sleep(0.2)
        return x.mean((1, 2, 3))

def build():
    return Slow()
"""


def test_an_interrupted_recording_leaves_nothing(digits_nchw, tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    model = ["slow.py:build", "--input", "image:1x1x8x8"]
    command = ["reference", "record", *model, "--data", digits_nchw, "-o", "ref.edgeref"]
    process = subprocess.Popen(
        [sys.executable, "-m", "edgekit", *map(str, command)],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("Running"):
            break
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=120) == 130
    process.stderr.close()
    assert {path.name for path in tmp_path.iterdir()} - {"__pycache__"} == {"slow.py"}


@pytest.mark.gpu
def test_pytorch_on_a_gpu_says_what_it_says_on_the_cpu(
    torch_digits, torch_scores, digits_nchw, tmp_path
):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no GPU that PyTorch sees")
    for form in ("factory", "torchscript", "program"):
        path = tmp_path / f"{form}.edgeref"
        extra = ["--data", digits_nchw, "-o", path, "--reference-device", "cuda", "--json"]
        text = edgekit("reference", "record", *TORCH_FORMS[form], *extra, folder=torch_digits)
        places, (scores,) = recall_all(path)
        np.testing.assert_allclose(scores, torch_scores[places], rtol=1e-3, atol=1e-3)
        shown = json.loads(text.stdout)
        assert shown["origin"]["device"] == torch.cuda.get_device_name()
        assert min(shown["latency"]["samples_ms"]) > 0


@pytest.fixture(scope="session")
def mlserver_python() -> str:
    """MLServer's own environment, built once and cached like a converter's."""
    program = SERVER / "linear_runtime.py"
    converter = Converter(
        name="mlserver",
        summary="the server of these tests",
        program=program,
        environment="isolated",
        python=">=3.11,<3.13",
        requirements=SERVER / "requirements.lock",
    )
    return ensure(converter).python


class Server:
    """MLServer on loopback with one linear model of the digits."""

    def __init__(self, python: str, folder: Path, digits: Digits) -> None:
        from sklearn.linear_model import LogisticRegression

        images = digits.images.reshape(-1, 64)
        self.model = LogisticRegression(max_iter=500).fit(
            images[digits.train], digits.labels[digits.train]
        )
        weights = folder / "linear.npz"
        np.savez(weights, w=self.model.coef_.T, b=self.model.intercept_)
        http, grpc, metrics = _free_ports(3)
        settings = {"host": "127.0.0.1", "http_port": http, "grpc_port": grpc}
        settings |= {"metrics_port": metrics, "parallel_workers": 0}
        model = {
            "name": "digits",
            "implementation": "linear_runtime.Linear",
            "parameters": {"uri": str(weights)},
            "inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 1, 8, 8]}],
            "outputs": [
                {"name": "scores", "datatype": "FP32", "shape": [-1, 10]},
                {"name": "best", "datatype": "INT64", "shape": [-1]},
            ],
        }
        (folder / "settings.json").write_text(json.dumps(settings))
        (folder / "model-settings.json").write_text(json.dumps(model))
        self.address = f"http://127.0.0.1:{http}"
        self._log = folder / "server.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [Path(python).with_name("mlserver"), "start", str(folder)],
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(SERVER)},
            )

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.address}/v2/models/digits/ready", timeout=5):
                    return
            except OSError:
                time.sleep(0.3)
        pytest.fail(f"MLServer did not start:\n{self._log.read_text()[-3000:]}")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="module")
def server(
    mlserver_python: str, digits: Digits, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    running = Server(mlserver_python, tmp_path_factory.mktemp("mlserver"), digits)
    try:
        running.wait_until_ready()
        yield running
    finally:
        running.process.terminate()
        try:
            running.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            running.process.kill()
            running.process.wait()


def test_a_model_behind_a_real_mlserver_is_recorded(server, digits, digits_nchw, tmp_path):
    path = tmp_path / "ref.edgeref"
    url = f"{server.address}/v2/models/digits"
    extra = ["--data", digits_nchw, "-o", path, "--limit", COUNT, "--runs", 5, "--json"]
    shown = json.loads(edgekit("reference", "record", url, *extra, folder=tmp_path).stdout)
    places, (scores, best) = recall_all(path)
    images = digits.images[digits.test].reshape(-1, 64)[places]
    np.testing.assert_allclose(scores, server.model.decision_function(images), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(best, server.model.predict(images))
    assert shown["origin"]["kind"] == "http"
    assert shown["origin"]["digests"] == {}
    assert "network" in shown["origin"]["device"]
    assert shown["origin"]["versions"] == {"mlserver": "1.7.1"}
    assert len(shown["latency"]["samples_ms"]) == 5


def test_an_unknown_model_of_mlserver_is_told(server, digits_nchw, tmp_path):
    url = f"{server.address}/v2/models/letters"
    record = ["reference", "record", url, "--data", digits_nchw, "-o", "ref.edgeref"]
    told = edgekit(*record, folder=tmp_path, exit_code=3)
    assert "letters" in told.stderr
    assert not list(tmp_path.iterdir())


def pictures(folder: Path, *, good: int, bad: int, seed: int = 0) -> Path:
    import cv2

    folder.mkdir()
    random = np.random.default_rng(seed)
    for number in range(good):
        pixels = random.integers(0, 256, (8, 8, 3), np.uint8)
        cv2.imwrite(str(folder / f"{number:02d}.png"), pixels)
    for number in range(bad):
        (folder / f"bad{number}.png").write_bytes(b"no picture")
    return folder


def test_a_recording_stands_in_for_its_model_on_its_own_pictures_only(tmp_path):
    """A file is its own equal; other pictures and another preprocessing are refused."""
    model = mixed_net(tmp_path / "net.tflite")
    data = pictures(tmp_path / "data", good=19, bad=1)
    path = tmp_path / "ref.edgeref"
    stated = ["--mean", "0.5", "--std", "0.25", "--scale", "1/255"]
    record = ["reference", "record", model, "--data", data, "-o", path, "--runs", 0]
    told = edgekit(*record, *stated, folder=tmp_path)
    assert "1 samples were left out" in told.stderr
    assert "bad0.png" in told.stderr.replace("\n", "")
    with RecordedReference(path) as bundle:
        assert len(bundle.samples) == 19
        assert bundle.manifest.pictures == (bundle.contract.inputs[0].tensor.name,)
    common = ["validate", model, "--reference", path, "--no-latency", "--json"]
    result = edgekit(*common, "--data", data, folder=tmp_path)
    (candidate,) = json.loads(result.stdout)["candidates"]
    assert candidate["parity"]["outputs"][0]["sqnr_db"] > 100
    other = pictures(tmp_path / "other", good=12, bad=0, seed=1)
    refused = edgekit(*common, "--data", other, folder=tmp_path, exit_code=6)
    assert "not recorded" in refused.stdout
    refused = edgekit(*common, "--data", data, "--mean", "0.4", folder=tmp_path, exit_code=6)
    assert "mean of input" in refused.stdout


def test_too_many_pictures_that_cannot_be_read_end_a_recording(tmp_path):
    model = mixed_net(tmp_path / "net.tflite")
    data = pictures(tmp_path / "data", good=8, bad=2)
    record = ["reference", "record", model, "--data", data, "-o", "ref.edgeref"]
    told = edgekit(*record, folder=tmp_path, exit_code=6)
    assert "2 of 10 samples" in told.stderr
    assert not (tmp_path / "ref.edgeref").exists()
