"""Feeds chunks of samples to measuring processes, and survives what happens to them."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import DeviceError, StepCrashed, StepOutOfMemory, StepTimeout
from edgekit.pipeline.validation.engine import read_marker
from edgekit.pipeline.validation.on_device import Chunks, Stopped, lost
from edgekit.pipeline.validation.store import ReferenceCache, RunStore, trim, write_table
from edgekit.toolchain.bounds import Bounds
from edgekit.toolchain.worker import Worker
from edgekit.toolchain.workshop import Limits
from edgekit.types import Progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_PROGRAM = Path(__file__).with_name("worker.py")
_SECONDS = 900.0
_GIGABYTES = 16.0
_TOLD_SECONDS = 0.2
_TRIMMED_EVERY = 64
"""So many newly made chunks of reference outputs are between two looks at the cache's size."""

Ask = Callable[[Sequence[Path], Sequence[str], Sequence[str]], "list[Array]"]
"""The reference: its outputs for stacks of inputs, with the samples' digests and ids."""


@dataclass(kw_only=True)
class MeasuringProcesses:
    """The processes of a stream, by their numbers. They may load before there is anything to do.

    Attributes:
        scratch: a folder for what is on its way.
        rows: the folder that rows are written to.
        logs: the folder of their logs.
        limits: of one chunk.
        own_code: a metric of the user's own runs in them.
    """

    scratch: Path
    rows: Path
    logs: Path
    limits: Limits
    own_code: bool = False
    _workers: dict[int, Worker] = field(default_factory=dict)

    def start(self, number: int) -> Worker:
        """The process of this number; it is started where there is none."""
        if number not in self._workers:
            self._workers[number] = Worker(
                _PROGRAM,
                python=sys.executable,
                log=self.logs / f"validate-{number}.log",
                name="validate",
                seconds=self.limits.seconds or _SECONDS,
                memory_gb=self.limits.memory_gb or _GIGABYTES,
                isolated=False,
                bounds=Bounds(
                    write=(self.scratch, self.rows, *self.limits.allow_write),
                    code=self.own_code,
                    network=self.limits.allow_network,
                    scratch=self.scratch,
                ),
            )
        return self._workers[number]

    def end(self, number: int) -> None:
        """End one, if it is there."""
        if worker := self._workers.pop(number, None):
            worker.close()

    def close(self) -> None:
        """End all."""
        for number in list(self._workers):
            self.end(number)


@dataclass(kw_only=True)
class Stream:
    """One run over all chunks.

    Attributes:
        job: the file with what each process is told.
        chunks: the samples' places, by chunk.
        store: where rows go.
        cache: where the reference's outputs go.
        ask: the reference; one question at a time.
        names: what the candidates are called.
        ids: of all samples.
        jobs: how many processes.
        processes: that measure, which end with the stream.
        progress: told how far it is.
        most_bytes: how large the cache may become.
        device: runs the candidates, where they do not run in the measuring processes.
    """

    job: Path
    chunks: Mapping[int, Sequence[int]]
    store: RunStore
    cache: ReferenceCache
    ask: Ask
    names: Sequence[str]
    ids: Sequence[str]
    jobs: int
    processes: MeasuringProcesses
    progress: Progress
    most_bytes: float = 4e9
    device: Chunks | None = None
    dropped: dict[int, str] = field(default_factory=dict)
    _prepared: set[int] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _asking: threading.Lock = field(default_factory=threading.Lock)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _errors: list[BaseException] = field(default_factory=list)
    _asked: int = 0

    def run(self) -> bool:
        """Measure every chunk that was not measured before.

        Returns:
            Whether all were measured; false after Ctrl-C.

        Raises:
            EdgekitError: the data, the metric or the reference failed; not for a candidate that
                crashes, which goes into ``dropped`` while the others go on.
        """
        self.dropped |= self.store.dropped()
        finished = self.store.finished()
        left = [one for one in self.chunks if one not in finished]
        waiting = iter(left)
        total = sum(map(len, self.chunks.values()))
        done = total - sum(len(self.chunks[one]) for one in left)
        self._count = SampleCount(self.progress, done=done, total=total)
        threads = [
            threading.Thread(target=self._serve, args=(number, waiting), daemon=True)
            for number in range(min(self.jobs, len(left)))
        ]
        for number in range(len(threads)):
            # Here, not in its thread: the kernel ends a process with the thread that started it.
            self.processes.start(number)
        try:
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                time.sleep(0.05)  # a join would keep Ctrl-C waiting
                self._count.tell()
        except KeyboardInterrupt:
            self._end(threads)
            return False
        if self._errors:
            self._end(threads)
            error = self._errors[0]
            if self.device is not None and isinstance(error, DeviceError):
                done, total = self._count.counts
                error = lost(error, done + self.device.kept(), total)
            raise error
        return True

    def words(self, places: Sequence[int]) -> list[dict[str, Any]]:
        """What everybody says about some samples, see `Engine.words`."""
        if not places:
            return []
        # One that was started again was so by a thread, and ended with it.
        number = self.jobs if self.dropped else 0
        answer = self._ask_worker(number, "words", {"chunk": -1, "places": list(places)})
        samples: list[dict[str, Any]] = answer["samples"]
        return samples

    def close(self) -> None:
        """End all processes."""
        with self._lock:
            self.processes.close()
            self._prepared.clear()
        if self.device is not None:
            self.device.wait()

    def _serve(self, number: int, waiting: Any) -> None:
        """One process's thread: chunk after chunk until there is none."""
        try:
            while not self._stopped.is_set():
                with self._lock:
                    chunk = next(waiting, None)
                if chunk is None or len(self.dropped) == len(self.names):
                    return
                rows = str(self.store.path(chunk))
                request = {"chunk": chunk, "places": list(self.chunks[chunk]), "rows": rows}
                self._ask_worker(number, "measure", request)
                self._count.add(len(self.chunks[chunk]))
        except Stopped:
            return  # whoever stopped the run says why
        except BaseException as error:  # noqa: BLE001  raised again where all threads meet
            if not self._stopped.is_set():
                self._errors.append(error)
                self._stopped.set()

    def _ask_worker(self, number: int, verb: str, request: dict[str, Any]) -> dict[str, Any]:
        """A verb's answer, with the reference asked in between where it is needed."""
        last = verb == "words"  # what is asked after the run, also after one that was stopped
        while True:
            try:
                worker = self._worker(number, last=last)
                answer = worker.call(verb, request).result
                self.leave_out({int(one): why for one, why in answer["failed"].items()})
                self.cache.place(answer["key"])  # refuses what is not a digest
                if answer["done"]:
                    self.cache.used(answer["key"])
                    if self.device is not None:
                        self.device.forget(answer["key"])
                    return answer
                self._complete(answer, last=last)
            except (StepCrashed, StepTimeout, StepOutOfMemory) as error:
                self._go_on(last=last)  # it was ended, and no candidate's fault
                self._drop(number, error)

    def _go_on(self, *, last: bool) -> None:
        """Raise where the run was stopped: also a thread that comes late does nothing more."""
        if self._stopped.is_set() and not last:
            raise Stopped

    def _complete(self, answer: dict[str, Any], *, last: bool) -> None:
        """Ask the reference and the device about a chunk, where what they say is missing."""
        paths = [Path(path) for path in answer["inputs"]]
        try:
            if answer["device"] and self.device is not None:
                self.device.answer(answer["key"], paths, dropped=self.dropped, last=last)
            if answer["reference"]:
                self._make_reference(answer, paths, last=last)
        finally:
            for path in paths:
                path.unlink(missing_ok=True)

    def _make_reference(self, answer: dict[str, Any], paths: Sequence[Path], *, last: bool) -> None:
        """Ask the reference about a chunk and keep what it says."""
        import numpy as np

        with self._asking:
            self._go_on(last=last)
            outputs = self.ask(paths, answer["digests"], answer["ids"])
        columns = {str(place): np.asarray(stack) for place, stack in enumerate(outputs)}
        self.cache.folder.mkdir(parents=True, exist_ok=True)
        write_table(self.cache.place(answer["key"]), columns)
        self._asked += 1
        if self._asked % _TRIMMED_EVERY == 0:
            trim(self.cache.folder.parent, self.most_bytes)

    def _worker(self, number: int, *, last: bool) -> Worker:
        """A process that has taken the job; it is started where there is none."""
        with self._lock:
            self._go_on(last=last)
            worker = self.processes.start(number)
        if number not in self._prepared:
            marker, skip = self._marker(number), list(self.dropped)
            request = {"job": str(self.job), "marker": str(marker), "skip": skip}
            worker.call("prepare", request)
            self._prepared.add(number)
        return worker

    def _drop(self, number: int, error: Exception) -> None:
        """Leave out the candidate that was running when a process died; the others go on.

        Raises:
            StepCrashed, StepTimeout, StepOutOfMemory: no candidate was running.
        """
        candidate, place = read_marker(self._marker(number))
        with self._lock:
            self.processes.end(number)
            self._prepared.discard(number)
            if candidate < 0:
                raise error
            what = "took too long" if isinstance(error, StepTimeout) else "ended the runtime"
            reason = f"The candidate {what} on sample {self.ids[place]}: {error}"
        self.leave_out({candidate: reason})
        self._marker(number).unlink(missing_ok=True)

    def leave_out(self, failed: Mapping[int, str]) -> None:
        """These candidates are not judged: what they did before says nothing."""
        if failed:
            with self._lock:
                self.dropped = {**failed, **self.dropped}
                self.store.drop(self.dropped)

    def _marker(self, number: int) -> Path:
        return self.processes.scratch / f"marker-{number}"

    def _end(self, threads: Sequence[threading.Thread]) -> None:
        self._stopped.set()
        if self.device is not None:
            self.device.stop()
        self.close()
        with contextlib.suppress(KeyboardInterrupt):
            for thread in threads:
                thread.join(timeout=5)


class SampleCount:
    """How many samples are done, and how long the rest will take."""

    def __init__(self, progress: Progress, *, done: int, total: int) -> None:
        self._progress = progress
        self._done = self._before = done
        self._total = total
        self._since = time.monotonic()
        self._told = 0.0
        self._lock = threading.Lock()

    @property
    def counts(self) -> tuple[int, int]:
        """How many are done, of how many."""
        return self._done, self._total

    def add(self, samples: int) -> None:
        """So many more are done."""
        with self._lock:
            self._done += samples

    def tell(self) -> None:
        """Tell the progress, now and then."""
        now = time.monotonic()
        if now - self._told < _TOLD_SECONDS or not self._total:
            return
        self._told = now
        fresh = self._done - self._before
        left = ""
        if fresh:
            seconds = (now - self._since) / fresh * (self._total - self._done)
            left = f", {duration(seconds)} left"
        message = f"{self._done:,} of {self._total:,} samples{left}"
        self._progress.update(self._done / self._total, message)


def duration(seconds: float) -> str:
    """Seconds as ``42 s``, ``3:20 min`` or ``2:05 h``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole // 60 % 60:02d} h"
