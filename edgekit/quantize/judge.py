"""Measuring, on samples that no pass has learned from, how well a prepared model survives int8."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import TYPE_CHECKING, Any

from edgekit.closeness import centred_db, channel_axis, is_vector_of_scores
from edgekit.quantize.emit import NO_EXCEPTIONS, Exceptions, emit
from edgekit.quantize.observe import SampleFeed, samples
from edgekit.quantize.twins import Watched
from edgekit.tflite.model import read
from edgekit.types import Ranges, Scheme

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

_EMITTING = Lock()
"""litert-quantizer keeps state of its own: two threads at once spoil each other's files."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """How close a file's outputs are to the float model's on the held-out samples.

    Attributes:
        output_db: the centred SQNR of each output in decibels, by name (`edgekit.closeness`).
        top1_agreement: the share of samples (0 to 1) on which the largest value of the first output
            stays at its place; ``None`` where that output is no vector of scores.
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
        model: the float file that everything is compared with.
        feeds: the held-out samples.
        work: a folder for intermediate files.
    """

    def __init__(self, model: Path, feeds: Sequence[SampleFeed], *, work: Path) -> None:
        self._feeds, self._work = feeds, work
        self._names = [tensor.name for tensor in read(model).main.outputs]
        self._wanted = self._outputs(model)

    def float_db(self, model: Path) -> float:
        """The SQNR of another float model's worst output, in decibels."""
        return self.floating(model).worst_db

    def floating(self, model: Path) -> Judgement:
        """Compare the outputs of any file that takes the same values."""
        with TemporaryDirectory(dir=self._work) as folder:
            return self._compare(self._outputs(model, work=Path(folder)))

    def int8_db(self, model: Path, ranges: Ranges, exceptions: Exceptions = NO_EXCEPTIONS) -> float:
        """The SQNR of the worst output after quantizing a float model to int8, in decibels."""
        return self.int8(model, ranges, exceptions).worst_db

    def int8(
        self,
        model: Path,
        ranges: Ranges,
        exceptions: Exceptions = NO_EXCEPTIONS,
        *,
        scheme: Scheme = "int8",
    ) -> Judgement:
        """Quantize a float model and compare its outputs; several threads may do so at once.

        Raises:
            ConversionError: litert-quantizer refuses the model.
        """
        with TemporaryDirectory(dir=self._work) as folder:
            quantized = Path(folder, "judged.tflite")
            with _EMITTING:
                emit(model, quantized, scheme, ranges, exceptions)
            return self._compare(self._outputs(quantized, work=Path(folder)))

    def inputs_db(self, model: Path, ranges: Ranges) -> float:
        """The SQNR of the worst output with nothing but the model's inputs in int8, in decibels."""
        quantized = self._work / "inputs-judged.tflite"
        emit(model, quantized, "int8", ranges, Exceptions(only=frozenset()))
        # What has the names of the float model's outputs lies before the last QUANTIZE.
        return self._compare(self._outputs(quantized, own=self._names)).worst_db

    def _outputs(
        self, path: Path, work: Path | None = None, own: Sequence[str] = ()
    ) -> dict[str, Array]:
        import numpy as np

        # By their places: a file with a float layer at its end has another name after the QUANTIZE.
        own = own or [tensor.name for tensor in read(path).main.outputs]
        graph = Watched(path, own, work=work or self._work, threads=2)
        runs = [graph.run(values) for values in samples(self._feeds)]
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
