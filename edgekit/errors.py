"""Everything that edgekit raises on purpose.

Each error says what happened (``cause``), what to do about it (``cure``), and carries the exit
code with which the command ends. Only :mod:`edgekit.cli` prints them and only it exits.

::

    EdgekitError              1  internal
    ├── UsageError            2  the command, the configuration or the model's description is wrong
    ├── ConversionError       3  no `.tflite` could be made
    │   ├── ModelError           the model cannot be loaded or run
    │   ├── StepError            one step failed; knows the step, its log, and what was done before
    │   │   ├── StepCrashed      the back end's process died
    │   │   ├── StepTimeout      … ran past its wall-clock limit
    │   │   └── StepOutOfMemory  … ran past its memory limit
    │   └── NoRouteError         every route failed
    ├── GateFailed            4  the files exist, but a gate did not hold
    │   └── LockMismatch         a file is not what a lock says
    ├── SetupError            5  the machine: a full disk, a folder that cannot be written
    │   └── EnvironmentNotReady  a converter's environment is missing and cannot be built
    ├── DataError             6  calibration or parity data cannot be used
    ├── DeviceError           7  a device does not do its part; what was measured is kept
    │   ├── DeviceUnreachable    no way to it, or not let in
    │   ├── DeviceBusy           another run is using it
    │   └── DeviceLost           vanished or hung in the middle
    ├── NotProven             8  no gate failed, but there is too little to tell
    └── SchemesMissing        9  some schemes could not be made; the files of the others are there
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar


class EdgekitError(Exception):
    """Base of all deliberate errors.

    Args:
        cause: what went wrong, in one sentence, with the offending name or value.
        cure: what the user can type or change; empty where there is nothing to do.
        log: a file with the details, where there is one.
    """

    exit_code: ClassVar[int] = 1
    kind: ClassVar[str] = "internal"

    def __init__(self, cause: str, *, cure: str = "", log: Path | None = None) -> None:
        super().__init__(cause)
        self.cause = cause
        self.cure = cure
        self.log = log
        if cure:  # where no command line prints it: below the traceback, and in a notebook
            self.add_note(cure)


class UsageError(EdgekitError):
    """The command line, ``edgekit.toml`` or the description of the model is wrong."""

    exit_code = 2
    kind = "usage"


class ConversionError(EdgekitError):
    """The conversion did not produce a file."""

    exit_code = 3
    kind = "conversion"


class ModelError(ConversionError):
    """The source model cannot be loaded, understood or run."""

    kind = "model"


class StepError(ConversionError):
    """One step of the pipeline failed.

    Args:
        step: the step's name, for example ``onnx2tf convert``.
        done: the steps that had succeeded before it.
    """

    kind = "step"

    def __init__(
        self,
        cause: str,
        *,
        step: str,
        done: tuple[str, ...] = (),
        cure: str = "",
        log: Path | None = None,
    ) -> None:
        super().__init__(cause, cure=cure, log=log)
        self.step = step
        self.done = done


class StepCrashed(StepError):
    """The process of a step died without an answer (a segmentation fault, for example)."""

    kind = "step-crashed"


class StepTimeout(StepError):
    """A step ran past its wall-clock limit and was killed."""

    kind = "step-timeout"


class StepOutOfMemory(StepError):
    """A step ran past its memory limit and was killed."""

    kind = "step-out-of-memory"


class NoRouteError(ConversionError):
    """Every route from the model to a `.tflite` file failed."""

    kind = "no-route"


class GateFailed(EdgekitError):
    """The files were written, but at least one gate did not hold."""

    exit_code = 4
    kind = "gate"


class LockMismatch(GateFailed):
    """A file, or what it was made from, is not what ``edgekit.lock`` says."""

    kind = "lock"


class SetupError(EdgekitError):
    """Something on this machine is missing: a package, an environment, the network, disk space."""

    exit_code = 5
    kind = "setup"


class EnvironmentNotReady(SetupError):
    """A converter's environment cannot be built or started; another converter's may be there."""

    kind = "environment"


class DataError(EdgekitError):
    """Calibration or parity data is missing, unreadable or does not fit the model."""

    exit_code = 6
    kind = "data"


class DeviceError(EdgekitError):
    """A device does not do its part: no runtime, a full disk, answers that make no sense."""

    exit_code = 7
    kind = "device"


class DeviceUnreachable(DeviceError):
    """There is no way to the device: no such host, an unknown host key, no login."""

    kind = "device-unreachable"


class DeviceBusy(DeviceError):
    """Another run is using the device."""

    kind = "device-busy"


class DeviceLost(DeviceError):
    """The device vanished or hung in the middle: cable, network, reboot."""

    kind = "device-lost"


class NotProven(EdgekitError):
    """No gate failed, but the samples do not prove that the file does the model's job."""

    exit_code = 8
    kind = "not-proven"


class SchemesMissing(EdgekitError):
    """Some of the schemes that were asked for could not be made; the files of the others exist."""

    exit_code = 9
    kind = "schemes"


def by_kind(kind: str) -> type[EdgekitError]:
    """The class for a ``kind`` that a worker process reported; `ConversionError` if unknown."""
    classes: list[type[EdgekitError]] = [EdgekitError]
    for known in classes:
        if known.kind == kind and not issubclass(known, StepError):
            return known
        classes.extend(known.__subclasses__())
    return ConversionError
