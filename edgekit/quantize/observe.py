"""Watching a float `.tflite` run over the calibration set: ranges and histograms of every tensor.

Interpreters hide intermediate tensors once a delegate has taken the graph over, and without the
delegate they are several times slower. So the observed copy of the model declares every operator's
result as an output: the fast kernels then leave each of them readable.

Everything is streamed: memory does not grow with the number of samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from edgekit.errors import DataError
from edgekit.tflite.model import read, write

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

Ranges: TypeAlias = Mapping[str, tuple[float, float]]
"""The lowest and highest value of each float tensor, by name."""

_VALUES_PER_SAMPLE = 8192
"""So many values of a tensor go into its histogram per sample, evenly spread over the tensor."""


@dataclass(frozen=True, kw_only=True)
class Feed:
    """Samples for one input.

    Attributes:
        stack: a `.npy` of shape (N, …).
        shape: of one sample as the reference sees it.
        permutation: from the reference's axes to the model's.
        first, last: which of the N samples, as a slice.
    """

    stack: Path
    shape: tuple[int, ...]
    permutation: tuple[int, ...]
    first: int = 0
    last: int | None = None

    def load(self) -> Array:
        """The chosen samples, mapped and not read."""
        import numpy as np

        stack: Array = np.load(self.stack, mmap_mode="r")[self.first : self.last]
        return stack


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """How often values fall into equal bins between ``low`` and ``high``."""

    low: float
    high: float
    counts: Array

    def centres(self) -> Array:
        """The middle of each bin."""
        import numpy as np

        bins = len(self.counts)
        step = (self.high - self.low) / bins
        return np.asarray(self.low + step * (np.arange(bins) + 0.5))


def count_samples(feeds: Sequence[Feed]) -> int:
    """How many samples the feeds hold."""
    return len(feeds[0].load())


def samples(feeds: Sequence[Feed]) -> Iterator[list[Array]]:
    """The inputs of one sample after the other, in the model's order, axes and shape."""
    import numpy as np

    stacks = [feed.load() for feed in feeds]
    for index in range(len(stacks[0])):
        yield [
            np.ascontiguousarray(
                np.array(stack[index]).reshape(feed.shape).transpose(feed.permutation)
            )
            for stack, feed in zip(stacks, feeds, strict=True)
        ]


def observe(
    model: Path,
    feeds: Sequence[Feed],
    *,
    work: Path,
    threads: int = 2,
    bins: int = 2048,
    progress: Callable[[float, str], None],
) -> dict[str, Histogram]:
    """The histogram of every float tensor; its ends are the true minimum and maximum.

    Args:
        model: a float `.tflite`.
        feeds: the calibration samples, one feed per input in the model's order.
        work: a folder for the observed copy of the model.
        threads: for the interpreter.
        bins: of each histogram.
        progress: told the share of samples that are done.

    Raises:
        DataError: a tensor became NaN or infinite on a sample.
    """
    import numpy as np

    observed = work / f"{model.stem}-observed.tflite"
    expose_all_results(model, observed)
    interpreter = _open(observed, threads)
    inputs = interpreter.get_input_details()
    watched = [
        (detail["name"], interpreter.tensor(detail["index"]))
        for detail in [*inputs, *interpreter.get_output_details()]
        if detail["dtype"] is np.float32
    ]
    histograms: dict[str, _Growing] = {name: _Growing(bins) for name, _ in watched}
    count = count_samples(feeds)
    for number, values in enumerate(samples(feeds)):
        for detail, value in zip(inputs, values, strict=True):
            interpreter.set_tensor(detail["index"], value.astype(detail["dtype"]))
        interpreter.reset_all_variables()  # each sample is a sequence of its own
        interpreter.invoke()
        for name, tensor in watched:
            if not histograms[name].add(tensor()):
                raise DataError(
                    f"The tensor {name} becomes NaN or infinite on calibration sample {number}.",
                    cure="Look at that sample, and at the preprocessing.",
                )
        progress((number + 1) / count, f"{number + 1} of {count} samples")
    return {name: growing.finished() for name, growing in histograms.items()}


class _Growing:
    """A histogram whose ends move apart as values come: old counts are laid into the new bins."""

    def __init__(self, bins: int) -> None:
        import numpy as np

        self._low, self._high = np.inf, -np.inf
        self._counts = np.zeros(bins)

    def add(self, values: Array) -> bool:
        """Count values; false if one of them is NaN or infinite."""
        import numpy as np

        low, high = float(values.min()), float(values.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            return False
        if low < self._low or high > self._high:
            self._widen(min(low, self._low), max(high, self._high))
        self._count(values.reshape(-1)[:: _stride(values.shape)], 1.0)
        return True

    def finished(self) -> Histogram:
        """What was counted."""
        return Histogram(low=float(self._low), high=float(self._high), counts=self._counts)

    def _widen(self, low: float, high: float) -> None:
        import numpy as np

        old = self.finished()
        self._low, self._high = low, high
        self._counts = np.zeros_like(old.counts)
        if old.counts.any():
            self._count(old.centres(), old.counts)

    def _count(self, values: Array, weights: Any) -> None:
        import numpy as np

        bins = len(self._counts)
        step = (self._high - self._low) / bins or 1.0
        place = np.clip(((values - self._low) / step).astype(np.int64), 0, bins - 1)
        shares = np.broadcast_to(weights, place.shape)
        self._counts += np.bincount(place, weights=shares, minlength=bins)


def _stride(shape: tuple[int, ...]) -> int:
    """The distance between the values that are counted; it visits all channels alike."""
    stride = max(1, math.prod(shape) // _VALUES_PER_SAMPLE)
    while shape and math.gcd(stride, shape[-1]) > 1:
        stride += 1
    return stride


def expose_all_results(model: Path, path: Path) -> None:
    """Write a copy of a model in which every operator's result is also an output of the model."""
    loaded = read(model)
    graph = loaded.main
    outputs = [tensor.index for tensor in graph.outputs]
    results = [tensor.index for operator in graph.operators for tensor in operator.outputs]
    # In the order of execution, so that of several bad tensors the first is found.
    graph.raw.outputs = list(dict.fromkeys([*results, *outputs]))
    write(loaded, path)


def _open(path: Path, threads: int) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    interpreter.allocate_tensors()
    return interpreter
