"""The scales that a quantized source came with, kept in its int8 file.

A model that was trained with fake quantization has learned its scales. Its float form
(`converters/common/quantized_source.py`) has lost them, and converters rename, fuse and transpose.
So a tensor of the float `.tflite` is recognised by its values on a few samples: it has the range of
the value in the source that holds the same numbers, in whatever order. Ranges and steps are then
stated in a copy of the float file, which `edgekit.quantize.emit` reads; nothing else has to know.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.quantize.integer_ops.rewrites import Simplify
from edgekit.quantize.layers import BIAS_AT, INPUT_AT, WEIGHTS_AT, find_layers
from edgekit.quantize.observe import (
    SampleFeed,
    choose_samples,
    in_memory_groups,
    samples,
)
from edgekit.quantize.twins import Watched
from edgekit.tflite.model import Model, Operator, Tensor, read, write
from edgekit.tflite.passes import GraphPass, attempt

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

_ALIKE = 1e-3
"""Values are the same that differ by no more than this share of their range."""
_GRID = 127
"""The largest integer of a weight: kernels of old runtimes overflow at -128."""


@dataclass(frozen=True, kw_only=True)
class StoredActivation:
    """A value of the source, and the integers that it became.

    Attributes:
        values: a `.npy` of shape (samples, …) with its real numbers.
        scale, zero: a stored q stands for ``scale · (q - zero)``.
        low, high: the limits of the integers' type.
    """

    values: Path
    scale: float
    zero: int
    low: int
    high: int

    @property
    def range(self) -> tuple[float, float]:
        """What the smallest and the largest integer stand for."""
        return self.scale * (self.low - self.zero), self.scale * (self.high - self.zero)


@dataclass(frozen=True, kw_only=True)
class StoredWeights:
    """A constant of the source: a `.npy` with its real numbers, and the step of each channel."""

    values: Path
    scales: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Kept:
    """How many of the source's activations and weights were found again, and of how many."""

    activations: int
    of_activations: int
    weights: int
    of_weights: int


def state_scales(
    model: Path,
    output: Path,
    activations: Sequence[StoredActivation],
    weights: Sequence[StoredWeights],
    feeds: Sequence[SampleFeed],
) -> Kept:
    """Write a copy of a float file that states the ranges and steps of its source.

    A MINIMUM or MAXIMUM that only does what such a range does is left out.

    Args:
        model: the float `.tflite`.
        output: the copy.
        activations, weights: of the source.
        feeds: the samples that ``activations`` have the values of, and perhaps more.
    """
    loaded = read(model)
    attempt(Simplify(), loaded)
    known = _BySize(activations)
    found: dict[str, int] = {}
    for name, values in _values(loaded, feeds, known.count):
        place = known.like(values)
        if place is not None:
            found[name] = place
    for tensor in loaded.main.tensors:
        if tensor.name in found and not tensor.is_constant:
            tensor.state_range(*activations[found[tensor.name]].range)
    _leave_out_clips(loaded)
    again = _state_steps(loaded, weights)
    write(loaded, output)
    return Kept(
        activations=len(set(found.values())),
        of_activations=len(activations),
        weights=again,
        of_weights=len(weights),
    )


class _BySize:
    """The source's values, sorted, to be looked up by how many there are."""

    def __init__(self, activations: Sequence[StoredActivation]) -> None:
        import numpy as np

        self.count = 0
        self._sorted: dict[int, list[tuple[int, Array]]] = {}
        for place, one in enumerate(activations):
            stack = np.load(one.values, mmap_mode="r")
            self.count = len(stack)
            ordered = np.sort(stack.reshape(len(stack), -1).astype(np.float32), axis=1)
            self._sorted.setdefault(ordered.shape[1], []).append((place, ordered))

    def like(self, values: Array) -> int | None:
        """The place of the activation with the same numbers (samples, size), if there is one."""
        import numpy as np

        candidates = self._sorted.get(values.shape[1], [])
        if not candidates:
            return None
        ordered = np.sort(values, axis=1)
        best, least = None, _ALIKE
        for place, known in candidates:
            width = float(known.max() - known.min())
            if width == 0 or len(known) != len(ordered):
                continue
            error = float(np.abs(known - ordered).max()) / width
            if error < least:
                best, least = place, error
        return best


def _values(model: Model, feeds: Sequence[SampleFeed], count: int) -> Iterator[tuple[str, Array]]:
    """Each float tensor's values on the first samples, of shape (samples, size)."""
    import numpy as np

    if not count:
        return
    first = choose_samples(feeds, range(count))
    inputs = [tensor.name for tensor in model.main.inputs]
    for number, names in enumerate(in_memory_groups(model.main)):
        graph = Watched(model, names if number else [*inputs, *names], threads=2)
        runs = [graph.run(values) for values in samples(first)]
        for name, value in runs[0].items():
            if value.dtype == np.float32 and value.size:
                yield name, np.stack([run[name].ravel() for run in runs])


def _leave_out_clips(model: Model) -> None:
    """Take out each MINIMUM and MAXIMUM by a constant that lies where the stated range ends."""
    graph = model.main
    ends = set(graph.raw.outputs)
    for operator in graph.operators:
        if operator.name not in ("MINIMUM", "MAXIMUM"):
            continue
        result = operator.outputs[0]
        limits = result.stated_range
        sources = [t for t in operator.inputs if t is not None and not t.is_constant]
        constants = [t for t in operator.inputs if t is not None and t.is_constant]
        if limits is None or len(sources) != 1 or constants[0].data().size != 1:
            continue
        bound, half = float(constants[0].data().reshape(())), (limits[1] - limits[0]) / 510
        lowest = operator.name == "MAXIMUM"
        beyond = bound < limits[0] + half if lowest else bound > limits[1] - half
        source = sources[0]
        if not beyond or result.index in ends or len(graph.consumers(source)) != 1:
            continue
        source.state_range(*limits)
        graph.redirect(result, source)
        graph.remove([operator])


def _state_steps(model: Model, weights: Sequence[StoredWeights]) -> int:
    """State the step of each channel where a layer's weights are those of the source."""
    import numpy as np

    known: dict[int, list[tuple[int, Array]]] = {}
    for place, stored in enumerate(weights):
        ordered = np.sort(np.load(stored.values).ravel())
        known.setdefault(ordered.size, []).append((place, ordered))
    found: set[int] = set()
    for layer in find_layers(model):
        values = layer.weights.data()
        ordered = np.sort(values.ravel())
        for place, one in known.get(ordered.size, []):
            if not np.allclose(one, ordered, rtol=1e-5, atol=1e-9):
                continue
            axis = values.ndim - 1 if layer.is_depthwise else 0
            channels = np.asarray(weights[place].scales, np.float32)
            if channels.size not in (1, values.shape[axis]):
                continue
            steps = np.broadcast_to(channels, values.shape[axis])
            if _on_grid(values, steps, axis):
                layer.weights.state_steps(steps, axis)
                found.add(place)
                break
    return len(found)


def _on_grid(values: Array, steps: Array, axis: int) -> bool:
    """Whether all values are whole numbers of their channel's step."""
    import numpy as np

    whole = values / _along(steps, axis, values.ndim)
    return bool(np.abs(whole - np.rint(whole)).max(initial=0) < 0.01)


def _along(steps: Array, axis: int, rank: int) -> Array:
    shape = [1] * rank
    shape[axis] = -1
    return steps.reshape(shape)


@dataclass
class KeepSteps(GraphPass):
    """Store weights by the steps that their source states.

    litert-quantizer reads the step of a channel off its largest weight, which need not reach the
    grid's end. Biases go along, since their step is the product of the input's and the weight's.
    """

    source: Model

    def call(self, model: Model) -> int:
        """How many were stored so."""
        stated = {t.name: t for t in self.source.main.tensors if t.stated_steps is not None}
        constants = {t.name: t for t in self.source.main.tensors if t.is_constant}
        operators = [one for one in model.main.operators if one.name in WEIGHTS_AT]
        kept = [_keep_steps(operator, stated, constants) for operator in operators]
        return sum(kept)


def _keep_steps(
    operator: Operator, stated: Mapping[str, Tensor], constants: Mapping[str, Tensor]
) -> bool:
    """The same for one operator, where its weights are multiples of the steps."""
    import numpy as np

    inputs = [*operator.inputs, None]
    weights, fed = inputs[WEIGHTS_AT[operator.name]], inputs[INPUT_AT[operator.name]]
    bias = inputs[min(BIAS_AT[operator.name], len(inputs) - 1)]
    given = stated.get(weights.name) if weights is not None and weights.dtype == "int8" else None
    if weights is None or weights.quantization is None or given is None:
        return False
    if fed is None or fed.quantization is None or (bias and bias.name not in constants):
        return False
    steps, values, axis = given.stated_steps, given.data(), weights.quantization.axis or 0
    if steps is None or len(weights.quantization.scales) != len(steps):
        return False
    if not _on_grid(values, steps, axis):
        return False
    whole = np.rint(values / _along(steps, axis, values.ndim))
    weights.set_data(np.clip(whole, -_GRID, _GRID).astype(np.int8))
    weights.raw.quantization.scale = steps
    if bias is not None:
        product = fed.quantization.scales[0] * steps.astype(np.float64)
        limits = np.iinfo(bias.dtype)
        real = np.rint(constants[bias.name].data() / product)
        bias.set_data(np.clip(real, limits.min, limits.max).astype(bias.dtype))
        bias.raw.quantization.scale = product.astype(np.float32)
    return True


def tables(
    answer: Mapping[str, Sequence[Mapping[str, Any]]],
) -> tuple[list[StoredActivation], list[StoredWeights]]:
    """What a worker's verb ``scales`` says, as this module has it."""
    activations = [
        StoredActivation(
            values=Path(one["path"]),
            scale=float(one["scale"]),
            zero=int(one["zero"]),
            low=int(one["low"]),
            high=int(one["high"]),
        )
        for one in answer["tensors"]
    ]
    weights = [
        StoredWeights(values=Path(one["path"]), scales=tuple(map(float, one["scales"])))
        for one in answer["weights"]
    ]
    return activations, weights
