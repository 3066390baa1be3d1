"""What a device said about itself, checked: it may say anything."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


def printable(text: object, limit: int = 300) -> str:
    """A text from a device without what would steer a terminal, and not too long."""
    letters = (letter if letter.isprintable() else " " for letter in str(text)[:limit])
    return "".join(letters).strip()


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Clock and heat; ``None`` where the device does not tell."""

    mhz: float | None = None
    max_mhz: float | None = None
    governor: str | None = None
    celsius: float | None = None

    @classmethod
    def parse(cls, table: object) -> Self:
        """From an answer's entry; what makes no sense is as if it was not told."""
        told = table if isinstance(table, Mapping) else {}
        return cls(
            mhz=_number(told.get("mhz")),
            max_mhz=_number(told.get("max_mhz")),
            governor=_text(told.get("governor")),
            celsius=_number(told.get("celsius")),
        )


@dataclass(frozen=True, kw_only=True)
class DeviceFacts:
    """A device; ``None`` where it does not tell.

    ``free_bytes`` is where models are written to; ``browser`` is where no Python is of interest.
    """

    machine: str
    system: str
    name: str
    cores: int | None
    memory_bytes: int | None
    free_bytes: int | None
    python: str
    executable: str
    numpy: bool
    runtime: str | None
    runtime_version: str | None
    pid: int | None
    clock: Clock
    browser: str | None = None

    @classmethod
    def parse(cls, header: Mapping[str, Any]) -> Self:
        """From the agent's first answer."""
        return cls(
            machine=_text(header.get("machine")) or "unknown",
            system=_text(header.get("system")) or "unknown",
            name=_text(header.get("name")) or "",
            cores=_whole(header.get("cores")),
            memory_bytes=_whole(header.get("memory_bytes")),
            free_bytes=_whole(header.get("free_bytes")),
            python=_text(header.get("python")) or "unknown",
            executable=_text(header.get("executable")) or "",
            numpy=header.get("numpy") is True,
            runtime=_text(header.get("runtime")),
            runtime_version=_text(header.get("runtime_version")),
            pid=_whole(header.get("pid")),
            clock=Clock.parse(header.get("clock")),
            browser=_text(header.get("browser")),
        )

    @property
    def host_version(self) -> dict[str, str]:
        """What the runtime is loaded into: a Python, or a browser."""
        return {"browser": self.browser} if self.browser else {"python": self.python}

    @property
    def words(self) -> str:
        """The device in a few words: ``aarch64, 4 cores, Raspberry Pi 4``."""
        cores = f"{self.cores} core{'s' if self.cores != 1 else ''}" if self.cores else ""
        return ", ".join(filter(None, (self.machine, cores, self.name)))


def _text(value: object) -> str | None:
    return printable(value, 120) if isinstance(value, str) else None


def _whole(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _number(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if math.isfinite(value) else None
