"""COCO: one json with pictures, categories and boxes."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekit.datasets.classes import class_numbers
from edgekit.datasets.samples import (
    LabelledData,
    LabelledSample,
    inside,
    picture_sample,
    read_text,
    to_boxes,
)
from edgekit.errors import DataError
from edgekit.files import kind_of, shown


def open_coco(
    annotations: Path, folder: Path, classes: Sequence[str] = (), *, outputs: int | None = None
) -> LabelledData:
    """Objects of a COCO json; a picture that it has no object for holds none.

    Args:
        annotations: the json file.
        folder: where the pictures are, or a folder above.
        classes: the model's class names; without, categories are numbered by the order of ids.
        outputs: how many classes the model has, where known.

    Raises:
        DataError: the file is no such json, names a picture that is not there, or categories that
            are none of the model's.
    """
    try:
        data = json.loads(read_text(annotations))
        categories = sorted((int(one["id"]), str(one["name"])) for one in data["categories"])
        images = {int(one["id"]): str(one["file_name"]) for one in data["images"]}
        objects: dict[int, list[tuple[tuple[float, ...], int, bool]]] = {one: [] for one in images}
        if len(images) < len(data["images"]):
            raise DataError(f"{annotations} uses the id of a picture twice.")
        for one in data["annotations"]:
            objects[int(one["image_id"])].append(_object(one))
    except (
        ArithmeticError,
        AttributeError,
        KeyError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise DataError(
            f"{annotations} is not a COCO json with boxes: {shown(repr(error))}",
            cure="It needs images, categories, and annotations with bbox.",
        ) from error
    names = class_numbers((name for _, name in categories), classes, outputs=outputs)
    numbers = {number: names[name] for number, name in categories}
    if unknown := {kind for found in objects.values() for _, kind, _ in found} - set(numbers):
        raise DataError(
            f"{annotations} has objects of the category {min(unknown)}, which it does not name.",
            cure="Add it to the categories.",
        )
    base = _picture_folder(folder, annotations, next(iter(images.values()), ""))
    order = sorted(images, key=lambda one: images[one])

    def get(index: int) -> LabelledSample:
        found = objects[order[index]]
        name = images[order[index]]
        inside(base, name, annotations)
        label = to_boxes(
            [(x, y, x + w, y + h) for (x, y, w, h), _, _ in found],
            [numbers[kind] for _, kind, _ in found],
            [crowd for _, _, crowd in found],
        )
        return picture_sample(base, name, label)

    return LabelledData(
        layout="coco",
        ids=tuple(images[one] for one in order),
        get=get,
        notes=()
        if classes
        else (f"the {len(numbers)} categories are numbered in the order of their ids",),
    )


def _object(entry: dict[str, Any]) -> tuple[tuple[float, ...], int, bool]:
    x, y, width, height = (float(value) for value in entry["bbox"])
    if not all(map(math.isfinite, (x, y, width, height))):
        raise ValueError(f"the box {entry['bbox']}")
    return (x, y, width, height), int(entry["category_id"]), bool(entry.get("iscrowd", 0))


def _picture_folder(folder: Path, annotations: Path, name: str) -> Path:
    """Where the first picture is: the folder, images/, or a folder named as the json."""
    split = annotations.stem.removeprefix("instances_")
    for candidate in (folder, folder / "images", folder / split, folder / "images" / split):
        if name and kind_of(candidate / name) == "file":
            return candidate
    return folder
