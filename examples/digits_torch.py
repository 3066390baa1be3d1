"""Train a small PyTorch network on scikit-learn's digits: weights, and pictures to test on."""

from pathlib import Path

import cv2
import torch
from sklearn.datasets import load_digits
from torch import nn


def build() -> nn.Module:
    """The network, without its weights. edgekit calls this."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 10),
    )


def train() -> None:
    """Write digits.pt, and one PNG per digit into digits/CLASS/."""
    torch.manual_seed(0)
    data = load_digits()
    pictures = (data.images * 255 / 16).astype("uint8")
    x = torch.tensor(pictures[:, None] / 255, dtype=torch.float32)
    y = torch.tensor(data.target)
    model = build()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[:1400]), y[:1400]).backward()
        optimizer.step()
    accuracy = (model(x[1400:]).argmax(1) == y[1400:]).float().mean()
    print(f"accuracy on digits it has not seen: {accuracy:.1%}")
    torch.save(model.state_dict(), "digits.pt")
    for number in range(1400, len(pictures)):
        folder = Path("digits", str(data.target[number]))
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{number}.png"), pictures[number])


if __name__ == "__main__":
    train()
