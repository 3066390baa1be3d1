"""The float model and its quantized twin, run side by side on the same samples.

What a layer's weights should be depends on what the layer really reads: the twin, quantized with
everything that was prepared so far, says so. Both graphs are cut after the last tensor of interest,
and only tensors of interest are kept readable, so a look at the first layers costs little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import ModelError
from edgekit.quantize.observe import SampleFeed, keep_readable, open_interpreter, samples
from edgekit.tflite.model import Model, loaded

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


class Watched:
    """A graph whose named tensors are readable after each run.

    Args:
        model: any; it stays as it is.
        names: the tensors to read; those that the graph does not have are left out.
        threads: for the interpreter.

    Raises:
        ModelError: the runtime cannot run the model.
    """

    def __init__(self, model: Model | Path, names: Sequence[str], *, threads: int = 1) -> None:
        cut = loaded(model).copy()
        keep_readable(cut, names)
        with refusals():
            self._interpreter = open_interpreter(cut.packed(), threads)
        self._inputs = self._interpreter.get_input_details()
        details = [*self._inputs, *self._interpreter.get_output_details()]
        self._watched = {d["name"]: d for d in details if d["name"] in set(names)}

    def run(self, values: Sequence[Array]) -> dict[str, Array]:
        """Run one sample (real values, in the order of the inputs); the tensors' real values."""
        self.invoke(values)
        return {name: self.read(name, _copy) for name in self._watched}

    def invoke(self, values: Sequence[Array]) -> None:
        """Run one sample and leave its tensors to `read`."""
        pairs = zip(self._inputs, values, strict=True)
        given = [(detail["index"], _stored(value, detail)) for detail, value in pairs]
        with refusals():
            for index, value in given:
                self._interpreter.set_tensor(index, value)
            self._interpreter.reset_all_variables()  # each sample is a sequence of its own
            self._interpreter.invoke()

    def read(self, name: str, take: Callable[[Array], Array]) -> Array:
        """Some real values of a tensor; only what ``take`` picks (and copies) is dequantized."""
        import numpy as np

        detail = self._watched[name]
        taken = take(self._interpreter.tensor(detail["index"])())
        scale, zero = detail["quantization"]
        if not scale:
            return taken
        return (taken.astype(np.float32) - np.float32(zero)) * np.float32(scale)


@contextmanager
def refusals() -> Iterator[None]:
    """What the interpreter says of a file that it cannot run, as edgekit's own error."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        said = str(error).strip().splitlines() or [repr(error)]
        raise ModelError(f"The runtime cannot run the file: {said[-1][:300]}") from error


def _copy(value: Array) -> Array:
    import numpy as np

    return np.array(value)


def side_by_side(
    floating: Watched, quantized: Watched, feeds: Sequence[SampleFeed]
) -> Iterator[tuple[dict[str, Array], dict[str, Array]]]:
    """The tensors of both graphs, sample after sample; the two run at the same time."""
    with ThreadPoolExecutor(1) as pool:
        for values in samples(feeds):
            waiting = pool.submit(quantized.run, values)
            yield floating.run(values), waiting.result()


def _stored(value: Array, detail: dict[str, Any]) -> Array:
    import numpy as np

    scale, zero = detail["quantization"]
    dtype = np.dtype(detail["dtype"])
    if scale and dtype.kind in "iu":
        limits = np.iinfo(dtype)
        value = np.clip(np.rint(value / scale) + zero, limits.min, limits.max)
    return value.astype(dtype)
