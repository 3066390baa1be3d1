"""Mixed precision: which layers to take out of 8 bits first, by what that gains and what it costs.

Both are measured, not estimated. For each of the layers that do most damage, a file is written in
which this layer alone computes in float, and one in which it has 16-bit activations. What the files
lose less than the plain int8 file is the gain, what they take longer is the cost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal, TypeAlias

from edgekit.errors import ConversionError
from edgekit.quantize.emit import NO_EXCEPTIONS, Exceptions, emit
from edgekit.quantize.judge import Judge
from edgekit.quantize.layers import find_layers
from edgekit.quantize.sensitivity import LayerSensitivity, measure, most_damaging
from edgekit.tflite.model import read, write
from edgekit.types import Ranges, Scheme

Precision: TypeAlias = Literal["float", "int16"]
_PRECISIONS: tuple[Precision, ...] = ("float", "int16")
_WARMUP, _ROUNDS = 2, 15
_LEAST_COST = 0.01
"""A cost below this share of the whole is within the noise of timing, and counts as much."""


@dataclass(frozen=True, kw_only=True)
class Relief:
    """A layer taken out of 8 bits.

    Attributes:
        name: of the layer in the original model where known.
        operator: ``CONV_2D`` …
        members: first outputs of the operators that go with it, see `sensitivity.LayerSensitivity`.
        precision: what it computes in instead.
        gain: the share of the output's noise energy that is gone; negative where there is more.
        cost: by which share of the int8 file's median time the file is slower; may be negative.
    """

    name: str
    operator: str
    members: tuple[str, ...]
    precision: Precision
    gain: float
    cost: float


def rank(
    model: Path,
    ranges: Ranges,
    judge: Judge,
    work: Path,
    *,
    scheme: Scheme = "int8",
    most: int = 16,
    unrounded: Path | None = None,
    progress: Callable[[float, str], None],
) -> list[Relief]:
    """The layers that are worth taking out of 8 bits, the best bargain first.

    Args:
        model: the prepared float `.tflite`.
        ranges: of its tensors.
        judge: measures on held-out samples.
        work: a folder for intermediate files.
        scheme: which of the int8 schemes.
        most: so many of the most damaging layers are looked at.
        unrounded: the same model before its weights were rounded, for what computes in float.
        progress: told the fraction done.

    Raises:
        ConversionError: the model cannot be quantized to int8 at all.
    """
    rows = measure(
        model, ranges, judge, work, mode="each", progress=lambda f, text: progress(0.5 * f, text)
    )
    damaging = most_damaging(rows)[:most]
    plain = work / "relief-none.tflite"
    emit(model, plain, scheme, ranges)
    tried: list[tuple[LayerSensitivity, Precision, Path, float]] = []
    noise = _noise(judge.int8(model, ranges, scheme=scheme).worst_db)
    for number, row in enumerate(damaging):
        progress(0.5 + 0.4 * number / len(damaging), f"{row.name} in more than 8 bits")
        for precision in _PRECISIONS:
            path = work / f"relief-{number}-{precision}.tflite"
            exceptions = excepting([(row.members, precision)])
            source = restore(model, unrounded, exceptions, path.with_suffix(".float"))
            try:
                emit(source, path, scheme, ranges, exceptions)
                left = _noise(judge.int8(source, ranges, exceptions, scheme=scheme).worst_db)
            except (ConversionError, RuntimeError, ValueError):
                continue  # no kernel or no recipe of that precision for this operator
            tried.append((row, precision, path, 1 - left / noise))
    base, *times = _times([plain, *(path for _, _, path, _ in tried)])
    found = [
        Relief(
            name=row.name,
            operator=row.operator,
            members=row.members,
            precision=precision,
            gain=gain,
            cost=spent / base - 1,
        )
        for (row, precision, _, gain), spent in zip(tried, times, strict=True)
    ]
    return _best_bargains(found)


def excepting(choices: Iterable[tuple[Sequence[str], Precision]]) -> Exceptions:
    """The exceptions that take operators, named by their first outputs, out of 8 bits."""
    floating: set[str] = set()
    sixteen: set[str] = set()
    for members, precision in choices:
        (floating if precision == "float" else sixteen).update(members)
    return Exceptions(floating=frozenset(floating), sixteen=frozenset(sixteen))


def restore(model: Path, unrounded: Path | None, exceptions: Exceptions, output: Path) -> Path:
    """Give layers that compute in float the weights that they had before rounding.

    Returns:
        ``output``, or ``model`` where there is nothing to do.
    """
    if unrounded is None or unrounded == model or exceptions == NO_EXCEPTIONS:
        return model
    originals = {layer.name: layer for layer in find_layers(read(unrounded))}
    loaded = read(model)
    for layer in find_layers(loaded):
        if layer.name in exceptions.floating and layer.name in originals:
            layer.copy_from(originals[layer.name])
    write(loaded, output)
    return output


def _best_bargains(found: Sequence[Relief]) -> list[Relief]:
    """One precision per layer, and all by gain for cost; ties by name, to be deterministic.

    Layers that gain nothing by themselves come last, the cheapest first: together they may.
    """

    def bargain(relief: Relief) -> tuple[float, str]:
        cost = max(relief.cost, _LEAST_COST)
        return (-relief.gain / cost if relief.gain > 0 else cost), relief.name

    best: dict[tuple[str, ...], Relief] = {}
    for relief in sorted(found, key=bargain):
        best.setdefault(relief.members, relief)
    return list(best.values())


def _noise(decibels: float) -> float:
    return float(10 ** (-decibels / 10))


def _times(paths: Sequence[Path]) -> list[float]:
    """The median seconds of each file with one thread, all in turn so that noise hits all alike."""
    interpreters = [_open(path) for path in paths]
    times: list[list[float]] = [[] for _ in paths]
    for number in range(_WARMUP + _ROUNDS):
        for interpreter, mine in zip(interpreters, times, strict=True):
            started = time.perf_counter()
            interpreter.invoke()
            if number >= _WARMUP:
                mine.append(time.perf_counter() - started)
    return [median(mine) for mine in times]


def _open(path: Path) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    return interpreter
