"""Candidates on a device: opened, asked chunk by chunk, timed by the device's own clock.

The device is the parent's: there is one session with it, however many processes decode. What it
says about a chunk lies in files in the run's own folder until the chunk is measured: samples
that a device has done before it vanished are not done again by ``--resume``.
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit import __version__
from edgekit.devices.runtimes import parse_runtime, runtime_device
from edgekit.devices.session import DeviceLimits
from edgekit.devices.target import open_device
from edgekit.errors import ConversionError, DeviceError, UsageError
from edgekit.pipeline.validation.device_answers import Answer, answer_path, read_answer
from edgekit.pipeline.validation.job import CandidateJob, turn
from edgekit.pipeline.validation.request import ValidationRequest
from edgekit.runners.protocol import InPieces, Runner, Timed, Timing
from edgekit.types import Progress

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from numpy.typing import NDArray

    from edgekit.devices.target import Device

    Array = NDArray[Any]

_RUNS = 60
_SECONDS = 15.0
_WARMUP = 3


def open_target(request: ValidationRequest, progress: Progress) -> Target | None:
    """The device that was asked for; ``None`` for this computer and edgekit's own runtime.

    Raises:
        UsageError: the address or the runtime is none, or both are given.
        EnvironmentNotReady: the runtime cannot be had.
        DeviceError: the device cannot be reached, or another run has it.
    """
    limits = DeviceLimits(step=request.limits.seconds or DeviceLimits.step)
    if request.runtime and request.address != "local":
        raise UsageError(
            "--runtime is about this computer, --device about another.",
            cure="Give one of them. A device has the runtime that is installed there.",
        )
    if request.runtime:
        runtime = parse_runtime(request.runtime)
        device = runtime_device(runtime, limits=limits, progress=progress)
        return Target(device, name="local", threads=request.threads)
    if request.address == "local":
        return None
    device = open_device(request.address, limits=limits)
    return Target(device, name=device.words, threads=request.threads)


class Target:
    """A device with the runners of one run. Used as a context manager, which connects.

    Args:
        device: what `edgekit.devices.target.open_device` gives.
        name: what the user calls it.
        threads: of the runtime there.

    Raises:
        DeviceError: on entering: the device is not there, or another run has it.
    """

    def __init__(self, device: Device, *, name: str, threads: int) -> None:
        self.name = name
        self._device = device
        self._threads = threads
        self._runners: dict[Path, Runner] = {}
        self._open = ExitStack()

    def runner(self, path: Path) -> Runner:
        """The runner of a file; the same one when it is asked for again."""
        if path not in self._runners:
            runner = self._device.runner(path, threads=self._threads)
            self._runners[path] = self._open.enter_context(runner)
        return self._runners[path]

    def environment(self) -> dict[str, str]:
        """What the candidates run on and with, for the report."""
        facts = self._device.facts
        found = {
            "device": self.name,
            "system": facts.system,
            "machine": facts.machine,
            "cpu": facts.name or "not told",
            "cores": str(facts.cores or "not told"),
            "python": facts.python,
        }
        if facts.runtime:
            found[facts.runtime] = facts.runtime_version or "unknown"
        host = f"{platform.system()} {platform.release()}, {platform.machine()}"
        return {**found, "host": host, "edgekit": __version__}

    def time(self, files: Mapping[str, Path], progress: Progress) -> DeviceTimes:
        """Latency and memory of files, one after the other; their inputs are zeros.

        Raises:
            DeviceError: the device does not do its part.
        """
        import numpy as np

        from edgekit.calibration.samples import stack_shape

        times = DeviceTimes()
        for name, path in files.items():
            progress.step(f"Timing {path.name} on {self.name}")
            try:
                runner = self.runner(path)
                specs = runner.describe().inputs
                zeros = [np.zeros(stack_shape(one, 1), np.dtype(one.dtype)) for one in specs]
                if not isinstance(runner, Timed):
                    times.failures[name] = "Such a device has no clock beside the model."
                    continue
                times.timings[name] = runner.benchmark(
                    zeros, runs=_RUNS, warmup=_WARMUP, seconds=_SECONDS
                )
            except ConversionError as error:
                times.failures[name] = error.cause
        return times

    def __enter__(self) -> Self:
        self._open.enter_context(self._device)
        try:
            _ = self._device.facts  # a device that is not there, or in use, is told at once
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.__exit__(kind, error, trace)


@dataclass(kw_only=True)
class DeviceTimes:
    """What was timed, and why a file was not, by the files' names."""

    timings: dict[str, Timing] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


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
            KeyboardInterrupt: after `stop`.
        """
        import numpy as np

        with self._lock:
            self._go_on(last=last)
            stacks = [np.load(path, mmap_mode="r", allow_pickle=False) for path in inputs]
            for number, job in enumerate(self._jobs):
                path = answer_path(self.folder, key, number)
                if number in dropped:
                    Answer(failed=dropped[number]).write(path)
                else:
                    self._run(path, job, stacks, last=last)

    def stop(self) -> None:
        """Let an `answer` that is running end with the piece that it waits for."""
        self._stopped.set()

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
        turned = [
            turn(stacks[feed.source][done:], feed.permutation, feed.shape) for feed in job.feeds
        ]
        pieces = [answer.outputs] if done else []
        failed = ""
        try:
            # Closed at once, so that the session is in step whoever uses it next.
            with closing(_in_pieces(self._target.runner(Path(job.path)), turned)) as outputs:
                for piece in outputs:
                    pieces.append(piece)
                    self._go_on(last=last)
        except ConversionError as error:
            failed = f"On {self._target.name}: {error}"
        finally:
            Answer.joined(pieces, failed).write(path)

    def _go_on(self, *, last: bool) -> None:
        if self._stopped.is_set() and not last:
            raise KeyboardInterrupt


def lost(error: DeviceError, done: int, total: int) -> DeviceError:
    """The same error, which also says what is kept."""
    cure = "The same command with --resume goes on with the samples that are left."
    return type(error)(
        f"{error.cause} {done:,} of {total:,} samples are done, and kept.",
        cure=f"{error.cure} {cure}".strip(),
        log=error.log,
    )


def _in_pieces(runner: Runner, stacks: Sequence[Array]) -> Generator[list[Array]]:
    """Outputs as they come, where the runner can; else all at once."""
    if isinstance(runner, InPieces):
        for _, outputs in runner.run_chunks(stacks):
            yield outputs
    else:
        yield runner.run(stacks)
