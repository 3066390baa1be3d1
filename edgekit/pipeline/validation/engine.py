"""Measures chunks of samples: each is decoded and preprocessed once, for all candidates."""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from edgekit.calibration.tensors import to_tensors
from edgekit.datasets.digests import sample_digest
from edgekit.errors import DataError
from edgekit.measure import tasks
from edgekit.measure.job import CandidateJob, MeasuringJob, turn_back
from edgekit.measure.parts import joined
from edgekit.measure.rows import candidate_rows, reference_rows, sample_rows
from edgekit.pipeline.validation.data import Samples, label_for_input, open_samples
from edgekit.pipeline.validation.store import read_table, write_table
from edgekit.validation.metrics import Batch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

MARKER = struct.Struct("<ii")
"""Which candidate is running on which sample; (-1, -1) where none is."""


@dataclass(kw_only=True)
class Chunk:
    """A chunk between its first half (candidates have run) and its second (they are compared)."""

    number: int
    places: list[int] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    paths: list[Path | None] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    labels: list[Any] = field(default_factory=list)
    inputs: list[list[Array]] = field(default_factory=list)
    outputs: dict[int, list[list[Array]]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What its reference outputs are found by."""
        return hashlib.sha256("".join(self.digests).encode()).hexdigest()


class MeasuringEngine:
    """One process's share of a validation: the data, an interpreter per candidate, the metric.

    Args:
        job: what to measure.
        marker: a file that tells who was running when a process died, see `read_marker`.
        skip: candidates that are not to be run any more.
    """

    def __init__(self, job: MeasuringJob, *, marker: Path, skip: Sequence[int] = ()) -> None:
        import cv2

        cv2.setNumThreads(1)  # there is a process for each core already
        self._job = job
        self._contract = job.stated
        self._samples = open_job_samples(job)
        self._metric = tasks.make_metric(
            self._contract, samples=len(self._samples.ids), span=job.span, own=job.metric
        )
        self._runs = {
            number: self._opened(candidate)
            for number, candidate in enumerate(job.candidates)
            if number not in skip
        }
        # Shared with the kernel, which keeps what is written there when the process dies.
        marker.write_bytes(MARKER.pack(-1, -1))
        with marker.open("r+b") as stream:
            self._marker = mmap.mmap(stream.fileno(), MARKER.size)
        self._chunk: Chunk | None = None
        self._mark(-1, -1)

    def load(self, number: int, places: Sequence[int]) -> Chunk:
        """Decode and preprocess samples and run every candidate on them.

        A sample that cannot be read is left out, and named in `Chunk.skipped`.

        Raises:
            DataError: a sample does not fit the model.
        """
        if self._chunk is not None and self._chunk.number == number:
            return self._chunk  # the reference was asked meanwhile
        chunk = Chunk(number=number, outputs={one: [] for one in self._runs})
        names = [entry.tensor.name for entry in self._contract.inputs]
        for place in places:
            try:
                sample = self._samples.get(place)
                content = sample.read()
                digest = sample_digest(content)
            except DataError:
                chunk.skipped.append(self._samples.ids[place])
                continue
            loaded = to_tensors(content, self._contract, sample.id)
            inputs = [loaded.tensors[name] for name in names]
            picture = next(iter(loaded.pictures.values()), None)
            chunk.places.append(place)
            chunk.ids.append(sample.id)
            chunk.paths.append(sample.path)
            chunk.digests.append(digest)
            chunk.labels.append(label_for_input(sample, picture, self._contract))
            chunk.inputs.append(inputs)
        # One kind of work after the other: each finds its code and tables in the caches.
        for row, place in enumerate(chunk.places):
            self._run(chunk, row, place)
        self._chunk = chunk
        return chunk

    def reference(self, chunk: Chunk) -> list[Array] | None:
        """The reference's outputs for a chunk, as stacks, where they are known."""
        path = Path(self._job.references) / f"{chunk.key}.rows"
        try:
            columns, _ = read_table(path)
        except (FileNotFoundError, ValueError):
            return None
        return [columns[str(number)] for number in range(len(columns))]

    def write_inputs(self, chunk: Chunk) -> list[str]:
        """Write the inputs as stacks, for a reference that has not seen them yet."""
        import numpy as np

        if self._job.recorded and not self._job.device_answers:
            return []
        paths = []
        for number, entry in enumerate(self._contract.inputs):
            values = [inputs[number] for inputs in chunk.inputs]
            batched = entry.tensor.shape[:1] == (1,)
            path = Path(self._job.scratch) / f"{chunk.number}-{os.getpid()}-{number}.npy"
            np.save(path, np.concatenate(values) if batched else np.stack(values))
            paths.append(str(path))
        return paths

    def compare(self, chunk: Chunk, reference: list[Array], rows: Path) -> None:
        """Turn outputs into rows and write these."""
        import numpy as np

        digests = [np.frombuffer(bytes.fromhex(one), np.uint8) for one in chunk.digests]
        columns: dict[str, Array] = {
            "index": np.array(chunk.places, np.int64),
            "digest": np.array(digests, np.uint8).reshape(-1, 32),
            "labelled": np.array([label is not None for label in chunk.labels], bool),
        }
        if chunk.places:
            columns |= sample_rows(chunk.inputs)
            named = {place for one in self._job.candidates for place in one.named}
            columns |= reference_rows(self._contract, self._job.parts, reference, named)
            for number in self._runs:
                found = self._rows(chunk, number, reference)
                columns |= {f"{number}/{name}": column for name, column in found.items()}
        write_table(rows, columns, skipped=chunk.skipped)
        self._chunk = None

    def words(self, chunk: Chunk, reference: list[Array]) -> list[dict[str, Any]]:
        """What the reference and each candidate say about each sample, and the truth."""
        aligned = {number: self._aligned(chunk, number, reference) for number in self._runs}
        self._chunk = None
        return [
            {
                "id": chunk.ids[row],
                "path": str(path) if path else None,
                "label": tasks.say_label(self._contract, chunk.labels[row]),
                "reference": tasks.say(self._contract, [stack[row] for stack in reference]),
                "candidates": {
                    str(number): tasks.say(self._contract, [stack[row] for stack in stacks])
                    for number, stacks in aligned.items()
                },
            }
            for row, path in enumerate(chunk.paths)
        ]

    def collect(self, _chunk: Chunk) -> bool:
        """Whether the outputs of a chunk's candidates are there: here they always are."""
        return True

    def _opened(self, job: CandidateJob) -> OpenCandidate:
        return OpenCandidate(job)

    def _run(self, chunk: Chunk, row: int, place: int) -> None:
        """Every candidate on one sample; one that the runtime refuses is not run again."""
        for one in list(self._runs):
            self._mark(one, place)
            try:
                chunk.outputs[one].append(self._runs[one].run(chunk.inputs[row]))
            except (RuntimeError, ValueError) as error:
                chunk.failed[one] = f"The runtime refuses sample {chunk.ids[row]}: {error}"
                del self._runs[one], chunk.outputs[one]
        self._mark(-1, -1)

    def _rows(self, chunk: Chunk, number: int, reference: list[Array]) -> dict[str, Array]:
        batch = Batch(
            index=chunk.places,
            reference=reference,
            candidate=self._aligned(chunk, number, reference),
            labels=chunk.labels,
            names=chunk.ids,
        )
        return candidate_rows(
            self._contract,
            self._job.parts,
            batch,
            inputs=chunk.inputs,
            spans=self._job.candidates[number].spans,
            metric=self._metric,
            named=self._job.candidates[number].named,
        )

    def _aligned(self, chunk: Chunk, number: int, reference: list[Array]) -> list[Array]:
        """A candidate's outputs as stacks with the reference's order, axes and shapes."""
        import numpy as np

        taken = []
        samples = chunk.outputs[number]
        for place, like in enumerate(reference):
            one = self._job.candidates[number].outputs[place]
            stacks = []
            for output in one.places:
                values = [sample[output] for sample in samples]
                batched = values[0].shape[:1] == (1,)
                stacks.append(np.concatenate(values) if batched else np.stack(values))
            taken.append(turn_back(joined(stacks, one.axis), one.permutation, like))
        return taken

    def _mark(self, candidate: int, place: int) -> None:
        MARKER.pack_into(self._marker, 0, candidate, place)


class OpenCandidate:
    """A file in the runtime, in this very process: one thread, one sample at a time."""

    def __init__(self, job: CandidateJob) -> None:
        from edgekit.runners.litert_worker import dequantize, open_interpreter, quantize

        self._quantize, self._dequantize = quantize, dequantize
        self._job = job
        self._interpreter = open_interpreter(job.path, threads=1)
        self._inputs = self._interpreter.get_input_details()
        self._outputs = self._interpreter.get_output_details()

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Its outputs for one sample, whose inputs have the reference's order and axes."""
        interpreter = self._interpreter
        for detail, feed in zip(self._inputs, self._job.feeds, strict=True):
            turned = feed.of(inputs[feed.source]).reshape(feed.shape)
            interpreter.set_tensor(detail["index"], self._quantize(turned, detail))
        interpreter.reset_all_variables()  # each sample is a sequence of its own
        interpreter.invoke()
        return [
            self._dequantize(interpreter.get_tensor(detail["index"]), detail)
            for detail in self._outputs
        ]


def read_marker(path: Path) -> tuple[int, int]:
    """Which candidate was running on which sample when a process died; -1 where none was."""
    try:
        candidate, place = MARKER.unpack(path.read_bytes())
    except (OSError, struct.error):
        return -1, -1
    return candidate, place


def open_job_samples(job: MeasuringJob) -> Samples:
    """The samples that a job is about."""
    contract = job.stated
    if not job.labelled:
        return open_samples(Path(job.data), task=contract.task, layout=None, unlabelled=True)
    return open_samples(
        Path(job.data),
        task=contract.task,
        classes=tasks.class_names(contract),
        outputs=tasks.class_count(contract),
        layout=cast(Any, job.layout),
    )
