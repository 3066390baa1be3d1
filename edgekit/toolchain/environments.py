"""Isolated environments: built by uv from a hash-locked file, once, and never half-used.

An environment lives in a folder named after the digest of its lock file and Python version. A
marker file, written last, says that it is complete; without it the folder is rubbish from a killed
build and is removed by the next builder. A file lock lets one builder work at a time.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import EnvironmentNotReady
from edgekit.toolchain import home
from edgekit.toolchain.converters import Converter
from edgekit.toolchain.interpreters import find_python, uv
from edgekit.types import Progress, SilentProgress

_MARKER = "edgekit-complete.json"


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A Python to run workers with; ``folder`` is ``None`` for the user's own."""

    python: str
    folder: Path | None = None

    def site_packages(self) -> list[str] | None:
        """Where distributions are installed, ``None`` for this interpreter's own path."""
        if self.folder is None:
            return None
        return [str(path) for path in self.folder.glob("lib/python*/site-packages")]


def location(converter: Converter) -> Path:
    """The folder where an isolated converter's environment is, or would be."""
    assert converter.requirements is not None
    try:
        lock = converter.requirements.read_bytes()
    except OSError as error:
        raise EnvironmentNotReady(
            f"The lock file of the converter {converter.name} cannot be read: {error}",
            cure="Reinstall edgekit, or restore the file.",
        ) from error
    digest = hashlib.sha256(lock + converter.python.encode()).hexdigest()[:16]
    return home.environments() / f"{converter.requirements.parent.name}-{digest}"


def is_ready(converter: Converter) -> bool:
    """Whether the converter could start now, without building anything."""
    if converter.environment == "host":
        return not missing_modules(converter)
    return (location(converter) / _MARKER).is_file()


def missing_modules(converter: Converter) -> list[str]:
    """The modules that a host converter needs and the user's Python lacks (nothing is imported)."""
    from importlib.util import find_spec

    def is_there(name: str) -> bool:
        try:
            return find_spec(name) is not None
        except ModuleNotFoundError:  # the package of a dotted name
            return False

    return [name for name in converter.modules if not is_there(name)]


def ensure(converter: Converter, progress: Progress | None = None) -> Environment:
    """The environment of a converter, built if need be.

    Raises:
        EnvironmentNotReady: modules are missing, no suitable Python, no network, a failed or wrong
            download, or a full disk.
    """
    if converter.environment == "host":
        if missing := missing_modules(converter):
            raise EnvironmentNotReady(
                f"{converter.name} needs {', '.join(missing)} in this Python ({sys.executable}).",
                cure=converter.install,
            )
        return Environment(python=sys.executable)
    folder = location(converter)
    environment = Environment(python=str(folder / "bin" / "python"), folder=folder)
    if (folder / _MARKER).is_file():
        return environment
    with _disk_errors(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _one_builder(folder, progress or SilentProgress()):
            if not (folder / _MARKER).is_file():  # another builder may have been quicker
                _build(converter, folder, progress or SilentProgress())
    return environment


def remove(converter: Converter) -> bool:
    """Delete a converter's environment; whether there was one."""
    folder = location(converter)
    if not folder.exists():
        return False
    with _disk_errors(folder.parent), _one_builder(folder, SilentProgress()):
        if not folder.exists():  # another one was quicker
            return False
        # The marker goes first: a half-deleted environment must not look complete.
        (folder / _MARKER).unlink(missing_ok=True)
        shutil.rmtree(folder)
    return True


def _build(converter: Converter, folder: Path, progress: Progress) -> None:
    progress.step(f"Building the {converter.name} environment (once)")
    started = time.monotonic()
    if folder.exists():
        shutil.rmtree(folder)
    python = find_python(converter.python)
    # Outside the folder, which a failed build leaves behind as rubbish.
    log = _beside(folder, ".log")
    progress.update(0.05, f"Python {converter.python}")
    _run_uv(["venv", "--no-config", "--python", python, str(folder)], converter, log)
    progress.update(0.2, "downloading packages")
    target = ["--python", str(folder / "bin" / "python")]
    # Compiled once, here: where Python may not write bytecode, every start would compile anew.
    locked = [
        "--compile-bytecode",
        "--require-hashes",
        "--requirements",
        str(converter.requirements),
    ]
    _run_uv(["pip", "install", "--no-config", *target, *locked], converter, log)
    marker = {"converter": converter.name, "seconds": round(time.monotonic() - started, 1)}
    (folder / _MARKER).write_text(json.dumps(marker), encoding="utf-8")
    progress.update(1.0, "done")


def _run_uv(arguments: list[str], converter: Converter, log: Path) -> None:
    with log.open("a", encoding="utf-8") as stream:
        stream.write(f"$ uv {' '.join(arguments)}\n")
        stream.flush()
        result = subprocess.run(
            [uv(), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=uv_environment(),
            check=False,
        )
    if result.returncode == 0:
        return
    text = log.read_text(encoding="utf-8", errors="replace")
    cause, cure = _diagnose(text)
    raise EnvironmentNotReady(
        f"The environment of the converter {converter.name} could not be built: {cause}",
        cure=cure,
        log=log,
    )


def _diagnose(text: str) -> tuple[str, str]:
    # What uv answered to the last command; the command itself has the names of folders.
    last = f"\n{text}".rpartition("\n$ uv ")[2].partition("\n")[2].lower()
    retry = "edgekit toolchain install"
    if "no space left" in last:
        return "the disk is full.", f"Free 3 GB, or move EDGEKIT_HOME, then: {retry}"
    if "hash" in last and "mismatch" in last:
        return "a download does not have the locked digest.", "Check your package mirror or proxy."
    if any(word in last for word in ("dns", "connect", "network", "offline", "timed out")):
        return (
            "the package registry cannot be reached.",
            f"Connect once, then: {retry}. Afterwards no network is needed.",
        )
    if "no interpreter found" in last:
        return "no suitable Python.", "Install it, or set EDGEKIT_PYTHON to the path of one."
    return "uv failed.", "The log says why."


def uv_environment() -> dict[str, str]:
    """Environment variables for uv: pip's find-links, and CPU builds of torch elsewhere.

    uv does not read pip's configuration. Where pip is told of a folder with wheels, such as a CPU
    build of torch, uv gets to see it too; where it is not, uv's own torch back end chooses the CPU.
    """
    result = dict(os.environ)
    result.pop("VIRTUAL_ENV", None)
    if "UV_FIND_LINKS" not in result and (links := _pip_find_links()):
        result["UV_FIND_LINKS"] = links
    has_torch = any(
        Path(link).is_dir() and any(Path(link).glob("torch-*+cpu*.whl"))
        for link in result.get("UV_FIND_LINKS", "").split(",")
    )
    if not has_torch:
        result.setdefault("UV_TORCH_BACKEND", "cpu")
    return result


def _pip_find_links() -> str:
    if links := os.environ.get("PIP_FIND_LINKS"):
        return ",".join(links.split())
    answer = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.find-links"],
        capture_output=True,
        text=True,
        check=False,
    )
    return ",".join(answer.stdout.split()) if answer.returncode == 0 else ""


@contextmanager
def _one_builder(folder: Path, progress: Progress) -> Iterator[None]:
    with _beside(folder, ".lock").open("w", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.step("Waiting for another edgekit that is building this environment")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _beside(folder: Path, suffix: str) -> Path:
    return folder.with_name(folder.name + suffix)


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EnvironmentNotReady(
            f"The folder for environments {folder} cannot be written: {error}",
            cure="Free 3 GB, or set EDGEKIT_HOME to another folder that you may write to.",
        ) from error
