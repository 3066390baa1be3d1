"""Whether the candidate wants another input than it is given: channels reversed, other scaling."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.contract import Preprocess
from edgekit.validation.explain import causes, relations
from edgekit.validation.explain.points import Cause, OpFinding, Point
from edgekit.validation.explain.split import ErrorSplit

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

GAIN_DB = 10.0
"""A trial explains the error if the outputs gain at least so much."""
_COMMON = {
    "0…255": Preprocess(),
    "0…1": Preprocess(scale=1 / 255),
    "-1…1": Preprocess(scale=1 / 127.5, mean=(1.0,)),
    "ImageNet's mean and std": Preprocess(
        scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    ),
    "0…1, minus 0.5": Preprocess(scale=1 / 255, mean=(0.5,)),
}


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Another input to try.

    Attributes:
        cause: what it would show.
        why: in words.
        change: from the input as it is given, (N, …) with channels on `axis`, to the other one.
    """

    cause: Cause
    why: str
    change: Callable[[Array], Array]


def trials(preprocess: Preprocess, axis: int, channels: int) -> Iterator[Trial]:
    """What the input might have to be instead, for a picture.

    Args:
        preprocess: how the input was made.
        axis: its channels.
        channels: how many.
    """
    import numpy as np

    if channels == 3:
        yield Trial(
            cause="channel-order",
            why="With the channels of the input reversed (RGB for BGR)",
            change=lambda values: np.flip(values, axis),
        )
    for name, other in _COMMON.items():
        if max(len(other.mean), len(other.std)) not in (1, channels):
            continue
        if (other.scale, other.mean, other.std) != (
            preprocess.scale,
            preprocess.mean,
            preprocess.std,
        ):
            yield Trial(
                cause="normalisation",
                why=f"With the input scaled to {name}",
                change=_rescaling(preprocess, other, axis),
            )


def _rescaling(mine: Preprocess, other: Preprocess, axis: int) -> Callable[[Array], Array]:
    import numpy as np

    def change(values: Array) -> Array:
        last = np.moveaxis(values, axis, -1)
        pixels = (last * np.array(mine.std) + np.array(mine.mean)) / mine.scale
        scaled = (pixels * other.scale - np.array(other.mean)) / np.array(other.std)
        return np.asarray(np.moveaxis(scaled, -1, axis), values.dtype)

    return change


def input_finding(
    point: Point, reference: list[Array], given: list[Array], *, axis: int
) -> OpFinding:
    """What happens to an input before any operator: other preprocessing, and its own scale.

    Args:
        point: the input as the candidate stores it.
        reference: each sample as the reference is given it, axes as the candidate has them.
        given: each sample as the candidate is given it, in real values.
        axis: the channels.
    """
    split = ErrorSplit()
    for sample, (mine, theirs) in enumerate(zip(reference, given, strict=True)):
        split.add(mine, theirs, theirs, point.values(sample), point=point)
    import numpy as np

    one, two = np.concatenate(reference), np.concatenate(given)
    stored = np.concatenate([point.values(sample) for sample in range(len(given))])
    cause, why = _other_preprocessing(one, two, axis)
    if cause == "none":
        cause, why = causes.diagnose(
            causes.Symptoms(split=split, point=point, stepped=two, weighted=two, candidate=stored)
        )
    return OpFinding(
        name=point.name,
        operator="INPUT",
        place=-1,
        total_db=split.total_db,
        inherited_db=split.inherited_db,
        added_db=split.added_db,
        sources=split.shares(),
        cause=cause,
        why=why,
        advice=causes.advice(cause),
    )


def _other_preprocessing(one: Array, two: Array, axis: int) -> tuple[Cause, str]:
    if relations.db(one, two) >= causes.BAD_DB:
        return "none", ""
    if relations.reversed_channels(one, two, axis):
        return "channel-order", (
            "The candidate is given the reference's input with its channels reversed (RGB for BGR)."
        )
    if found := relations.affine(one, two, axis):
        gain, offset = (", ".join(f"{value:.4g}" for value in row) for row in found)
        return "normalisation", (
            f"The candidate is given {gain} times the reference's input plus {offset}."
        )
    if order := relations.turned(one, two):
        return "transposed-layout", f"The candidate is given its axes in the order {order}."
    return "unexplained", "The two are given different inputs."
