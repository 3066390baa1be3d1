"""Latency and memory of the candidates, and of the reference where it runs here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import ConversionError, DeviceError
from edgekit.pipeline.target import Target
from edgekit.pipeline.validation.contracts import name_of
from edgekit.runners.litert_runner import LitertRunner, footprint, interleaved, operators
from edgekit.runners.protocol import Recorded, Runner, Timed, Timing
from edgekit.tflite.model import read
from edgekit.toolchain.workshop import Limits, Workshop
from edgekit.types import Progress, SilentProgress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_ROUNDS = 3
_RUNS = 20
_SECONDS = 5.0
WARMUP = 3
REFERENCE = "the reference"


@dataclass(frozen=True, kw_only=True)
class Timings:
    """What was measured; ``failures`` says by name why something was not."""

    candidates: dict[str, Timing]
    reference: Timing | None
    failures: dict[str, str]


def measure(
    candidates: Mapping[str, Path],
    workshop: Workshop,
    *,
    threads: int,
    reference: Runner | None = None,
    inputs: Sequence[Array] = (),
    profile: bool = True,
) -> Timings:
    """Time all models in turn, in rounds, so that machine noise hits all alike.

    Each file is loaded first in a process that has nothing else, which tells its memory.

    Args:
        candidates: the files by name.
        workshop: where the runtime's process lives.
        threads: of the runtime.
        reference: what they are compared with.
        inputs: stacks of one sample for the reference.
        profile: also measure which operators take how long.
    """
    files = dict(candidates)
    if isinstance(reference, LitertRunner):
        files[REFERENCE] = reference.path
    alone, failures = _alone(files, workshop, threads, profile=profile)
    samples: dict[str, list[float]] = {name: [] for name in alone}
    rounds: list[Timing] = []
    for number in range(_ROUNDS):
        if alone:
            paths = [files[name] for name in alone]
            measured = interleaved(
                paths, workshop, threads=threads, runs=_RUNS, warmup=WARMUP, seconds=_SECONDS
            )
            for name, times in zip(alone, measured, strict=True):
                samples[name] += times
        other = None if REFERENCE in {*files, *failures} else _timed(reference)
        if other is not None:
            try:
                warmup = 1 if number else WARMUP
                rounds.append(other.benchmark(inputs, runs=_RUNS, warmup=warmup, seconds=_SECONDS))
            except ConversionError as error:
                failures[REFERENCE] = error.cause
    timings = {
        name: _with_samples(timing, samples[name], warmup=WARMUP) for name, timing in alone.items()
    }
    mine = timings.pop(REFERENCE, None)
    return Timings(
        candidates=timings,
        reference=mine or _joined(rounds) or _recorded(reference),
        failures=failures,
    )


def benchmark(
    files: Sequence[Path],
    *,
    threads: int = 1,
    profile: bool = True,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> tuple[dict[str, Timing], dict[str, str]]:
    """Time files in turn, without data and without a reference.

    Returns:
        The timings by the files' names, and why a file was not timed.

    Raises:
        UsageError: there is no such file.
        ModelError: a file is not a `.tflite`, or is damaged.
    """
    named = {name_of(path, files): path for path in files}
    for path in files:
        read(path)
    told = progress or SilentProgress()
    allowed = limits or Limits()
    with Workshop(name="benchmark", progress=told, limits=allowed, read=tuple(files)) as workshop:
        found = measure(named, workshop, threads=threads, profile=profile)
    return found.candidates, found.failures


def benchmark_on(
    target: Target, files: Sequence[Path], *, progress: Progress | None = None
) -> tuple[dict[str, Timing], dict[str, str], DeviceError | None]:
    """Time files on a device, one after the other, by its own clock; inputs of zeros.

    Returns:
        As `benchmark`, without operators; and what ended it after some files were timed, which
        is a failure of the file that had its turn then.

    Raises:
        UsageError: there is no such file.
        ModelError: a file is not a `.tflite`, or is damaged.
        DeviceError: the device does not do its part, before a file is timed.
    """
    for path in files:
        read(path)
    timings: dict[str, Timing] = {}
    failures: dict[str, str] = {}
    for name, path in {name_of(path, files): path for path in files}.items():
        try:
            found = target.time({name: path}, progress or SilentProgress())
        except DeviceError as error:
            if not timings:
                raise
            failures[name] = f"{error.cause} {error.cure}".strip()
            return timings, failures, error
        timings |= found.timings
        failures |= found.failures
    return timings, failures, None


def _alone(
    files: Mapping[str, Path], workshop: Workshop, threads: int, *, profile: bool
) -> tuple[dict[str, Timing], dict[str, str]]:
    """Each file in a process that has nothing else; what fails, with the reason."""
    found: dict[str, Timing] = {}
    failures: dict[str, str] = {}
    for name, path in files.items():
        try:
            found[name] = footprint(path, workshop, threads)
        except ConversionError as error:
            failures[name] = error.cause
            continue
        if profile and name != REFERENCE:
            with suppress(ConversionError):  # another runtime has no profiler; the rest is known
                found[name] = replace(found[name], operators=operators(path, workshop))
    return found, failures


def _joined(rounds: Sequence[Timing]) -> Timing | None:
    if not rounds:
        return None
    samples = [one for timing in rounds for one in timing.latency.samples_ms]
    return _with_samples(rounds[0], samples, warmup=rounds[0].latency.warmup)


def _timed(reference: object) -> Timed | None:
    return reference if isinstance(reference, Timed) else None


def _recorded(reference: object) -> Timing | None:
    if isinstance(reference, Recorded) and reference.latency is not None:
        return Timing(latency=reference.latency)
    return None


def _with_samples(timing: Timing, samples: Sequence[float], *, warmup: int) -> Timing:
    return replace(
        timing, latency=replace(timing.latency, samples_ms=tuple(samples), warmup=warmup)
    )
