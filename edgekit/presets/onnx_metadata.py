"""ONNX: the properties of a file that say how a picture becomes its input.

https://github.com/onnx/onnx/blob/main/docs/MetadataProps.md lists the standard's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgekit.presets.preset import Preset, total
from edgekit.presets.ultralytics import from_metadata, is_of_ultralytics

_FORMAT, _RANGE = "Image.BitmapPixelFormat", "Image.NominalPixelRange"
_COLORS = {"Gray8": "GRAY", "Rgb8": "RGB", "Bgr8": "BGR", "Rgba8": "RGB", "Bgra8": "BGR"}
_RANGES: dict[str, dict[str, Any]] = {
    "NominalRange_0_255": {"scale": 1.0},
    "Normalized_0_1": {"scale": 1 / 255},
    "Normalized_1_1": {"scale": 1 / 127.5, "mean": (1.0,)},
}


@total("ONNX metadata")
def from_properties(metadata: Mapping[str, str]) -> Preset | None:
    """The preset of a file's ``metadata_props``; `None` where they do not speak of pictures."""
    if is_of_ultralytics(metadata):
        return from_metadata(metadata)
    if _FORMAT not in metadata and _RANGE not in metadata:
        return None
    table: dict[str, Any] = {}
    unknown = []
    for key, known in ((_FORMAT, _COLORS), (_RANGE, _RANGES)):
        value = metadata.get(key)
        if value is None:
            continue
        if value not in known:
            unknown.append(f"{key} is {value!r}")
        elif key == _FORMAT:
            table["color"] = _COLORS[value]
        else:
            table |= _RANGES[value]
    return Preset(
        origin="ONNX metadata",
        preprocess=table,
        fields={"color": _FORMAT, "scale": _RANGE, "mean": _RANGE},
        unknown=tuple(unknown),
    )
