"""YOLO: a text file of normalized boxes for each picture."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from edgekit.calibration.sources import read_picture
from edgekit.datasets.classes import class_numbers
from edgekit.datasets.files import pictures
from edgekit.datasets.samples import (
    LabelledData,
    LabelledSample,
    picture_sample,
    read_text,
    to_boxes,
)
from edgekit.errors import DataError
from edgekit.files import lines_of, shown
from edgekit.validation.metrics.boxes import Boxes

_NAME_FILES = ("classes.txt", "obj.names", "labels/classes.txt")


def open_yolo(
    folder: Path, classes: Sequence[str] = (), *, outputs: int | None = None
) -> LabelledData:
    """Pictures in ``images/`` with ``labels/NAME.txt``: class, centre, width, height a line.

    A picture without a text file holds no object, as YOLO has it. Names of the classes are read
    from ``classes.txt``, ``obj.names`` or ``data.yaml`` where there is one; else numbers are the
    model's own.

    Raises:
        DataError: no picture, no annotation at all, or names that are none of the model's.
    """
    files = pictures(folder / "images")
    paths = [folder / "labels" / f"{Path(file).with_suffix('')}.txt" for file in files]
    without = [path for path in paths if not path.is_file()]
    if len(without) == len(paths):
        raise DataError(
            f"None of the pictures has its annotation, first {without[0]}.",
            cure="Put NAME.txt into labels/ for images/NAME.jpg.",
        )
    names = read_names(folder)
    numbers = list(class_numbers(names, classes, outputs=outputs).values()) if names else None
    count = len(classes) or outputs

    def get(index: int) -> LabelledSample:
        name, path = files[index], paths[index]
        label = _read(path, folder / "images" / name, numbers, count)
        return picture_sample(folder / "images", name, label)

    note = f"{len(without)} of {len(files)} pictures have no text file: they hold no object"
    return LabelledData(layout="yolo", ids=tuple(files), get=get, notes=(note,) if without else ())


def read_names(folder: Path) -> list[str]:
    """The class names beside the data, in order; empty where there are none.

    Of ``data.yaml`` only the forms that YOLO tools write are understood: ``names: [a, b]``, and
    ``names:`` with lines ``- a`` or ``0: a``.

    Raises:
        DataError: ``data.yaml`` has names in another form.
    """
    for name in _NAME_FILES:
        if (folder / name).is_file():
            lines = map(str.strip, lines_of(read_text(folder / name)))
            return [line for line in lines if line]
    path = folder / "data.yaml"
    if not path.is_file():
        return []
    text = read_text(path)
    if flow := re.search(r"^names:[ \t]*\[(.*?)\]", text, re.MULTILINE | re.DOTALL):
        return [one.strip().strip("'\"") for one in flow[1].split(",") if one.strip()]
    block = re.search(r"^names:[ \t]*\n((?:[ \t]*(?:-|\d+:)[ \t]*\S.*\n?)+)", text, re.MULTILINE)
    if block is None:
        raise DataError(
            f"{path} has no list of names that edgekit understands.",
            cure="Write the class names into classes.txt, one a line.",
        )
    entries = [re.split(r"-|\d+:", line, maxsplit=1)[1] for line in block[1].splitlines()]
    return [entry.strip().strip("'\"") for entry in entries]


def _read(path: Path, picture: Path, numbers: list[int] | None, count: int | None) -> Boxes:
    """The boxes of one text file in pixels of the picture, which is opened for its size."""
    if not path.is_file():
        return to_boxes([], [])
    rows = [line.split() for line in lines_of(read_text(path)) if line.strip()]
    if not rows:
        return to_boxes([], [])
    height, width = read_picture(picture).pixels.shape[:2]
    boxes, kinds = [], []
    for row in rows:
        try:
            kind, (x, y, w, h) = int(row[0]), map(float, row[1:])
            kinds.append(kind if numbers is None else numbers[kind])
        except (ValueError, IndexError) as error:
            raise _bad(path, row) from error
        if (
            kind < 0
            or (count is not None and kinds[-1] >= count)
            or not all(-1.5 <= value <= 1.5 for value in (x, y, w, h))
        ):  # NaN too
            raise _bad(path, row)
        boxes.append(
            ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)
        )
    return to_boxes(boxes, kinds)


def _bad(path: Path, row: list[str]) -> DataError:
    return DataError(
        f"{path}: the line {shown(' '.join(row))!r} is not a class of the model with a box within "
        "0…1.",
        cure="A line is CLASS CENTRE_X CENTRE_Y WIDTH HEIGHT, in fractions of the picture.",
    )
