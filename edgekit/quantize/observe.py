"""Watching a float `.tflite` run: the range of every tensor over the calibration set.

Interpreters hide intermediate tensors once a delegate has taken the graph over, and without the
delegate they are about eight times slower. So the observed copy of the model declares every
operator's result as an output: the fast kernels then leave each of them readable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

Ranges = Mapping[str, tuple[float, float]]
"""The lowest and highest value of each float tensor, by name."""


@dataclass(frozen=True, kw_only=True)
class Feed:
    """Samples for one input: a stack of shape (N, …), the shape of one sample as the reference sees
    it, and the permutation to the model's axes."""

    stack: Path
    shape: tuple[int, ...]
    permutation: tuple[int, ...]


def samples(feeds: Sequence[Feed]) -> Iterator[list[Array]]:
    """The inputs of one sample after the other, in the model's order, axes and shape."""
    import numpy as np

    stacks = [np.load(feed.stack, mmap_mode="r") for feed in feeds]
    for index in range(len(stacks[0])):
        yield [
            np.ascontiguousarray(
                np.array(stack[index]).reshape(feed.shape).transpose(feed.permutation)
            )
            for stack, feed in zip(stacks, feeds, strict=True)
        ]


def observe_ranges(
    model: Path,
    feeds: Sequence[Feed],
    *,
    work: Path,
    threads: int = 2,
    progress: Callable[[float, str], None],
) -> Ranges:
    """True minimum and maximum of every float tensor over all samples.

    Args:
        model: a float `.tflite`.
        feeds: the calibration samples, one feed per input in the model's order.
        work: a folder for the observed copy of the model.
        threads: for the interpreter.
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
    ranges: dict[str, tuple[float, float]] = {}
    count = len(np.load(feeds[0].stack, mmap_mode="r"))
    for number, values in enumerate(samples(feeds)):
        for detail, value in zip(inputs, values, strict=True):
            interpreter.set_tensor(detail["index"], value.astype(detail["dtype"]))
        interpreter.invoke()
        for name, tensor in watched:
            low, high = float(tensor().min()), float(tensor().max())
            if not (np.isfinite(low) and np.isfinite(high)):
                raise DataError(
                    f"The tensor {name} becomes NaN or infinite on calibration sample {number}.",
                    cure="Look at that sample, and at the preprocessing.",
                )
            known = ranges.get(name, (low, high))
            ranges[name] = min(low, known[0]), max(high, known[1])
        progress((number + 1) / count, f"{number + 1} of {count} samples")
    return ranges


def expose_all_results(model: Path, path: Path) -> None:
    """Write a copy of a model in which every operator's result is also an output of the model."""
    import numpy as np
    from ai_edge_litert.tools import flatbuffer_utils

    loaded = flatbuffer_utils.read_model(str(model))
    graph = loaded.subgraphs[0]
    outputs = [int(index) for index in graph.outputs]
    results = [int(index) for op in graph.operators for index in op.outputs if index >= 0]
    graph.outputs = np.array(
        outputs + [index for index in dict.fromkeys(results) if index not in set(outputs)],
        dtype=np.int32,
    )
    flatbuffer_utils.write_model(loaded, str(path))


def _open(path: Path, threads: int) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    interpreter.allocate_tensors()
    return interpreter
