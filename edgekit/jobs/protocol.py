"""What a job is, and what everything that runs jobs offers.

A job is a function of an importable module, called in a process of its own with plain data and an
empty folder. What it returns is plain data, what it leaves in the folder are its files. So a job is
the same on this machine and on another, and two that have the same key give the same result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

Plain = None | bool | int | float | str | Sequence["Plain"] | Mapping[str, "Plain"]
"""What JSON can hold."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a job occupies while it runs, or what a machine has.

    Attributes:
        cores: CPU cores.
        memory: in bytes; 0 where it does not matter.
        gpus: graphics cards.
        devices: addresses of devices; each has one holder at a time, whoever asks.
    """

    cores: float = 1.0
    memory: int = 0
    gpus: float = 0.0
    devices: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Job:
    """One call.

    Attributes:
        key: the digest of all that decides the result: 64 hexadecimal digits.
        name: what people call it.
        function: ``package.module:function``; it takes the arguments, a mapping from keys of jobs
            to folders with their files, and the folder for its own.
        arguments: plain data for it.
        needs: keys of jobs whose files it reads.
        resources: what it occupies.
    """

    key: str
    name: str
    function: str
    arguments: Mapping[str, Plain] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    resources: Resources = field(default_factory=Resources)


class Ending(StrEnum):
    """How a job ended, which decides whether it is tried again."""

    DONE = "done"
    WRONG_INPUT = "wrong-input"  # an EdgekitError of the user's own making: never again
    CRASHED = "crashed"  # the process died or ran out of memory or time: again, a few times
    LOST = "lost"  # the machine, device or worker went away: again, elsewhere
    CANCELLED = "cancelled"
    BUG = "bug"  # an error that is not an EdgekitError: never again, and loud


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a job.

    Attributes:
        key: of the job.
        ending: how it ended.
        value: what the function returned.
        folder: with its files, complete; whoever receives the outcome owns it.
        reason: cause and cure, where it is not done.
        exit_code: what the command line would have ended with.
        seconds: that it ran, by the clock of where it ran.
        machine: where it ran: CPU and library versions, for the lineage.
    """

    key: str
    ending: Ending
    value: Plain = None
    folder: Path | None = None
    reason: str = ""
    exit_code: int = 0
    seconds: float = 0.0
    machine: Mapping[str, str] = field(default_factory=dict)


class Executor(Protocol):
    """Runs jobs. Knows nothing of their order, of retries, or of what is kept."""

    def free(self) -> Resources:
        """What is not occupied now, over all machines."""
        ...

    def fits(self, resources: Resources) -> bool:
        """Whether a job that needs these could start at once."""
        ...

    def start(self, job: Job, inputs: Mapping[str, Path]) -> None:
        """Start a job that fits.

        Args:
            job: what to call.
            inputs: the folder of each job that it needs.
        """
        ...

    def outcomes(self, timeout: float) -> list[Outcome]:
        """Those that ended since the last call; waits at most ``timeout`` seconds for the first."""
        ...

    def cancel(self, key: str) -> None:
        """End a running job; its outcome is `Ending.CANCELLED`."""
        ...

    def close(self) -> None:
        """End everything that still runs, and let go of what is held."""
        ...
