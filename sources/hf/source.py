"""``hf:ORG/NAME`` and ``hf:FOLDER``: the architecture that ``config.json`` names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import transformers
from huggingface_hub.constants import HF_HUB_CACHE
from transformers.utils import cached_file


def load(name: str, *, pretrained: bool) -> Any:
    """The model, as the first of its ``architectures``."""
    config = transformers.AutoConfig.from_pretrained(name)
    kind = getattr(transformers, (config.architectures or ["AutoModel"])[0])
    return kind.from_pretrained(name) if pretrained else kind(config)


def notes(name: str, model: Any) -> dict[str, Any]:
    """The two configuration files, where they are there."""
    found = {}
    for key, file in (("preprocessor", "preprocessor_config.json"), ("config", "config.json")):
        path = cached_file(name, file, _raise_exceptions_for_missing_entries=False)
        if path is not None:
            found[key] = json.loads(Path(path).read_text(encoding="utf-8"))
    return found


def cache() -> str:
    """Where weights are kept."""
    return str(HF_HUB_CACHE)
