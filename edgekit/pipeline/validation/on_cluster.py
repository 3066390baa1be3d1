"""A validation's chunks as jobs of an executor; their rows are those of one machine."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

from edgekit.errors import (
    ConversionError,
    DataError,
    DeviceError,
    EdgekitError,
    SetupError,
    UsageError,
)
from edgekit.jobs.machine import this_machine
from edgekit.jobs.protocol import Ending, Job, Outcome, Resources
from edgekit.jobs.ray_cluster import RayExecutor
from edgekit.pipeline.validation.chunk_job import ChunkShare, NodeSetup, SharedRun
from edgekit.pipeline.validation.request import ValidationRequest
from edgekit.pipeline.validation.store import RunStore
from edgekit.pipeline.validation.stream import SampleCount
from edgekit.plain import to_plain
from edgekit.types import Progress

_MODULE = "edgekit.pipeline.validation.chunk_job"
_TRIES = 3
_JOB_SECONDS = 10.0
"""That a job takes at most, about: so much is lost with a machine, and not more."""
_FIRST_CHUNKS = 16
"""Of a job, for each of its processes, while nobody knows how long a chunk takes."""
_POLL_SECONDS = 0.2
_ERRORS: dict[int, type[EdgekitError]] = {
    one.exit_code: one for one in (UsageError, ConversionError, SetupError, DataError, DeviceError)
}


@dataclass(kw_only=True)
class Cluster:
    """The machines of a run, which open the reference and load while the run is being prepared.

    Attributes:
        executor: runs jobs there.
        setup: what they open.
        most: processes of a job; any where it is ``None``.
        cores: that all of them have.
    """

    executor: RayExecutor
    setup: NodeSetup
    most: int | None
    cores: float = 1.0
    _ready: bool = False

    def get_ready(self) -> None:
        """A job for each machine, once, which nobody waits for."""
        if self._ready:
            return
        self._ready = True
        self.cores = max(1.0, self.executor.free().cores)
        for number in count():
            if not (processes := self.processes()):
                return
            job = Job(
                key=f"{self.setup.key} {number}",
                name="getting ready",
                function=f"{_MODULE}:get_ready",
                arguments={"setup": to_plain(self.setup), "processes": processes},
                resources=Resources(cores=processes),
            )
            self.executor.start(job, {})

    def processes(self) -> int:
        """The most that a job could have now; 0 where none can start."""
        most = int(self.executor.free().cores)
        for number in range(min(most, self.most or most), 0, -1):
            if self.executor.fits(Resources(cores=number)):
                return number
        return 0


@contextmanager
def joining(request: ValidationRequest, setup: NodeSetup) -> Iterator[Callable[[], Cluster | None]]:
    """Join a request's cluster beside what the caller does, and leave it in the end.

    Yields:
        What waits until the cluster is there; ``None`` where none is asked for. It raises what
        `RayExecutor` raises.
    """
    address = request.cluster
    if not address:
        yield lambda: None
        return

    def join() -> Cluster:
        cluster = Cluster(executor=RayExecutor(address), setup=setup, most=request.jobs)
        try:
            if not request.latency:  # what is timed here has this machine to itself
                cluster.get_ready()
        except BaseException:
            cluster.executor.close()
            raise
        return cluster

    # The thread stays to the end: the kernel ends what it started when it ends.
    with ThreadPoolExecutor(1, thread_name_prefix="cluster") as pool:
        joined = pool.submit(join)
        try:
            yield joined.result
        finally:
            with suppress(EdgekitError):
                joined.result().executor.close()


class Drops(Protocol):
    """Who keeps which candidates have crashed."""

    dropped: dict[int, str]

    def leave_out(self, failed: Mapping[int, str]) -> None:
        """These are not judged."""


@dataclass(kw_only=True)
class ChunkJobs:
    """Hands chunks to an executor until all have rows.

    A job has as many processes as a machine has cores left, so that each machine opens the
    reference once. Its share is a part of what is left, which shrinks towards the end ("guided
    self-scheduling", Polychronopoulos and Kuck, 1987): few jobs, and all machines end together.

    Attributes:
        cluster: runs the jobs; its files are on the store's disk.
        run: what the jobs have in common.
        chunks: the samples' places, by chunk.
        store: where rows go.
        drops: who is told of candidates that crashed.
        progress: told how far it is.
        machines: where other jobs ran than here, once it is done.
    """

    cluster: Cluster
    run: SharedRun
    chunks: Mapping[int, Sequence[int]]
    store: RunStore
    drops: Drops
    progress: Progress
    machines: dict[str, Mapping[str, str]] = field(default_factory=dict)
    _running: dict[str, ChunkShare] = field(default_factory=dict)
    _tries: Counter[int] = field(default_factory=Counter)
    _most: int = _FIRST_CHUNKS

    def measure(self) -> bool:
        """Measure what was not measured before.

        Returns:
            Whether all was; false after Ctrl-C.

        Raises:
            EdgekitError: the data, the metric or the reference failed on a node, or it crashed too
                often.
        """
        finished = self.store.finished()
        waiting = deque(one for one in self.chunks if one not in finished)
        total = sum(map(len, self.chunks.values()))
        left = sum(len(self.chunks[one]) for one in waiting)
        told = SampleCount(self.progress, done=total - left, total=total)
        executor, cores = self.cluster.executor, self.cluster.cores
        try:
            while waiting or self._running:
                if len(self.drops.dropped) == len(self.run.names):
                    waiting.clear()
                while waiting and (processes := self.cluster.processes()):
                    alone = processes >= cores  # nobody to end together with
                    part = len(waiting) if alone else len(waiting) * processes / (2 * cores)
                    size = max(processes, min(math.ceil(part), processes * self._most))
                    taken = [waiting.popleft() for _ in range(min(size, len(waiting)))]
                    self._start(tuple(taken), processes)
                for outcome in executor.outcomes(_POLL_SECONDS):
                    taken_back = self._take(outcome, told)
                    waiting.extendleft(reversed(taken_back))
                told.tell()
        except KeyboardInterrupt:
            for key in list(self._running):
                executor.cancel(key)
            return False
        return True

    def _start(self, chunks: tuple[int, ...], processes: int) -> None:
        share = ChunkShare(
            run=self.run,
            chunks={str(one): tuple(self.chunks[one]) for one in chunks},
            dropped={str(one): why for one, why in self.drops.dropped.items()},
            processes=min(processes, len(chunks)),
        )
        key = hashlib.sha256(f"{self.run.setup.key} {chunks}".encode()).hexdigest()
        self._running[key] = share
        name = f"chunks {chunks[0]} to {chunks[-1]}"
        job = Job(
            key=key,
            name=name,
            function=f"{_MODULE}:measure_chunks",
            arguments=to_plain(share),
            resources=Resources(cores=processes),
        )
        self.cluster.executor.start(job, {})

    def _take(self, outcome: Outcome, told: SampleCount) -> list[int]:
        """Keep a job's rows; the chunks that are to be measured again."""
        share = self._running.pop(outcome.key, None)
        chunks = tuple(map(int, share.chunks)) if share else ()
        if outcome.ending in (Ending.CRASHED, Ending.LOST):
            if not share:
                return []  # the next job there opens all itself
            self._tries.update(chunks)
            if max(self._tries[one] for one in chunks) < _TRIES:
                self.progress.note(f"Again elsewhere: {outcome.reason}")
                return list(chunks)
        if outcome.ending != Ending.DONE or outcome.folder is None:
            raise _ERRORS.get(outcome.exit_code, EdgekitError)(outcome.reason)
        if not share:
            return []
        pace = outcome.seconds * share.processes / len(chunks)
        self._most = max(1, int(_JOB_SECONDS / max(pace, 1e-3)))
        value = outcome.value
        if isinstance(value, Mapping) and isinstance(dropped := value["dropped"], Mapping):
            self.drops.leave_out({int(one): str(why) for one, why in dropped.items()})
        for one in chunks:
            rows = outcome.folder / self.store.path(one).name
            if rows.is_file():  # not where all candidates have crashed
                rows.replace(self.store.path(one))
                told.add(len(self.chunks[one]))
        if outcome.machine:
            self.machines[outcome.machine.get("host", "")] = outcome.machine
        return []


def unlike_here(machines: Mapping[str, Mapping[str, str]]) -> list[str]:
    """A note on each machine whose processor or libraries are not those of this one."""
    here = this_machine()
    notes = []
    for host, machine in sorted(machines.items()):
        other = [
            f"{name} {machine.get(name, 'none')} (here {here.get(name, 'none')})"
            for name in sorted(here.keys() | machine.keys())
            if name != "host" and machine.get(name) != here.get(name)
        ]
        if other:
            notes.append(f"A part was measured on {host}, which has {', '.join(other)}.")
    return notes
