"""``torchvision:NAME``, with its default weights in the local cache of PyTorch."""

from __future__ import annotations

from typing import Any

import torch
from torchvision import models


def names() -> list[str]:
    """All that can be named."""
    return models.list_models()


def load(name: str, *, pretrained: bool) -> Any:
    """The model."""
    return models.get_model(name, weights="DEFAULT" if pretrained else None)


def notes(name: str, model: Any) -> dict[str, Any]:
    """The transforms and classes of its default weights."""
    weights = models.get_model_weights(name).DEFAULT
    transforms = weights.transforms()
    plain = {
        key: getattr(value, "value", value)
        for key, value in vars(transforms).items()
        if not key.startswith("_") and key != "training"
    }
    categories = list(weights.meta.get("categories") or ())
    return {
        "transforms": {"kind": type(transforms).__name__, **plain},
        "meta": {"categories": categories},
        "origin": f"torchvision's {weights}",
    }


def cache() -> str:
    """Where weights are kept."""
    return f"{torch.hub.get_dir()}/checkpoints"
