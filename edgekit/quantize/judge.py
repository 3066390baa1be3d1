"""Measuring, on samples that no pass has learned from, how well a prepared model survives int8."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.closeness import centred_db, channel_axis, is_vector_of_scores
from edgekit.quantize.emit import NO_EXCEPTIONS, Emissions, Exceptions
from edgekit.quantize.integer_ops.kernels import Grid, grid_of_range
from edgekit.quantize.observe import SampleFeed, samples
from edgekit.quantize.ranges import stated
from edgekit.quantize.twins import Watched
from edgekit.tflite.model import Model, loaded
from edgekit.types import Ranges, Scheme

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """How close a file's outputs are to the float model's on the held-out samples.

    Attributes:
        output_db: the centred SQNR of each output in decibels, by name (`edgekit.closeness`).
        top1_agreement: the share of samples (0 to 1) on which the largest value of the first output
            stays at its place; ``None`` where that output is not a vector of scores.
    """

    output_db: Mapping[str, float]
    top1_agreement: float | None = None

    @property
    def worst_db(self) -> float:
        """The SQNR of the worst output."""
        return min(self.output_db.values())


class Judge:
    """Keeps the float model's outputs on the held-out samples.

    Args:
        model: the float model that everything is compared with.
        feeds: the held-out samples.
        emissions: makes the quantized files.
    """

    def __init__(
        self,
        model: Model | Path,
        feeds: Sequence[SampleFeed],
        emissions: Emissions | None = None,
    ) -> None:
        self.emissions = emissions or Emissions()
        self._feeds = feeds
        model = loaded(model)
        self._names = [tensor.name for tensor in model.main.outputs]
        self._opened: tuple[Model, Watched] | None = None
        self._wanted = self._outputs(model)

    def float_db(self, model: Model | Path) -> float:
        """The SQNR of another float model's worst output, in decibels."""
        return self.floating(model).worst_db

    def floating(self, model: Model | Path) -> Judgement:
        """Compare the outputs of any model that takes the same values."""
        return self._compare(self._outputs(loaded(model)))

    def int8_db(
        self, model: Model, ranges: Ranges, exceptions: Exceptions = NO_EXCEPTIONS
    ) -> float:
        """The SQNR of the worst output after quantizing a float model to int8, in decibels."""
        return self.int8(model, ranges, exceptions).worst_db

    def int8(
        self,
        model: Model,
        ranges: Ranges,
        exceptions: Exceptions = NO_EXCEPTIONS,
        *,
        scheme: Scheme = "int8",
    ) -> Judgement:
        """Quantize a float model and compare its outputs; several threads may do so at once.

        Raises:
            ConversionError: litert-quantizer refuses the model.
        """
        return self.floating(self.emissions(model, scheme, ranges, exceptions).model)

    def inputs_db(self, model: Model, ranges: Ranges) -> float:
        """The SQNR of the worst output with nothing but the model's inputs in int8, in decibels."""
        if self._opened is None or self._opened[0] is not model:
            self._opened = (model, Watched(model, _outputs_of(model), threads=2))
        limits = {**ranges, **stated(model)}
        grids = [
            grid_of_range(*limits[tensor.name]) if tensor.name in limits else None
            for tensor in model.main.inputs
        ]
        return self._compare(self._run(self._opened[1], _outputs_of(model), grids)).worst_db

    def _outputs(self, model: Model) -> dict[str, Array]:
        # By their places: a file with a float layer at its end has another name after the QUANTIZE.
        own = _outputs_of(model)
        return self._run(Watched(model, own, threads=2), own)

    def _run(
        self, graph: Watched, own: Sequence[str], grids: Sequence[Grid | None] = ()
    ) -> dict[str, Array]:
        """The outputs, of inputs that are rounded to grids where these are given."""
        import numpy as np

        runs = [
            graph.run([_rounded(one, grid) for one, grid in zip_longest(values, grids)])
            for values in samples(self._feeds)
        ]
        return {
            name: np.stack([run[mine] for run in runs])
            for name, mine in zip(self._names, own, strict=True)
        }

    def _compare(self, got: dict[str, Array]) -> Judgement:
        first = self._names[0]
        return Judgement(
            output_db={name: _decibels(wanted, got[name]) for name, wanted in self._wanted.items()},
            top1_agreement=_top1_agreement(self._wanted[first], got[first]),
        )


def _outputs_of(model: Model) -> list[str]:
    return [tensor.name for tensor in model.main.outputs]


def _rounded(values: Array, grid: Grid | None) -> Array:
    """What int8 leaves of values."""
    import numpy as np

    if grid is None or values.dtype != np.float32:
        return values
    scale, zero = np.float32(grid[0]), grid[1]
    stored = np.clip(np.rint(values / scale) + zero, -128, 127)
    return np.asarray((stored.astype(np.float32) - np.float32(zero)) * scale)


def _decibels(wanted: Array, got: Array) -> float:
    """What varies in the float model's output against the error, of stacks (N, …).

    A held-out set of one sample varies in nothing; then the plain ratio is what there is.
    """
    return centred_db(wanted, got, channel_axis(wanted.shape[1:]))


def _top1_agreement(wanted: Array, got: Array) -> float | None:
    """Of stacks (samples, …) of vectors."""
    if not is_vector_of_scores(wanted.shape[1:]):
        return None
    places = [stack.reshape(len(stack), -1).argmax(axis=1) for stack in (wanted, got)]
    return float((places[0] == places[1]).mean())
