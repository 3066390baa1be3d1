"""OpenSSH's own client as a link: keys, agents, jump hosts and host keys stay its business.

No shell string is built: the client gets a list of arguments, and the device's shell a constant.
"""

from __future__ import annotations

import os
import re
import shlex

from edgekit.devices.address import SshAddress
from edgekit.devices.parcel import COMMAND
from edgekit.errors import DeviceError, DeviceUnreachable

CONNECT_SECONDS = 10
_OPTIONS = {
    "BatchMode": "yes",  # never asks: a question would hang
    "StrictHostKeyChecking": "yes",
    "UpdateHostKeys": "no",  # also none that a known device offers: that is the user's to decide
    "ConnectTimeout": str(CONNECT_SECONDS),
    "ServerAliveInterval": "5",  # a device that vanishes is noticed after 15 s
    "ServerAliveCountMax": "3",
    "ClearAllForwardings": "yes",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "PermitLocalCommand": "no",
    "RemoteCommand": "none",  # of the user's configuration: ssh takes one command only
    "RequestTTY": "no",
    "Compression": "no",  # the frames are compressed already where that pays
    "LogLevel": "ERROR",
}


def ssh_command(address: SshAddress) -> tuple[str, ...]:
    """The client's arguments. ``EDGEKIT_SSH_CONFIG`` names a file in place of ~/.ssh/config."""
    argv = ["ssh"]
    if config := os.environ.get("EDGEKIT_SSH_CONFIG"):
        argv += ["-F", config]
    for name, value in _OPTIONS.items():
        argv += ["-o", f"{name}={value}"]
    if address.port is not None:
        argv += ["-p", str(address.port)]
    if address.user is not None:
        argv += ["-l", address.user]
    return (*argv, "--", address.host, COMMAND)


def ssh_failure(address: SshAddress, code: int | None, text: str) -> DeviceError | None:
    """What the client's last words mean, with what to type."""
    login = _login(address)
    scan = f"ssh-keyscan{f' -p {address.port}' if address.port else ''} {address.host}"
    known = f"[{address.host}]:{address.port}" if address.port else address.host
    known_cases = (
        (
            r"IDENTIFICATION HAS CHANGED|Host key for .* has changed",
            (
                "has another host key than the one that is known. Somebody may stand in "
                "between, or the device was set up anew."
            ),
            (
                f"Compare the key's fingerprint on the device itself. If it is right: "
                f"ssh-keygen -R {shlex.quote(known)}, then {login} once."
            ),
        ),
        (
            r"host key is known for|Host key verification failed",
            "has a host key that is not known yet.",
            (
                f"Type {login} once and compare the fingerprint before you accept it ({scan} shows "
                f"the key)."
            ),
        ),
        (
            r"Permission denied",
            "does not let this user in with a key.",
            (
                f"ssh-copy-id{f' -p {address.port}' if address.port else ''} "
                f"{f'{address.user}@' if address.user else ''}{address.host}"
            ),
        ),
        (r"Could not resolve", "is not a host that this network knows.", "Check the host's name."),
        (
            r"Connection refused",
            "refuses the connection: no ssh server listens there.",
            "Start sshd on the device, or give its port: ssh://user@host:PORT",
        ),
        (
            r"timed out|No route to host|Network is unreachable",
            "cannot be reached.",
            "Is it switched on and in this network?",
        ),
        (
            r"python3.*not found|not found.*python3",
            "has no python3.",
            "Install Python 3.8 or later there.",
        ),
        (r"Bad configuration|Can't open user config", f"cannot be asked: {_last_line(text)}.", ""),
    )
    for pattern, words, cure in known_cases:
        if re.search(pattern, text, re.IGNORECASE):
            return DeviceUnreachable(f"{address} {words}", cure=cure)
    if code is None:
        return None
    told = f": {_last_line(text)}" if text.strip() else ""
    return DeviceUnreachable(
        f"{address}: ssh ended with exit code {code} before the agent answered{told}.",
        cure=f"Does this work? {login} python3 --version",
    )


def _login(address: SshAddress) -> str:
    port = f" -p {address.port}" if address.port else ""
    return f"ssh{port} {f'{address.user}@' if address.user else ''}{address.host}"


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    last = lines[-1][:200].rstrip(".") if lines else ""
    return "".join(letter if letter.isprintable() else "?" for letter in last)
