"""A CSV of paths and labels, and stacked arrays in an ``.npz``."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from edgekit.calibration.arrays import open_npz
from edgekit.contract import Task
from edgekit.datasets.classes import known_classes
from edgekit.datasets.samples import (
    Label,
    LabelledData,
    LabelledSample,
    inside,
    picture_sample,
    read_text,
)
from edgekit.errors import DataError
from edgekit.files import kind_of, lines_of, shown

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]


def open_csv(
    path: Path,
    classes: Sequence[str] = (),
    *,
    outputs: int | None = None,
    task: Task | None = None,
) -> LabelledData:
    """A picture's path, relative to the CSV, and its label on each line.

    A first line whose path is not a file is the heading.

    Args:
        path: the CSV.
        classes: the model's class names.
        outputs: how many scores the model has, where known.
        task: of a regression labels are values to be met, in all columns after the first; of a
            sequence the text in the second; else classes.

    Raises:
        DataError: a line without a label, a path that is missing or leads out of the folder, a
            class that is none of the model's.
    """
    _is_file(path)
    try:
        rows = [row for row in csv.reader(lines_of(read_text(path))) if any(row)]
    except csv.Error as error:
        raise DataError(f"{path} is not CSV: {error}.", cure="Each line is PATH,LABEL.") from error
    if rows and kind_of(path.parent / rows[0][0].strip()) != "file":
        rows = rows[1:]
    if short := [row for row in rows if len(row) < 2 or not row[1].strip()]:
        raise DataError(
            f"{path}: the line {shown(','.join(short[0]))!r} has no label.",
            cure="Each line is PATH,LABEL.",
        )
    names = [row[0].strip() for row in rows]
    for name in names:
        inside(path.parent, name, path)
    notes: tuple[str, ...] = ()
    labels: Sequence[Label]
    if task == "regression":
        labels = _values(rows, path)
    elif task == "sequence":
        labels = [row[1] for row in rows]
    else:
        texts = [row[1].strip() for row in rows]
        found = known_classes(
            [text if text in classes else _number(text) for text in texts],
            names,
            classes,
            outputs=outputs,
        )
        labels, notes = found.numbers, tuple(filter(None, [found.note]))

    def get(index: int) -> LabelledSample:
        return picture_sample(path.parent, names[index], labels[index])

    return LabelledData(layout="csv", ids=tuple(names), get=get, notes=notes)


def _number(text: str) -> str | float:
    """A label that is written as a number but not in digits alone: 3.0, -1, nan."""
    try:
        return text if text.isascii() and text.isdecimal() else float(text)
    except ValueError:
        return text


def open_labelled_npz(
    path: Path,
    classes: Sequence[str] = (),
    *,
    outputs: int | None = None,
    task: Task | None = None,
) -> LabelledData:
    """Arrays stacked on axis 0, with one named ``labels`` or ``label``.

    For a classifier and an embedding they are classes, see `to_classes`; for a sequence texts; else
    values to be met.

    Raises:
        DataError: the file is damaged, has no labels, a class that the model has no score for, or
            values that are not finite numbers.
    """
    samples = open_npz(path).samples
    ids = tuple(sample.id for sample in samples)
    raw = [sample.label for sample in samples]
    if any(label is None for label in raw):
        raise DataError(
            f"{path} has no array named labels.", cure="np.savez(file, x=x, labels=labels)"
        )
    notes: tuple[str, ...] = ()
    labels: Sequence[Label]
    if task in ("classification", "embedding"):
        found = known_classes(raw, ids, classes, outputs=outputs)
        labels, notes = found.numbers, tuple(filter(None, [found.note]))
    elif task == "sequence":
        labels = [_text(label, name) for label, name in zip(raw, ids, strict=True)]
    else:
        labels = [_value(label, name) for label, name in zip(raw, ids, strict=True)]

    def get(index: int) -> LabelledSample:
        sample = samples[index]
        return LabelledSample(id=sample.id, read=sample.read, label=labels[index])

    return LabelledData(layout="npz", ids=ids, get=get, notes=notes)


def _is_file(path: Path) -> None:
    if path.is_dir():
        raise DataError(f"{path} is a folder.", cure="Give the path of the file in it.")


def _text(label: Any, name: str) -> str:
    if not isinstance(label, str):
        raise DataError(
            f"{name} has a label that is not text: {str(label)[:40]}.",
            cure='np.savez(file, x=x, labels=np.array(["one", "two"]))',
        )
    return label


def _value(label: Any, name: str) -> Label:
    """A value, or an array of them, to be met; arrays stay in the file until they are used."""
    import numpy as np

    value = np.asarray(label)
    finite = value.dtype.kind in "biuf" and (value.ndim > 1 or bool(np.isfinite(value).all()))
    if not finite:
        raise DataError(
            f"{name} has a label that is not a finite number: {str(label)[:40]}.",
            cure="Labels are numbers to be met, unless the task is classification or embedding.",
        )
    if value.ndim:
        return value
    return int(value) if value.dtype.kind in "iu" else float(value)


def _values(rows: Sequence[Sequence[str]], path: Path) -> list[Label]:
    import numpy as np

    try:
        values = [np.array([float(value) for value in row[1:]]) for row in rows]
    except ValueError as error:
        raise DataError(
            f"{path} has a label that is not a number: {error}", cure="A line is PATH,NUMBER,…"
        ) from error
    return [_value(value, row[0]) for value, row in zip(values, rows, strict=True)]
