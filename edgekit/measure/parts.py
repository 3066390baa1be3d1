"""Outputs that mix ranges: their parts on the framework's side, and put together from a file's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from edgekit.contract import Contract, OutputContract, OutputPart
from edgekit.types import Binding, TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The parts of an output of the float file.

    Attributes:
        tensor: the output's name in the float file.
        output: its place among the float file's outputs.
        axis: of the file's tensor.
        spans: (start, size) of each part.
        ranges: the lowest and highest value of each.
        cut: integer files have the parts as outputs.
    """

    tensor: str
    output: int
    axis: int
    spans: tuple[tuple[int, int], ...]
    ranges: tuple[tuple[float, float], ...]
    cut: bool


@dataclass(frozen=True, kw_only=True)
class Mixed:
    """What the quantization worker says about outputs that mix ranges.

    Attributes:
        outputs: one entry for each.
        cut: schemes whose files have parts as outputs.
        joined: schemes whose files join the parts in float, and how.
    """

    outputs: tuple[Parts, ...] = ()
    cut: tuple[str, ...] = ()
    joined: dict[str, str] = field(default_factory=dict)

    def cut_in(self, scheme: str) -> tuple[Parts, ...]:
        """The outputs that are cut in the file of a scheme."""
        return tuple(one for one in self.outputs if one.cut) if scheme in self.cut else ()

    def notes(self) -> list[str]:
        """What the user should know, one sentence or two for each output."""
        return [_note(one, self) for one in self.outputs]


def _note(one: Parts, mixed: Mixed) -> str:
    values = "; ".join(
        f"{start}…{start + size - 1} hold {low:.4g}…{high:.4g}"
        for (start, size), (low, high) in zip(one.spans, one.ranges, strict=True)
    )
    found = f"Output {one.tensor} mixes ranges along axis {one.axis}: {values}."
    if not one.cut:
        return f"{found} With one scale for all, int8 loses the smaller values."
    done = []
    if mixed.cut:
        done.append(
            f"In {' and '.join(mixed.cut)} each part is an output; the contract in the file says "
            "how to concatenate them."
        )
    done += [f"In {scheme} they are {how}." for scheme, how in mixed.joined.items()]
    return " ".join([found, *done])


def told_by(answer: dict[str, Any]) -> Mixed:
    """From the quantization worker's answer."""
    outputs = tuple(
        Parts(
            tensor=one["tensor"],
            output=one["output"],
            axis=one["axis"],
            spans=tuple((part["start"], part["size"]) for part in one["parts"]),
            ranges=tuple((part["low"], part["high"]) for part in one["parts"]),
            cut=one["did"].startswith("cut"),
        )
        for one in answer["tensors"]
        if one["output"] is not None
    )
    return Mixed(outputs=outputs, cut=tuple(answer["cut"]), joined=answer["joined"])


def slots(outputs: int, cut: Sequence[Parts]) -> list[tuple[int, int | None]]:
    """For each of a file's outputs: its place among the whole ones, and which part it is.

    Args:
        outputs: how many the file has.
        cut: those whole ones that it has in parts.
    """
    parts = {one.output: len(one.spans) for one in cut}
    found: list[tuple[int, int | None]] = []
    whole = 0
    while len(found) < outputs:
        found += [(whole, number) for number in range(parts.get(whole, 0))] or [(whole, None)]
        whole += 1
    return found


def part_of(
    whole: Parts, number: int, tensor: TensorSpec, *, bound: bool
) -> tuple[TensorSpec, OutputPart]:
    """A part's tensor under a name of its own, and what it is a part of.

    Args:
        whole: the output.
        number: which of its parts.
        tensor: the part's; named as the framework names the whole output if that is ``bound``.
        bound: whether the framework has such an output.
    """
    of = tensor.name if bound else whole.tensor
    start, size = whole.spans[number]
    part = OutputPart(of=of, axis=whole.axis, start=start, size=size)
    return replace(tensor, name=f"{of}/{number}"), part


def of_reference(
    parts: Sequence[Parts], bindings: Sequence[Binding]
) -> dict[str, list[tuple[int, int, int]]]:
    """By the reference's output names: (axis, start, size) of each part, on its own axes."""
    found = {}
    for one in parts:
        for binding in bindings:
            if binding.index == one.output and one.axis < len(binding.permutation):
                axis = binding.permutation[one.axis]
                found[binding.reference] = [(axis, start, size) for start, size in one.spans]
    return found


def together(
    contract: Contract | None, outputs: Sequence[TensorSpec]
) -> list[tuple[TensorSpec, tuple[int, ...], OutputPart | None]]:
    """The model's outputs by the places of a file's that they consist of.

    Args:
        contract: the file's; ``None`` where it has none.
        outputs: the file's outputs, with the shapes of one sample.

    Returns:
        Each with its spec, and the first of its parts where it is cut.
    """
    entries: Mapping[int, OutputContract] = dict(enumerate(contract.outputs if contract else ()))
    found: list[tuple[TensorSpec, tuple[int, ...], OutputPart | None]] = []
    for index, spec in enumerate(outputs):
        part = entries[index].part if index in entries else None
        if part is None:
            found.append((spec, (index,), None))
        elif part.start == 0:
            parts = sorted(
                (other.part.start, place)
                for place, other in entries.items()
                if other.part is not None and other.part.of == part.of
            )
            places = tuple(place for _, place in parts)
            found.append((_whole([outputs[place] for place in places], part), places, part))
    return found


def joined(stacks: Sequence[Array], axis: int | None) -> Array:
    """A whole output from the stacks of its parts.

    Args:
        stacks: (N, …) of each part; the only one where it is not cut.
        axis: that the parts lie along, counted from the last; ``None`` where it is not cut.
    """
    import numpy as np

    if axis is None:
        return stacks[0]
    # Of a part that is one entry of the first axis, that axis has become the samples'.
    full = [stack[:, None] if stack.ndim == -axis else stack for stack in stacks]
    return np.concatenate(full, axis=axis)


def _whole(specs: Sequence[TensorSpec], part: OutputPart) -> TensorSpec:
    sizes = [spec.shape[part.axis] or 0 for spec in specs]
    shape = specs[0].shape
    return replace(
        specs[0], name=part.of, shape=(*shape[: part.axis], sum(sizes), *shape[part.axis + 1 :])
    )
