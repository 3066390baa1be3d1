"""torchvision: the presets that ``weights.transforms()`` gives, and ``weights.meta``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekit.contract import ANTIALIASED, Task
from edgekit.presets.preset import Preset, per_channel, pixels

_TASKS: dict[str, Task] = {
    "ImageClassification": "classification",
    "SemanticSegmentation": "segmentation",
}


def from_transforms(
    transforms: Any, meta: Mapping[str, Any], origin: str = "torchvision's transforms()"
) -> Preset:
    """The preset of weights.

    Args:
        transforms: what ``weights.transforms()`` returns.
        meta: ``weights.meta``, which has the names of the classes.
        origin: what it is in words.
    """
    kind = type(transforms).__name__
    labels = tuple(map(str, meta.get("categories") or ()))
    if kind not in _TASKS:
        return Preset(origin=origin, labels=labels, unknown=(f"its transforms are {kind}",))
    unknown = []
    table: dict[str, Any] = {"color": "RGB", "scale": 1 / 255}
    size = None
    resize = _side(getattr(transforms, "resize_size", None))
    crop = _side(getattr(transforms, "crop_size", None))
    if resize is not None:
        table["resize"] = resize
    if crop is not None:
        table["crop"] = (crop, crop)
        size = (3, crop, crop)
    name = str(getattr(transforms.interpolation, "value", transforms.interpolation))
    # Of pictures torchvision ignores antialias=False: Pillow's resize always has it.
    if name in ANTIALIASED:
        table |= {"interpolation": name, "antialias": True}
    else:
        unknown.append(f"interpolation is {name!r}")
    for key in ("mean", "std"):
        table[key] = per_channel(list(getattr(transforms, key)))
    return Preset(
        origin=origin,
        preprocess=table,
        fields={
            "resize": f"resize_size {resize}",
            "crop": f"crop_size {crop}",
            "interpolation": f"interpolation {name}",
            "antialias": "Pillow's resize",
            "scale": "convert_image_dtype",
            "mean": "mean",
            "std": "std",
        },
        size=size,
        task=_TASKS[kind],
        labels=labels,
        unknown=tuple(unknown),
    )


def _side(value: object) -> int | None:
    """The one number of a list of one."""
    return pixels(value[0] if isinstance(value, list | tuple) and len(value) == 1 else value)
