"""An executor in this process, whose jobs end when the test says so, and jobs for it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp

from edgekit.jobs.protocol import Ending, Job, Outcome, Resources
from edgekit.jobs.store import KeptJob


def job(name: str, *needs: Job, cores: float = 1.0, devices: frozenset[str] = frozenset()) -> Job:
    """A job that is known by its name."""
    return Job(
        key=hashlib.sha256(name.encode()).hexdigest(),
        name=name,
        function="none:none",
        needs=tuple(one.key for one in needs),
        resources=Resources(cores=cores, devices=devices),
    )


@dataclass
class FakeExecutor:
    """Runs a job when its outcome is asked for, the one that was started first."""

    root: Path
    cores: float = 2.0
    act: Callable[[Job, int], Ending] = lambda job, number: Ending.DONE
    """Given a job and how often it was started: how it ends."""
    started: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    inputs: dict[str, Mapping[str, Path]] = field(default_factory=dict)
    most: int = 0
    _running: dict[str, Job] = field(default_factory=dict)

    def free(self) -> Resources:
        used = sum(one.resources.cores for one in self._running.values())
        return Resources(cores=self.cores - used)

    def fits(self, resources: Resources) -> bool:
        return resources.cores <= self.free().cores

    def start(self, job: Job, inputs: Mapping[str, Path]) -> None:
        assert self.fits(job.resources)
        held = [one for other in self._running.values() for one in other.resources.devices]
        assert not job.resources.devices & set(held)
        self.started.append(job.name)
        self.inputs[job.name] = dict(inputs)
        self._running[job.key] = job
        self.most = max(self.most, len(self._running))

    def outcomes(self, timeout: float) -> list[Outcome]:
        if not self._running:
            return []
        key, job = next(iter(self._running.items()))
        del self._running[key]
        ending = self.act(job, self.started.count(job.name))
        folder = Path(mkdtemp(dir=self.root))
        (folder / "said.txt").write_text(job.name)
        return [
            Outcome(
                key=key,
                ending=ending,
                value={"name": job.name},
                folder=folder,
                reason="" if ending == Ending.DONE else f"{job.name} ended {ending}",
            )
        ]

    def cancel(self, key: str) -> None:
        self.cancelled.append(self._running.pop(key).name)

    def close(self) -> None:
        self._running.clear()


@dataclass
class Told:
    """A `Watcher` that remembers."""

    endings: dict[str, KeptJob] = field(default_factory=dict)
    retries: list[str] = field(default_factory=list)
    interruptions: list[int] = field(default_factory=list)

    def started(self, job: Job) -> None:
        pass

    def ended(self, kept: KeptJob) -> None:
        assert kept.name not in self.endings
        self.endings[kept.name] = kept

    def retried(self, job: Job, outcome: Outcome) -> None:
        self.retries.append(job.name)

    def interrupted(self, running: int) -> None:
        self.interruptions.append(running)
