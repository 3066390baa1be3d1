"""A small segmenter and two small detectors in PyTorch, with weights that are drawn, not trained.

The detectors differ in who selects the boxes: the app, from offsets to anchors, or the model.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor, nn

SIZE, CELLS, CLASSES = 64, 4, 3
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Segmenter(nn.Module):
    """Logits (1, 3, 64, 64)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.last(torch.relu(self.first(image)))


class Detector(nn.Module):
    """Offsets to anchors (1, 16, 4) as cy, cx, h, w, and scores (1, 16, 3)."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 16, 32, 32, 32)
        layers: list[nn.Module] = []
        for before, width in itertools.pairwise(widths):
            layers += [nn.Conv2d(before, width, 3, stride=2, padding=1), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.boxes, self.scores = nn.Conv2d(32, 4, 1), nn.Conv2d(32, CLASSES, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        seen = self.body(image)
        boxes = self.boxes(seen).permute(0, 2, 3, 1).reshape(1, -1, 4)
        scores = self.scores(seen).permute(0, 2, 3, 1).reshape(1, -1, CLASSES)
        return boxes, torch.sigmoid(scores)


class Selecting(nn.Module):
    """Boxes (1, 16, 4) as shares y1, x1, y2, x2, their classes, their scores, and how many."""

    def __init__(self) -> None:
        super().__init__()
        self.detector = Detector()
        self.register_buffer("anchors", torch.from_numpy(anchors()))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        offsets, scores = self.detector(image)
        middle = self.anchors[:, :2].flip(1) + 0.02 * offsets[0, :, :2]
        half = self.anchors[:, 2:].flip(1) / 2
        best, which = scores.max(dim=2)
        count = torch.full((1,), 16.0) + 0 * best.sum()
        return torch.cat([middle - half, middle + half], 1)[None], which.float(), best, count


def anchors() -> np.ndarray:
    """(16, 4): cx, cy, w, h as shares of the picture."""
    rows, columns = (np.mgrid[:CELLS, :CELLS].reshape(2, -1) + 0.5) / CELLS
    size = np.full(CELLS * CELLS, 0.15)
    return np.stack([columns, rows, size, size], axis=1).astype(np.float32)


def made(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(3)
    net = kind()
    with torch.no_grad():
        for weights in net.parameters():
            if weights.ndim == 4:
                weights *= 2.5
    return net.eval()


def segmenter() -> nn.Module:
    return made(Segmenter)


def detector() -> nn.Module:
    return made(Detector)


def selecting() -> nn.Module:
    return made(Selecting)


def reference(net: nn.Module, pictures: np.ndarray) -> list[np.ndarray]:
    """The outputs for RGB pictures (N, H, W, 3), normalised by hand."""
    values = (pictures.astype(np.float32) / 255 - np.float32(MEAN)) / np.float32(STD)
    rows = []
    with torch.inference_mode():
        for value in values:
            found = net(torch.from_numpy(value.transpose(2, 0, 1)[None].copy()))
            rows.append([one.numpy() for one in (found if isinstance(found, tuple) else (found,))])
    return [np.concatenate(column) for column in zip(*rows, strict=True)]
