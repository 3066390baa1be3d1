"""Which tensor of a candidate is which of the reference's, and how its axes are turned.

Converters rename, reorder and transpose. Names decide where they match; then shapes; where a shape
leaves a choice (height = width = channels), the measured difference decides, and the binding says
that it was measured.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import permutations
from typing import TYPE_CHECKING, Any, cast

from edgekit.errors import ConversionError
from edgekit.types import Binding, TensorSpec

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


def layout_permutations(rank: int) -> list[tuple[int, ...]]:
    """The ways in which converters turn axes: not at all, channels last, channels first."""
    identity = tuple(range(rank))
    if rank < 3:
        return [identity]
    return [identity, (0, *identity[2:], 1), (0, rank - 1, *identity[1:-1])]


def fitting(
    reference: Sequence[int | None], candidate: Sequence[int | None]
) -> list[tuple[int, ...]]:
    """Those layout permutations that give the candidate's shape, without repetition."""
    if len(reference) != len(candidate):
        return []
    return [
        permutation
        for permutation in dict.fromkeys(layout_permutations(len(reference)))
        if [reference[axis] for axis in permutation] == list(candidate)
    ]


def plain_name(name: str) -> str:
    """A tensor's name without what TensorFlow adds around it (``serving_default_x:0``)."""
    return re.sub(r":\d+$", "", name.removeprefix("serving_default_"))


def input_choices(
    reference: Sequence[TensorSpec],
    candidate: Sequence[TensorSpec],
    told: Sequence[dict[str, Any]] = (),
) -> list[list[Binding]]:
    """For each input of the candidate, in its order, the bindings that are possible.

    Args:
        reference: the reference's inputs, with static shapes.
        candidate: the candidate's inputs.
        told: what the converter says: ``source`` and ``permutation`` per input.

    Raises:
        ConversionError: the candidate has other inputs than the reference.
    """
    sources = _pair(reference, candidate, "input")
    declared = {
        entry["source"]: tuple(entry["permutation"]) for entry in told if "permutation" in entry
    }
    choices = []
    for spec, (source, paired_by) in zip(candidate, sources, strict=True):
        options, how = fitting(source.shape, spec.shape), paired_by
        if declared.get(source.name) in options:
            options, how = [declared[source.name]], "converter"
        if not options:
            raise ConversionError(
                f"Input {source.name} has shape {list(source.shape)} in the framework and "
                f"{list(spec.shape)} in the converted file."
            )
        if len(options) > 1:
            how = "measured"
        choices.append(
            [
                Binding(reference=source.name, candidate=spec.name, permutation=option, how=how)
                for option in options
            ]
        )
    return choices


def align_outputs(
    reference: Sequence[TensorSpec],
    candidate: Sequence[TensorSpec],
    reference_values: Sequence[Array],
    candidate_values: Sequence[Array],
) -> list[Binding]:
    """The binding of each reference output, in the reference's order.

    Names decide; what they leave is paired by the smallest relative difference, the closest pair
    first. Where no shape fits in any layout, one with as many elements does (``(1,)`` for ``()``):
    such a binding keeps the order of the elements, and comparing reshapes.

    Args:
        reference: the reference's outputs, with the shapes of one sample.
        candidate: the candidate's.
        reference_values: one sample of each reference output.
        candidate_values: one sample of each candidate output.

    Raises:
        ConversionError: an output has no counterpart.
    """
    free = dict(enumerate(candidate_values))
    found: dict[int, Binding] = {}

    def bind(wanted: Mapping[int, Mapping[int, Array]], how: str) -> None:
        """Bind the closest pair among those left: reference output → its possible candidates."""
        choices = [
            (_distance(reference_values[one], values, option), one, other, option)
            for one, others in wanted.items()
            for other, values in others.items()
            for option in _options(reference_values[one], values, others.values())
        ]
        if not choices:
            one = min(wanted)
            raise ConversionError(
                f"Output {reference[one].name} of shape {list(reference_values[one].shape)} has no "
                f"counterpart among {[list(other.shape) for other in candidate_values]} in the "
                "converted file."
            )
        _, one, other, option = min(choices)
        rivals = [choice for choice in choices if choice[1] == one]
        del free[other]
        found[one] = Binding(
            reference=reference[one].name,
            candidate=candidate[other].name,
            index=other,
            permutation=option,
            how=cast(Any, "measured" if len(rivals) > 1 else how),
        )

    for one, other in _same_names(reference, candidate).items():
        if _options(reference_values[one], candidate_values[other], [candidate_values[other]]):
            bind({one: {other: candidate_values[other]}}, "name")
    while left := [one for one in range(len(reference)) if one not in found]:
        bind(dict.fromkeys(left, free), "shape")
    return [found[one] for one in range(len(reference))]


def _options(value: Array, other: Array, rivals: Iterable[Array]) -> list[tuple[int, ...]]:
    """How one output can be the other: by turning axes or, where that suits no rival, reshaped."""
    if options := fitting(value.shape, other.shape):
        return options
    if value.size != other.size or any(fitting(value.shape, rival.shape) for rival in rivals):
        return []
    return [tuple(range(value.ndim))]


def _distance(value: Array, other: Array, permutation: tuple[int, ...]) -> float:
    """Mean absolute difference, relative to the reference; infinite where it is not a number."""
    import numpy as np

    wanted = value.transpose(permutation).astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        difference = np.abs(wanted - np.asarray(other, np.float64).reshape(wanted.shape))
        result = float(np.mean(difference)) / (float(np.mean(np.abs(wanted))) or 1.0)
    return result if math.isfinite(result) else math.inf


def _same_names(reference: Sequence[TensorSpec], candidate: Sequence[TensorSpec]) -> dict[int, int]:
    """The places of reference tensors → those of the candidate's with the same name.

    A name as it is goes before a plain one, and a plain one counts only where it is unique.
    """
    result: dict[int, int] = {}
    for naming in (str, plain_name):
        mine = [naming(spec.name) for spec in reference]
        theirs = [naming(spec.name) for spec in candidate]
        for place, name in enumerate(mine):
            unique = mine.count(name) == 1 == theirs.count(name)
            if place not in result and unique and theirs.index(name) not in result.values():
                result[place] = theirs.index(name)
    return result


def _pair(
    reference: Sequence[TensorSpec], candidate: Sequence[TensorSpec], what: str
) -> list[tuple[TensorSpec, Any]]:
    """The reference tensor of each candidate tensor: by name, only fitting shape, or place."""
    if len(reference) != len(candidate):
        raise ConversionError(
            f"The model has {len(reference)} {what}s, the converted file has {len(candidate)}."
        )
    named = _same_names(reference, candidate)
    if len(named) == len(reference):
        by_place = {other: reference[one] for one, other in named.items()}
        return [(by_place[other], "name") for other in range(len(candidate))]
    orders = (
        [
            order
            for order in permutations(range(len(reference)))
            if all(
                fitting(reference[one].shape, theirs.shape)
                for one, theirs in zip(order, candidate, strict=True)
            )
        ]
        if len(reference) <= 6
        else []
    )
    if not orders:
        return [(spec, "position") for spec in reference]
    # The most matching names; among equals the first, which keeps the most places.
    best = max(
        orders, key=lambda order: sum(named.get(one) == place for place, one in enumerate(order))
    )
    return [(reference[one], "shape" if len(orders) == 1 else "position") for one in best]
