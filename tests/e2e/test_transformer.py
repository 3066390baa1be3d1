"""A small vision transformer, trained on handwritten digits, through a whole conversion."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import edgekit
from edgekit.results import ConversionResult
from edgekit.tflite.model import read

from .conftest import Digits, tflite_outputs

pytestmark = pytest.mark.e2e

NET = '''
"""A vision transformer for 8×8 digits: 16 tokens of 2×2 pixels, pre-norm layers.

In the second layer a token sees only itself and those before it, as in language models.
"""
import torch
from torch import nn
from torch.nn import functional

WIDTH, HEADS = 32, 2


class Layer(nn.Module):
    def __init__(self, causal):
        super().__init__()
        self.causal = causal
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.into, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(
            nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH)
        )

    def forward(self, x):
        parts = self.into(self.first(x)).reshape(1 * x.shape[0], 16, 3, HEADS, WIDTH // HEADS)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(
            query, key, value, is_causal=self.causal
        )
        x = x + self.out(mixed.transpose(1, 2).reshape(x.shape))
        return x + self.mlp(self.second(x))


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.patches = nn.Conv2d(1, WIDTH, 2, 2)
        self.position = nn.Parameter(0.1 * torch.randn(1, 16, WIDTH))
        self.layers = nn.Sequential(Layer(False), Layer(True))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 10)

    def forward(self, image):
        tokens = self.patches(image).flatten(2).transpose(1, 2) + self.position
        return self.head(self.norm(self.layers(tokens)).mean(1))


def build() -> nn.Module:
    return Transformer()


if __name__ == "__main__":
    import sys
    from sklearn.datasets import load_digits

    torch.set_num_threads(1)
    data = load_digits()
    x = torch.tensor(data.images[:1400, None] / 16, dtype=torch.float32)
    y = torch.tensor(data.target[:1400])
    net = build()
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3)
    for epoch in range(15):
        for chosen in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            functional.cross_entropy(net(x[chosen]), y[chosen]).backward()
            optimizer.step()
    torch.save(net.state_dict(), sys.argv[1])
'''


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory, digits_nchw: Path) -> ConversionResult:
    folder = tmp_path_factory.mktemp("transformer")
    (folder / "transformer_net.py").write_text(NET, encoding="utf-8")
    command = [sys.executable, folder / "transformer_net.py", folder / "weights.pt"]
    subprocess.run(command, check=True, timeout=300)
    return edgekit.convert(
        f"{folder}/transformer_net.py:build",
        weights=folder / "weights.pt",
        inputs=["image:1x1x8x8"],
        preprocess={"scale": 1 / 255, "color": "GRAY"},
        calibration=digits_nchw,
        task="classification",
        schemes=["fp32", "int8", "dynamic-int8", "int16x8"],
        output=folder / "out",
    )


def accuracy(path: Path, digits: Digits) -> float:
    """Top-1 on all held-out digits, independent of edgekit's own figures."""
    scores = tflite_outputs(path, digits.images[digits.test][..., None])
    return float(np.mean(scores.argmax(1) == digits.labels[digits.test]))


def test_int8_is_integer_throughout_and_close_to_float(converted: ConversionResult) -> None:
    assert converted.passed
    report = json.loads(converted.report.read_text(encoding="utf-8"))
    reached = {entry["scheme"]: entry["metrics"] for entry in report["files"]}
    assert reached["int8"]["sqnr_db"] > 20
    assert reached["dynamic-int8"]["sqnr_db"] > 25
    assert reached["int16x8"]["sqnr_db"] > 25
    (int8,) = (file for file in converted.files if file.scheme == "int8")
    assert int8.integer_share == 1.0
    assert not int8.float_ops


def test_every_scheme_keeps_the_accuracy(converted: ConversionResult, digits: Digits) -> None:
    reached = {file.scheme: accuracy(file.artifact.path, digits) for file in converted.files}
    assert reached["fp32"] > 0.85  # the training worked
    for scheme, value in reached.items():
        assert value >= reached["fp32"] - 0.02, scheme


def test_dense_layers_and_gelu_are_single_operators(converted: ConversionResult) -> None:
    (int8,) = (file for file in converted.files if file.scheme == "int8")
    operators = read(int8.artifact.path).main.operators
    kinds = [operator.name for operator in operators]
    assert kinds.count("FULLY_CONNECTED") == 9  # four in each layer, and the head
    assert kinds.count("GELU") == 2
    assert not {"DIV", "SIGN", "SQRT", "EXP"} & set(kinds)
    assert {op.outputs[0].dtype for op in operators if op.name == "RSQRT"} == {"int16"}


def test_explain_finds_no_fault_in_it(converted: ConversionResult, digits_nchw: Path) -> None:
    """Grouped operators, scaled channels and a mask are not faults."""
    files = {file.scheme: file.artifact.path for file in converted.files}
    command = [sys.executable, "-m", "edgekit", "explain", str(files["int8"]), "--json"]
    command += ["--reference", str(files["fp32"]), "--data", str(digits_nchw), "--samples", "4"]
    command += ["-o", str(files["int8"].with_suffix(".html"))]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert finished.returncode == 0, finished.stderr
    found = json.loads(finished.stdout)
    assert found["verdict"].startswith("Nothing is wrong with a single operator"), found["verdict"]
