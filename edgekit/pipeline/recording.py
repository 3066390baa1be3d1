"""Running a reference over samples and writing what it says, piece by piece."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from edgekit.calibration.samples import stack_shape
from edgekit.calibration.tensors import to_tensors
from edgekit.contract import Contract, InputContract, OutputContract
from edgekit.datasets import LabelledSample, Layout
from edgekit.datasets.digests import sample_digest
from edgekit.errors import DataError
from edgekit.pipeline.validation.data import Samples, open_samples, order
from edgekit.runners.bundle_format import BundleWriter, Manifest, Origin
from edgekit.runners.litert_runner import LitertRunner
from edgekit.runners.protocol import Described, Runner, Timed, Timing
from edgekit.runners.reference import ConverterRunner
from edgekit.runners.stacks import sample_shapes
from edgekit.sources import digest
from edgekit.toolchain.machine import cpu_name
from edgekit.toolchain.workshop import Workshop
from edgekit.types import Progress, TensorSpec
from edgekit.version import __version__

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]

_CHUNK_BYTES = 64 << 20
_MOST_ROWS = 256
_THREADS = 8
_MOST_SKIPPED = 0.1
"""A larger share of samples that cannot be used is the user's mistake, not bad luck."""


@dataclass(frozen=True, kw_only=True)
class RecordingSource:
    """Which samples are recorded, and how many inferences are timed.

    The fields are those of `edgekit.pipeline.record.RecordRequest`.
    """

    data: Path
    layout: Layout | None = None
    limit: int | None = None
    seed: int = 0
    runs: int = 50


class Recording:
    """One recording: from an opened reference to a finished file.

    Args:
        source: which samples.
        runner, described: the reference.
        contract: on the reference's own tensors.
        workshop: where the reference's worker lives; its progress is told.
    """

    def __init__(
        self,
        source: RecordingSource,
        runner: Runner,
        described: Described,
        contract: Contract,
        workshop: Workshop,
    ) -> None:
        self._source = source
        self._runner = runner
        self._described = described
        self._contract = contract
        self._workshop = workshop
        self._progress = workshop.progress
        self._skipped: list[DataError] = []
        self._pictures: set[str] = set()
        self._timing: Timing | None = None

    def write(self, path: Path) -> Manifest:
        """Run all samples and write the file.

        Raises:
            DataError: more than a tenth of the samples cannot be read or do not fit the model.
            ModelError: the reference cannot be run, or its outputs change their shape.
        """
        samples = open_samples(
            self._source.data, task=self._contract.task, layout=self._source.layout
        )
        writer: BundleWriter | None = None
        outputs: tuple[TensorSpec, ...] = ()
        count = 0
        try:
            for read in self._chunks(samples):
                inputs = self._stacks(read)
                given = self._runner.run(inputs)
                if writer is None:
                    outputs = _closed(self._described.outputs, given)
                    writer = BundleWriter(path, outputs)
                    self._timing = self._time(inputs)
                writer.append([one.id for one in read], [one.digest for one in read], given)
                count += len(read)
            if writer is None or len(self._skipped) > _MOST_SKIPPED * (count + len(self._skipped)):
                first = min(self._skipped, key=str)
                raise DataError(
                    f"{len(self._skipped)} of {count + len(self._skipped)} samples of "
                    f"{self._source.data} cannot be used. The first: {first.cause}",
                    cure=first.cure,
                )
            return writer.finish(
                origin=self._origin(),
                contract=self._settled(outputs),
                pictures=sorted(self._pictures),
                latency=self._timing.latency if self._timing else None,
                peak_memory_mb=self._timing.peak_memory_mb if self._timing else None,
            )
        finally:
            if writer is not None:
                writer.close()
            self._tell()

    def _chunks(self, samples: Samples) -> Iterator[list[_Read]]:
        """The samples that can be read, in pieces that fit into memory, with the share done."""
        chosen = order(samples, limit=self._source.limit, seed=self._source.seed)
        size = _chunk_rows(self._contract)
        outer = self._workshop.progress
        with ThreadPoolExecutor(_THREADS) as threads:
            for start in range(0, len(chosen), size):
                wanted = [samples.get(index) for index in chosen[start : start + size]]
                # Only files of their own can be read in any order; a video's frames cannot.
                together = all(one.path is not None for one in wanted)
                found = (threads.map if together else map)(self._read, wanted)
                self._workshop.progress = _Share(outer, start, len(wanted), len(chosen))
                if kept := [one for one in found if one is not None]:
                    yield kept
        self._workshop.progress = outer

    def _read(self, sample: LabelledSample) -> _Read | None:
        try:
            content = sample.read()
            known = sample_digest(content)
            loaded = to_tensors(content, self._contract, sample.id)
        except DataError as error:
            self._skipped.append(error)
            return None
        # Not the pictures themselves: those of a camera are far larger than the tensors.
        return _Read(
            id=sample.id,
            digest=known,
            tensors=loaded.tensors,
            pictures=frozenset(loaded.pictures),
        )

    def _stacks(self, read: Sequence[_Read]) -> list[Array]:
        import numpy as np

        stacks = []
        for entry in self._contract.inputs:
            name = entry.tensor.name
            values = np.stack([one.tensors[name] for one in read])
            stacks.append(values.reshape(stack_shape(entry.tensor, len(read))))
            if any(name in one.pictures for one in read):
                self._pictures.add(name)
        return stacks

    def _time(self, inputs: Sequence[Array]) -> Timing | None:
        if self._source.runs == 0 or not isinstance(self._runner, Timed):
            return None
        return self._runner.benchmark([stack[:1] for stack in inputs], runs=self._source.runs)

    def _settled(self, outputs: Sequence[TensorSpec]) -> Contract:
        """Without an assumed preprocessing that no picture went through, with closed outputs."""
        inputs = tuple(
            InputContract(tensor=entry.tensor)
            if entry.assumed and entry.tensor.name not in self._pictures
            else entry
            for entry in self._contract.inputs
        )
        stated = {entry.tensor.name: entry for entry in self._contract.outputs}
        return Contract(
            inputs=inputs,
            outputs=tuple(
                replace(stated.get(spec.name, OutputContract(tensor=spec)), tensor=spec)
                for spec in outputs
            ),
        )

    def _origin(self) -> Origin:
        kind, digests = _model_digests(self._runner)
        return Origin(
            name=self._runner.name,
            kind=kind,
            digests=digests,
            device=self._described.device,
            versions=dict(self._described.versions),
            hardware=hardware(),
            data=self._source.data.resolve().name,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            edgekit=__version__,
        )

    def _tell(self) -> None:
        if self._skipped:
            first = "; ".join(sorted(error.cause for error in self._skipped)[:3])
            self._progress.note(f"{len(self._skipped)} samples were left out: {first}")
        for entry in self._contract.inputs:
            for assumption in entry.assumed if entry.tensor.name in self._pictures else ():
                self._progress.note(f"Input {entry.tensor.name}: {assumption}.")


@dataclass(frozen=True, kw_only=True)
class _Read:
    id: str
    digest: str
    tensors: dict[str, Array]
    pictures: frozenset[str]


@dataclass(frozen=True)
class _Share:
    """The progress of one piece as that of the whole."""

    outer: Progress
    start: int
    size: int
    count: int

    def step(self, title: str) -> None:
        self.outer.step(title)

    def update(self, fraction: float, message: str = "") -> None:
        done = (self.start + fraction * self.size) / self.count
        self.outer.update(done, f"{round(done * self.count)} of {self.count} samples")

    def note(self, message: str) -> None:
        self.outer.note(message)


def hardware() -> dict[str, str]:
    """This machine: system, processor, cores, memory."""
    import psutil

    return {
        "system": platform.platform(),
        "processor": cpu_name(),
        "cores": str(psutil.cpu_count() or ""),
        "memory": f"{psutil.virtual_memory().total / 1e9:.1f} GB",
    }


def _model_digests(runner: Runner) -> tuple[str, dict[str, str]]:
    """The kind of the model, and the digests of its files; none of what a server hides."""
    if isinstance(runner, LitertRunner):
        return "tflite", {"file": digest(runner.path)}
    if not isinstance(runner, ConverterRunner):
        return "http", {}
    files = {"file": runner.source.path, "weights": runner.source.weights}
    found = {name: digest(path) for name, path in files.items() if path is not None}
    if runner.state_digest:
        found["state"] = runner.state_digest
    return runner.source.kind, found


def _closed(specs: Sequence[TensorSpec], stacks: Sequence[Array]) -> tuple[TensorSpec, ...]:
    """The outputs as they really came."""
    return tuple(
        replace(spec, dtype=stack.dtype.name)
        for spec, stack in zip(sample_shapes(specs, stacks), stacks, strict=True)
    )


def _chunk_rows(contract: Contract) -> int:
    import numpy as np

    size = sum(
        math.prod(one or 1 for one in entry.tensor.shape) * np.dtype(entry.tensor.dtype).itemsize
        for entry in contract.inputs
    )
    return max(1, min(_MOST_ROWS, _CHUNK_BYTES // max(1, size)))
