"""Train small PyTorch networks on scikit-learn's digits: weights, and pictures to test on."""

import sys
from pathlib import Path

import cv2
import torch
from sklearn.datasets import load_digits
from torch import nn


def _network(width: int, layers: int, *, separable: bool = False) -> nn.Module:
    parts: list[nn.Module] = [nn.Conv2d(1, width, 3, padding=1), nn.ReLU()]
    for _ in range(layers):
        groups = width if separable else 1
        parts.append(nn.Conv2d(width, width, 3, padding=1, groups=groups))
        parts += [nn.Conv2d(width, width, 1)] if separable else []
        parts.append(nn.ReLU())
    return nn.Sequential(*parts, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(width * 16, 10))


def tiny() -> nn.Module:
    """One small convolution."""
    return _network(3, 0)


def narrow() -> nn.Module:
    """One convolution."""
    return _network(8, 0)


def separable() -> nn.Module:
    """Two depthwise-separable layers."""
    return _network(8, 2, separable=True)


def medium() -> nn.Module:
    """Two convolutions."""
    return _network(8, 1)


def deep() -> nn.Module:
    """Four convolutions."""
    return _network(8, 3)


def wide() -> nn.Module:
    """Two wide convolutions."""
    return _network(24, 1)


NETWORKS = (tiny, narrow, separable, medium, deep, wide)


def train(names: list[str]) -> None:
    """Write NAME.pt for these networks or all, and one PNG per digit into digits/CLASS/."""
    data = load_digits()
    pictures = (data.images * 255 / 16).astype("uint8")
    x = torch.tensor(pictures[:, None] / 255, dtype=torch.float32)
    y = torch.tensor(data.target)
    for build in NETWORKS:
        if names and build.__name__ not in names:
            continue
        torch.manual_seed(0)
        model = build()
        optimizer = torch.optim.Adam(model.parameters(), 0.02)
        for _ in range(40):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[:1400]), y[:1400]).backward()
            optimizer.step()
        accuracy = (model(x[1400:]).argmax(1) == y[1400:]).float().mean()
        print(f"{build.__name__}: {accuracy:.1%} of digits that it has not seen")
        torch.save(model.state_dict(), f"{build.__name__}.pt")
    for number in range(1400, len(pictures)):
        folder = Path("digits", str(data.target[number]))
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{number}.png"), pictures[number])


if __name__ == "__main__":
    train(sys.argv[1:])
