"""How a process that speaks for a device is started, and what its failures mean."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

from edgekit.devices.adb import AGENT_COMMAND, adb_command, adb_failure
from edgekit.devices.address import (
    AdbAddress,
    Address,
    ExecAddress,
    LocalAddress,
    SshAddress,
    WebAddress,
)
from edgekit.devices.parcel import BOOTSTRAP
from edgekit.devices.ssh import ssh_command, ssh_failure
from edgekit.errors import DeviceError, DeviceUnreachable

_PERSON_SECONDS = 300
_PACKAGES = {"ssh": "openssh-client", "adb": "adb"}
"""Debian's packages of the programs that lead to devices."""


@dataclass(frozen=True, kw_only=True)
class Link:
    """A way to a device.

    Attributes:
        words: the device, for messages.
        argv: the program to start; its standard streams lead to the agent.
        failure: from the end of its standard error to what went wrong before the agent answered;
            ``None`` where it does not tell.
        python: the one to use on the device, where the address names it.
        search: whether the agent's own virtual environment on the device is preferred.
        tells: whether the program has something to say to the user: it gets, as its last argument,
            a file descriptor that leads to edgekit's own standard error.
        patience: seconds to wait for the agent at least, where a person has to do something.
    """

    words: str
    argv: tuple[str, ...]
    failure: Callable[[int | None, str], DeviceError | None]
    python: str | None = None
    search: bool = False
    tells: bool = False
    patience: float = 0


def link_to(address: Address) -> Link:
    """The way to an address; nothing is started."""
    words = str(address)
    if isinstance(address, SshAddress):
        return Link(
            words=words,
            argv=ssh_command(address),
            failure=lambda code, text: ssh_failure(address, code, text),
            python=address.python,
            search=True,
        )
    if isinstance(address, AdbAddress):
        return Link(
            words=words,
            argv=adb_command(address, "shell", "-T", AGENT_COMMAND),
            failure=lambda code, text: adb_failure(address, code, text),
            search=True,
        )
    if isinstance(address, WebAddress):
        return _web_link(address)
    argv = (sys.executable,) if isinstance(address, LocalAddress) else address.argv
    return Link(words=words, argv=(*argv, "-c", BOOTSTRAP), failure=_exec_failure(address))


def _web_link(address: WebAddress) -> Link:
    kind = "link" if address.link else "headless"
    # -P: a module of the folder that one is in must not stand in for one of Python's.
    command = (sys.executable, "-P", "-m", "edgekit.devices.web.bridge")
    return Link(
        words=str(address),
        argv=(*command, address.accelerator, kind),
        failure=lambda code, text: _told_failure(address, code, text),
        tells=address.link,
        patience=_PERSON_SECONDS if address.link else 0,
    )


def _told_failure(address: WebAddress, code: int | None, text: str) -> DeviceError | None:
    """The bridge's last line says what is wrong."""
    try:
        told = json.loads(text.strip().splitlines()[-1])
        return DeviceUnreachable(f"{address}: {told['cause']}", cure=told["cure"])
    except (ValueError, LookupError, TypeError):
        if code is not None:
            return DeviceUnreachable(
                f"{address} ended with exit code {code} before the page answered."
            )
    if address.link:
        return DeviceUnreachable(f"Nobody opened the link of {address}.", cure="Run it again.")
    return DeviceUnreachable(
        f"{address}: the page did not answer in time.", cure="Try your own browser: web:link"
    )


def _exec_failure(
    address: LocalAddress | ExecAddress,
) -> Callable[[int | None, str], DeviceError | None]:
    def failure(code: int | None, _text: str) -> DeviceError | None:
        if code is None:
            return None
        return DeviceUnreachable(
            f"{address} ended with exit code {code} before the agent answered.",
            cure="The command must behave as python3 does: edgekit appends -c and Python code.",
        )

    return failure


def start(link: Link) -> subprocess.Popen[bytes]:
    """Start the program, in a session of its own so that all of it can be ended.

    Raises:
        DeviceUnreachable: there is no such program.
    """
    tell = (os.dup(2),) if link.tells else ()
    try:
        return subprocess.Popen(
            [*link.argv, *map(str, tell)],
            pass_fds=tell,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
    except OSError as error:
        cure = (
            f"apt install {_PACKAGES[link.argv[0]]}"
            if link.argv[0] in _PACKAGES
            else "Check the path of the program."
        )
        raise DeviceUnreachable(
            f"{link.words}: {link.argv[0]} cannot be started: {error.strerror}.", cure=cure
        ) from error
    finally:
        for end in tell:
            os.close(end)
