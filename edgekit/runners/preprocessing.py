"""Whether two contracts make the same tensors from the same samples."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from typing import Any

from edgekit.contract import Contract, InputContract, image_axes


def preprocessing_differences(
    recorded: Contract, here: Contract, pictures: Collection[str]
) -> list[str]:
    """In words, what an input of ``here`` has otherwise; empty where nothing.

    Inputs match by name, or else by place. Layouts may differ, since a picture is the same picture
    in either; types may, since they say how the values are stored. Preprocessing counts for the
    inputs that were made from pictures: arrays are ready for the model whatever it says.
    """
    if len(recorded.inputs) != len(here.inputs):
        return [f"it has {len(recorded.inputs)} inputs, here are {len(here.inputs)}"]
    by_name = {entry.tensor.name: entry for entry in here.inputs}
    found = []
    for place, entry in enumerate(recorded.inputs):
        name = entry.tensor.name
        other = by_name.get(name, here.inputs[place])
        mine = _canonical(entry, picture=name in pictures)
        theirs = _canonical(other, picture=name in pictures)
        found += [
            f"{key} of input {name} is {_show(theirs.get(key))} here and was {_show(mine[key])}"
            for key in mine
            if mine[key] != theirs.get(key)
        ]
    return found


def _canonical(entry: InputContract, *, picture: bool) -> dict[str, Any]:
    """What decides the tensor's values, the same for equal ways to say it."""
    axes = image_axes(entry.tensor) if entry.preprocess else None
    shape = entry.tensor.shape
    size = tuple(shape[axis] for axis in axes) if axes else shape
    if not picture:
        return {"shape": sorted(one or 1 for one in shape)}
    table = asdict(entry.preprocess) if entry.preprocess else {}
    channels = (size[2] if axes else None) or 1
    for key in ("mean", "std", "pad_value"):
        values = tuple(table.get(key, ()))
        table[key] = values * channels if len(values) == 1 else values
    return {"size": size, **table}


def _show(value: Any) -> str:
    if isinstance(value, tuple | list):
        return ",".join(map(_show, value)) or "nothing"
    if isinstance(value, float):
        return repr(value)
    return "not stated" if value is None else str(value)
