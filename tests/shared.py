"""What the tests of one run share: made once, by whichever worker process asks first."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

_folders: list[Path] = []


def start(factory: pytest.TempPathFactory) -> None:
    """Choose the folder of this run: that above the workers' own, where there are workers."""
    base = factory.getbasetemp()
    run = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = run / "shared"
    folder.mkdir(exist_ok=True)
    _folders[:] = [folder]


def copied(folder: Path, factory: pytest.TempPathFactory) -> Path:
    """A copy that this worker process may work in."""
    return shutil.copytree(folder, factory.mktemp(folder.name) / folder.name)


def once(name: str, make: Callable[[Path], object]) -> Path:
    """A folder that ``make`` has filled, in this run of pytest. No test changes what is in it.

    Args:
        name: of the folder; names what is in it, and whatever that depends on.
        make: fills an empty folder. Where it fails the next one who asks tries again.
    """
    (root,) = _folders
    folder, ready = root / name, root / f"{name}.ready"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            ready.touch()
    return folder
