"""Finding tensors that mix ranges: values of different magnitude, joined under one scale.

Only what `edgekit.quantize.slices` sees to be joined is looked at: outputs of the model, and
tensors that slices take apart again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from edgekit.quantize.observe import SampleFeed, choose_samples, count_samples, samples
from edgekit.quantize.slices import boundaries, slices_of
from edgekit.quantize.twins import Watched
from edgekit.tflite.model import Model, Tensor

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

_LOST_BITS = 2.0
"""An output is cut where a part would lose at least so many of its 8 bits: outputs have a price."""
_LOST_BITS_INSIDE = 1.0
"""The same for tensors inside, where a cut costs nothing."""
_LOOK_AT = 16


@dataclass(frozen=True, kw_only=True)
class TensorPart:
    """Some neighbouring entries of a mixed tensor.

    Attributes:
        start, size: along the tensor's axis.
        low, high: the lowest and highest value on the samples that were looked at.
        shared_db: the SQNR that quantizing to 8 bits leaves with one scale for the whole tensor.
        own_db: the same with a scale of the part's own.
    """

    start: int
    size: int
    low: float
    high: float
    shared_db: float
    own_db: float


@dataclass(frozen=True, kw_only=True)
class MixedTensor:
    """A tensor whose parts need scales of their own.

    Attributes:
        tensor: its name.
        output: its place among the model's outputs, ``None`` for one inside.
        axis: along which the parts lie.
        parts: in their order.
        did: what was done about it, in words.
    """

    tensor: str
    output: int | None
    axis: int
    parts: tuple[TensorPart, ...]
    did: str = "nothing: found only"


def find(model: Model, feeds: Sequence[SampleFeed]) -> tuple[MixedTensor, ...]:
    """The tensors that mix ranges, measured on the first samples; outputs come first.

    Nothing is run where no CONCATENATION leads to an output or to a slice.
    """
    import numpy as np

    if len(model.subgraphs) > 1 or not count_samples(feeds):
        return ()
    wanted = _candidates(model)
    if not wanted:
        return ()
    names = list(dict.fromkeys(tensor.name for _, tensor, _, _ in wanted))
    graph = Watched(model, names, threads=2)
    few = choose_samples(feeds, range(min(_LOOK_AT, count_samples(feeds))))
    runs = [run for inputs in samples(few) if _is_finite(run := graph.run(inputs))]
    if not runs:
        return ()
    values = {name: np.stack([run[name] for run in runs]) for name in names}
    found: dict[tuple[str, int | None], MixedTensor] = {}
    for output, tensor, axis, cuts in wanted:
        least = _LOST_BITS if output is not None else _LOST_BITS_INSIDE
        parts = _parts(values[tensor.name], axis, cuts, least)
        mixed = MixedTensor(tensor=tensor.name, output=output, axis=axis, parts=parts)
        key = (tensor.name, output)
        if len(parts) > 1 and (key not in found or _loss(mixed) > _loss(found[key])):
            found[key] = mixed
    return tuple(found.values())


def _candidates(model: Model) -> list[tuple[int | None, Tensor, int, list[int]]]:
    """Tensors that a CONCATENATION leads to: outputs, and what slices read."""
    graph = model.main
    ends: list[tuple[int | None, Tensor]] = list(enumerate(graph.outputs))
    sliced = {cut.source.index: cut.source for op in graph.operators for cut in slices_of(op)}
    ends += [(None, tensor) for tensor in sliced.values()]
    return [
        (output, tensor, axis, cuts)
        for output, tensor in ends
        if tensor.dtype == "float32"
        for axis in range(len(tensor.shape))
        if len(cuts := boundaries(tensor, axis)) > 2
    ]


def _is_finite(values: dict[str, Array]) -> bool:
    import numpy as np

    return all(np.isfinite(value).all() for value in values.values())


def _parts(values: Array, axis: int, cuts: Sequence[int], least: float) -> tuple[TensorPart, ...]:
    """Cut stacked values (samples, …) where neighbours differ by so many bits, else merge them."""
    import numpy as np

    rows = np.moveaxis(values, axis + 1, 0).reshape(values.shape[axis + 1], -1).astype(np.float64)
    spans = list(pairwise(cuts))
    merged = [spans[0]]
    for start, end in spans[1:]:
        steps = [_step(rows[slice(*span)]) for span in (merged[-1], (start, end))]
        if min(steps) and abs(np.log2(steps[0] / steps[1])) < least:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    whole = _grid(rows)
    return tuple(
        TensorPart(
            start=start,
            size=end - start,
            low=float(rows[start:end].min()),
            high=float(rows[start:end].max()),
            shared_db=_sqnr_db(rows[start:end], *whole),
            own_db=_sqnr_db(rows[start:end], *_grid(rows[start:end])),
        )
        for start, end in merged
    )


def _grid(values: Array) -> tuple[float, float]:
    """Step and lowest value of an 8-bit grid that holds the values and zero."""
    return _step(values), min(float(values.min()), 0.0)


def _step(values: Array) -> float:
    return (max(float(values.max()), 0.0) - min(float(values.min()), 0.0)) / 255


def _sqnr_db(values: Array, step: float, low: float) -> float:
    import numpy as np

    zero = np.rint(low / step) if step else 0.0
    got = np.clip(np.rint(values / step), zero, zero + 255) * step if step else values
    noise = np.sum(np.square(values - got))
    return round(float(10 * np.log10((np.sum(values**2) + 1e-30) / (noise + 1e-30))), 2)


def _loss(mixed: MixedTensor) -> float:
    return max(part.own_db - part.shared_db for part in mixed.parts)
