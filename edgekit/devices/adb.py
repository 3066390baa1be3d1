"""The user's own ``adb`` as a link: an agent under the phone's Python, commands, files.

The client gets lists of arguments. The device's shell gets a constant, or words that `shlex.join`
quoted. What a user's phone asks (may this computer in?) stays between the two.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

from edgekit.devices.address import AdbAddress
from edgekit.devices.facts import printable
from edgekit.devices.parcel import BOOTSTRAP
from edgekit.devices.pipe import Chatter, Silent, captured
from edgekit.errors import DeviceError, DeviceLost, DeviceUnreachable

FOLDER = "/data/local/tmp"
"""Where the shell's user may write and run programs."""
LOCK = f"{FOLDER}/edgekit-agent/lock"
"""What an agent holds there while it runs; see `AGENT_COMMAND`."""
TERMUX = "/data/data/com.termux/files/usr/bin/python3"
"""Termux's Python, which only root, or an app that can be debugged, lets the shell use."""
_AGENT = f"-c '{BOOTSTRAP}'"
AGENT_COMMAND = (
    f"for p in python3 {TERMUX}; do command -v $p >/dev/null 2>&1 && "
    f"XDG_CACHE_HOME={FOLDER} exec $p {_AGENT}; done; "
    f"run-as com.termux {TERMUX} -c : >/dev/null 2>&1 && exec run-as com.termux {TERMUX} {_AGENT}; "
    "echo edgekit: no python >&2; exit 127"
)
"""Starts the agent under the first Python that there is; nothing in it is the user's."""
PYTHON_CURE = (
    "Without Python LiteRT's own tool can be timed: edgekit benchmark FILE --device adb "
    "--runner-binary benchmark_model. Outputs need a Python with NumPy and a runtime, for example "
    "in a Debian under Termux; with an sshd there it is ssh://user@host:port"
)
_SERIAL_SECONDS = 20
_PUSH_SECONDS = 30
_MOST_SAID = 8 << 20
"""Bytes that a command may write; benchmark_model writes some kilobytes."""
_SLOWEST = 500_000
"""Bytes per second; a device that takes less hangs."""
_LOST_CURE = "Check the cable or the network, then run it again."
_EXIT = re.compile(r"\nedgekit-exit ([0-9]{1,3})\s*\Z")


def adb_command(address: AdbAddress, *words: str) -> tuple[str, ...]:
    """The client's arguments."""
    return ("adb", *(("-s", address.serial) if address.serial else ()), *words)


def adb_failure(address: AdbAddress, code: int | None, text: str) -> DeviceError | None:
    """What the client's last words mean, with what to type."""
    known_cases = (
        (
            r"no devices/emulators found|device '.*' not found",
            "is not connected.",
            (
                "Switch on USB debugging in the phone's developer options, connect it, and look "
                "at: adb devices -l. Over a network: adb connect HOST:PORT"
            ),
        ),
        (
            r"more than one device",
            "is one of several devices.",
            "Name one: adb:SERIAL. adb devices -l shows them.",
        ),
        (
            r"unauthorized|authorizing",
            "does not let this computer in.",
            "Unlock the phone and allow USB debugging for this computer.",
        ),
        (r"offline", "is offline.", "Reconnect the cable, or: adb reconnect"),
        (
            # Not "daemon not running": that is said before it is started, which is not a failure.
            r"cannot connect to daemon|failed to start daemon",
            "cannot be asked: adb's own server does not start.",
            "adb kill-server, then: adb devices -l",
        ),
        (r"edgekit: no python", "has no Python that the agent could run under.", PYTHON_CURE),
    )
    for pattern, words, cure in known_cases:
        if re.search(pattern, text):
            return DeviceUnreachable(f"{address} {words}", cure=cure)
    if code is None:
        return None
    told = f": {last_line(text)}" if text.strip() else ""
    return DeviceUnreachable(
        f"{address}: adb ended with exit code {code}{told}.", cure="Does this work? adb devices -l"
    )


def serial_of(address: AdbAddress) -> str:
    """The device's serial number, also where the address says only that there is one.

    Raises:
        DeviceUnreachable: there is none, or more than one.
        DeviceLost: adb does not answer.
    """
    if address.serial:
        return address.serial
    answer = _adb(address, ("get-serialno",), seconds=_SERIAL_SECONDS)
    if answer.returncode == 0 and (told := answer.stdout.decode("utf-8", "replace").strip()):
        return told
    said = answer.stderr.decode("utf-8", "replace")
    raise adb_failure(address, answer.returncode, said) or DeviceUnreachable(
        f"{address} has no serial number."
    )


def shell(address: AdbAddress, words: tuple[str, ...] | str, *, seconds: float) -> tuple[int, str]:
    """Run a command on the device.

    Args:
        address: of the device.
        words: the command's words, which are quoted; or a text for the device's shell in which
            whatever is not a constant is quoted already.
        seconds: after which it is given up.

    Returns:
        Its exit code, and what it wrote to both streams.

    Raises:
        DeviceUnreachable: there is no way to the device.
        DeviceLost: it vanished or was silent for too long.
    """
    command = words if isinstance(words, str) else shlex.join(words)
    # The last line tells the end of the command from the end of the connection.
    script = f"{{ {command}\n}} 2>&1; edgekit=$?; echo; echo edgekit-exit $edgekit"
    answer = _adb(address, ("shell", "-T", script), seconds=seconds)
    text = answer.stdout.decode("utf-8", "replace").replace("\r\n", "\n")
    ended = _EXIT.search(text)
    if ended is None:
        said = answer.stderr.decode("utf-8", "replace")
        raise adb_failure(address, None, said) or DeviceLost(
            f"{address} vanished in the middle of a command.", cure=_LOST_CURE
        )
    return int(ended[1]), text[: ended.start()]


def push(address: AdbAddress, path: Path, remote: str) -> None:
    """Copy a file to the device.

    Raises:
        DeviceUnreachable: there is no way to the device.
        DeviceError: it has no room for the file, or refuses it.
        DeviceLost: it vanished in the middle.
    """
    size = path.stat().st_size
    seconds = _PUSH_SECONDS + size / _SLOWEST
    answer = _adb(address, ("push", str(path.resolve()), remote), seconds=seconds)
    if answer.returncode == 0:
        return
    said = (answer.stdout + answer.stderr).decode("utf-8", "replace")
    if "No space left" in said:
        raise DeviceError(
            f"{address} has no room for {path.name} ({size / 1e6:.1f} MB).",
            cure=f"Free some space in {FOLDER} there.",
        )
    if refused := re.search(r"adb: error: .*: remote (.+)", said):
        raise DeviceError(
            f"{address} does not take {path.name}: {printable(refused[1], 200)}.",
            cure=f"May the shell's user write to {FOLDER} there? adb shell ls -ld {FOLDER}",
        )
    raise adb_failure(address, None, said) or DeviceLost(
        f"{address} vanished while {path.name} was sent.", cure=_LOST_CURE
    )


def _adb(
    address: AdbAddress, words: tuple[str, ...], *, seconds: float
) -> subprocess.CompletedProcess[bytes]:
    argv = adb_command(address, *words)
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except OSError as error:
        raise DeviceUnreachable(
            f"{address}: there is no adb here.",
            cure="Install it (Debian: apt install adb), or put Android's platform-tools on PATH.",
        ) from error
    with process:
        try:
            said, complained = captured(process, seconds=seconds, limit=_MOST_SAID)
        except Silent:
            words_ = f"has not finished within {seconds:.0f} s"
        except Chatter:
            words_ = f"has written more than {_MOST_SAID / 1e6:.0f} MB"
        else:
            return subprocess.CompletedProcess(argv, process.wait(), said, complained)
        finally:
            process.kill()
    raise DeviceLost(f"{address} {words_}: adb {words[0]}.", cure=_LOST_CURE)


def last_line(text: str) -> str:
    """The last line that says something, short enough for a message."""
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return printable(lines[-1], 200).rstrip(".") if lines else "no reason given"
