"""``timm:NAME``, with the weights in the local cache of the hub."""

from __future__ import annotations

from typing import Any

import timm
from huggingface_hub.constants import HF_HUB_CACHE


def names() -> list[str]:
    """All that can be named, without the tags of weights."""
    return timm.list_models()


def load(name: str, *, pretrained: bool) -> Any:
    """The model; a tag of weights may follow its name, as in ``resnet50.a1_in1k``."""
    return timm.create_model(name, pretrained=pretrained)


def notes(name: str, model: Any) -> dict[str, Any]:
    """What timm wrote down about feeding it."""
    return {"pretrained_cfg": {**model.pretrained_cfg, "num_classes": model.num_classes}}


def cache() -> str:
    """Where weights are kept."""
    return str(HF_HUB_CACHE)
