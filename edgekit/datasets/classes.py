"""Which class of the model a name in the data set means."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.calibration.samples import Label
from edgekit.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

IMAGENETTE = {
    "n01440764": (0, "tench"),
    "n02102040": (217, "English springer"),
    "n02979186": (482, "cassette player"),
    "n03000684": (491, "chain saw"),
    "n03028079": (497, "church"),
    "n03394916": (566, "French horn"),
    "n03417042": (569, "garbage truck"),
    "n03425413": (571, "gas pump"),
    "n03445777": (574, "golf ball"),
    "n03888257": (701, "parachute"),
}
"""Imagenette's folders: the number among ImageNet's 1,000 classes, and the name."""

IMAGENET_CLASSES = 1000
_SHOWN = 5
_LONGEST_NUMBER = 10


def class_numbers(
    names: Iterable[str], model: Sequence[str], *, outputs: int | None = None
) -> dict[str, int]:
    """The model's class number for each name of the data set.

    With the model's own names: an equal one; else one that differs in case, in ``_`` for a space or
    in synonyms after a comma only. WordNet ids of Imagenette stand for their names too. Without
    names: numbers are themselves; Imagenette's ids are ImageNet's numbers for a model of 1,000
    classes; all else is numbered in the order of the names, as training tools do.

    Args:
        names: of the classes in the data, in their own order.
        model: the names in the order of the model's scores, or nothing.
        outputs: how many scores the model has, where known.

    Raises:
        DataError: names that no class of the model has, or numbers that it has no score for.
    """
    wanted = list(dict.fromkeys(names))
    count = len(model) or outputs
    if model:
        found = _by_name(wanted, model)
        if missing := [name for name in wanted if name not in found]:
            raise DataError(
                f"{len(missing)} of {len(wanted)} classes in the data are none of the model's "
                f"{len(model)}: {_few(missing)}. The model's begin with {_few(model)}.",
                cure=_renamed(missing, model)
                + "Give the right names with --labels, in the order of the model's scores, or "
                "rename the classes of the data.",
            )
    elif all(_is_number(name) for name in wanted):
        found = {name: int(name) for name in wanted}
    elif outputs == IMAGENET_CLASSES and all(name in IMAGENETTE for name in wanted):
        found = {name: IMAGENETTE[name][0] for name in wanted}
    else:
        found = {name: number for number, name in enumerate(wanted)}
    if count is not None and (far := [name for name in wanted if found[name] >= count]):
        raise DataError(
            f"The data has {len(wanted)} classes, among them {_few(far)}; the model has {count}.",
            cure="Give the model's class names, in the order of its scores, with --labels.",
        )
    return found


@dataclass(frozen=True, kw_only=True)
class SampleClasses:
    """What the labels of samples are among the model's classes.

    Attributes:
        numbers: the class of each sample, ``None`` where it has none.
        unknown: names that no class of the model has, in the order of the alphabet.
        meant: which class one of them probably is, a whole question; or empty.
    """

    numbers: tuple[int | None, ...]
    unknown: tuple[str, ...] = ()
    meant: str = ""

    @property
    def known(self) -> bool:
        """Whether any sample has a class."""
        return any(number is not None for number in self.numbers)

    @property
    def note(self) -> str:
        """What a figure over these samples leaves out; empty where it is over all of them."""
        covered = sum(number is not None for number in self.numbers)
        if covered == len(self.numbers):
            return ""
        why = (
            f"the labels do not name {_few(self.unknown)}"
            if self.unknown
            else "the others have no label"
        )
        hint = f" ({self.meant})" if self.meant else ""
        return f"Accuracy is over {covered} of {len(self.numbers)} samples: {why}{hint}"


def to_classes(
    labels: Sequence[Label],
    ids: Sequence[str],
    model: Sequence[str],
    *,
    outputs: int | None = None,
) -> SampleClasses:
    """The model's class of each sample: the one reading of labels, for all who need classes.

    A label is read where it can only mean one thing: a whole number (``3`` and ``3.0``), a name or
    digits, a one-hot row. Names are matched as `class_numbers` says; without the model's names
    they are numbered by the alphabet only if they are as many as the scores.

    Args:
        labels: as the data has them, ``None`` for a sample without one.
        ids: of the samples, for errors.
        model: the names in the order of the model's scores, or nothing.
        outputs: how many scores the model has, where known.

    Raises:
        DataError: a label that can be no class of the model: 0.5, NaN, a row that is not one-hot,
            a number without a score.
    """
    count = len(model) or outputs
    read = [
        None if label is None else _class_of(label, name, count)
        for label, name in zip(labels, ids, strict=True)
    ]
    names = sorted({one for one in read if isinstance(one, str)})
    numbered = _by_name(names, model) if model else _by_place(names, outputs)
    far = "{} has the label {}, which is not a class of the model: it has {}."
    for name, one in zip(ids, read, strict=True):
        number = numbered.get(one) if isinstance(one, str) else one
        if number is not None and count is not None and number >= count:
            raise DataError(
                far.format(name, one, count),
                cure="Labels are class numbers from 0, in the order of the model's scores. Rename "
                "folders that are not classes.",
            )
    unknown = tuple(name for name in names if name not in numbered)
    return SampleClasses(
        numbers=tuple(numbered.get(one) if isinstance(one, str) else one for one in read),
        unknown=unknown,
        meant=_meant(unknown, model),
    )


def known_classes(
    labels: Sequence[Label],
    ids: Sequence[str],
    model: Sequence[str],
    *,
    outputs: int | None = None,
) -> SampleClasses:
    """`to_classes` of a labelled data set, where at least one class has to be known.

    Raises:
        DataError: as `to_classes`, or no name in the data is a class of the model.
    """
    found = to_classes(labels, ids, model, outputs=outputs)
    if found.unknown and not found.known:
        unknown = found.unknown
        raise DataError(
            f"All {len(unknown)} classes in the data are none of the model's {len(model)}: "
            f"{_few(unknown)}. The model's begin with {_few(model)}."
            if model
            else f"The data has {len(unknown)} classes, the model has {outputs}: {_few(unknown)}.",
            cure=_renamed(unknown, model)
            + "Give the model's class names, in the order of its scores, with --labels, or "
            "rename the classes of the data.",
        )
    return found


def names_as_labels(names: Sequence[str], outputs: int | None) -> tuple[str, ...]:
    """The sorted names of class folders as the model's class names, where they can be.

    That is what ``ImageFolder`` and ``image_dataset_from_directory`` number classes by. Nothing
    where there are not as many as scores, or where they are numbers, which stand for themselves.
    """
    if len(names) != outputs or all(_is_number(name) for name in names):
        return ()
    return tuple(sorted(names))


def _by_place(names: Sequence[str], outputs: int | None) -> dict[str, int]:
    """Without the model's names; nothing where a number could only be guessed."""
    numbers = all(_is_number(name) for name in names)
    known = outputs == IMAGENET_CLASSES and all(name in IMAGENETTE for name in names)
    if numbers or known or outputs is None or len(names) == outputs:
        return class_numbers(names, (), outputs=None if numbers else outputs)
    return {}


def _class_of(label: Label, name: str, outputs: int | None) -> int | str:
    """What a label can only mean.

    Raises:
        DataError: it is not a class, or could mean several things.
    """
    if isinstance(label, str):
        return label.strip()
    import numpy as np

    value = np.asarray(label)
    if value.size == 1 and value.dtype.kind in "US":
        return str(value.reshape(-1)[0].item()).strip()
    row = value.reshape(-1)
    if value.dtype.kind in "biuf":
        if row.size == 1 and np.isfinite(row[0]) and row[0] >= 0 and row[0] == np.rint(row[0]):
            return int(row[0])
        one_hot = np.count_nonzero(row == 1) == 1 and np.count_nonzero(row) == 1
        if one_hot and max(value.shape) == row.size and outputs in (None, row.size):
            return int(np.argmax(row))
    shown = np.array2string(row[:_SHOWN], separator=", ", precision=4, threshold=_SHOWN)
    raise DataError(
        f"{name} has the label {row[0] if row.size == 1 else shown}, which is not a class of the "
        "model.",
        cure="A class is a whole number from 0, a name, or a one-hot row as long as the scores. "
        "For values to be met, state --task regression.",
    )


def _by_name(wanted: Sequence[str], model: Sequence[str]) -> dict[str, int]:
    exact = {name: place for place, name in reversed(list(enumerate(model)))}
    loose: dict[str, set[int]] = {}
    for place, name in enumerate(model):
        for part in {name, *name.split(",")}:
            loose.setdefault(_plain(part), set()).add(place)
    found: dict[str, int] = {}
    number: int | None
    for name in wanted:
        number = exact.get(name)
        for other in (name, IMAGENETTE.get(name, (0, name))[1]):
            places = loose.get(_plain(other), set())
            if number is None and len(places) == 1:
                number = next(iter(places))
        if number is None and _is_number(name) and int(name) < len(model):
            number = int(name)
        if number is not None:
            found[name] = number
    return found


def _is_number(name: str) -> bool:
    """Whether a name is the number of a class, in digits."""
    return name.isascii() and name.isdecimal() and len(name) < _LONGEST_NUMBER


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").split()).casefold()


def _meant(names: Sequence[str], model: Sequence[str]) -> str:
    """``did you mean 'cat' by 'kat'?``, of the first unknown name that is near to a class."""
    for name in names[:_SHOWN]:
        if near := difflib.get_close_matches(name, model, n=1):
            return f"did you mean {near[0]!r} by {name!r}?"
    return ""


def _renamed(names: Sequence[str], model: Sequence[str]) -> str:
    meant = _meant(names, model)
    return f"{meant[0].upper()}{meant[1:]} " if meant else ""


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:_SHOWN]))
    return f"{shown} …" if len(names) > _SHOWN else shown
