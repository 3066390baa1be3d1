"""Clients as their manifests describe them: anything that opens a `.tflite` and runs it.

A client is a folder with a ``client.toml``, a ``worker.py`` and a hash-locked requirements file, or
a device that edgekit knows already, such as the browser. edgekit's own are in ``clients/``; more
are found through ``EDGEKIT_CLIENTS``, a list of folders that hold such folders.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.arguments import nearest
from edgekit.errors import UsageError
from edgekit.toolchain.converters import (
    Converter,
    found_manifests,
    from_table,
    parse_manifest,
    shipped_folder,
)
from edgekit.toolchain.workshop import versions

BASELINE = "litert"
"""The client that every other one is compared with."""


@dataclass(frozen=True, kw_only=True)
class Client:
    """One client.

    Attributes:
        name: what the user types.
        summary: one line.
        manifest: the file that describes it.
        worker: its program and environment; ``None`` for a device.
        device: the address of a device; empty for a program.
        timed: whether its times mean something on this computer.
    """

    name: str
    summary: str
    manifest: Path
    worker: Converter | None = None
    device: str = ""
    timed: bool = False

    def digest(self) -> str:
        """What an answer depends on beside the file and the samples (sha256, hexadecimal).

        Raises:
            OSError: a file of the client cannot be read.
        """
        found = hashlib.sha256(self.manifest.read_bytes())
        if self.worker is None:
            return found.hexdigest()
        found.update(self.worker.program.read_bytes())
        if self.worker.requirements is not None:
            found.update(self.worker.requirements.read_bytes())
        else:
            found.update(repr(versions(self.worker.versions)).encode())
        return found.hexdigest()


def discover() -> dict[str, Client]:
    """All clients by name, the baseline first; one from ``EDGEKIT_CLIENTS`` replaces a namesake.

    Raises:
        SetupError: a manifest is broken, or a folder in ``EDGEKIT_CLIENTS`` does not exist.
    """
    manifests = found_manifests(shipped_folder("clients"), "EDGEKIT_CLIENTS", "client")
    found = {client.name: client for client in map(read_manifest, manifests)}
    return {BASELINE: found.pop(BASELINE), **found}


def workers() -> dict[str, Converter]:
    """The programs of all clients that have one, by name."""
    return {client.name: client.worker for client in discover().values() if client.worker}


def choose(names: Iterable[str], clients: dict[str, Client]) -> list[Client]:
    """The clients of these names, each once; all where none is named.

    Raises:
        UsageError: there is no such client; it names the nearest.
    """
    wanted = [name.strip() for name in names if name.strip()]
    for name in wanted:
        if name not in clients:
            raise UsageError(f"There is no client {name!r}.", cure=nearest(name, clients))
    return [clients[name] for name in dict.fromkeys(wanted or clients)]


def with_baseline(names: Iterable[str]) -> tuple[Client, ...]:
    """The clients of these names, the baseline before them.

    Raises:
        UsageError: there is no such client.
    """
    known = discover()
    return tuple({one.name: one for one in (known[BASELINE], *choose(names, known))}.values())


def read_manifest(path: Path) -> Client:
    """A `Client` from its ``client.toml``.

    Raises:
        SetupError: the manifest is not TOML, or lacks or misspells something.
    """
    return parse_manifest(path, "client", lambda table: _client(table, path))


def _client(table: dict[str, Any], path: Path) -> Client:
    timed = table.pop("timed", False)
    if not isinstance(timed, bool):
        raise TypeError(f"timed is {timed!r}, not true or false")
    if device := str(table.pop("device", "")):
        name, summary = str(table.pop("name")), str(table.pop("summary"))
        if table:
            raise ValueError(f"unknown key {min(table)!r} beside device")
        return Client(name=name, summary=summary, manifest=path, device=device, timed=timed)
    worker = from_table(table, path.parent)
    return Client(
        name=worker.name, summary=worker.summary, manifest=path, worker=worker, timed=timed
    )
