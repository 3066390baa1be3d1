"""Outputs that mix ranges, as detectors have them: boxes in pixels beside scores of 0…1.

One scale for both leaves the scores a step or two. The graph is searched for CONCATENATIONs that
lead to an output, along which the values differ in magnitude. Such an output is cut into parts,
each with a scale of its own; the passes then prepare and judge the parts one by one. Integer files
keep the parts as outputs. Files with float outputs get the CONCATENATION back, in float.

Where a slice takes apart again what was joined further up, it is moved to the parts too
(`edgekit.quantize.slices`). Everything is exact in float: no value is computed in another way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from edgekit.quantize.emit import NO_EXCEPTIONS, Emissions, Emitted, Exceptions
from edgekit.quantize.mixed import MixedTensor, find
from edgekit.quantize.observe import SampleFeed
from edgekit.quantize.prepare import Prepared
from edgekit.quantize.slices import Slicer, slices_of
from edgekit.tflite.flatbuffer import text
from edgekit.tflite.model import Model
from edgekit.tflite.surgery import drop_unused_operators
from edgekit.types import Ranges

__all__ = [
    "MixedTensor",
    "Split",
    "cut",
    "emit_joined",
    "find",
    "join",
    "joined_ranges",
    "split",
    "tail",
]

_TAIL_DB = 1.0
"""A tail stays in float where the worst part gains at least this."""
_CHEAP = frozenset(
    {
        *("ADD", "DIV", "EXP", "MAXIMUM", "MINIMUM", "MUL", "NEG", "POW", "SQUARE", "SUB"),
        *("LOGISTIC", "RELU", "RELU6", "SOFTMAX", "TANH"),
        *("CONCATENATION", "EXPAND_DIMS", "RESHAPE", "SLICE", "SQUEEZE", "STRIDED_SLICE"),
        "TRANSPOSE",
    }
)
"""Operators of a tail that costs little in float beside the convolutions before it."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """A float model whose mixed outputs are cut into parts.

    Attributes:
        model: it computes the same values as the original, bit for bit.
        mixed: what was found, and what was done.
        joins: for each output that was cut, its name and the names of its parts.
    """

    model: Model
    mixed: tuple[MixedTensor, ...] = ()
    joins: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def outputs(self) -> tuple[MixedTensor, ...]:
        """The outputs that were cut."""
        return tuple(one for one in self.mixed if one.tensor in self.joins)


def cut(model: Model, feeds: Sequence[SampleFeed], *, mend: bool) -> Split:
    """Find what mixes ranges and, if it shall be mended, cut it.

    Args:
        model: the float one; stays as it is.
        feeds: the calibration samples.
        mend: else the model stays as it is, and what was found is only told.
    """
    mixed = find(model, feeds)
    if mend and mixed:
        return split(model, mixed)
    return Split(model=model, mixed=mixed)


def split(model: Model, mixed: Sequence[MixedTensor]) -> Split:
    """Cut what was found; what cannot be cut exactly is left alone, and ``did`` says so."""
    parted = model.copy()
    slicer = Slicer(parted)
    joins: dict[str, tuple[str, ...]] = {}
    told = []
    for one in sorted(mixed, key=lambda one: one.output is not None):
        if one.output is None:
            moved = _move_slices(parted, slicer, one)
            did = f"{moved} slices moved to the parts" if moved else "nothing: cannot be cut"
        elif names := _cut_output(parted, slicer, one):
            joins[one.tensor] = names
            did = f"cut into {len(names)} parts"
        else:
            did = "nothing: cannot be cut"
        told.append(replace(one, did=did))
    drop_unused_operators(parted)
    return Split(model=parted, mixed=tuple(told), joins=joins)


def join(model: Model, cut: Split) -> Model:
    """The model with its outputs whole again, by a CONCATENATION for each.

    Args:
        model: ``cut.model``, or what the passes made of it.
        cut: says what belongs together.
    """
    from ai_edge_litert.schema_py_generated import ConcatenationOptionsT

    whole_again = model.copy()
    graph = whole_again.main
    by_name = {tensor.name: tensor for tensor in graph.tensors}
    for one in cut.outputs:
        parts = [by_name[name] for name in cut.joins[one.tensor]]
        whole = by_name[one.tensor]
        options = ConcatenationOptionsT(axis=one.axis)
        place = len(graph.operators)
        graph.insert_operator(place, "CONCATENATION", parts, [whole], options=options)
        _replace_outputs(whole_again, [part.index for part in parts], [whole.index])
    return whole_again


def emit_joined(
    prepared: Prepared, cut: Split, emissions: Emissions, exceptions: Exceptions = NO_EXCEPTIONS
) -> tuple[str, Emitted]:
    """Make ``int8-float-io`` with the outputs whole again, joined in float.

    The operators of the tail stay in float too where the worst part gains by it.

    Args:
        prepared: what the passes made of ``cut.model``; without its judge the tail is quantized.
        cut: says what belongs together.
        emissions: makes the quantized files.
        exceptions: operators that do not compute in 8 bits anyway.

    Returns:
        In words what is joined, and the file.

    Raises:
        ConversionError: litert-quantizer refuses the model.
    """
    model, ranges = prepared.model, prepared.ranges
    floating, did = frozenset(cut.joins), "joined in float"
    end = tail(model, cut)
    if prepared.judge is not None and end:
        quantized, exact = (
            prepared.judge.int8(
                model, ranges, Exceptions(floating=names), scheme="int8-float-io"
            ).worst_db
            for names in (frozenset[str](), end)
        )
        if exact >= quantized + _TAIL_DB:
            floating |= end
            did += (
                f", and {len(end)} operators before that: the worst part has "
                f"{exact:.1f} dB instead of {quantized:.1f} dB"
            )
    exceptions = replace(exceptions, floating=exceptions.floating | floating)
    return did, emissions(join(model, cut), "int8-float-io", joined_ranges(ranges, cut), exceptions)


def joined_ranges(ranges: Ranges, cut: Split) -> Ranges:
    """The ranges with those of the outputs that were cut, which span their parts'."""
    whole = {
        name: (min(ranges[p][0] for p in parts), max(ranges[p][1] for p in parts))
        for name, parts in cut.joins.items()
    }
    return {**ranges, **whole}


def tail(model: Model, cut: Split) -> frozenset[str]:
    """The first outputs of the cheap operators between the last layers and the parts."""
    graph = model.main
    names = {name for parts in cut.joins.values() for name in parts}
    reached = {tensor.index for tensor in graph.tensors if tensor.name in names}
    found = set()
    for operator in reversed(graph.operators):
        if operator.name in _CHEAP and reached & set(operator.raw.outputs):
            found.add(operator.outputs[0].name)
            reached |= {t.index for t in operator.inputs if t is not None and not t.is_constant}
    return frozenset(found)


def _cut_output(model: Model, slicer: Slicer, mixed: MixedTensor) -> tuple[str, ...]:
    """The names of the parts that are outputs now; empty where the output stays whole."""
    graph = model.main
    whole = next(tensor for tensor in graph.outputs if tensor.name == mixed.tensor)
    found = [slicer.take(whole, mixed.axis, part.start, part.size) for part in mixed.parts]
    parts = [tensor for tensor in found if tensor is not None]
    taken = {*graph.raw.inputs, *graph.raw.outputs}
    indices = [tensor.index for tensor in parts]
    if (
        len(parts) < len(found)
        or len(set(indices)) < len(indices)
        or taken & set(indices)
        or any(tensor.is_constant for tensor in parts)
        or graph.consumers(whole)
    ):
        return ()
    signature = whole.raw.shapeSignature
    for tensor, part in zip(parts, mixed.parts, strict=True):
        # What stands there of a tensor inside need not be true; of an output it is a promise.
        tensor.raw.shapeSignature = None if signature is None else list(signature)
        if signature is not None and signature[mixed.axis] > 0:
            tensor.raw.shapeSignature[mixed.axis] = part.size
    _replace_outputs(model, [whole.index], indices)
    return tuple(tensor.name for tensor in parts)


def _move_slices(model: Model, slicer: Slicer, mixed: MixedTensor) -> int:
    """Let the readers of each slice of a mixed tensor read a slice of its parts instead."""
    edges = {part.start for part in mixed.parts} | {p.start + p.size for p in mixed.parts}
    moved = 0
    graph = model.main
    for cut in [cut for operator in graph.operators for cut in slices_of(operator)]:
        if cut.source.name != mixed.tensor or cut.axis != mixed.axis:
            continue
        result = cut.result
        if not {cut.start, cut.start + cut.size} <= edges or result.index in graph.raw.outputs:
            continue
        source = slicer.take(cut.source, cut.axis, cut.start, cut.size)
        if source is None:
            continue
        for reader in graph.consumers(result):
            reader.renumber({result.index: source.index})
        moved += 1
    return moved


def _replace_outputs(model: Model, old: list[int], new: list[int]) -> None:
    """Put the new outputs in the place of the old, in the graph and in its signatures.

    There the parts of ``scores`` are ``scores/0``, ``scores/1`` …
    """
    from ai_edge_litert.schema_py_generated import TensorMapT

    outputs = list(model.main.raw.outputs)
    place = outputs.index(old[0])
    outputs[place : place + len(old)] = new
    model.main.raw.outputs = outputs
    for signature in model.raw.signatureDefs or ():
        stays = [entry for entry in signature.outputs if entry.tensorIndex not in old]
        gone = [text(entry.name) for entry in signature.outputs if entry.tensorIndex in old]
        if not gone:
            continue
        if len(new) == 1:  # back to the name that it had before it was cut
            names = [gone[0].rpartition("/")[0]]
        else:
            names = [f"{gone[0]}/{number}" for number in range(len(new))]
        entries = [
            TensorMapT(name=name, tensorIndex=index) for name, index in zip(names, new, strict=True)
        ]
        signature.outputs = stays + entries
