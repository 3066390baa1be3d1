"""Where a device is: `local`, `ssh://user@host[:port][/python]`, `adb:SERIAL`, `web`, `exec:…`."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Literal, TypeAlias

from edgekit.errors import UsageError

_WORKING = "local, ssh://user@host[:port], adb[:SERIAL], web[:link][:webgpu] and exec:COMMAND"
_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9]+)?\]"
_SSH = re.compile(
    rf"ssh://(?:(?P<user>[A-Za-z_][A-Za-z0-9._-]*)@)?(?P<host>{_HOST})(?::(?P<port>[0-9]{{1,5}}))?"
    r"(?P<python>/[!-~]+)?",
    re.ASCII,
)
_SERIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}", re.ASCII)
_WEB = re.compile(r"web(?P<link>:link)?(?P<gpu>:webgpu)?")


@dataclass(frozen=True, kw_only=True)
class LocalAddress:
    """This computer, with the Python that runs edgekit."""

    def __str__(self) -> str:
        return "local"


@dataclass(frozen=True, kw_only=True)
class SshAddress:
    """A computer that OpenSSH reaches; user and port may also come from its configuration.

    ``python`` is the path of the Python to use there, from ``/`` or ``~/``; it never meets a shell.
    """

    host: str
    user: str | None = None
    port: int | None = None
    python: str | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{self.user}@" if self.user else ""
        port = f":{self.port}" if self.port else ""
        path = self.python or ""
        return f"ssh://{user}{host}{port}" + (f"/{path}" if path.startswith("~") else path)


@dataclass(frozen=True, kw_only=True)
class ExecAddress:
    """A program that behaves as ``python3`` does: an emulator's, a container's, another version's.

    ``-c`` and a constant are appended to its arguments.
    """

    argv: tuple[str, ...]

    def __str__(self) -> str:
        return f"exec:{shlex.join(self.argv)}"


@dataclass(frozen=True, kw_only=True)
class AdbAddress:
    """An Android device that the user's ``adb`` reaches; the only one where there is no serial."""

    serial: str | None = None

    def __str__(self) -> str:
        return f"adb:{self.serial}" if self.serial else "adb"


@dataclass(frozen=True, kw_only=True)
class WebAddress:
    """A browser: a headless Chromium, or with ``link`` the one in which the user opens a link."""

    link: bool = False
    accelerator: Literal["wasm", "webgpu"] = "wasm"

    def __str__(self) -> str:
        gpu = ":webgpu" if self.accelerator == "webgpu" else ""
        return f"web{':link' if self.link else ''}{gpu}"


Address: TypeAlias = LocalAddress | SshAddress | ExecAddress | AdbAddress | WebAddress


def parse_address(text: str) -> Address:
    """What ``--device`` names.

    Raises:
        UsageError: it is not an address.
    """
    if text == "local":
        return LocalAddress()
    if text.startswith("ssh:"):
        return _parse_ssh(text)
    if text.startswith("exec:"):
        return _parse_exec(text)
    if text == "adb" or text.startswith("adb:"):
        return _parse_adb(text)
    if web := _WEB.fullmatch(text):
        return WebAddress(link=bool(web["link"]), accelerator="webgpu" if web["gpu"] else "wasm")
    raise UsageError(f"{text!r} is not an address of a device.", cure=f"What works: {_WORKING}.")


def _parse_ssh(text: str) -> SshAddress:
    match = _SSH.fullmatch(text)
    if match is None:
        raise UsageError(
            f"{text!r} is not ssh://user@host[:port].",
            cure="Letters, digits, dots and dashes; no password: log in with a key. Behind it may "
            "come the path of a Python on the device.",
        )
    port = int(match["port"]) if match["port"] else None
    if port is not None and not 1 <= port <= 65535:
        raise UsageError(f"{text!r}: a port is a number from 1 to 65535.")
    python = match["python"]
    if python and python.startswith("/~/"):
        python = python[1:]
    return SshAddress(host=match["host"].strip("[]"), user=match["user"], port=port, python=python)


def _parse_adb(text: str) -> AdbAddress:
    if text == "adb":
        return AdbAddress()
    serial = text.removeprefix("adb:")
    if not _SERIAL.fullmatch(serial):
        raise UsageError(f"{text!r} has no serial number of a device.", cure="adb devices -l")
    return AdbAddress(serial=serial)


def _parse_exec(text: str) -> ExecAddress:
    try:
        argv = shlex.split(text.removeprefix("exec:"))
    except ValueError as error:
        raise UsageError(
            f"{text!r}: the command cannot be split into words: {error}.",
            cure="Quote it as in a POSIX shell.",
        ) from error
    if not argv:
        raise UsageError("exec: needs a command.", cure="For example exec:/opt/venv/bin/python")
    return ExecAddress(argv=tuple(argv))
