"""A CSV of paths and labels, and stacked arrays in an ``.npz``."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from edgekit.calibration.arrays import open_npz
from edgekit.calibration.samples import Sample
from edgekit.calibration.tensors import LABELS
from edgekit.datasets.classes import class_numbers
from edgekit.datasets.samples import (
    Label,
    LabelledData,
    LabelledSample,
    inside,
    picture_sample,
    read_text,
)
from edgekit.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]


def open_csv(
    path: Path,
    classes: Sequence[str] = (),
    *,
    outputs: int | None = None,
    numbers: bool = False,
) -> LabelledData:
    """A picture's path, relative to the CSV, and its label on each line.

    A first line whose path is no file is the heading.

    Args:
        path: the CSV.
        classes: the model's class names.
        outputs: how many scores the model has, where known.
        numbers: labels are values to be met (a regression); all columns after the first.

    Raises:
        DataError: a line without a label, a path that is missing or leads out of the folder, a
            class that is none of the model's.
    """
    _is_file(path)
    rows = [row for row in csv.reader(read_text(path).splitlines()) if any(row)]
    if rows and not (path.parent / rows[0][0].strip()).is_file():
        rows = rows[1:]
    if short := [row for row in rows if len(row) < 2 or not row[1].strip()]:
        raise DataError(
            f"{path}: the line {','.join(short[0])!r} has no label.",
            cure="Each line is PATH,LABEL.",
        )
    names = [row[0].strip() for row in rows]
    for name in names:
        inside(path.parent, name, path)
    labels = _values(rows, path) if numbers else _classes(rows, classes, outputs)

    def get(index: int) -> LabelledSample:
        return picture_sample(path.parent, names[index], labels[index])

    return LabelledData(layout="csv", ids=tuple(names), get=get)


def open_labelled_npz(path: Path, *, outputs: int | None = None) -> LabelledData:
    """Arrays stacked on axis 0, with one named ``labels`` or ``label``.

    Whole numbers, one a sample, are classes; anything else is an array to be met.

    Raises:
        DataError: the file is damaged, has no labels, or a class that the model has no score for.
    """
    samples = open_npz(path).samples
    labels = [_label(_labels(sample, path), sample.id, outputs) for sample in samples]

    def get(index: int) -> LabelledSample:
        sample = samples[index]
        return LabelledSample(id=sample.id, read=sample.read, label=labels[index])

    return LabelledData(layout="npz", ids=tuple(sample.id for sample in samples), get=get)


def _is_file(path: Path) -> None:
    if path.is_dir():
        raise DataError(f"{path} is a folder.", cure="Give the path of the file in it.")


def _labels(sample: Sample, path: Path) -> Array:
    """What belongs to a sample of the array of labels, which stays in the file until it is used."""
    arrays = sample.read()
    if isinstance(arrays, dict):
        for key in LABELS:
            if key in arrays:
                label: Array = arrays[key]
                return label
    raise DataError(f"{path} has no array named labels.", cure="np.savez(file, x=x, labels=labels)")


def _label(value: Array, name: str, outputs: int | None) -> Label:
    if value.ndim or value.dtype.kind not in "iu":
        return float(value) if not value.ndim else value
    if value < 0 or (outputs is not None and value >= outputs):
        raise DataError(
            f"{name} has the label {value}, which is no class of the model.",
            cure="Labels are class numbers from 0, in the order of the model's scores.",
        )
    return int(value)


def _classes(
    rows: Sequence[Sequence[str]], classes: Sequence[str], outputs: int | None
) -> list[Label]:
    texts = [row[1].strip() for row in rows]
    numbers = class_numbers(sorted(set(texts)), classes, outputs=outputs)
    return [numbers[text] for text in texts]


def _values(rows: Sequence[Sequence[str]], path: Path) -> list[Label]:
    import numpy as np

    try:
        return [np.array([float(value) for value in row[1:]]) for row in rows]
    except ValueError as error:
        raise DataError(
            f"{path} has a label that is no number: {error}", cure="A line is PATH,NUMBER,…"
        ) from error
