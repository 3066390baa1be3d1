"""A model whose size and batch are open: files that an app can resize, held against PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import edgekit

from .conftest import run_python

pytestmark = pytest.mark.e2e

NET = '''
import torch
from torch import nn
from torch.nn import functional


class Net(nn.Module):
    """Attention over the places of a picture, back to a picture, as large as what came in."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.planes = nn.Conv2d(16, 4, 1)

    def forward(self, image):
        found = functional.relu(self.patches(image))
        batch, channels, height, width = found.shape
        places = found.flatten(2).transpose(1, 2)
        places = places + self.attention(places, places, places, need_weights=False)[0]
        found = self.planes(places.transpose(1, 2).reshape(batch, channels, height, width))
        return functional.interpolate(found, size=image.shape[2:], mode="bilinear")


def build() -> nn.Module:
    torch.manual_seed(0)
    return Net().eval()
'''

ASK = """
import numpy as np, torch
from net import build
image = np.load("image.npy")
with torch.inference_mode():
    np.save("wanted.npy", build()(torch.from_numpy(image)).numpy())
"""


def test_a_file_for_every_size_and_batch(tmp_path: Path):
    (tmp_path / "net.py").write_text(NET, encoding="utf-8")
    result = edgekit.convert(
        f"{tmp_path}/net.py:build",
        inputs=["image:?x3x32?x64?"],
        synthetic=True,
        schemes=["fp32"],
        effort="none",
        output=tmp_path / "out",
    )
    assert result.passed, result
    for file in result.files:
        sizes = [one.candidate.rpartition(" at ")[2] for one in file.sizes]
        assert len(sizes) == 4
        assert "2x3x29x73" in sizes
    # A size and a batch that nobody has tried on the way.
    image = np.random.default_rng(1).random((5, 3, 44, 52), dtype=np.float32)
    np.save(tmp_path / "image.npy", image)
    run_python(ASK, tmp_path)
    wanted = np.load(tmp_path / "wanted.npy")
    said = run(tmp_path / "out/net_fp32.tflite", image.transpose(0, 2, 3, 1))
    np.testing.assert_allclose(said.transpose(0, 3, 1, 2), wanted, atol=1e-4)


def run(path: Path, image: np.ndarray) -> np.ndarray:
    interpreter = Interpreter(str(path))
    (given,) = interpreter.get_input_details()
    assert given["shape"].tolist() == [1, 32, 64, 3]
    interpreter.resize_tensor_input(given["index"], image.shape, strict=True)
    interpreter.allocate_tensors()
    (said,) = interpreter.get_output_details()
    interpreter.set_tensor(given["index"], image)
    interpreter.invoke()
    result: np.ndarray = interpreter.get_tensor(said["index"])
    return result
