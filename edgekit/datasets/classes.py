"""Which class of the model a name in the data set means."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgekit.errors import DataError

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
    elif all(name.isascii() and name.isdecimal() for name in wanted):
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
        if number is None and name.isascii() and name.isdecimal() and int(name) < len(model):
            number = int(name)
        if number is not None:
            found[name] = number
    if missing := [name for name in wanted if name not in found]:
        raise DataError(
            f"{len(missing)} of {len(wanted)} classes in the data are none of the model's "
            f"{len(model)}: {_few(missing)}. The model's begin with {_few(model)}.",
            cure="Give the right names with --labels, in the order of the model's scores, or "
            "rename the classes of the data.",
        )
    return found


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").split()).casefold()


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:_SHOWN]))
    return f"{shown} …" if len(names) > _SHOWN else shown
