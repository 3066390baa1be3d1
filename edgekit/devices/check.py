"""``edgekit device check``: what a device has and what it lacks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edgekit.devices.adb import PYTHON_CURE
from edgekit.devices.adb_facts import android_facts, has_python
from edgekit.devices.address import AdbAddress, parse_address
from edgekit.devices.facts import Clock, DeviceFacts
from edgekit.devices.known import remember
from edgekit.devices.link import link_to
from edgekit.devices.session import DeviceLimits, Session, runtime_cure

_LITTLE = 100_000_000
"""Fewer free bytes are named as missing."""


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """One line: its name, the value for programs, the value in words, what to do if it is bad."""

    name: str
    value: Any
    words: str
    cure: str = ""


def examine(address: str, *, python: str | None = None, timeout: float = 30) -> list[CheckResult]:
    """Connect, ask, and leave. The device is not held, so one that is in use can be asked too.

    Raises:
        UsageError: the address is none.
        DeviceError: the device cannot be reached; the cure says what to type.
    """
    parsed = parse_address(address)
    if isinstance(parsed, AdbAddress) and not has_python(parsed, seconds=timeout):
        facts = android_facts(parsed, seconds=timeout)
        remember(address, facts)
        return list(_findings(facts, address))
    link = link_to(parsed)
    limits = DeviceLimits(connect=timeout, silence=timeout)
    with Session(link, limits=limits, python=python, hold=False) as session:
        remember(link.words, session.facts)
        return list(_findings(session.facts, link.words))


def _findings(facts: DeviceFacts, words: str) -> Iterator[CheckResult]:
    yield CheckResult(name="reachable", value=True, words=words)
    yield CheckResult(name="architecture", value=facts.machine, words=facts.machine)
    yield CheckResult(name="device", value=facts.name or None, words=facts.name or "not told")
    yield CheckResult(name="system", value=facts.system, words=facts.system)
    yield CheckResult(name="cores", value=facts.cores, words=str(facts.cores or "not told"))
    yield CheckResult(
        name="memory_bytes", value=facts.memory_bytes, words=_size(facts.memory_bytes)
    )
    little = facts.free_bytes is not None and facts.free_bytes < _LITTLE
    yield CheckResult(
        name="free_bytes",
        value=facts.free_bytes,
        words=_size(facts.free_bytes),
        cure="Free some space in the home folder there." if little else "",
    )
    if facts.browser:
        yield CheckResult(name="browser", value=facts.browser, words=facts.browser)
        yield _runtime(facts, words)
    elif facts.python == "unknown":
        yield CheckResult(name="python", value=None, words="none", cure=PYTHON_CURE)
    else:
        python = f"{facts.python} ({facts.executable})"
        yield CheckResult(name="python", value=facts.python, words=python)
        yield _runtime(facts, words)
        yield _numpy(facts)
    yield CheckResult(name="clock_mhz", value=facts.clock.mhz, words=_clock(facts.clock))
    heat = facts.clock.celsius
    yield CheckResult(
        name="celsius", value=heat, words="not told" if heat is None else f"{heat:.0f} °C"
    )


def _runtime(facts: DeviceFacts, words: str) -> CheckResult:
    if facts.runtime is None:
        cure = runtime_cure(words)
        return CheckResult(name="runtime", value=None, words="none for this Python", cure=cure)
    told = f"{facts.runtime} {facts.runtime_version}"
    return CheckResult(name="runtime", value=told, words=told)


def _numpy(facts: DeviceFacts) -> CheckResult:
    cure = "" if facts.numpy or facts.runtime is None else "Install numpy for that Python."
    return CheckResult(
        name="numpy", value=facts.numpy, words="yes" if facts.numpy else "no", cure=cure
    )


def _size(count: int | None) -> str:
    if count is None:
        return "not told"
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _clock(clock: Clock) -> str:
    if clock.mhz is None:
        return "not told"
    most = f" of {clock.max_mhz:.0f}" if clock.max_mhz else ""
    return f"{clock.mhz:.0f}{most} MHz" + (f", governor {clock.governor}" if clock.governor else "")
