"""Where edgekit keeps what it may rebuild at any time: environments and logs."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from pathlib import Path

from edgekit.errors import SetupError

_KEPT_RUNS = 50


def home() -> Path:
    """``EDGEKIT_HOME``, or ``edgekit`` in the platform's cache folder."""
    if chosen := os.environ.get("EDGEKIT_HOME"):
        return Path(chosen).expanduser().absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "edgekit"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "edgekit"


def environments() -> Path:
    """The folder of the built environments, one folder a lock's digest."""
    return home() / "environments"


def logs() -> Path:
    """The folder of the logs, one folder a run."""
    return home() / "logs"


def new_logs(name: str) -> Path:
    """A new folder for the logs of a run, kept after it; those of old runs are pruned.

    Raises:
        SetupError: it cannot be made.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S")
    folder = logs() / f"{stamp}-{name}-{time.monotonic_ns() % 100000:05d}"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise SetupError(
            f"The folder for logs {folder} cannot be made: {error}",
            cure="Set EDGEKIT_HOME to a folder that you may write to.",
        ) from error
    _prune(logs())
    return folder


def _prune(folder: Path) -> None:
    yesterday = time.time() - 24 * 3600  # a run that still goes on is younger
    for old in sorted(folder.iterdir())[:-_KEPT_RUNS]:
        with contextlib.suppress(FileNotFoundError):  # another run prunes too
            if old.stat().st_mtime < yesterday:
                shutil.rmtree(old, ignore_errors=True)
