"""Which tensor of a candidate is which of the reference's, found out on one sample."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edgekit.closeness import sqnr_db, sums
from edgekit.contract import Contract, InputContract, image_axes
from edgekit.errors import ConversionError
from edgekit.measure.job import CandidateJob, Feed, Span, Taken, turn_back
from edgekit.measure.parts import joined, together
from edgekit.raw_pixels.normalization import Normalization
from edgekit.runners.protocol import Described, Runner
from edgekit.tflite.bounds import output_widths
from edgekit.tflite.indices import output_indices
from edgekit.tflite.summary import Port, Summary
from edgekit.types import Binding, TensorSpec
from edgekit.validation import align

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_T = TypeVar("_T")
_MOST_TRIALS = 9
"""So many ways of turning ambiguous inputs are measured before giving up."""


@dataclass(frozen=True, kw_only=True)
class Bound:
    """A candidate that runs, with its tensors bound.

    Attributes:
        inputs: one per input of the file.
        bindings: one per output of the reference.
        parts: by the reference's output: (axis, start, size) of the parts that the file has of it.
        notes: what was not decided by names.
    """

    job: CandidateJob
    inputs: tuple[Binding, ...]
    bindings: tuple[Binding, ...]
    parts: dict[int, list[list[int]]]
    notes: tuple[str, ...]


def bind(
    runner: Runner,
    path: Path,
    summary: Summary,
    contract: Contract,
    own: Contract | None,
    inputs: Sequence[Array],
    outputs: Sequence[Array],
    *,
    told: Sequence[dict[str, Any]] = (),
) -> Bound:
    """Run a candidate on one sample and find its tensors among the reference's.

    Args:
        runner: has the candidate.
        path: the candidate.
        summary: of its file.
        contract: on the reference's tensors.
        own: the contract in the file, whose outputs may be parts.
        inputs: stacks of one sample, as the reference takes them.
        outputs: stacks of one sample, as the reference gives them.
        told: what the converter says about the inputs' axes.

    Raises:
        ConversionError: the file does not load or run, or its tensors fit no way.
    """
    described = runner.describe()
    mine = [entry.tensor for entry in contract.inputs]
    choices = align.input_choices(mine, described.inputs, told)
    trials = [
        tuple(numbered(trial))
        for trial in itertools.islice(itertools.product(*choices), _MOST_TRIALS)
    ]
    results = [_try(runner, trial, described, contract, own, inputs, outputs) for trial in trials]
    _, fed, bindings = max(results, key=lambda result: result[0])
    wholes = together(own, described.outputs)
    taken = []
    for binding in bindings:
        spec, places, part = wholes[binding.index]
        axis = None if part is None else part.axis - len(spec.shape)
        taken.append(Taken(places=places, axis=axis, permutation=binding.permutation))
    names = [spec.name for spec in mine]
    job = CandidateJob(
        path=str(path),
        feeds=_feeds(fed, described, contract, own),
        outputs=taken,
        spans=_spans(summary, fed, names, bindings, taken, own),
        widths=_of_outputs(output_widths(path), taken, None),
        indices=_of_outputs(output_indices(path), taken, False),
    )
    return Bound(
        job=job,
        inputs=fed,
        bindings=bindings,
        parts=_parts(own, bindings, wholes),
        notes=(*_notes(bindings), *_of_size(summary, described)),
    )


def numbered(bindings: Sequence[Binding]) -> list[Binding]:
    """The bindings with their places filled in."""
    return [replace(binding, index=index) for index, binding in enumerate(bindings)]


def _try(
    runner: Runner,
    trial: tuple[Binding, ...],
    described: Described,
    contract: Contract,
    own: Contract | None,
    inputs: Sequence[Array],
    outputs: Sequence[Array],
) -> tuple[float, tuple[Binding, ...], tuple[Binding, ...]]:
    """How close the outputs come with the inputs turned so, in decibels of the worst output."""

    feeds = _feeds(trial, described, contract, own)
    given = runner.run([feed.of(inputs[feed.source]) for feed in feeds])
    specs, stacks = [], []
    for spec, places, part in together(own, described.outputs):
        specs.append(spec)
        axis = None if part is None else part.axis - len(spec.shape)
        stacks.append(joined([given[place] for place in places], axis))
    mine = [entry.tensor for entry in contract.outputs]
    if len(specs) < len(mine):
        raise ConversionError(
            f"The reference has {len(mine)} outputs, {runner.name} has {len(specs)}.",
            cure="Check that both are the same model.",
        )
    bindings = align.align_outputs(
        mine,
        specs,
        [_one(stack, spec) for stack, spec in zip(outputs, mine, strict=True)],
        [_one(stack, spec) for stack, spec in zip(stacks, specs, strict=True)],
    )
    found = []
    for like, binding in zip(outputs, bindings, strict=True):
        columns = sums(like, turn_back(stacks[binding.index], binding.permutation, like))
        found.append(sqnr_db(float(columns["signal"].sum()), float(columns["noise"].sum())))
    return min(found), trial, tuple(bindings)


def _feeds(
    bindings: Sequence[Binding], described: Described, contract: Contract, own: Contract | None
) -> list[Feed]:
    """What each of the file's inputs is fed, in the file's order."""
    names = [entry.tensor.name for entry in contract.inputs]
    feeds = []
    for place, (binding, spec) in enumerate(zip(bindings, described.inputs, strict=True)):
        source = names.index(binding.reference)
        entry, theirs = contract.inputs[source], _input(own, place)
        pixels, channels = _pixels(entry, theirs)
        values, axis = _values(entry, theirs)
        feeds.append(
            Feed(
                source=source,
                permutation=binding.permutation,
                shape=[size or 1 for size in spec.shape],
                pixels=pixels,
                values=values,
                channels=channels if values is None else axis,
            )
        )
    return feeds


def _input(own: Contract | None, place: int) -> InputContract | None:
    return own.inputs[place] if own is not None and place < len(own.inputs) else None


def _pixels(entry: InputContract, theirs: InputContract | None) -> tuple[Normalization | None, int]:
    """How the reference's values come from the pixels of a file that normalises by itself.

    And the axis of the reference's channels, counted from the last.
    """
    axes = image_axes(entry.tensor)
    if theirs is None or theirs.folded is None or theirs.preprocess is None:
        return None, -1
    if entry.preprocess is None or axes is None:
        return None, -1
    channels = entry.tensor.shape[axes[2]] or 0
    found = Normalization.of(entry.preprocess, channels, theirs.preprocess.color)
    return (None if found.is_identity else found), axes[2] - len(entry.tensor.shape)


def _values(entry: InputContract, theirs: InputContract | None) -> tuple[Normalization | None, int]:
    """What a file that takes values does with the pixels of a reference that normalises by itself.

    And the axis of the reference's channels, counted from the last.
    """
    axes = image_axes(entry.tensor)
    if theirs is None or theirs.folded is not None or theirs.preprocess is None:
        return None, -1
    if entry.folded is None or entry.preprocess is None or axes is None:
        return None, -1
    channels = entry.tensor.shape[axes[2]] or 0
    found = Normalization.of(theirs.preprocess, channels, entry.preprocess.color)
    return (None if found.is_identity else found), axes[2] - len(entry.tensor.shape)


def _one(stack: Array, spec: TensorSpec) -> Array:
    """The first sample of a stack, with the axes of its spec."""
    value: Array = stack[:1] if stack.ndim == len(spec.shape) else stack[0]
    return value


def _of_size(summary: Summary, described: Described) -> list[str]:
    """At which size a file is run that can be resized."""
    pairs = zip(summary.inputs, described.inputs, strict=True)
    return [
        f"Input {port.tensor.name} can be resized; it is run at "
        f"{'x'.join(str(size) for size in spec.shape)}."
        for port, spec in pairs
        if None in port.tensor.shape[1:]
    ]


def _notes(bindings: Sequence[Binding]) -> list[str]:
    notes = []
    for place, binding in enumerate(bindings):
        by = {"shape": "its shape", "measured": "its values"}.get(binding.how)
        moved = binding.index != place
        if moved or binding.how == "measured":
            notes.append(
                f"Output {binding.reference} is the file's output {binding.index} "
                f"({binding.candidate}), by {by or 'its name'}."
            )
    return notes


def _parts(
    own: Contract | None,
    bindings: Sequence[Binding],
    wholes: Sequence[tuple[TensorSpec, tuple[int, ...], Any]],
) -> dict[int, list[list[int]]]:
    found = {}
    for place, binding in enumerate(bindings):
        _, places, part = wholes[binding.index]
        if part is None or own is None or part.axis >= len(binding.permutation):
            continue
        axis = binding.permutation[part.axis]
        cut = [own.outputs[other].part for other in places]
        found[place] = [[axis, one.start, one.size] for one in cut if one is not None]
    return found


def _spans(
    summary: Summary,
    fed: Sequence[Binding],
    names: Sequence[str],
    bindings: Sequence[Binding],
    taken: Sequence[Taken],
    own: Contract | None,
) -> list[Span]:
    """The ranges that the file's scales can represent; not of outputs that it has in parts.

    Raw pixels are left out: they have the range of their type, whatever the picture.
    """
    spans = []
    for number, (port, binding) in enumerate(zip(summary.inputs, fed, strict=True)):
        entry = _input(own, number)
        raw = entry is not None and entry.folded is not None
        if not raw and (limits := _limits(port)):
            place = names.index(binding.reference)
            spans.append(_span("input", place, binding.reference, limits))
    for place, (binding, one) in enumerate(zip(bindings, taken, strict=True)):
        if len(one.places) == 1 and (limits := _limits(summary.outputs[one.places[0]])):
            spans.append(_span("output", place, binding.reference, limits))
    return spans


def _of_outputs(known: Sequence[_T], taken: Sequence[Taken], parted: _T) -> list[_T]:
    """What is known of the file's outputs, for the reference's; ``parted`` of one in parts."""
    return [known[one.places[0]] if len(one.places) == 1 else parted for one in taken]


def _span(role: str, index: int, name: str, limits: tuple[float, float]) -> Span:
    return Span(role=role, index=index, name=name, low=limits[0], high=limits[1])


def _limits(port: Port) -> tuple[float, float] | None:
    import numpy as np

    if not port.scale or port.zero_point is None or port.tensor.dtype not in _STORED:
        return None
    stored = np.iinfo(port.tensor.dtype)
    low, high = ((end - port.zero_point) * port.scale for end in (stored.min, stored.max))
    return float(low), float(high)


_STORED = frozenset({"int8", "uint8", "int16"})
