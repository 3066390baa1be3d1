"""Where edgekit keeps what it may rebuild at any time: environments and logs."""

from __future__ import annotations

import os
import sys
from pathlib import Path


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
