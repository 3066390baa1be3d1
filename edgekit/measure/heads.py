"""Which detector's head a model's outputs look like, and the lines that say so in edgekit.toml."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.types import TensorSpec

_STRIDES = (8, 16, 32)
_ANCHORS = "[[10, 13], [16, 30], [33, 23]]"
_QUERIES = 1000
"""Detectors that ask for a fixed number of objects ask for no more; anchors are thousands."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """A head by its usual name, and the lines to paste; empty where edgekit has no decoder."""

    name: str
    lines: str
    advice: str = ""


def recognise_head(outputs: Sequence[TensorSpec], size: tuple[int, int] | None) -> Head | None:
    """The head that the shapes of the outputs are those of, ``None`` where they say nothing.

    Args:
        outputs: of the model, with the batch axis.
        size: height and width of its picture.
    """
    shapes = {spec.name: tuple(n or 0 for n in spec.shape[1:]) for spec in outputs}
    rows = {name: shape for name, shape in shapes.items() if len(shape) == 2}
    if len(shapes) == 1 and rows:
        return _one_table(*next(iter(rows.items())), size)
    boxes = next((name for name, shape in shapes.items() if len(shape) == 2 and shape[1] == 4), "")
    if boxes:
        return _with_boxes(boxes, shapes, _places(size))
    maps = {name: _channels_first(shape) for name, shape in shapes.items() if len(shape) in (3, 4)}
    if len(maps) == len(shapes) >= 2:
        return _maps(maps)
    return None


def _places(size: tuple[int, int] | None) -> int:
    """How many places there are at strides of 8, 16 and 32."""
    return sum((size[0] // s) * (size[1] // s) for s in _STRIDES) if size else 0


def _one_table(name: str, shape: tuple[int, ...], size: tuple[int, int] | None) -> Head | None:
    rows, columns = shape
    places = _places(size)
    if columns == 6 and rows <= _QUERIES:
        return Head(
            name="YOLOv10 (box, score and class in one table)",
            lines=_lines(name, 'format = "table"'),
            advice="In 8 bits such a table has one scale for boxes and scores: let the model give "
            'y[..., :4], y[..., 4] and y[..., 5] as three outputs, with format = "boxes".',
        )
    if 4 < rows < columns:
        return Head(name="YOLOv8 or YOLO11", lines=_lines(name, 'format = "yolov8"'))
    if columns > 5 and rows == places:
        return Head(
            name="YOLOX",
            lines=_lines(name, 'format = "yolov5"'),
            advice="Export it with decode_in_inference = True, so that its boxes are in pixels. If "
            f"its {columns} columns are 4 + classes, it is a turned YOLOv8: return "
            'y.transpose(1, 2) and state format = "yolov8".',
        )
    if columns > 5 and rows > _QUERIES:
        return Head(name="YOLOv5 or YOLOv7", lines=_lines(name, 'format = "yolov5"'))
    return None


def _with_boxes(boxes: str, shapes: dict[str, tuple[int, ...]], places: int) -> Head | None:
    """A table of boxes and what belongs to it."""
    count = shapes[boxes][0]
    others = {name: shape for name, shape in shapes.items() if name != boxes}
    tables = [n for n, shape in others.items() if len(shape) == 2 and shape[0] == count]
    lists = [name for name, shape in others.items() if shape == (count,)]
    numbers = [name for name, shape in others.items() if shape in ((), (1,)) and count > 1]
    if len(lists) == 2 and not tables:
        found = f'format = "boxes", scores = "{lists[0]}", classes = "{lists[1]}"'
        found += f', count = "{numbers[0]}"' if numbers else ""
        return Head(
            name="boxes after suppression",
            lines=_lines(boxes, found),
            advice="Turn scores and classes round if they are the other way.",
        )
    if len(tables) != 1:
        return None
    scores, classes = tables[0], others[tables[0]][1]
    if count <= _QUERIES:
        return Head(
            name="DETR",
            lines=_lines(
                boxes,
                f'format = "ssd", scores = "{scores}", box = "cxcywh", normalized = true, '
                f'activation = "softmax", background = {classes - 1}',
            ),
            advice='RT-DETR has activation = "sigmoid" and no background.',
        )
    if count == places:
        return Head(
            name="YOLO-NAS or PP-YOLOE",
            lines=_lines(boxes, f'format = "ssd", scores = "{scores}", box = "xyxy"'),
            advice="Its boxes are corners in pixels and its scores 0…1; say so if they are not.",
        )
    return Head(
        name="SSD or RetinaNet",
        lines=_lines(boxes, f'format = "ssd", scores = "{scores}", background = 0'),
        advice='If the boxes are offsets, name their anchors: anchors = "anchors.npy". RetinaNet '
        'has activation = "sigmoid" and no background.',
    )


def _channels_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A map's sizes as (channels, height, width); (anchors, height, width, numbers) stay."""
    if len(shape) == 3 and shape[0] == shape[1] != shape[2]:
        return shape[2], shape[0], shape[1]
    return shape


def _maps(maps: dict[str, tuple[int, ...]]) -> Head | None:
    """Raw feature maps: all of one depth are YOLO's, all of one size CenterNet's."""
    flat = {name: shape for name, shape in maps.items() if len(shape) == 3}
    if len(flat) == len(maps) == 3 and len({shape[1:] for shape in flat.values()}) == 1:
        return Head(
            name="CenterNet (peaks of a heat map)",
            lines="",
            advice="edgekit has no decoder for it: state no task, so that the maps themselves are "
            "compared.",
        )
    deep = {(shape[0], *shape[3:]) for shape in maps.values()}
    if len(deep) == 1 and len({shape[1:] for shape in maps.values()}) == len(maps):
        first = next(iter(maps))
        anchors = ", ".join([_ANCHORS] * len(maps))
        return Head(
            name="raw heads of YOLOv5 or YOLOv7",
            lines=_lines(first, f'format = "yolo-grid", grid_anchors = [{anchors}]'),
            advice="The anchors are the model's own: width and height in pixels, for each output.",
        )
    return None


def _lines(name: str, decoder: str) -> str:
    return f'[outputs."{name}"]\ntask = "detection"\ndecoder = {{ {decoder} }}'
