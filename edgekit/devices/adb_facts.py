"""What an Android device without Python tells about itself, by its shell."""

from __future__ import annotations

from contextlib import suppress

from edgekit.devices.adb import FOLDER, TERMUX, shell
from edgekit.devices.address import AdbAddress
from edgekit.devices.facts import DeviceFacts

_CPU = "/sys/devices/system/cpu/cpu0/cpufreq"
_QUESTIONS = {
    "machine": "uname -m",
    "release": "getprop ro.build.version.release",
    "maker": "getprop ro.product.manufacturer",
    "model": "getprop ro.product.model",
    "cores": "nproc",
    "memory": "grep MemTotal: /proc/meminfo",
    "free": f"df -k {FOLDER} | tail -n 1",
    "clock": f"cat {_CPU}/scaling_cur_freq",
    "most": f"cat {_CPU}/cpuinfo_max_freq",
    "governor": f"cat {_CPU}/scaling_governor",
    "heat": "cat /sys/class/thermal/thermal_zone*/temp | sort -n | tail -n 1",
}
_ASK = "; ".join(f'echo "{name}=$({words} 2>/dev/null)"' for name, words in _QUESTIONS.items())
_PYTHON = (
    f"command -v python3 || command -v {TERMUX} || run-as com.termux {TERMUX} -c : 2>/dev/null"
)


def has_python(address: AdbAddress, *, seconds: float) -> bool:
    """Whether the agent could run there; an answer takes at most so many seconds.

    Raises:
        DeviceError: the device cannot be reached.
    """
    return shell(address, _PYTHON, seconds=seconds)[0] == 0


def android_facts(address: AdbAddress, *, seconds: float) -> DeviceFacts:
    """What the shell tells within some seconds; gaps where it does not.

    Raises:
        DeviceError: the device cannot be reached.
    """
    _, text = shell(address, _ASK, seconds=seconds)
    told = {name: value.strip() for name, _, value in (s.partition("=") for s in text.splitlines())}
    clock, most, heat = (_whole(told.get(key, "")) for key in ("clock", "most", "heat"))
    memory = _whole((told.get("memory", "").split() or [""])[-2:][0])
    columns = told.get("free", "").split()
    free = _whole(columns[3]) if len(columns) > 3 else None
    release = told.get("release", "")
    return DeviceFacts.parse(
        {
            "machine": told.get("machine"),
            "system": f"Android {release}" if release else "unknown",
            "name": f"{told.get('maker', '')} {told.get('model', '')}".strip(),
            "cores": _whole(told.get("cores", "")),
            "memory_bytes": None if memory is None else memory * 1024,
            "free_bytes": None if free is None else free * 1024,
            "clock": {
                "mhz": None if clock is None else clock / 1e3,
                "max_mhz": None if most is None else most / 1e3,
                "governor": told.get("governor") or None,
                "celsius": None if heat is None else heat / 1e3,
            },
        }
    )


def _whole(text: str) -> int | None:
    with suppress(ValueError):
        return int(text)
    return None
