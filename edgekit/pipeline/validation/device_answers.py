"""What a device says about a chunk, in files that measuring processes read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.measure.job import CandidateJob
from edgekit.pipeline.validation.engine import Chunk, MeasuringEngine, OpenCandidate
from edgekit.pipeline.validation.store import read_table, write_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


@dataclass(kw_only=True)
class Answer:
    """The outputs of one candidate for the first samples of a chunk.

    Attributes:
        outputs: stacks, in the file's own order.
        failed: why there will be no more of them; empty where nothing is wrong.
    """

    outputs: list[Array] = field(default_factory=list)
    failed: str = ""

    @classmethod
    def joined(cls, pieces: Sequence[list[Array]], failed: str) -> Answer:
        """One answer from several, in the samples' order."""
        import numpy as np

        columns = zip(*pieces, strict=True)
        return cls(outputs=[np.concatenate(column) for column in columns], failed=failed)

    @property
    def samples(self) -> int:
        """How many samples it is about."""
        return len(self.outputs[0]) if self.outputs else 0

    def is_whole(self, samples: int) -> bool:
        """Whether there is nothing left to ask about a chunk of so many samples."""
        return bool(self.failed) or self.samples == samples

    def write(self, path: Path) -> None:
        """Keep it; whole or not at all."""
        columns = {str(place): stack for place, stack in enumerate(self.outputs)}
        write_table(path, columns, failed=self.failed)


def answer_path(folder: Path, key: str, candidate: int) -> Path:
    """Where the answer of a candidate about a chunk is, or will be."""
    return folder / f"{key}-{candidate}.rows"


def read_answer(path: Path) -> Answer:
    """What `Answer.write` wrote; an empty one where there is none."""
    try:
        columns, words = read_table(path)
    except (FileNotFoundError, ValueError):
        return Answer()
    outputs = [columns[str(place)] for place in range(len(columns))]
    return Answer(outputs=outputs, failed=str(words["failed"]))


class DeviceEngine(MeasuringEngine):
    """An engine whose candidates run on a device, which the parent asks."""

    def collect(self, chunk: Chunk) -> bool:
        """Take the outputs of a chunk's candidates; false where the device was not asked yet."""
        folder = Path(self._job.device_answers)
        found = {one: read_answer(answer_path(folder, chunk.key, one)) for one in self._runs}
        if not all(answer.is_whole(len(chunk.places)) for answer in found.values()):
            return False
        for one, answer in found.items():
            if answer.failed:
                chunk.failed[one] = answer.failed
                self._runs.pop(one)
                chunk.outputs.pop(one, None)
            else:
                chunk.outputs[one] = [
                    [stack[row : row + 1] for stack in answer.outputs]
                    for row in range(len(chunk.places))
                ]
        return True

    def _opened(self, job: CandidateJob) -> OpenCandidate:
        return _Elsewhere(job)

    def _run(self, chunk: Chunk, row: int, place: int) -> None:
        """Nothing yet: the device gets a chunk when all of it is there."""


class _Elsewhere(OpenCandidate):
    """A candidate of which nothing is opened here."""

    def __init__(self, job: CandidateJob) -> None:
        pass
