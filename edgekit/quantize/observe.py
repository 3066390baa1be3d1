"""Watching a float `.tflite` run over the calibration set: ranges and histograms of every tensor.

Interpreters hide intermediate tensors once a delegate has taken the graph over, and without the
delegate they are several times slower. So the observed copy of the model declares every operator's
result as an output: the fast kernels then leave each of them readable.

Everything is streamed: memory does not grow with the number of samples, and a graph whose results
would take gigabytes is run several times, with a part of them readable each time.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import DataError
from edgekit.quantize.integer_ops.masks import maybe_masked, unbounded
from edgekit.quantize.integer_ops.padding import maybe_padded, padded_below
from edgekit.tflite.model import Model, Subgraph, loaded

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

_MEMORY = 1 << 30
"""So many bytes of results are kept readable at once; a graph with more of them runs repeatedly."""
_VALUES_PER_SAMPLE = 8192
"""So many values of a tensor go into its histogram per sample, evenly spread over the tensor."""


@dataclass(frozen=True, kw_only=True)
class SampleFeed:
    """Samples for one input.

    Attributes:
        stack: a `.npy` of shape (N, …).
        shape: of one sample as the reference sees it.
        permutation: from the reference's axes to the model's.
        rows: which of the N samples, in this order; all where it is ``None``.
    """

    stack: Path
    shape: tuple[int, ...]
    permutation: tuple[int, ...]
    rows: tuple[int, ...] | None = None

    def load(self) -> Array:
        """The whole stack, mapped and not read."""
        import numpy as np

        stack: Array = np.load(self.stack, mmap_mode="r")
        return stack

    def indices(self) -> Sequence[int]:
        """The rows of the stack that are the samples."""
        return range(len(self.load())) if self.rows is None else self.rows


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """How often values fall into equal bins between ``low`` and ``high``.

    ``extremes`` are the minimum and maximum of each sample, of shape (N, 2). ``infinite`` says
    that there were values of minus infinity, which count as the lowest float.
    """

    low: float
    high: float
    counts: Array
    extremes: Array | None = None
    infinite: bool = False

    def centres(self) -> Array:
        """The middle of each bin."""
        import numpy as np

        bins = len(self.counts)
        step = (self.high - self.low) / bins
        return np.asarray(self.low + step * (np.arange(bins) + 0.5))


def count_samples(feeds: Sequence[SampleFeed]) -> int:
    """How many samples the feeds hold."""
    return len(feeds[0].indices())


def choose_samples(feeds: Sequence[SampleFeed], places: Sequence[int]) -> list[SampleFeed]:
    """The same feeds with some of their samples only, by their places from 0."""
    chosen = []
    for feed in feeds:
        rows = feed.indices()
        chosen.append(replace(feed, rows=tuple(rows[place] for place in places)))
    return chosen


def samples(feeds: Sequence[SampleFeed]) -> Iterator[list[Array]]:
    """The inputs of one sample after the other, in the model's order, axes and shape."""
    import numpy as np

    stacks = [feed.load() for feed in feeds]
    for rows in zip(*(feed.indices() for feed in feeds), strict=True):
        yield [
            np.asarray(
                np.array(stack[row]).reshape(feed.shape).transpose(feed.permutation), order="C"
            )
            for stack, feed, row in zip(stacks, feeds, rows, strict=True)
        ]


def laid_out(feeds: Sequence[SampleFeed], work: Path) -> Sequence[SampleFeed]:
    """The same samples as the file has its axes, so that they are turned once and not each time.

    Args:
        feeds: whose stacks stay as they are.
        work: a folder for new stacks.
    """
    import numpy as np

    found = []
    for number, feed in enumerate(feeds):
        if feed.permutation == tuple(range(len(feed.permutation))):
            found.append(feed)
            continue
        shape = tuple(feed.shape[axis] for axis in feed.permutation)
        stack, path = feed.load(), work / f"samples-{number}-laid-out.npy"
        turned = np.lib.format.open_memmap(path, "w+", stack.dtype, (len(stack), *shape))
        for row, values in enumerate(stack):
            turned[row] = values.reshape(feed.shape).transpose(feed.permutation)
        turned.flush()
        found.append(
            SampleFeed(
                stack=path, shape=shape, permutation=tuple(range(len(shape))), rows=feed.rows
            )
        )
    return found


def observe(
    model: Model | Path,
    feeds: Sequence[SampleFeed],
    *,
    threads: int = 2,
    bins: int = 2048,
    progress: Callable[[float, str], None],
) -> dict[str, Histogram]:
    """The histogram of every float tensor; its ends are the true minimum and maximum.

    Args:
        model: a float one; it stays as it is.
        feeds: the calibration samples, one feed per input in the model's order.
        threads: for the interpreter.
        bins: of each histogram.
        progress: told the share of samples that are done.

    Raises:
        DataError: a tensor became NaN or infinite on a sample.
    """
    model = loaded(model)
    groups = in_memory_groups(model.main)
    histograms: dict[str, Histogram] = {}
    for number, names in enumerate(groups):
        done = partial(_part, progress, number, len(groups))
        some = names if len(groups) > 1 else None
        histograms |= _observe_group(model, some, feeds, threads, bins, done)
    # What is masked says nothing about a range; emission knows what to do about it.
    seen = {name: (one.low, one.high) for name, one in histograms.items()}
    padded = {operator.outputs[0].name for operator in padded_below(model, seen)}
    masked = unbounded(model, seen) | padded
    left = {name: one for name, one in histograms.items() if name not in masked}
    if bad := next((name for name, one in left.items() if one.infinite), None):
        raise _not_finite(bad, 0, is_input=False)
    return left


def _part(
    progress: Callable[[float, str], None], number: int, count: int, share: float, message: str
) -> None:
    progress((number + share) / count, message)


def _observe_group(
    model: Model,
    names: Sequence[str] | None,
    feeds: Sequence[SampleFeed],
    threads: int,
    bins: int,
    progress: Callable[[float, str], None],
) -> dict[str, Histogram]:
    """The histograms of the inputs and of some results, or of all."""
    import numpy as np

    observed = model.copy()
    expose_results(observed, names)
    interpreter = open_interpreter(observed.packed(), threads)
    inputs = interpreter.get_input_details()
    # The lowest float there is says nothing about a range; emission knows what to do about it.
    possible = maybe_masked(model) | {one.outputs[0].name for one in maybe_padded(model)}
    # By name, since an input may be an output too, and a result two of them.
    watched = {
        detail["name"]: interpreter.tensor(detail["index"])
        for detail in [*inputs, *interpreter.get_output_details()]
        if detail["dtype"] is np.float32
    }
    given = {detail["name"] for detail in inputs}
    histograms: dict[str, _Growing] = {name: _Growing(bins) for name in watched}
    count = count_samples(feeds)
    for number, values in enumerate(samples(feeds)):
        for detail, value in zip(inputs, values, strict=True):
            interpreter.set_tensor(detail["index"], value.astype(detail["dtype"]))
        interpreter.reset_all_variables()  # each sample is a sequence of its own
        interpreter.invoke()
        for name, tensor in watched.items():
            if not histograms[name].add(tensor(), finite=name not in possible):
                raise _not_finite(name, number, is_input=name in given)
        progress((number + 1) / count, f"{number + 1} of {count} samples")
    return {name: growing.finished() for name, growing in histograms.items()}


def _not_finite(name: str, number: int, *, is_input: bool) -> DataError:
    if is_input:
        return DataError(
            f"Calibration sample {number} holds NaN or infinite values for the input {name}.",
            cure="Take the sample out, or repair what makes it.",
        )
    return DataError(
        f"The tensor {name} becomes NaN or infinite on calibration sample {number}.",
        cure="Look at that sample, at the preprocessing, and at what the model does there: a mask "
        "of minus infinity, say, or a division by zero.",
    )


class _Growing:
    """A histogram whose ends move apart as values come: old counts are laid into the new bins."""

    def __init__(self, bins: int) -> None:
        import numpy as np

        self.infinite = False
        self._low, self._high = np.inf, -np.inf
        self._counts = np.zeros(bins)
        self._extremes = array("d")  # 16 bytes a sample

    def add(self, values: Array, *, finite: bool = True) -> bool:
        """Count values; false if one of them is NaN, or infinite where all are to be finite."""
        import numpy as np

        if not finite:
            below = np.isneginf(values)
            self.infinite |= bool(below.any())
            values = np.where(below, np.finfo(np.float32).min, values)
        if not values.size:  # what a mask chose of a sample, say
            self._extremes.extend((0.0, 0.0))
            return True
        low, high = float(values.min()), float(values.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            return False
        if low < self._low or high > self._high:
            self._widen(min(low, self._low), max(high, self._high))
        self._extremes.extend((low, high))
        self._count(values.reshape(-1)[:: _stride(values.shape)], 1.0)
        return True

    def finished(self) -> Histogram:
        """What was counted."""
        import numpy as np

        seen = self._low <= self._high
        return Histogram(
            low=float(self._low) if seen else 0.0,
            high=float(self._high) if seen else 0.0,
            counts=self._counts,
            infinite=self.infinite,
            extremes=np.array(self._extremes).reshape(-1, 2),
        )

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


def expose_results(model: Model, names: Sequence[str] | None = None) -> None:
    """Make operators' results outputs of the model too.

    With ``names``, only these are outputs, and what comes after the last of them is left out.
    """
    graph = model.main
    outputs = [tensor.index for tensor in graph.outputs]
    results = [tensor.index for operator in graph.operators for tensor in operator.outputs]
    # In the order of execution, so that of several bad tensors the first is found.
    graph.raw.outputs = list(dict.fromkeys([*results, *outputs]))
    if names is not None:
        keep_readable(model, names)


def keep_readable(model: Model, names: Sequence[str]) -> None:
    """Make the named tensors the graph's only outputs, and drop what comes after the last of them.

    Signatures name the old outputs and are dropped with them.
    """
    wanted = set(names)
    operators = model.main.operators
    made = {
        tensor.name: (operator.index, tensor.index)
        for operator in operators
        for tensor in operator.outputs
        if tensor.name in wanted
    }
    last = max((index for index, _ in made.values()), default=-1)
    model.main.remove(operators[last + 1 :])
    # Outputs of the model that no operator makes: constants.
    fixed = [t.index for t in model.main.outputs if t.name in wanted and t.is_constant]
    model.main.raw.outputs = [*(index for _, index in made.values()), *fixed]
    model.raw.signatureDefs = None


def in_memory_groups(graph: Subgraph, among: Collection[str] | None = None) -> list[list[str]]:
    """The results of operators, in groups that fit into memory while all of a group are kept.

    A tensor that can be read later cannot lend its memory to others.

    Args:
        graph: whose results.
        among: only those of these names; all by default.
    """
    groups: list[list[str]] = [[]]
    used = 0
    for tensor in (tensor for operator in graph.operators for tensor in operator.outputs):
        if among is not None and tensor.name not in among:
            continue
        size = 4 * math.prod(max(1, length) for length in tensor.shape)
        if groups[-1] and used + size > _MEMORY:
            groups.append([])
            used = 0
        groups[-1].append(tensor.name)
        used += size
    return groups


def open_interpreter(data: bytes, threads: int) -> Any:
    """An interpreter of the bytes of a file, ready to be run."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=data, num_threads=threads)
    interpreter.allocate_tensors()
    return interpreter
