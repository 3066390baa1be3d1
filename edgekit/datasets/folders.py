"""A folder per class: ImageNet, Imagenette, CIFAR exported as folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekit.calibration.checks import listing
from edgekit.datasets.classes import known_classes, names_as_labels
from edgekit.datasets.files import pictures
from edgekit.datasets.samples import LabelledData, LabelledSample, picture_sample
from edgekit.errors import DataError


def open_folders(
    folder: Path, classes: Sequence[str] = (), *, outputs: int | None = None
) -> LabelledData:
    """Pictures whose topmost folder is their class. Arguments as of `class_numbers`.

    Raises:
        DataError: no picture, one without a class, or classes that are none of the model's.
    """
    files = pictures(folder)
    tops = [file.partition("/")[0] if "/" in file else None for file in files]
    if None in tops:
        raise DataError(
            f"{folder / files[tops.index(None)]} lies in no class folder.",
            cure=f"Move it to {folder}/CLASS/, or say which layout the data has.",
        )
    found = known_classes(tops, files, classes, outputs=outputs)
    names = names_as_labels(sorted({top for top in tops if top}), outputs) if not classes else ()

    def get(index: int) -> LabelledSample:
        return picture_sample(folder, files[index], found.numbers[index])

    return LabelledData(
        layout="folders",
        ids=tuple(files),
        get=get,
        notes=tuple(filter(None, (found.note, _sorted_names(names)))),
    )


def _sorted_names(names: Sequence[str]) -> str:
    return f"the class folders are the labels, sorted: {listing(names)}" if names else ""
