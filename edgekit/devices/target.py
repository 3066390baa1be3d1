"""A device by its address: the way into this package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

from edgekit.devices.address import parse_address
from edgekit.devices.facts import DeviceFacts
from edgekit.devices.known import remember
from edgekit.devices.link import Link, link_to
from edgekit.devices.runner import DeviceRunner
from edgekit.devices.session import DeviceLimits, Session

if TYPE_CHECKING:
    from types import TracebackType


def open_device(
    address: str,
    *,
    limits: DeviceLimits | None = None,
    python: str | None = None,
    hold: bool = True,
) -> Device:
    """A device to run models on; nothing is started before its first use.

    Args:
        address: as `edgekit.devices.address.parse_address` takes it.
        limits: when to give it up.
        python: the Python on an ssh device, where it is not the one that is found there.
        hold: refuse to share the device with another run.

    Raises:
        UsageError: the address is none.
    """
    parsed = parse_address(address)
    return Device(link_to(parsed), limits=limits, python=python, hold=hold)


class Device:
    """Makes runners that share one session with a device. Used as a context manager.

    Args:
        link: the way to it.
        limits: when to give it up.
        python: as `open_device`.
        hold: refuse to share the device with another run.
    """

    def __init__(
        self,
        link: Link,
        *,
        limits: DeviceLimits | None = None,
        python: str | None = None,
        hold: bool = True,
    ) -> None:
        self.words = link.words
        self._link = link
        self._limits = limits
        self._python = python
        self._hold = hold
        self._session: Session | None = None

    @property
    def facts(self) -> DeviceFacts:
        """What the device says about itself.

        Raises:
            DeviceError: it does not answer, or another run has it.
        """
        return self.session().facts

    def session(self) -> Session:
        """The session, opened if there is none that lives.

        Raises:
            DeviceError: as `facts`.
        """
        if self._session is None or not self._session.alive:
            self._session = Session(
                self._link, limits=self._limits, python=self._python, hold=self._hold
            )
            if self._hold:  # what is shared is an environment of edgekit's own
                remember(self.words, self._session.facts)
        return self._session

    def runner(self, path: Path, *, threads: int = 1, plain: bool = False) -> DeviceRunner:
        """A `.tflite` on this device; it travels there at its first use.

        With ``plain`` it runs with the runtime's plain C kernels and without delegates.
        """
        return DeviceRunner(path, connect=self.session, threads=threads, plain=plain)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            self._session.close()
