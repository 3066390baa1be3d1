"""Measuring, on samples that no pass has learned from, how well a prepared model survives int8."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.quantize.emit import emit
from edgekit.quantize.observe import Feed, Ranges, samples
from edgekit.quantize.twins import Watched
from edgekit.tflite.model import read

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


class Judge:
    """Keeps the float model's outputs on the held-out samples.

    Args:
        model: the float file that everything is compared with.
        feeds: the held-out samples.
        work: a folder for intermediate files.
    """

    def __init__(self, model: Path, feeds: Sequence[Feed], *, work: Path) -> None:
        self._feeds, self._work = feeds, work
        self._names = [tensor.name for tensor in read(model).main.outputs]
        self._wanted = self._outputs(model)

    def float_db(self, model: Path) -> float:
        """The SQNR of another float model's worst output, in decibels."""
        return self._compare(self._outputs(model))

    def int8_db(self, model: Path, ranges: Ranges) -> float:
        """The SQNR of the worst output after quantizing a float model to int8, in decibels."""
        quantized = self._work / "judged.tflite"
        emit(model, quantized, "int8", ranges)
        return self._compare(self._outputs(quantized))

    def _outputs(self, path: Path) -> dict[str, Array]:
        import numpy as np

        graph = Watched(path, self._names, work=self._work, threads=2)
        runs = [graph.run(values) for values in samples(self._feeds)]
        return {name: np.stack([run[name] for run in runs]) for name in self._names}

    def _compare(self, got: dict[str, Array]) -> float:
        import numpy as np

        worst = np.inf
        for name, wanted in self._wanted.items():
            signal = np.sum(np.square(wanted, dtype=np.float64))
            # Outputs may be unsigned or Boolean, which must not be subtracted as they are.
            noise = np.sum(np.square(wanted.astype(np.float64) - got[name]))
            worst = min(worst, float(10 * np.log10((signal + 1e-30) / (noise + 1e-30))))
        return worst
