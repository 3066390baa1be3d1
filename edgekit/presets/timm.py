"""timm: ``model.pretrained_cfg``, read as ``timm.data.create_transform`` does for evaluation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from edgekit.contract import ANTIALIASED
from edgekit.presets.preset import Preset, per_channel, pixels, total

_CROP_PCT = 0.875
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""timm's own values for what a configuration leaves out."""


@total("timm's pretrained_cfg")
def from_pretrained_cfg(
    cfg: Mapping[str, Any],
    labels: Sequence[str] = (),
    origin: str = "timm's pretrained_cfg",
    image_size: tuple[int, int] | None = None,
) -> Preset:
    """The preset of a timm model.

    Args:
        cfg: ``model.pretrained_cfg``, or that of a ``config.json``.
        labels: the names of the classes, which it does not have.
        origin: what it is in words.
        image_size: height and width that the model was made for, where it is not ``input_size``.
    """
    unknown = []
    size = cfg.get("input_size") or (3, 224, 224)
    if len(size) != 3 or not all(map(pixels, size)):
        return Preset(origin=origin, unknown=(f"input_size is {size!r}",))
    channels, height, width = (int(one) for one in size)
    if image_size is not None:
        height, width = image_size
    crop_pct = cfg.get("crop_pct") or _CROP_PCT
    mode = cfg.get("crop_mode") or "center"
    table: dict[str, Any] = {"color": "RGB", "scale": 1 / 255}
    interpolation = cfg.get("interpolation") or "bicubic"
    if interpolation in ANTIALIASED:
        table |= {"interpolation": interpolation, "antialias": True}
    else:
        unknown.append(f"interpolation is {interpolation!r}")
    scaled = (math.floor(height / crop_pct), math.floor(width / crop_pct))
    match mode:
        case "center" if scaled[0] == scaled[1]:
            table |= {"resize": scaled[0], "crop": (height, width)}
        case "squash":
            table |= {"resize": scaled, "crop": (height, width)}
        case "border" if scaled == (height, width):
            table |= {"resize": scaled, "letterbox": True}
        case _:
            unknown.append(f"crop_mode is {mode!r} with {height}x{width} and crop_pct {crop_pct:g}")
    for key, default in zip(("mean", "std"), _IMAGENET, strict=True):
        table[key] = per_channel(cfg.get(key) or default)
        if table[key] is None:
            unknown.append(f"{key} is {cfg.get(key)!r}")
    if table.get("letterbox") and table["mean"]:
        table["pad_value"] = tuple(round(255 * one) for one in table["mean"])
    fields = {
        "resize": f"{height} / crop_pct {crop_pct:g}, crop_mode {mode}",
        "crop": f"input_size {channels}x{height}x{width}",
        "interpolation": f"interpolation {interpolation}",
        "antialias": "Pillow's resize",
        "scale": "ToTensor",
        "mean": "mean" if cfg.get("mean") else "timm's default",
        "std": "std" if cfg.get("std") else "timm's default",
    }
    classes = cfg.get("num_classes")
    return Preset(
        origin=origin,
        preprocess=table,
        fields=fields,
        size=(channels, height, width),
        task="classification" if classes else "embedding" if classes == 0 else None,
        labels=tuple(labels or cfg.get("label_names") or ()),
        unknown=tuple(unknown),
    )
