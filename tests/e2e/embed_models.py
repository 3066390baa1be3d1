"""Networks of PyTorch's for modules: a classifier, a detector and a segmenter, in float and int8.

Their weights are drawn, not learned: what is tested is that the app's code computes the same.
"""

from __future__ import annotations

from pathlib import Path

import edgekit
from edgekit.types import Scheme
from tests.shared import once

from .conftest import REPOSITORY

NETS = '''
import torch
from torch import nn


def block(inputs, outputs, stride):
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.ReLU())


class Detector(nn.Module):
    """Boxes in pixels beside scores, (1, 4 + 3, 36), as YOLOv8 has them."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(block(3, 16, 2), block(16, 24, 2), block(24, 32, 4))
        self.head = nn.Conv2d(32, 7, 1)
        nn.init.normal_(self.head.weight, std=0.4)
        places = torch.arange(6) * 16.0 + 8
        y, x = torch.meshgrid(places, places, indexing="ij")
        self.register_buffer("points", torch.stack([x.flatten(), y.flatten()])[None])

    def forward(self, image):
        raw = self.head(self.body(image)).flatten(2)
        centre = self.points + raw[:, :2] * 8
        return torch.cat([centre, raw[:, 2:4].sigmoid() * 60, (raw[:, 4:] * 4).sigmoid()], 1)


def classifier():
    torch.manual_seed(2)
    return nn.Sequential(block(3, 16, 2), block(16, 24, 4), nn.Flatten(), nn.Linear(24 * 144, 8))


def detector():
    torch.manual_seed(3)
    return Detector()


def segmenter():
    torch.manual_seed(4)
    return nn.Sequential(block(3, 16, 2), block(16, 16, 1), nn.Conv2d(16, 4, 1))
'''

SCHEMES: tuple[Scheme, ...] = ("fp32", "int8", "int8-float-io", "int8-uint8-io", "int16x8")
TASKS = {
    "classifier": """
task = "classification"
labels = ["Katze", "Straßenbahn", "猫", "four", "five", "six", "seven", "eight"]""",
    "detector": """
task = "detection"
labels = ["Katze", "Straßenbahn", "猫"]
decoder = { format = "yolov8", score_threshold = 0.3, iou_threshold = 0.5 }""",
    "segmenter": """
task = "segmentation"
labels = ["sky", "road", "house", "other"]""",
}
PREPROCESS = {
    "classifier": "resize = 110, crop = 96, scale = 0.00392156862745098, "
    "mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225]",
    "detector": 'resize = [96, 96], color = "BGR", scale = 0.0078431372, mean = [1.0]',
    "segmenter": 'resize = 110, crop = 96, interpolation = "area", scale = 0.0039, '
    "mean = [0.5, 0.4, 0.3], std = [0.2, 0.25, 0.3]",
}


def converted(name: str) -> Path:
    """The folder with ``NAME_fp32.tflite`` and so on for `SCHEMES`, contracts in them."""
    return once(f"embed_{name}", lambda folder: _convert(name, folder))


def _convert(name: str, folder: Path) -> None:
    (folder / "nets.py").write_text(NETS, encoding="utf-8")
    config = folder / "edgekit.toml"
    config.write_text(
        f"[inputs.image]\nshape = [1, 3, 96, 96]\npreprocess = {{ {PREPROCESS[name]} }}\n"
        f"[outputs.output]{TASKS[name]}\n",
        encoding="utf-8",
    )
    result = edgekit.convert(
        f"{folder / 'nets.py'}:{name}",
        config=config,
        calibration=REPOSITORY / "calibration_data",
        schemes=list(SCHEMES),
        effort="fast",
        output=folder,
    )
    assert all(not file.error for file in result.files)
