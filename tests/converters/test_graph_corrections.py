"""Operators that both back ends get wrong or do not have: right values through ONNX, by worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from worker_process import WorkerProcess

from edgekit.toolchain.converters import discover
from edgekit.toolchain.environments import ensure

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
functional = torch.nn.functional

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def exporter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    with WorkerProcess("torch", tmp_path_factory.mktemp("torch") / "log") as process:
        yield process


@pytest.fixture(scope="module")
def converter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    python = ensure(discover()["onnx2tf"]).python
    log = tmp_path_factory.mktemp("onnx2tf") / "log"
    with WorkerProcess("onnx2tf", log, python=python) as process:
        yield process


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    python = ensure(discover()["onnx"]).python
    with WorkerProcess("onnx", tmp_path_factory.mktemp("onnx") / "log", python=python) as process:
        yield process


NETS = """
import torch
from torch import nn
from torch.nn import functional as F


class Several(nn.Module):
    def __init__(self, *parts, first=None):
        super().__init__()
        self.first, self.calls = first, parts

    def forward(self, *inputs):
        if self.first is not None:
            inputs = (self.first(inputs[0]), *inputs[1:])
        return tuple(part(*inputs) for part in self.calls)


def resize(**options):
    return lambda x: F.interpolate(x, **options)


def resizes():
    torch.manual_seed(0)
    return Several(
        resize(scale_factor=1.7, mode="bilinear"),
        resize(scale_factor=0.6, mode="bilinear", align_corners=True),
        resize(scale_factor=2.3, mode="bicubic"),
        resize(scale_factor=1.7),
        resize(scale_factor=(2.3, 0.7), mode="nearest-exact"),
        resize(scale_factor=0.5, mode="bilinear", antialias=True),
        resize(scale_factor=2, mode="bilinear"),
        first=nn.Conv2d(3, 4, 3, padding=1),
    )


def convolutions():
    torch.manual_seed(0)
    lines = nn.ConvTranspose1d(4, 6, 5, stride=3, padding=1, output_padding=2)
    dilated = nn.ConvTranspose1d(4, 6, 3, stride=2, output_padding=1, dilation=2)
    return Several(
        nn.ConvTranspose2d(4, 6, 5, stride=3, padding=1, output_padding=2),
        nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1, dilation=2, groups=2),
        nn.ConvTranspose2d(4, 6, (3, 5), (2, 3), (0, 2), (1, 2)),
        lambda x: lines(x[:, :, 0]),
        lambda x: dilated(x[:, :, 1]),
    )


def pools():
    volume = lambda x: x.reshape(1, 2, 2, 13, 11)
    ceil = {"ceil_mode": True}
    return Several(
        nn.AvgPool2d(2, 2, **ceil),
        nn.AvgPool2d(5, 3, 2, **ceil),
        nn.AvgPool2d(5, 3, 2, count_include_pad=False, **ceil),
        lambda x: F.avg_pool1d(x[:, :, 0], 5, 3, 2, ceil_mode=True),
        lambda x: F.avg_pool3d(volume(x), (2, 3, 2), 2, (0, 1, 1), ceil_mode=True),
        lambda x: F.max_pool3d(volume(x), 2, 1, 1),
        nn.MaxPool2d(3, 2, 1, dilation=2),
        nn.AdaptiveMaxPool2d((5, 3)),
        lambda x: F.adaptive_avg_pool3d(volume(x), (1, 3, 4)),
        lambda x: F.pad(x, (2, 1, 0, 3), mode="circular"),
    )


def assigned(change):
    def call(x, labels):
        y = (x * 2).clone()
        change(y, labels)
        return y

    return call


def zero(y, labels):
    y[labels == 7] = 0


def columns(y, labels):
    y[:, :, labels[0, :6] == 7] = 3.0


def positive(y, labels):
    y[y > 0] = 0.25


def more(y, labels):
    y[labels == 7] += 1.5


def fixed(y, labels):
    y[:, 2] = 1.5


def assignments():
    rows = torch.tensor([0, 2, 5, 9, 1, 1, 3, 4, 4, 4, 6, 7, 8, 0, 0, 2])
    return Several(
        *map(assigned, (zero, columns, positive, more, fixed)),
        lambda x, labels: x.masked_scatter(x > 0.5, torch.arange(96.0).reshape(1, 16, 6)),
        lambda x, labels: torch.zeros(1, 10, 6).index_add(1, rows, x),
        lambda x, labels: torch.zeros(10, 6).index_put((labels[0],), x[0], accumulate=True),
    )


def signals():
    return Several(
        lambda x: torch.view_as_real(
            torch.stft(x[:, 0], 64, 16, window=torch.hann_window(64), return_complex=True)
        ),
        lambda x: torch.fft.fft2(x.reshape(1, 4, 8, 32)).real,
        lambda x: torch.fft.rfft(x).abs(),
        lambda x: torch.remainder(x, 0.3) + torch.fmod(x, 0.4),
    )


def recurrent():
    torch.manual_seed(0)
    one, both = nn.LSTM(12, 8), nn.LSTM(12, 8, 2, bidirectional=True)
    given, gated = nn.LSTM(12, 8, batch_first=True), nn.GRU(12, 8)
    return Several(
        lambda x, h: one(x)[0],
        lambda x, h: one(x)[1][0],
        lambda x, h: both(x)[0],
        lambda x, h: given(x.transpose(0, 1), (h, h * 2))[0],
        lambda x, h: given(x.transpose(0, 1), (h, h * 2))[1][1],
        lambda x, h: gated(x, h)[1],
    )


def samples():
    grid = lambda x, g: F.grid_sample(x, g, padding_mode="reflection", align_corners=True)
    return Several(grid)
"""

Make = Callable[[np.random.Generator], dict[str, np.ndarray]]


def images(*shape: int) -> Make:
    return lambda random: {"x": random.normal(size=shape).astype(np.float32)}


CASES: dict[str, Make] = {
    "resizes": images(1, 3, 14, 10),
    "convolutions": images(1, 4, 9, 7),
    "pools": images(1, 4, 13, 11),
    "assignments": lambda random: {
        "x": random.normal(size=(1, 16, 6)).astype(np.float32),
        "labels": random.integers(5, 9, (1, 16)),
    },
    "signals": images(1, 4, 256),
    "recurrent": lambda random: {
        "x": random.normal(size=(9, 1, 12)).astype(np.float32),
        "h": random.uniform(-1, 1, (1, 1, 8)).astype(np.float32),
    },
    "samples": lambda random: {
        "x": random.normal(size=(1, 4, 9, 8)).astype(np.float32),
        "grid": random.uniform(-1.8, 1.8, (1, 5, 6, 2)).astype(np.float32),
    },
}


def specs(values: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    return [
        {"name": name, "shape": list(v.shape), "dtype": str(v.dtype), "layout": None}
        for name, v in values.items()
    ]


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("nets") / "correction_nets.py"
    path.write_text(NETS, encoding="utf-8")
    return path


class File:
    """The file in one interpreter, whose variables nobody resets."""

    def __init__(self, path: Path, told: dict[str, Any]) -> None:
        self._interpreter = Interpreter(str(path))
        self._interpreter.allocate_tensors()
        self._turns = {entry["source"]: entry["permutation"] for entry in told["inputs"]}

    def run(self, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs by name."""
        interpreter = self._interpreter
        for detail in interpreter.get_input_details():
            value = values[detail["name"]].transpose(self._turns[detail["name"]])
            interpreter.set_tensor(detail["index"], value.astype(detail["dtype"]))
        interpreter.invoke()
        details = interpreter.get_output_details()
        return {detail["name"]: interpreter.get_tensor(detail["index"]) for detail in details}


def decibels(right: np.ndarray, given: np.ndarray) -> float:
    """Signal over noise; an output that the file keeps as NHWC is turned back."""
    if given.shape != right.shape:
        given = np.moveaxis(given, -1, 1)
    assert given.shape == right.shape
    noise = np.sum((right.astype(np.float64) - given) ** 2)
    return float(10 * np.log10(np.sum(right.astype(np.float64) ** 2) / max(noise, 1e-30)))


@pytest.mark.parametrize("name", CASES)
def test_values_are_pytorchs_in_the_tflite_file(
    name: str, nets: Path, exporter: WorkerProcess, converter: WorkerProcess, tmp_path: Path
) -> None:
    random = np.random.default_rng(17)
    values = CASES[name](random)
    exporter.call(
        "describe",
        source={"location": f"{nets}:{name}", "kind": "torch"},
        inputs=specs(values),
    )
    scope: dict[str, Any] = {}
    exec(compile(NETS, "nets", "exec"), scope)
    model = scope[name]().eval()
    right = model(*map(torch.from_numpy, values.values()))
    outputs = [{"name": f"output_{n}", "shape": list(o.shape)} for n, o in enumerate(right)]
    exporter.call(
        "convert",
        to="onnx",
        output=str(tmp_path / "model.onnx"),
        inputs=specs(values),
        outputs=outputs,
    )
    told = converter.call(
        "convert",
        artifact=str(tmp_path / "model.onnx"),
        output=str(tmp_path / "model.tflite"),
        inputs=specs(values),
    )
    file = File(tmp_path / "model.tflite", told)
    fresh = [CASES[name](random) for _ in range(2)]
    for values in (*fresh, *fresh[::-1]):
        with torch.inference_mode():
            right = model(*map(torch.from_numpy, values.values()))
        given = file.run(values)
        found = {n: decibels(o.numpy(), given[f"output_{n}"]) for n, o in enumerate(right)}
        assert min(found.values()) > 90, found
