"""Devices that were used before, newest first: a small file in edgekit's cache folder."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

from edgekit.devices.facts import DeviceFacts, printable
from edgekit.toolchain import home

_MOST = 20
_LONG = 4096
"""An emulator's command may be long."""


@dataclass(frozen=True, kw_only=True)
class KnownDevice:
    """An address that answered, what was there, and when (ISO 8601, UTC)."""

    address: str
    words: str
    seen: str


def known_devices() -> list[KnownDevice]:
    """Newest first; a damaged file is as if there was none."""
    try:
        rows = json.loads(_file().read_text(encoding="utf-8"))
        return [
            KnownDevice(**{key: printable(row[key], _LONG) for key in ("address", "words", "seen")})
            for row in rows
        ]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def remember(address: str, facts: DeviceFacts) -> None:
    """Put a device to the front. Best effort: it is a convenience, not a record."""
    if address == "local":
        return
    seen = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    others = [known for known in known_devices() if known.address != address]
    rows = [KnownDevice(address=address, words=facts.words, seen=seen), *others][:_MOST]
    path = _file()
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(
            "w", dir=path.parent, prefix=".devices-", delete=False, encoding="utf-8"
        ) as stream:
            json.dump([asdict(row) for row in rows], stream, indent=2)
        Path(stream.name).replace(path)


def _file() -> Path:
    return home.home() / "devices.json"
