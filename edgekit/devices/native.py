"""The user's ``benchmark_model`` on an Android device: pushed, run on files, removed again."""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Self

from edgekit.devices.adb import FOLDER, LOCK, last_line, push, serial_of, shell
from edgekit.devices.address import AdbAddress, parse_address
from edgekit.devices.agent.work import holder_words
from edgekit.devices.benchmark_model import NativeTiming, parse_benchmark
from edgekit.devices.facts import printable
from edgekit.devices.session import holder
from edgekit.errors import (
    ConversionError,
    DataError,
    DeviceBusy,
    DeviceError,
    SetupError,
    UsageError,
)
from edgekit.toolchain import home
from edgekit.types import Progress, SilentProgress

if TYPE_CHECKING:
    from types import TracebackType

_ARGUMENT = re.compile(r"--[a-z][a-z0-9_]*=[^\0\n\r]*")
_FOLDER = re.compile(rf"{FOLDER}/edgekit-run-[0-9a-f]{{16}}")
_OURS = ("graph", "num_threads", "num_runs", "max_secs")
_PEAK = "--report_peak_memory_footprint=true"
_SHORT = 20.0
_HELD = 75
_CANNOT = (126, 127)
"""What a shell answers for a program that it cannot start."""


class NativeRunner:
    """``benchmark_model`` in a folder of its own on a device. Used as a context manager.

    It times files; it gives no outputs. The folder, and what killed runs left, are removed.

    Args:
        address: ``adb`` or ``adb:SERIAL``.
        binary: the tool, built for the device's architecture.
        arguments: more of the tool's own, such as ``--use_gpu=true``.
        threads: of the runtime.

    Raises:
        UsageError: no such address, binary or argument.
    """

    def __init__(
        self, address: str, binary: Path, *, arguments: Sequence[str] = (), threads: int = 1
    ) -> None:
        parsed = parse_address(address)
        if not isinstance(parsed, AdbAddress):
            raise UsageError(
                f"--runner-binary is for Android devices, which {address} is not.",
                cure="--device adb or --device adb:SERIAL",
            )
        if not binary.is_file():
            raise UsageError(f"There is no file {binary}.", cure="Give LiteRT's benchmark_model.")
        for argument in arguments:
            if not _ARGUMENT.fullmatch(argument) or argument[2:].partition("=")[0] in _OURS:
                raise UsageError(
                    f"{argument!r} cannot be handed on to the runner.",
                    cure="--runner-arg takes --name=value, for example --use_gpu=true; graph, "
                    "threads and runs are set by edgekit.",
                )
        self.words = str(parsed)
        self._address = parsed
        self._binary = binary
        self._arguments = tuple(arguments)
        self._threads = threads
        self._folder = f"{FOLDER}/edgekit-run-{token_hex(8)}"
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            left = opened.enter_context(_one_run(self._address, self._folder))
            opened.callback(self._clean)
            self._send_binary(left)
            self._open = opened.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def benchmark(self, path: Path, *, runs: int = 50, seconds: float = 20) -> NativeTiming:
        """Time a file; the tool makes up its inputs.

        Raises:
            ConversionError: the tool refuses the file, or crashes on it.
            DataError: the file cannot be read.
            DeviceError: the device does not do its part.
        """
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}.") from error
        remote = f"{self._folder}/{digest}.tflite"
        push(self._address, path, remote)
        command = (
            *(f"{self._folder}/runner", f"--graph={remote}", f"--num_threads={self._threads}"),
            *(f"--num_runs={runs}", f"--max_secs={seconds:g}", _PEAK, *self._arguments),
        )
        limit = 2 * seconds + 120  # warming up, loading and preparing come on top
        code, text = shell(self._address, _held(command), seconds=limit)
        shell(self._address, ("rm", "-f", remote), seconds=_SHORT)
        if code == _HELD:
            raise DeviceBusy(
                f"Another run is using {self._address}: {printable(holder_words(text))}.",
                cure="Wait until it ends.",
            )
        timing = parse_benchmark(text)
        if code == 0 and timing is not None:
            return timing
        if code in _CANNOT:
            raise DeviceError(
                f"{self._address} cannot start {self._binary.name}: {last_line(text)}.",
                cure="Is it built for this device? edgekit device check tells its architecture.",
            )
        raise ConversionError(
            f"{self._binary.name} on {self._address} refuses {path.name} (exit code {code}): "
            f"{_reason(text)}.",
            cure="Try it without --runner-arg, or with another build of the tool.",
        )

    def _clean(self) -> None:
        with suppress(DeviceError):  # it is gone; the next run removes the folder
            shell(self._address, ("rm", "-rf", self._folder), seconds=_SHORT)

    def _send_binary(self, left: str | None) -> None:
        if left:
            shell(self._address, ("rm", "-rf", left), seconds=_SHORT)
        made = shlex.join(("mkdir", "-m", "700", self._folder))
        code, text = shell(self._address, made, seconds=_SHORT)
        if code:
            raise DeviceError(
                f"{self._address} gives no folder in {FOLDER}: {last_line(text)}.",
                cure=f"adb shell ls -ld {FOLDER}",
            )
        runner = f"{self._folder}/runner"
        push(self._address, self._binary, runner)
        shell(self._address, ("chmod", "700", runner), seconds=_SHORT)


def benchmark_native(
    runner: NativeRunner, files: dict[str, Path], progress: Progress | None = None
) -> tuple[dict[str, NativeTiming], dict[str, str], DeviceError | None]:
    """Time files, one after the other.

    Returns:
        Figures by name; for what could not be timed, the reason; and what ended it after some
        files were timed, which is a failure of the file that had its turn then.

    Raises:
        DeviceError: the device does not do its part, before a file is timed.
    """
    told = progress or SilentProgress()
    timings: dict[str, NativeTiming] = {}
    failures: dict[str, str] = {}
    with runner:
        for name, path in files.items():
            told.step(f"Timing {path.name} on {runner.words}")
            try:
                timings[name] = runner.benchmark(path)
            except ConversionError as error:
                failures[name] = error.cause
            except DeviceError as error:
                if not timings:
                    raise
                failures[name] = f"{error.cause} {error.cure}".strip()
                return timings, failures, error
    return timings, failures, None


def _held(command: Sequence[str]) -> str:
    """A command for the device's shell that runs while it holds the lock of the device's agents.

    The lock, of which the kernel there keeps track, is that of other computers' runs, too. Where
    no agent has ever run there is none, and a phone without ``flock`` is used as it is.
    """
    told, words = shlex.quote(json.dumps(holder())), shlex.join(command)
    return (
        f"if [ -f {LOCK} ] && command -v flock >/dev/null; then "
        f"( flock -n 9 || {{ cat {LOCK}; exit {_HELD}; }}; printf %s {told} >{LOCK}; "
        f"exec {words} ) 9>>{LOCK}; else {words}; fi"
    )


def _reason(text: str) -> str:
    errors = [line for line in text.splitlines() if "ERROR" in line or "Failed" in line]
    return last_line(errors[0] if errors else text)


@contextmanager
def _one_run(address: AdbAddress, folder: str) -> Iterator[str | None]:
    """One run on a device at a time, of this computer's.

    Yields:
        The folder that the run before left on the device, where it could not clean up.

    Raises:
        DeviceUnreachable: there is no such device.
        DeviceBusy: another one is running; the cause names it.
    """
    name = re.sub(r"[^A-Za-z0-9.-]", "_", serial_of(address))
    path = home.home() / "locks" / f"adb-{name}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise SetupError(
            f"{path} cannot be written: {error.strerror}.",
            cure="Set EDGEKIT_HOME to a folder that you may write to.",
        ) from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            raise DeviceBusy(
                f"Another run is using {address}: {holder_words(stream.read(4096))}.",
                cure="Wait until it ends.",
            ) from None
        stream.seek(0)
        left = _FOLDER.search(stream.read(4096))
        stream.truncate(0)
        json.dump({**holder(), "folder": folder}, stream)
        stream.flush()
        yield left[0] if left else None
