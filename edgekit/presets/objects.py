"""What a model object, or what is passed as its preprocessing, says about feeding the model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.errors import UsageError
from edgekit.presets.huggingface import from_configs, from_folder
from edgekit.presets.keras_layers import from_application, from_layers
from edgekit.presets.preset import Preset
from edgekit.presets.timm import from_pretrained_cfg
from edgekit.presets.torchvision import from_transforms
from edgekit.presets.ultralytics import from_metadata

_NORMALISING = ("Rescaling", "Normalization")
FIRST_LAYERS = 5
"""So many layers from the input on are looked at."""


def preset_of_model(model: Any) -> Preset | None:
    """What a model object carries: timm's configuration, Hugging Face's, Keras layers.

    A wrapped module (`DataParallel`, `torch.compile`) is looked into. `None` where it says nothing.

    Raises:
        ModelError: a configuration beside it is damaged.
    """
    for _ in range(4):
        inner = getattr(model, "module", None) or getattr(model, "_orig_mod", None)
        if inner is None or hasattr(model, "pretrained_cfg"):
            break
        model = inner
    cfg: Any = getattr(model, "pretrained_cfg", None)
    if hasattr(cfg, "to_dict"):
        cfg = cfg.to_dict()
    if isinstance(cfg, Mapping) and "input_size" in cfg:
        return _of_timm(model, cfg)
    config: Any = getattr(model, "config", None)
    name = getattr(config, "_name_or_path", None)
    if isinstance(name, str) and hasattr(config, "to_dict"):
        return _of_huggingface(name, config.to_dict())
    layers: Any = getattr(model, "layers", None)
    if isinstance(layers, list):  # Keras; a module of PyTorch may call anything so
        return from_layers([_layer(layer) for layer in layers[:FIRST_LAYERS]])
    return None


def _layer(layer: Any) -> tuple[str, dict[str, Any]]:
    """A layer's class, and what it does to the values of pictures; means may have been learnt."""
    import numpy as np

    kind = type(layer).__name__
    names = ("scale", "offset", "mean", "variance")
    found = {name: getattr(layer, name, None) for name in names if kind in _NORMALISING}
    return kind, {
        name: np.ravel(value).tolist() for name, value in found.items() if value is not None
    }


def preset_of_notes(notes: Any) -> Preset | None:
    """What is passed as preprocessing and is not a dict of ours.

    torchvision's weights or their ``transforms()``, an image processor of transformers, timm's
    ``pretrained_cfg``. `None` for anything else.
    """
    if callable(getattr(notes, "transforms", None)) and hasattr(notes, "meta"):
        return from_transforms(notes.transforms(), notes.meta, f"torchvision's {notes}")
    if hasattr(notes, "resize_size") and hasattr(notes, "mean"):
        return from_transforms(notes, {})
    if hasattr(notes, "image_mean") and hasattr(notes, "to_dict"):
        return from_configs({k: v for k, v in notes.to_dict().items() if v is not None}, {})
    if isinstance(notes, Mapping) and {"input_size", "interpolation"} <= set(notes):
        return from_pretrained_cfg(notes)
    return None


def preset_of_source(notes: Mapping[str, Any]) -> Preset:
    """What a source of models by name tells (``sources/README.md``).

    Raises:
        UsageError: it has no form that is known.
    """
    match notes:
        case {"preset": dict(table)}:
            try:
                return Preset.from_table(table)
            except (TypeError, ValueError, AttributeError) as error:
                raise UsageError(f"The model's source tells no preset: {error}") from error
        case {"pretrained_cfg": dict(cfg)}:
            return from_pretrained_cfg(cfg)
        case {"transforms": {"kind": str(kind), **values}}:
            transforms = type(kind, (), {str(key): value for key, value in values.items()})()
            return from_transforms(transforms, notes.get("meta", {}), str(notes.get("origin")))
        case {"ultralytics": dict(metadata)}:
            return from_metadata(metadata)
        case {"application": str(module), "size": [int(height), int(width)]}:
            return from_application(module, (height, width))
        case _:
            return from_configs(notes.get("preprocessor"), notes.get("config") or {})


def _of_timm(model: Any, cfg: Mapping[str, Any]) -> Preset:
    """timm's notes; the number of classes is the model's, which may have been trained further."""
    classes = getattr(model, "num_classes", None)
    own = {**cfg, "num_classes": classes} if type(classes) is int else cfg
    return from_pretrained_cfg(own)


def _of_huggingface(name: str, config: Mapping[str, Any]) -> Preset | None:
    """The files in the folder that a model was loaded from, or in the local cache of the hub."""
    folder = Path(name) if name and Path(name).is_dir() else cached(name)
    found = from_folder(folder) if folder is not None else None
    if found is not None:
        return found
    return from_configs(None, config) if config.get("id2label") else None


def cached(name: str) -> Path | None:
    """The folder of a model of the hub in its local cache; `None` where it is not there.

    Args:
        name: ``ORGANISATION/NAME``.
    """
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    hub = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    folder = hub / f"models--{name.replace('/', '--')}"
    reference = folder / "refs" / "main"
    try:
        revision = reference.read_text().strip()
    except (OSError, ValueError):
        return None
    snapshot = folder / "snapshots" / revision
    return snapshot if revision and snapshot.is_dir() else None
