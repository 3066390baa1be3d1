"""Devices as the user names them: by an address, or by a name from ``edgekit.toml``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

DEVICE_HELP = (
    "local, ssh://user@host[:port][/python], adb[:SERIAL], web[:link][:webgpu], exec:COMMAND, or a "
    "name from [devices] [local]."
)


def named_devices(config: Path | None) -> Mapping[str, str]:
    """The addresses in ``[devices]``, of ``edgekit.toml`` here where no other file is given."""
    from edgekit.config import load_config

    path = config or Path("edgekit.toml")
    if config is None and not path.is_file():
        return {}
    return dict(load_config(path).devices)


def resolve_address(address: str, config: Path | None) -> str:
    """An address, or what a name stands for."""
    if ":" in address or address == "local":
        return address
    return named_devices(config).get(address, address)
