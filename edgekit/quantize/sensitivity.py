"""Which layers cost how much accuracy in int8: one at a time, and as a growing prefix.

The face of this module is::

    measure(model: Path, ranges: Ranges, judge: Judge, work: Path, *,
            mode: Mode = "both", progress: Callable[[float, str], None]) -> list[LayerSensitivity]

The rows come in the order of execution. A row's ``members`` are what `edgekit.quantize.emit`
wants to leave the layer in float: ``Exceptions(floating=frozenset(row.members))``. The most
damaging layers are ``most_damaging(rows)``.

Everything is measured with the graph's inputs and outputs in float, so that of one layer nothing
but its own noise is seen: of its inputs, its weights and its results. The prefix that holds all
layers computes what the int8 file does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from edgekit.closeness import EQUAL_DB
from edgekit.errors import ConversionError, ModelError
from edgekit.quantize.emit import Emissions, Exceptions
from edgekit.quantize.integer_ops.norms import variance_chains
from edgekit.quantize.judge import Judge, Judgement
from edgekit.tflite.dtypes import FLOAT_TYPES
from edgekit.tflite.layer_names import layer_name
from edgekit.tflite.model import Model, Operator, Subgraph
from edgekit.types import Ranges

Mode: TypeAlias = Literal["each", "prefix", "both"]

MOVES = frozenset(
    {
        "BATCH_TO_SPACE_ND",
        "BROADCAST_TO",
        "DEPTH_TO_SPACE",
        "EXPAND_DIMS",
        "GATHER",
        "GATHER_ND",
        "MAX_POOL_2D",
        "MIRROR_PAD",
        "PAD",
        "PADV2",
        "RESHAPE",
        "RESIZE_NEAREST_NEIGHBOR",
        "REVERSE_V2",
        "SLICE",
        "SPACE_TO_BATCH_ND",
        "SPACE_TO_DEPTH",
        "SPLIT",
        "SPLIT_V",
        "SQUEEZE",
        "STRIDED_SLICE",
        "TILE",
        "TRANSPOSE",
        "UNPACK",
    }
)
"""Operators whose results are values of their input, on the same scale: they add no noise."""


@dataclass(frozen=True, kw_only=True)
class LayerSensitivity:
    """What quantizing one layer to int8 does to the model's outputs.

    Attributes:
        place: among the layers in the order of execution, from 1.
        index: of the operator in the main graph.
        operator: ``CONV_2D`` …
        name: of the node in the ONNX file where the weights tell it, else the tensor's.
        tensor: the operator's first output, which no other layer shares.
        members: first outputs of all operators that were switched with it: its own, and those that
            only move its values.
        macs: multiplications per sample; 0 for operators without a matrix product.
        each: with only this layer in int8; ``None`` if not asked for, or see ``problem``.
        prefix: with this layer and all before it in int8; likewise.
        prefix_drop_db: by how much the SQNR of the prefix fell with this layer (may be negative);
            ``None`` for the first one, before which everything is float.
        noise_share: 0 to 1, of the sum of all layers' noise one at a time. Noise energies of small
            independent errors add up, so this says where the loss comes from, to first order.
        problem: why something could not be measured; empty where nothing went wrong.
    """

    place: int
    index: int
    operator: str
    name: str
    tensor: str
    members: tuple[str, ...]
    macs: int = 0
    each: Judgement | None = None
    prefix: Judgement | None = None
    prefix_drop_db: float | None = None
    noise_share: float | None = None
    problem: str = ""


def measure(
    model: Model,
    ranges: Ranges,
    judge: Judge,
    *,
    mode: Mode = "both",
    progress: Callable[[float, str], None],
) -> list[LayerSensitivity]:
    """Quantize the layers one at a time, and as prefixes, and compare the outputs with float.

    Args:
        model: the float `.tflite`, possibly a prepared one.
        ranges: of its float tensors.
        judge: has the outputs to compare with, and the held-out samples.
        mode: one at a time, prefixes, or both.
        progress: told the fraction done.

    Raises:
        ConversionError: int8 is impossible for this model as a whole, or changes nothing in it.
    """
    rows = find_layers(model, ranges, judge.emissions)
    jobs = _jobs(rows, mode)
    started = time.monotonic()

    def judged(job: _Job) -> Judgement | str:
        try:
            only = Exceptions(only=job.members)
            return judge.int8(model, ranges, only, scheme="int8-float-io")
        except (ConversionError, ModelError) as error:
            return str(error)  # what cannot stand alone says nothing about other layers

    # One file is written while another runs: the interpreter leaves Python to other threads.
    with ThreadPoolExecutor(2) as pool:
        for number, (job, outcome) in enumerate(zip(jobs, pool.map(judged, jobs), strict=True)):
            rows[job.row] = _with(rows[job.row], job.kind, outcome)
            done = (number + 1) / len(jobs)
            left = (time.monotonic() - started) * (1 - done) / done
            progress(done, f"{number + 1} of {len(jobs)} files, {left:.0f} s left")
    return _with_shares(_with_drops(rows))


def most_damaging(rows: Iterable[LayerSensitivity]) -> list[LayerSensitivity]:
    """The layers that were measured one at a time, the one that costs most first."""
    measured = [(row.each.worst_db, row) for row in rows if row.each is not None]
    return [row for _, row in sorted(measured, key=lambda pair: pair[0])]


def find_layers(model: Model, ranges: Ranges, emissions: Emissions) -> list[LayerSensitivity]:
    """The layers that int8 changes, not yet measured, in the order of execution.

    A layer is an operator that computes in float in the model and in integers in its int8 file.
    Operators that only move values count with the layer that reads them, such as the padding before
    a convolution, and where there is none with the layer before. A variance counts with its root:
    with one in integers and the other in float, a zero would become infinite.

    Raises:
        ConversionError: int8 is impossible for this model as a whole, or changes nothing in it.
    """
    outcome = emissions(model, "int8", ranges).result
    left = {kept.output for kept in outcome.left}
    graph = model.main
    changed = [op for op in graph.operators if _is_float(op) and op.outputs[0].name not in left]
    steps = _variance_steps(model)
    layers = [op for op in changed if op.name not in MOVES and op.outputs[0].name not in steps]
    if not layers:
        raise ConversionError(
            "int8 changes no operator of this model.",
            cure="Look at its operators with: edgekit inspect",
        )
    owners = _owners(graph, layers, [op for op in changed if op.name in MOVES])
    by_name = {op.outputs[0].name: op.index for op in changed}
    owners |= {by_name[name]: by_name[root] for name, root in steps.items() if name in by_name}
    return [
        LayerSensitivity(
            place=place,
            index=layer.index,
            operator=layer.name,
            name=layer_name(layer),
            tensor=layer.outputs[0].name,
            members=tuple(op.outputs[0].name for op in changed if owners[op.index] == layer.index),
            macs=_macs(layer),
        )
        for place, layer in enumerate(layers, 1)
    ]


def _variance_steps(model: Model) -> dict[str, str]:
    """The operators of variances before the root, by their outputs, with that of the root."""
    chains = variance_chains(model)
    return {name: chain[0] for chain in chains for name in chain[1:]}


def _is_float(operator: Operator) -> bool:
    return bool(operator.outputs) and operator.outputs[0].dtype in FLOAT_TYPES


def _owners(
    graph: Subgraph, layers: Sequence[Operator], moves: Sequence[Operator]
) -> dict[int, int]:
    """Which layer each operator counts with, by their indices; a layer counts with itself."""
    owners = {layer.index: layer.index for layer in layers}
    for move in reversed(moves):  # backwards, so that the readers of each are known
        readers = [reader.index for out in move.outputs for reader in graph.consumers(out)]
        found = [owners[index] for index in sorted(readers) if index in owners]
        if found:
            owners[move.index] = found[0]
    for move in moves:
        before = [layer.index for layer in layers if layer.index < move.index]
        owners.setdefault(move.index, before[-1] if before else layers[0].index)
    return owners


def _macs(operator: Operator) -> int:
    """Multiplications of a matrix product or convolution, from the shapes in the file."""
    results = math.prod(operator.outputs[0].shape)
    shapes = [tensor.shape if tensor is not None else () for tensor in operator.inputs]
    match operator.name:
        case "CONV_2D":
            return results * math.prod(shapes[1][1:])
        case "DEPTHWISE_CONV_2D":
            return results * math.prod(shapes[1][1:3])
        case "FULLY_CONNECTED":
            return results * shapes[1][-1]
        case "TRANSPOSE_CONV":  # each input value meets each filter: (outputs, height, width)
            return math.prod(shapes[2]) * math.prod(shapes[1][:3])
        case "BATCH_MATMUL":
            return results * shapes[0][-2 if operator.options.adjX else -1]
        case _:
            return 0


@dataclass(frozen=True)
class _Job:
    """One file to write and judge, for the row of that number."""

    kind: Literal["each", "prefix"]
    row: int
    members: frozenset[str]


def _jobs(rows: Sequence[LayerSensitivity], mode: Mode) -> list[_Job]:
    jobs, before = [], frozenset[str]()
    if mode != "prefix":
        jobs += [_Job("each", n, frozenset(row.members)) for n, row in enumerate(rows)]
    if mode != "each":
        for number, row in enumerate(rows):
            before |= frozenset(row.members)
            jobs.append(_Job("prefix", number, before))
    return jobs


def _with(
    row: LayerSensitivity, kind: Literal["each", "prefix"], outcome: Judgement | str
) -> LayerSensitivity:
    if isinstance(outcome, str):
        return replace(row, problem=f"{kind}: {outcome}")
    return replace(row, each=outcome) if kind == "each" else replace(row, prefix=outcome)


def _with_drops(rows: Sequence[LayerSensitivity]) -> list[LayerSensitivity]:
    result: list[LayerSensitivity] = []
    before: float | None = None
    for row in rows:
        now = row.prefix.worst_db if row.prefix is not None else None
        drop = before - now if before is not None and now is not None else None
        result.append(replace(row, prefix_drop_db=drop))
        before = now
    return result


def _with_shares(rows: Sequence[LayerSensitivity]) -> list[LayerSensitivity]:
    noises = {row.place: _noise(row.each) for row in rows if row.each is not None}
    total = sum(noises.values()) or 1.0
    return [
        replace(row, noise_share=noises[row.place] / total) if row.place in noises else row
        for row in rows
    ]


def _noise(judgement: Judgement) -> float:
    """The energy of the noise in the worst output, as a multiple of the signal's."""
    decibels = judgement.worst_db
    return 0.0 if decibels >= EQUAL_DB else float(10 ** (-decibels / 10))
