"""Which tensor of a candidate is which of the reference's, and how its axes are turned.

Converters rename, reorder and transpose. Names decide where they match; then shapes; where a shape
leaves a choice (height = width = channels), the measured difference decides, and the binding says
that it was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import TYPE_CHECKING, Any

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
    """A tensor's name without what TensorFlow adds around it."""
    return name.removeprefix("serving_default_").rpartition(":")[0] or name.removeprefix(
        "serving_default_"
    )


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

    Args:
        reference: the reference's outputs, with the shapes of one sample.
        candidate: the candidate's.
        reference_values: one sample of each reference output.
        candidate_values: one sample of each candidate output.

    Raises:
        ConversionError: an output has no counterpart.
    """
    import numpy as np

    names = [plain_name(spec.name) for spec in candidate]
    taken: set[int] = set()
    result = []
    for spec, value in zip(reference, reference_values, strict=True):
        possible = [
            (number, option)
            for number, other in enumerate(candidate_values)
            if number not in taken
            for option in fitting(value.shape, other.shape)
        ]
        named = [(n, option) for n, option in possible if names[n] == plain_name(spec.name)]
        how = "name" if named else "shape"
        possible = named or possible
        if not possible:
            raise ConversionError(
                f"Output {spec.name} of shape {list(value.shape)} has no counterpart among "
                f"{[list(other.shape) for other in candidate_values]} in the converted file."
            )
        if len(possible) > 1:
            how = "measured"
        best = min(
            possible,
            key=lambda one: float(
                np.mean(
                    np.abs(value.transpose(one[1]).astype(np.float64) - candidate_values[one[0]])
                )
            ),
        )
        taken.add(best[0])
        result.append(
            Binding(
                reference=spec.name,
                candidate=candidate[best[0]].name,
                index=best[0],
                permutation=best[1],
                how=how,  # type: ignore[arg-type]
            )
        )
    return result


def _pair(
    reference: Sequence[TensorSpec], candidate: Sequence[TensorSpec], what: str
) -> list[tuple[TensorSpec, Any]]:
    """The reference tensor of each candidate tensor: by name, only fitting shape, or place."""
    if len(reference) != len(candidate):
        raise ConversionError(
            f"The model has {len(reference)} {what}s, the converted file has {len(candidate)}."
        )
    by_name = {plain_name(spec.name): spec for spec in reference}
    if all(plain_name(spec.name) in by_name for spec in candidate):
        return [(by_name[plain_name(spec.name)], "name") for spec in candidate]
    orders = (
        [
            order
            for order in permutations(reference)
            if all(
                fitting(mine.shape, theirs.shape)
                for mine, theirs in zip(order, candidate, strict=True)
            )
        ]
        if len(reference) <= 6
        else []
    )
    if len(orders) == 1:
        return [(spec, "shape") for spec in orders[0]]
    return [(spec, "position") for spec in reference]
