"""What every layer costs in every precision: noise in the outputs, and time, both measured.

Noise: a file with this layer alone in 8 bits, and for each value that layers share a float file in
which it alone is rounded. Time: the layer as a model of its own, in every precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from edgekit.closeness import EQUAL_DB
from edgekit.errors import ConversionError, ModelError
from edgekit.quantize.allocation import Compute, CostModel, PrecisionCost, SharedValue
from edgekit.quantize.emit import NO_EXCEPTIONS, Emissions, Exceptions
from edgekit.quantize.excerpts import excerpt, fastest
from edgekit.quantize.judge import Judge, Judgement
from edgekit.quantize.layers import find_layers as find_weights
from edgekit.quantize.sensitivity import MOVES, LayerSensitivity, find_layers
from edgekit.tflite.model import Model
from edgekit.tflite.surgery import exchange_outputs
from edgekit.types import Ranges, Scheme

_MUCH_FASTER = 0.9
"""16 bits are looked at where they take less than this share of float's time: float is exact."""


@dataclass(frozen=True, kw_only=True)
class _Value:
    """A tensor with all that only moves it, and who makes and reads these."""

    tensor: str
    elements: int
    layers: tuple[int, ...]
    fixed: frozenset[Compute]


def measure_costs(
    model: Model,
    ranges: Ranges,
    judge: Judge,
    *,
    scheme: Scheme,
    unrounded: Model,
    progress: Callable[[float, str], None],
) -> tuple[list[LayerSensitivity], CostModel]:
    """Measure every layer and every value between layers.

    Args:
        model: the prepared float one.
        ranges: of its tensors.
        judge: has the outputs to compare with, on samples to choose by.
        scheme: which of the int8 schemes; it says what inputs and outputs are.
        unrounded: the same model before its weights were rounded, for what computes in float.
        progress: told the fraction done.

    Raises:
        ConversionError: int8 is impossible for this model as a whole, or changes nothing in it.
    """
    layers = find_layers(model, ranges, judge.emissions)
    times, border = _times(
        model, layers, ranges, judge.emissions, lambda f, text: progress(0.3 * f, text)
    )
    values = _values(model, layers, scheme)
    members = [frozenset(layer.members) for layer in layers]
    everything = frozenset().union(*members)
    sixteen = [place for place, own in enumerate(times) if "int16" in own]
    jobs = [Exceptions(floating=everything - mine) for mine in members]
    jobs += [
        Exceptions(floating=everything - members[place], sixteen=members[place])
        for place in sixteen
    ]

    def alone(exceptions: Exceptions) -> tuple[float, ...] | None:
        try:
            source = restore(model, unrounded, exceptions)
            return energies(judge.int8(source, ranges, exceptions, scheme="int8-float-io"))
        except (ConversionError, ModelError):
            return None  # what cannot stand alone says nothing about other layers

    def rounded(value: _Value) -> tuple[float, ...] | None:
        low, high = ranges.get(value.tensor, (0.0, 0.0))
        trial = unrounded.copy()
        _round(trial, value.tensor, low, high)
        return energies(judge.floating(trial))

    total = len(jobs) + len(values)
    found: list[tuple[float, ...] | None] = []
    # One file is written while another runs: the interpreter leaves Python to other threads.
    with ThreadPoolExecutor(2) as pool:
        for result in _in_turn(pool.map(alone, jobs), pool.map(rounded, values)):
            found.append(result)
            progress(0.3 + 0.7 * len(found) / total, f"{len(found)} of {total} files")
    noises, theirs = found[: len(jobs)], found[len(jobs) :]
    outputs = next((len(one) for one in found if one is not None), 1)
    nothing = (0.0,) * outputs
    shared = [
        SharedValue(
            layers=value.layers,
            fixed=value.fixed,
            noise=noise or nothing,
            seconds=border * value.elements,
        )
        for value, noise in zip(values, theirs, strict=True)
    ]
    by_layer = _layer_options(noises, sixteen, times, shared, nothing)
    return layers, CostModel(layers=by_layer, values=shared)


def restore(model: Model, unrounded: Model | None, exceptions: Exceptions) -> Model:
    """The model in which layers that compute in float have the weights of before the rounding."""
    if unrounded is None or unrounded is model or exceptions == NO_EXCEPTIONS:
        return model
    originals = {layer.name: layer for layer in find_weights(unrounded)}
    restored = model.copy()
    for layer in find_weights(restored):
        if layer.name in exceptions.floating and layer.name in originals:
            layer.copy_from(originals[layer.name])
    return restored


def energies(judgement: Judgement) -> tuple[float, ...]:
    """The energy of the noise in each output as a share of the signal's."""
    return tuple(
        0.0 if decibels >= EQUAL_DB else float(10 ** (-decibels / 10))
        for decibels in judgement.output_db.values()
    )


def _in_turn(*several: Iterator[tuple[float, ...] | None]) -> Iterator[tuple[float, ...] | None]:
    for one in several:
        yield from one


def _layer_options(
    noises: Sequence[tuple[float, ...] | None],
    sixteen: Sequence[int],
    times: Sequence[dict[Compute, float]],
    values: Sequence[SharedValue],
    nothing: tuple[float, ...],
) -> list[dict[Compute, PrecisionCost]]:
    in_sixteen = dict(zip(sixteen, noises[len(times) :], strict=True))
    options: list[dict[Compute, PrecisionCost]] = []
    for place, own in enumerate(times):
        around = [value.noise for value in values if place in value.layers]
        whole = noises[place] or nothing
        rest = [total - sum(part) for total, *part in zip(whole, *around, strict=True)]
        noise: dict[Compute, tuple[float, ...]] = {
            "int8": tuple(max(one, 0.0) for one in rest),
            "float": nothing,
        }
        if (measured := in_sixteen.get(place)) is not None:
            noise["int16"] = measured
        options.append(
            {
                name: PrecisionCost(seconds=own[name], noise=energy)
                for name, energy in noise.items()
                if name in own
            }
        )
    return options


def _times(
    model: Model,
    layers: Sequence[LayerSensitivity],
    ranges: Ranges,
    emissions: Emissions,
    progress: Callable[[float, str], None],
) -> tuple[list[dict[Compute, float]], float]:
    """The seconds of each layer in each precision, and of converting one element."""
    schemes: dict[str, Scheme] = {"int8": "int8", "int16": "int16x8", "borders": "int8-float-io"}
    times: list[dict[Compute, float]] = []
    converting = elements = 0.0
    for place, layer in enumerate(layers):
        progress(place / len(layers), f"time of {layer.name}")
        part = excerpt(model, layer.members)
        files = {"float": part.packed()}
        for precision, scheme in schemes.items():
            try:
                emitted = emissions(part, scheme, ranges)
                fastest([emitted.data], rounds=1)
            except (ConversionError, ModelError):
                continue  # no kernel or no recipe of that precision
            files[precision] = emitted.data
        found = dict(zip(files, fastest(list(files.values())), strict=True))
        if "borders" in found and "int8" in found:
            converting += max(found["borders"] - found["int8"], 0.0)
            ends = part.main
            elements += sum(math.prod(t.shape) for t in (*ends.inputs, *ends.outputs))
        found.pop("borders", None)
        found.setdefault("int8", found["float"])  # it is in 8 bits: only not by itself
        if found.get("int16", math.inf) > _MUCH_FASTER * found["float"]:
            found.pop("int16", None)
        kinds: tuple[Compute, ...] = ("int8", "int16", "float")
        times.append({kind: found[kind] for kind in kinds if kind in found})
    return times, converting / elements if elements else 0.0


def _values(model: Model, layers: Sequence[LayerSensitivity], scheme: Scheme) -> list[_Value]:
    """The values that more than one layer has to do with, or the graph's ends."""
    graph = model.main
    owner = {name: place for place, layer in enumerate(layers) for name in layer.members}
    roots: dict[int, int] = {}
    touching: dict[int, set[int]] = {}
    fixed: dict[int, set[Compute]] = {}
    end: Compute = "float" if scheme == "int8-float-io" else "int8"
    for tensor in graph.inputs:
        fixed.setdefault(tensor.index, set()).add(end)
    for operator in graph.operators:
        mine = owner.get(operator.outputs[0].name)
        read_here = [t for t in operator.inputs if t is not None and not t.is_constant]
        if operator.name in MOVES and read_here:
            for output in operator.outputs:
                roots[output.index] = roots.get(read_here[0].index, read_here[0].index)
        for tensor in (*read_here, *operator.outputs):
            root = roots.get(tensor.index, tensor.index)
            if mine is None:
                fixed.setdefault(root, set()).add("float")
            else:
                touching.setdefault(root, set()).add(mine)
    for tensor in graph.outputs:
        fixed.setdefault(roots.get(tensor.index, tensor.index), set()).add(end)
    return [
        _Value(
            tensor=graph.tensor(root).name,
            elements=math.prod(graph.tensor(root).shape),
            layers=tuple(sorted(places)),
            fixed=frozenset(fixed.get(root, ())),
        )
        for root, places in touching.items()
        if graph.tensor(root).dtype == "float32" and (len(places) > 1 or root in fixed)
    ]


def _round(model: Model, name: str, low: float, high: float) -> None:
    """Round a tensor to 8 bits and back, for all that read it and for the graph's outputs."""
    from ai_edge_litert.schema_py_generated import QuantizationParametersT

    graph = model.main
    tensor = next(tensor for tensor in graph.tensors if tensor.name == name)
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255 or 1.0
    zero = max(-128, min(127, round(-128 - low / scale)))
    readers, maker = graph.consumers(tensor), graph.producer(tensor)
    stored = graph.add_tensor(f"{name}/8 bits", tensor.shape, "int8")
    stored.raw.quantization = QuantizationParametersT(scale=[scale], zeroPoint=[zero])
    back = graph.add_tensor(f"{name}/and back", tensor.shape, "float32")
    for reader in readers:
        reader.renumber({tensor.index: back.index})
    exchange_outputs(model, tensor, back)
    place = 0 if maker is None else maker.place + 1
    graph.insert_operator(place, "QUANTIZE", [tensor], [stored])
    graph.insert_operator(place + 1, "DEQUANTIZE", [stored], [back], version=2)
