"""``keras:NAME``, with ImageNet's weights in ``~/.keras``."""

from __future__ import annotations

import os
from typing import Any

from keras import applications


def names() -> list[str]:
    """All that can be named."""
    return [name for name in dir(applications) if name[0].isupper()]


def load(name: str, *, pretrained: bool) -> Any:
    """The model."""
    return getattr(applications, name)(weights="imagenet" if pretrained else None)


def notes(name: str, model: Any) -> dict[str, Any]:
    """The module that has its ``preprocess_input``."""
    module = getattr(applications, name).__module__.rpartition(".")[2]
    return {"application": module, "size": list(model.inputs[0].shape[1:3])}


def cache() -> str:
    """Where weights are kept."""
    return f"{os.environ.get('KERAS_HOME', os.path.expanduser('~/.keras'))}/models"  # noqa: PTH111
