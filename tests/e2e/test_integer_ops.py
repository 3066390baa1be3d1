"""A PyTorch net full of operators that litert-quantizer leaves in float, through the command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgekit.tflite.model import read
from edgekit.tflite.summary import summarize

pytestmark = pytest.mark.e2e

NETS = '''
import torch
from torch import nn


class Sharper(nn.Module):
    """Twice the size, and which of the three channels is the largest."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.LeakyReLU(0.1))
        self.second = nn.Sequential(nn.Conv2d(12, 12, 3, padding=1), nn.PReLU(12, init=0.3))
        self.act = nn.ReLU6()
        self.last = nn.Sequential(nn.Conv2d(12, 12, 3, padding=1), nn.PixelShuffle(2))
        with torch.no_grad():
            self.second[1].weight += 0.1 * torch.randn(12)

    def forward(self, x):
        one = self.first(x)
        picture = self.last(self.act(one + self.second(one)))
        return picture, picture.argmax(1)


class Wavy(Sharper):
    def forward(self, x):
        return self.last(torch.sin(3 * self.first(x)))


def sharper(): return Sharper()
def wavy(): return Wavy()
'''


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("integer_ops")
    (folder / "sharper_nets.py").write_text(NETS, encoding="utf-8")
    noise = np.random.default_rng(0).normal(size=(32, 3, 16, 16))
    pictures = noise.cumsum(axis=2).cumsum(axis=3)
    pictures /= np.abs(pictures).max(axis=(1, 2, 3), keepdims=True)
    np.save(folder / "pictures.npy", pictures.astype(np.float32))
    return folder


def convert(nets: Path, name: str, *flags: str) -> tuple[int, dict[str, Any], str]:
    """The exit code, the report, and what was said on standard error."""
    output = nets / f"{name}{len(flags)}"
    command = [sys.executable, "-m", "edgekit", "convert", f"{nets}/sharper_nets.py:{name}"]
    command += ["--input", "x:1x3x16x16", "--calibration", str(nets / "pictures.npy")]
    command += ["--effort", "fast"]
    finished = subprocess.run(
        [*command, "--output", str(output), "--force", *flags],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    report = output / "edgekit-report.json"
    assert report.is_file(), finished.stderr
    return finished.returncode, json.loads(report.read_text(encoding="utf-8")), finished.stderr


def test_every_operator_is_an_integer_one(nets: Path) -> None:
    schemes = ["--scheme", "int8", "--scheme", "int8-float-io"]
    code, report, errors = convert(nets, "sharper", *schemes)
    assert code == 0, errors
    for file in report["files"]:
        assert file["integer_share"] == 1
        assert file["kept_float"] == []
        picture, _ = file["parity"]["outputs"]
        assert picture["sqnr_db"] > 25
        assert summarize(Path(file["artifact"]["path"])).integer_share == 1
    path = Path(report["files"][0]["artifact"]["path"])
    assert not [tensor.name for tensor in read(path).main.tensors if tensor.dtype == "float32"]
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    interpreter.invoke()
    made, largest = (interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details())
    np.testing.assert_array_equal(largest.ravel(), made.argmax(1).ravel())


def test_a_float_operator_inside_fails_the_file_and_is_named(nets: Path) -> None:
    code, report, errors = convert(nets, "wavy", "--scheme", "int8")
    assert code == 4
    assert "SIN" in errors
    (file,) = report["files"]
    assert Path(file["artifact"]["path"]).is_file()
    assert [kept["op"] for kept in file["kept_float"]] == ["SIN"]
    (failed,) = [gate for gate in file["verdict"]["gates"] if gate["state"] == "fail"]
    assert failed["gate"]["metric"] == "integer_share"
    assert "no int8 kernel" in failed["why"]


def test_it_passes_where_floats_are_allowed(nets: Path) -> None:
    code, report, errors = convert(nets, "wavy", "--scheme", "int8", "--allow-float-ops")
    assert code == 0, errors
    assert report["files"][0]["integer_share"] < 1
    assert [kept["op"] for kept in report["files"][0]["kept_float"]] == ["SIN"]
