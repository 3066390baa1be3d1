"""Candidates on a device, asked chunk by chunk.

The device is the parent's: there is one session with it, however many processes decode. What it
says about a chunk lies in files in the run's own folder until the chunk is measured: samples
that a device has done before it vanished are not done again by ``--resume``.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import ConversionError, DeviceError
from edgekit.measure.job import CandidateJob
from edgekit.pipeline.target import Target
from edgekit.pipeline.validation.device_answers import Answer, answer_path, read_answer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.runners.protocol import InPieces

    Array = NDArray[Any]


class Stopped(Exception):
    """The run ends: what a thread was about to ask is not asked any more. No error of its own."""


class Chunks:
    """Runs candidates on a device over chunks of samples, one chunk at a time.

    Args:
        target: the device.
        jobs: the candidates, with their tensors bound to the reference's.
        folder: where what it says is kept; made here.
    """

    def __init__(self, target: Target, jobs: Sequence[CandidateJob], folder: Path) -> None:
        self._target = target
        self._jobs = jobs
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def answer(
        self, key: str, inputs: Sequence[Path], *, dropped: Mapping[int, str], last: bool = False
    ) -> None:
        """Run what is left of a chunk and keep what comes, whatever happens then.

        Args:
            key: what the chunk's answers are found by.
            inputs: stacks, as the reference takes them.
            dropped: candidates that have failed before, with the reason.
            last: also after `stop`.

        Raises:
            DeviceError: the device does not do its part; a candidate that the runtime there
                refuses is an answer.
            Stopped: after `stop`, or after another thread has met an error of the device's.
        """
        import numpy as np

        with self._lock:
            self._go_on(last=last)
            stacks = [np.load(path, mmap_mode="r", allow_pickle=False) for path in inputs]
            for number, job in enumerate(self._jobs):
                path = answer_path(self.folder, key, number)
                if number in dropped:
                    Answer(failed=dropped[number]).write(path)
                    continue
                try:
                    self._run(path, job, stacks, last=last)
                except DeviceError:
                    self._stopped.set()  # whoever waits for the device does not try it again
                    raise

    def stop(self) -> None:
        """Let an `answer` that is running end with the piece that it waits for."""
        self._stopped.set()

    def wait(self) -> None:
        """Until nobody uses the device."""
        with self._lock:
            pass

    def forget(self, key: str) -> None:
        """Remove the answers of a chunk that is measured."""
        for number in range(len(self._jobs)):
            answer_path(self.folder, key, number).unlink(missing_ok=True)

    def kept(self) -> int:
        """Of how many samples in chunks that are not measured all candidates' outputs are there."""
        keys = {path.name.rpartition("-")[0] for path in self.folder.glob("*-*.rows")}
        return sum(
            min(
                read_answer(answer_path(self.folder, key, number)).samples
                for number in range(len(self._jobs))
            )
            for key in keys
        )

    def _run(self, path: Path, job: CandidateJob, stacks: Sequence[Array], *, last: bool) -> None:
        answer = read_answer(path)
        if answer.is_whole(len(stacks[0])):
            return
        done = answer.samples
        turned = job.fed([stack[done:] for stack in stacks])
        pieces = [answer.outputs] if done else []
        failed = ""
        try:
            # Closed at once, so that the session is in step whoever uses it next.
            with closing(_pieces(self._target.runner(Path(job.path)), turned)) as outputs:
                for piece in outputs:
                    pieces.append(piece)
                    self._go_on(last=last)
        except ConversionError as error:
            failed = f"On {self._target.name}: {error}"
        finally:
            Answer.joined(pieces, failed).write(path)

    def _go_on(self, *, last: bool) -> None:
        if self._stopped.is_set() and not last:
            raise Stopped


def lost(error: DeviceError, done: int, total: int) -> DeviceError:
    """The same error, which also says what is kept."""
    cure = "The same command with --resume goes on with the samples that are left."
    return type(error)(
        f"{error.cause} {done:,} of {total:,} samples are done, and kept.",
        cure=f"{error.cure} {cure}".strip(),
        log=error.log,
    )


def _pieces(runner: InPieces, stacks: Sequence[Array]) -> Generator[list[Array]]:
    """Outputs as they come."""
    for _, outputs in runner.run_chunks(stacks):
        yield outputs
