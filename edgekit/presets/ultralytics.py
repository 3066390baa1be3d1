"""ultralytics: the properties that its exporter writes into ONNX and ``.tflite`` files.

Pictures are letterboxed by its ``LetterBox`` (OpenCV's bilinear, 114 as padding) and scaled to 0…1;
classifiers cut the middle out instead.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from edgekit.contract import Decoder, Task
from edgekit.presets.preset import Preset, pixels, total

_TASKS: dict[str, Task] = {
    "classify": "classification", "detect": "detection", "segment": "detection",
}  # fmt: skip


def is_of_ultralytics(metadata: Mapping[str, Any]) -> bool:
    """Whether a file's properties are those of ultralytics' exporter."""
    return {"names", "imgsz", "stride", "task"} <= set(metadata)


@total("ultralytics' metadata")
def from_metadata(metadata: Mapping[str, Any]) -> Preset:
    """The preset of an exported file.

    Args:
        metadata: its properties: texts as in ONNX files, or values as in JSON.
    """
    origin = "ultralytics' metadata"
    names, size, task = (_value(metadata.get(key)) for key in ("names", "imgsz", "task"))
    unknown = []
    if isinstance(size, int):
        size = [size, size]
    window = None
    if isinstance(size, list | tuple) and len(size) == 2 and all(map(pixels, size)):
        window = (int(size[0]), int(size[1]))
    else:
        unknown.append(f"imgsz is {size!r}")
    if task not in _TASKS:
        unknown.append(f"task is {task!r}")
    table: dict[str, Any] = {"color": "RGB", "scale": 1 / 255, "mean": (0.0,), "std": (1.0,)}
    if window and task == "classify":
        table |= {"resize": min(window), "crop": window, "antialias": True}
        table["interpolation"] = "bilinear"
    elif window:
        table |= {"resize": window, "letterbox": True, "pad_value": (114,)}
    return Preset(
        origin=origin,
        preprocess=table,
        fields={"resize": f"imgsz {size}", "crop": f"imgsz {size}", "letterbox": f"task {task}"},
        size=(int(_value(metadata.get("channels")) or 3), *window) if window else None,
        task=_TASKS.get(str(task)),
        labels=_labels(names),
        decoder=Decoder(format="yolov8") if _has_plain_boxes(metadata, task) else None,
        unknown=tuple(unknown),
    )


def _has_plain_boxes(metadata: Mapping[str, Any], task: object) -> bool:
    """Whether the first output is (1, 4 + classes, N), which suppression still has to follow."""
    arguments = _value(metadata.get("args"))
    whole = isinstance(arguments, dict) and bool(arguments.get("nms"))
    return task == "detect" and not whole and not _value(metadata.get("end2end"))


def _labels(names: object) -> tuple[str, ...]:
    if isinstance(names, list | tuple):
        return tuple(map(str, names))
    if not isinstance(names, dict):
        return ()
    by_number = {str(key): str(value) for key, value in names.items()}
    wanted = [str(number) for number in range(len(by_number))]
    return tuple(by_number[one] for one in wanted) if set(wanted) == set(by_number) else ()


def _value(text: object) -> Any:
    """A property as a value: texts are Python's literals, or mean themselves."""
    if not isinstance(text, str):
        return text
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
