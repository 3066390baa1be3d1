"""Runtimes of the version that an app ships, each in an environment of its own.

`edgekit.toolchain.environments` builds converters' environments from files with hashes; here the
user says the version, so uv resolves it, and the environment is named after what was asked for.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edgekit.devices.address import ExecAddress
from edgekit.devices.link import link_to
from edgekit.devices.session import DeviceLimits
from edgekit.devices.target import Device
from edgekit.errors import EnvironmentNotReady, UsageError
from edgekit.toolchain import home
from edgekit.toolchain.environments import uv_environment
from edgekit.toolchain.interpreters import find_python, uv
from edgekit.types import Progress, SilentProgress

_PYTHON = "==3.11.*"
"""The newest that tflite-runtime is there for, and every ai-edge-litert too."""
_WORDS = re.compile(
    r"(tflite-runtime|ai-edge-litert)==([0-9]+(?:\.[0-9]+)*(?:[a-z0-9.]*))", re.ASCII
)
_MARKER = "edgekit-complete.json"


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """A distribution of the TFLite runtime and its version."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"

    @property
    def requirements(self) -> tuple[str, ...]:
        """What is installed. tflite-runtime was built for NumPy 1 and crashes with 2."""
        return (str(self), "numpy<2") if self.name == "tflite-runtime" else (str(self), "numpy")


def parse_runtime(text: str) -> Runtime:
    """``tflite-runtime==2.14.0`` or ``ai-edge-litert==1.4.0``.

    Raises:
        UsageError: it is neither.
    """
    match = _WORDS.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"{text!r} is not a runtime that edgekit knows.",
            cure="tflite-runtime==VERSION or ai-edge-litert==VERSION, "
            "for example tflite-runtime==2.14.0",
        )
    return Runtime(name=match[1], version=match[2])


def runtime_device(
    runtime: Runtime, *, limits: DeviceLimits | None = None, progress: Progress | None = None
) -> Device:
    """This computer with that runtime, as a device. Shared: it is not a device that one holds.

    Raises:
        EnvironmentNotReady: the environment cannot be built.
    """
    python = ensure_runtime(runtime, progress)
    return Device(link_to(ExecAddress(argv=(python,))), limits=limits, hold=False)


def ensure_runtime(runtime: Runtime, progress: Progress | None = None) -> str:
    """The Python that has the runtime, in an environment that is built if need be.

    Raises:
        EnvironmentNotReady: there is no such version, no network, or no Python 3.11.
    """
    progress = progress or SilentProgress()
    wanted = " ".join((_PYTHON, *runtime.requirements))
    digest = hashlib.sha256(wanted.encode()).hexdigest()[:16]
    folder = home.environments() / f"runtime-{runtime.name}-{runtime.version}-{digest}"
    python = folder / "bin" / "python"
    if not (folder / _MARKER).is_file():
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with folder.with_name(f"{folder.name}.lock").open("w", encoding="utf-8") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not (folder / _MARKER).is_file():  # another builder may have been quicker
                    _build(runtime, folder, progress)
        except OSError as error:
            raise EnvironmentNotReady(
                f"The environment of {runtime} cannot be written: {error}",
                cure="Free 300 MB, or set EDGEKIT_HOME to another folder that you may write to.",
            ) from error
    return str(python)


def _build(runtime: Runtime, folder: Path, progress: Progress) -> None:
    progress.step(f"Installing {runtime} (once)")
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)
    log = folder.with_name(f"{folder.name}.log")
    try:
        venv = ["venv", "--no-config", "--python", find_python(_PYTHON), str(folder)]
        _run_uv(venv, runtime, log)
        target = ["--no-config", "--python", str(folder / "bin" / "python")]
        _run_uv(["pip", "install", *target, *runtime.requirements], runtime, log)
    except EnvironmentNotReady:
        shutil.rmtree(folder, ignore_errors=True)  # a version that is not there leaves nothing
        raise
    marker = {"runtime": str(runtime), "requirements": runtime.requirements}
    (folder / _MARKER).write_text(json.dumps(marker), encoding="utf-8")


def _run_uv(arguments: list[str], runtime: Runtime, log: Path) -> None:
    answer = subprocess.run(
        [uv(), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=uv_environment(),
        check=False,
    )
    log.write_text(answer.stdout + answer.stderr, encoding="utf-8")
    if answer.returncode == 0:
        return
    text = " ".join(answer.stderr.split())
    if re.search(r"no version of|unsatisfiable|not found in the package registry", text):
        raise EnvironmentNotReady(
            f"{runtime} cannot be installed: there is no such version for Python 3.11 here.",
            cure="Check the version. The log has uv's reasons.",
            log=log,
        )
    raise EnvironmentNotReady(
        f"{runtime} cannot be installed.",
        cure="Is the package registry reached? The log has uv's reasons.",
        log=log,
    )
