"""How a process that speaks for a device is started, and what its failures mean."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

from edgekit.devices.address import Address, ExecAddress, LocalAddress, SshAddress
from edgekit.devices.parcel import BOOTSTRAP
from edgekit.devices.ssh import ssh_command, ssh_failure
from edgekit.errors import DeviceError, DeviceUnreachable


@dataclass(frozen=True, kw_only=True)
class Link:
    """A way to a device.

    Attributes:
        words: the device, for messages.
        argv: the program to start; its standard streams lead to the agent.
        failure: from the end of its standard error to what went wrong before the agent answered;
            ``None`` where it does not tell.
        search: whether the agent's own virtual environment on the device is preferred.
    """

    words: str
    argv: tuple[str, ...]
    failure: Callable[[int | None, str], DeviceError | None]
    search: bool = False


def link_to(address: Address) -> Link:
    """The way to an address; nothing is started."""
    words = str(address)
    if isinstance(address, SshAddress):
        return Link(
            words=words,
            argv=ssh_command(address),
            failure=lambda code, text: ssh_failure(address, code, text),
            search=True,
        )
    argv = (sys.executable,) if isinstance(address, LocalAddress) else address.argv
    return Link(words=words, argv=(*argv, "-c", BOOTSTRAP), failure=_exec_failure(address))


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
    try:
        return subprocess.Popen(
            link.argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
    except OSError as error:
        cure = (
            "apt install openssh-client"
            if link.argv[0] == "ssh"
            else "Check the path of the program."
        )
        raise DeviceUnreachable(
            f"{link.words}: {link.argv[0]} cannot be started: {error.strerror}.", cure=cure
        ) from error
