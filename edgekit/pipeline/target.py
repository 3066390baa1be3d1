"""The device that files run on: opened first, asked by whoever needs it, described in reports."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.calibration.samples import stack_shape
from edgekit.devices.runtimes import parse_runtime, runtime_device
from edgekit.devices.session import DeviceLimits
from edgekit.devices.target import open_device
from edgekit.errors import ConversionError, UsageError
from edgekit.runners.protocol import Timing
from edgekit.toolchain.workshop import Limits
from edgekit.types import Progress
from edgekit.version import __version__

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from edgekit.devices.runner import DeviceRunner
    from edgekit.devices.target import Device

_RUNS = 60
_SECONDS = 15.0
_WARMUP = 3


def open_target(
    address: str, runtime: str | None, *, threads: int, limits: Limits, progress: Progress
) -> Target | None:
    """The device that was asked for; ``None`` for this computer and edgekit's own runtime.

    Args:
        address: what ``--device`` names.
        runtime: what ``--runtime`` names, for this computer with another runtime.
        threads: of the runtime.
        limits: of one step; no sample, and no loading, may take longer.
        progress: told where a runtime is installed.

    Raises:
        UsageError: the address or the runtime is none, or both are given.
        EnvironmentNotReady: the runtime cannot be had.
        DeviceError: the device cannot be reached, or another run has it.
    """
    patience = DeviceLimits(step=limits.seconds or DeviceLimits.step)
    if runtime and address != "local":
        raise UsageError(
            "--runtime is about this computer, --device about another.",
            cure="Give one of them. A device has the runtime that is installed there.",
        )
    if runtime:
        device = runtime_device(parse_runtime(runtime), limits=patience, progress=progress)
        return Target(device, name="local", threads=threads)
    if address == "local":
        return None
    device = open_device(address, limits=patience)
    return Target(device, name=device.words, threads=threads)


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
        self._runners: dict[tuple[Path, bool], DeviceRunner] = {}
        self._open = ExitStack()

    def runner(self, path: Path, *, plain: bool = False) -> DeviceRunner:
        """The runner of a file; the same one when it is asked for again.

        With ``plain`` it runs with the runtime's plain C kernels and without delegates.
        """
        if (path, plain) not in self._runners:
            runner = self._device.runner(path, threads=self._threads, plain=plain)
            self._runners[path, plain] = self._open.enter_context(runner)
        return self._runners[path, plain]

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

        times = DeviceTimes()
        for name, path in files.items():
            progress.step(f"Timing {path.name} on {self.name}")
            try:
                runner = self.runner(path)
                specs = runner.describe().inputs
                zeros = [np.zeros(stack_shape(one, 1), np.dtype(one.dtype)) for one in specs]
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
