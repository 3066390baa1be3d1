"""What the device tells about itself, without importing NumPy or a runtime."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .frames import Header

_RUNTIMES = (
    ("ai-edge-litert", "ai_edge_litert"),
    ("tflite-runtime", "tflite_runtime"),
)


def runtime_found() -> tuple[str, str, str] | None:
    """Distribution, version and package of the TFLite runtime here, without importing it."""
    for distribution, package in _RUNTIMES:
        if find_spec(package) is not None:
            try:
                return distribution, version(distribution), package
            except PackageNotFoundError:
                return distribution, "unknown", package
    return None


def facts() -> Header:
    """Architecture, cores, memory, Python, runtime, clock and heat, as far as readable."""
    found = runtime_found()
    return {
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "name": _device_name(),
        "cores": _cores(),
        "memory_bytes": _memory_bytes(),
        "python": platform.python_version(),
        "executable": sys.executable,
        "numpy": find_spec("numpy") is not None,
        "runtime": found[0] if found else None,
        "runtime_version": found[1] if found else None,
        "pid": os.getpid(),
        "clock": clock_state(),
    }


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def _memory_bytes() -> int | None:
    for line in _lines(Path("/proc/meminfo")):
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return None


def _device_name() -> str:
    for line in _lines(Path("/proc/device-tree/model")):
        return line.strip("\0 ")
    for line in _lines(Path("/proc/cpuinfo")):
        if line.lower().startswith(("model name", "hardware")):
            return line.partition(":")[2].strip()
    return ""


def clock_state() -> Header:
    """Current and highest clock in MHz, the governor and the hottest zone in °C; gaps are None."""
    folder = Path("/sys/devices/system/cpu/cpu0/cpufreq")
    now, most = _number(folder / "scaling_cur_freq"), _number(folder / "cpuinfo_max_freq")
    zones = map(_number, Path("/sys/class/thermal").glob("thermal_zone*/temp"))
    heat = [zone / 1e3 for zone in zones if zone is not None]
    return {
        "mhz": None if now is None else now / 1e3,
        "max_mhz": None if most is None else most / 1e3,
        "governor": next(iter(_lines(folder / "scaling_governor")), None),
        "celsius": max(heat) if heat else None,
    }


def peak_bytes() -> int | None:
    """The highest resident memory of this process. Unlike getrusage, the kernel starts it anew."""
    for line in _lines(Path("/proc/self/status")):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            yield from stream.read(1 << 16).splitlines()
    except OSError:
        return


def _number(path: Path) -> float | None:
    try:
        return float(next(_lines(path)))
    except (StopIteration, ValueError):
        return None
