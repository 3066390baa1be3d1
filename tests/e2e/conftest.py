"""Models that are trained in the tests, and real data with labels."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.shared import copied, once

REPOSITORY = Path(__file__).resolve().parents[2]


class Digits:
    """scikit-learn's digits: 8×8 pictures, 0…1, and their classes; the last 397 are held out."""

    def __init__(self) -> None:
        from sklearn.datasets import load_digits

        data = load_digits()
        self.images = (data.images / 16).astype(np.float32)
        self.labels = data.target
        self.train, self.test = slice(0, 1400), slice(1400, None)


@pytest.fixture(scope="session")
def digits() -> Digits:
    return Digits()


@pytest.fixture(scope="session")
def digits_nchw(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The held-out digits as (N, 1, 8, 8) with labels."""
    path = tmp_path_factory.mktemp("digits") / "nchw.npz"
    test = digits.test
    np.savez(path, image=digits.images[test][:, None], labels=digits.labels[test])
    return path


@pytest.fixture(scope="session")
def digits_nhwc(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The held-out digits as (N, 8, 8, 1) with labels."""
    path = tmp_path_factory.mktemp("digits") / "nhwc.npz"
    test = digits.test
    np.savez(path, image=digits.images[test][..., None], labels=digits.labels[test])
    return path


TORCH_NET = '''
"""A small CNN for 8×8 digits."""
import torch
from torch import nn


def build() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU6(),
        nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(512, 10),
    )
'''

TORCH_TRAINING = """
import sys
import numpy as np, torch
from safetensors.torch import save_file
from digits_net import build

data = np.load(sys.argv[1])
x, y = torch.from_numpy(data["x"]), torch.from_numpy(data["y"])
net = build()
optimiser = torch.optim.Adam(net.parameters(), 3e-3)
for epoch in range(12):
    for batch in torch.randperm(len(x), generator=torch.Generator().manual_seed(epoch)).split(64):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(net(x[batch]), y[batch]).backward()
        optimiser.step()
net.eval()
example = (x[:1],)
torch.save(net.state_dict(), "weights.pt")
save_file(net.state_dict(), "weights.safetensors")
torch.save({"state_dict": {f"model.{k}": v for k, v in net.state_dict().items()}}, "lightning.ckpt")
torch.save(net, "whole.pt")
torch.jit.trace(net, example).save("script.pt")
torch.export.save(torch.export.export(net, example), "program.pt2")
torch.onnx.export(net, example, "digits.onnx", input_names=["image"], output_names=["scores"],
                  dynamo=False, dynamic_axes={"image": {0: "batch"}, "scores": {0: "batch"}})
"""


@pytest.fixture(scope="session")
def torch_digits(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained PyTorch digit classifier in every form that edgekit takes."""

    def train(folder: Path) -> None:
        (folder / "digits_net.py").write_text(TORCH_NET, encoding="utf-8")
        x, y = digits.images[digits.train], digits.labels[digits.train]
        np.savez(folder / "train.npz", x=x[:, None], y=y.astype(np.int64))
        run_python(TORCH_TRAINING, folder, "train.npz")

    return copied(once("torch_digits", train), tmp_path_factory)


KERAS_TRAINING = """
import sys
import keras, numpy as np

data = np.load(sys.argv[1])
keras.utils.set_random_seed(0)
layers = keras.layers
net = keras.Sequential([
    keras.Input((8, 8, 1), name="image"),
    layers.Conv2D(16, 3, padding="same", use_bias=False), layers.BatchNormalization(),
    layers.ReLU(), layers.DepthwiseConv2D(3, padding="same", activation="relu"),
    layers.Conv2D(32, 3, strides=2, padding="same", activation="relu"),
    layers.Flatten(), layers.Dense(10, name="scores"),
])
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
net.compile(keras.optimizers.Adam(3e-3), loss)
net.fit(data["x"], data["y"], epochs=12, batch_size=64, verbose=0)
net.save("digits.keras")
net.save("digits.h5")
net.export("digits_saved")
net.export("digits_nhwc.onnx", format="onnx", verbose=False)
"""


@pytest.fixture(scope="session")
def keras_digits(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained Keras digit classifier as .keras, .h5 and SavedModel."""

    def train(folder: Path) -> None:
        x, y = digits.images[digits.train], digits.labels[digits.train]
        np.savez(folder / "train.npz", x=x[..., None], y=y)
        run_python(KERAS_TRAINING, folder, "train.npz")

    return copied(once("keras_digits", train), tmp_path_factory)


@pytest.fixture(scope="session")
def efficientnet() -> Path:
    """A folder with EfficientNet-Lite0 as ``efficientnet_lite0_{fp32,int8}.tflite``.

    ``EDGEKIT_TEST_EFFICIENTNET`` names one that is there already.
    """
    if known := os.environ.get("EDGEKIT_TEST_EFFICIENTNET"):
        return Path(known)
    return once("efficientnet", _convert_efficientnet)


def _convert_efficientnet(folder: Path) -> None:
    command = [sys.executable, "-m", "edgekit", "convert", "--scheme", "fp32", "--scheme", "int8"]
    command += [f"{REPOSITORY}/examples/efficientnet_lite0.py:build", "--effort", "fast"]
    command += ["--config", f"{REPOSITORY}/examples/efficientnet_lite0.toml"]
    done = subprocess.run(
        [*command, "--output", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert (folder / "efficientnet_lite0_int8.tflite").exists(), done.stdout + done.stderr


@pytest.fixture(scope="session")
def embed_files(efficientnet: Path) -> dict[str, Path]:
    """Files for modules by name: EfficientNet-Lite0 and three small networks, fp32 and int8."""
    from .embed_models import converted

    folders = {name: converted(name) for name in ("classifier", "detector", "segmenter")}
    folders["efficientnet_lite0"] = efficientnet
    names = ((name, f"{name}_{scheme}") for name in folders for scheme in ("fp32", "int8"))
    return {file: folders[name] / f"{file}.tflite" for name, file in names}


def run_python(code: str, folder: Path, *arguments: str) -> None:
    """Run code in a process of its own: frameworks stay out of the test's process."""
    subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=300,
    )


def tflite_outputs(path: Path, samples: np.ndarray) -> np.ndarray:
    """Real-valued outputs of a file's first output, by the interpreter and nothing of edgekit's."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    (given,), wanted = interpreter.get_input_details(), interpreter.get_output_details()[0]
    results = []
    for sample in samples:
        value = sample
        scale, zero = given["quantization"]
        if scale:
            limits = np.iinfo(given["dtype"])
            value = np.clip(np.round(sample / scale + zero), limits.min, limits.max)
        interpreter.set_tensor(given["index"], value.astype(given["dtype"]).reshape(given["shape"]))
        interpreter.invoke()
        result = interpreter.get_tensor(wanted["index"]).astype(np.float64)
        scale, zero = wanted["quantization"]
        results.append((result - zero) * scale if scale else result)
    return np.concatenate(results)
