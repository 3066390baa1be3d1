"""What the data's labels mean to the model that is converted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import TypeAlias

from edgekit.calibration import Dataset
from edgekit.calibration.checks import listing
from edgekit.calibration.tensors import LABELS
from edgekit.contract import Contract, check_label_count
from edgekit.datasets.classes import SampleClasses, names_as_labels, to_classes
from edgekit.errors import DataError
from edgekit.types import Progress, TensorSpec

SampleLabel: TypeAlias = "int | str | None"
"""A class of the model, or the text of a sequence."""


def settle_labels(
    contract: Contract, outputs: Sequence[TensorSpec], data: Dataset, progress: Progress
) -> tuple[Contract, tuple[SampleLabel, ...]]:
    """The contract with the names of the classes, and the class or text of each parity sample.

    Where no names are stated, those of class folders are the labels if there are as many as
    scores; what was done, and what accuracy leaves out, is told to ``progress``.

    Args:
        contract: of the model; it may not know its outputs yet.
        outputs: with the shapes that the model gave.
        data: the samples.

    Returns:
        No classes where no sample has one, or the task has no use for them.

    Raises:
        UsageError: not as many names as scores.
        DataError: a classifier's labels are not classes of its.
    """
    if contract.task == "sequence":
        return contract, _texts(contract, data)
    if not contract.outputs or not outputs or contract.task not in (None, *_TASKS):
        return contract, ()
    first = replace(contract.outputs[0], tensor=replace(outputs[0], layout=None))
    check_label_count(first)
    width = _width(first.tensor) if contract.task != "embedding" else None
    found = names_as_labels(data.classes, width) if not first.labels else ()
    if found and any(label is not None for label in data.parity.labels):
        progress.note(f"The class folders are the labels, sorted: {listing(found)}")
        mine = replace(contract.outputs[0], labels=found)
        contract = replace(contract, outputs=(mine, *contract.outputs[1:]))
    classes = _classes(contract, data, width)
    if classes is None:
        return contract, ()
    if not classes.known:
        if classes.unknown:
            progress.note(_none_known(contract, classes, width))
        return contract, ()
    if classes.note:
        progress.note(f"{classes.note}.")
    return contract, classes.numbers


def _texts(contract: Contract, data: Dataset) -> tuple[SampleLabel, ...]:
    """What is written on each sample; a folder's name is not."""
    pairs = zip(data.parity.labels, data.parity.ids, strict=True)
    found = tuple(
        label if isinstance(label, str) and not name.startswith(f"{label}/") else None
        for label, name in pairs
    )
    known = any(found) and any(entry.labels for entry in contract.outputs)
    return found if known else ()


_TASKS = ("classification", "embedding")
"""Whose samples are labelled with classes."""


def _classes(contract: Contract, data: Dataset, width: int | None) -> SampleClasses | None:
    """``None`` where labels are not classes, and nobody said that they are."""
    if any(entry.tensor.name in LABELS for entry in contract.inputs):
        return None  # then the array of this name is an input
    if contract.task is None and width is None:
        return None
    names = contract.outputs[0].labels
    try:
        return to_classes(data.parity.labels, data.parity.ids, names, outputs=width)
    except DataError:
        if contract.task is None:
            return None  # values to be met, perhaps: nobody said that these are classes
        raise


def _width(tensor: TensorSpec) -> int | None:
    """How many scores a sample has, ``None`` where the output is not a vector of them."""
    sizes = [size or 1 for size in tensor.shape]
    return max(sizes) if sizes and prod(sizes) == max(sizes) > 1 else None


def _none_known(contract: Contract, classes: SampleClasses, width: int | None) -> str:
    names, stated = listing(classes.unknown), contract.outputs[0].labels
    if stated:
        return f"No accuracy: the labels name none of the folders {names}."
    return (
        f"No accuracy: the model has {width} scores, and which of them the {len(classes.unknown)} "
        f"folders {names} mean is not known without --labels."
    )
