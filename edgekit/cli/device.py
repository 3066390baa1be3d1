"""``edgekit device``: which devices are there, and what is on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekit.cli.addresses import named_devices, resolve_address
from edgekit.cli.parameters import PATH, SECONDS
from edgekit.cli.terminal import echo, make_console, print_next

if TYPE_CHECKING:
    from edgekit.devices.check import CheckResult


@click.group(name="device", epilog="Example: edgekit device check ssh://pi@raspberrypi.local")
def command() -> None:
    """Say which devices are there, and what is on them."""


@command.command(name="check", epilog="Example: edgekit device check exec:/opt/venv/bin/python")
@click.argument("address")
@click.option("--python", help="The Python on an ssh device [its own venv, or python3].")
@click.option(
    "--timeout",
    type=SECONDS,
    default=30,
    show_default=True,
    help="Seconds to wait for an answer.",
)
@click.option("--config", type=PATH, help="An edgekit.toml with [devices].")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(
    address: str, python: str | None, timeout: float, config: Path | None, *, as_json: bool
) -> int:
    """Whether a device can run models: what is there, and what to type if something is missing.

    ADDRESS is local, ssh://user@host[:port][/python], adb[:SERIAL], web[:link][:webgpu],
    exec:COMMAND, or a name from [devices] of edgekit.toml. Exit code 7 if something is missing.
    """
    from edgekit.devices.check import examine
    from edgekit.errors import DeviceError
    from edgekit.report.following import after_device_check

    findings = examine(resolve_address(address, config), python=python, timeout=timeout)
    if as_json:
        rows = {finding.name: finding.value for finding in findings if finding.name}
        missing = [finding.cure for finding in findings if finding.cure]
        echo(json.dumps({"address": address, **rows, "missing": missing}, indent=2))
    else:
        _print(findings)
        bad = any(finding.cure for finding in findings)
        print_next(after_device_check(address, missing=bad))
    return DeviceError.exit_code if any(finding.cure for finding in findings) else 0


@command.command(name="install", epilog="Example: edgekit device install web")
@click.argument("kind", type=click.Choice(["web"]))
def install(kind: str) -> None:  # noqa: ARG001 - there is one kind so far
    """Fetch what a kind of device needs here, once; afterwards no network is needed.

    web is the browser's runtime, @litertjs/core, by npm, held to the digests that edgekit knows.
    """
    from edgekit.cli.progress import Display
    from edgekit.devices.web import package

    with Display(verbose=True) as display:
        package.install(display)
        display.console.print(f"{package.NAME} {package.version()} is ready.")


@command.command(name="list", epilog="Example: edgekit device list --json")
@click.option("--config", type=PATH, help="An edgekit.toml with [devices].")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_devices(config: Path | None, *, as_json: bool) -> None:
    """The devices of [devices] in edgekit.toml, and those that were used before. Asks none."""
    from edgekit.devices.known import known_devices

    used = {known.address: known for known in known_devices()}
    named = named_devices(config)
    rows = [
        {"name": name, "address": address, "device": "", "seen": ""}
        for name, address in {"": "local", **named}.items()
    ]
    listed = {row["address"] for row in rows}
    rows += [
        {"name": "", "address": address, "device": "", "seen": ""}
        for address in used
        if address not in listed
    ]
    for row in rows:
        if known := used.get(row["address"]):
            row |= {"device": known.words, "seen": known.seen}
    if as_json:
        echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    from rich.table import Table
    from rich.text import Text

    table = Table("name")
    table.add_column("address", overflow="fold")  # whole: it is typed again
    table.add_column("device")
    table.add_column("last used (UTC)")
    for row in rows:
        table.add_row(*map(Text, row.values()))
    make_console().print(table)


def _print(findings: list[CheckResult]) -> None:
    from rich.table import Table
    from rich.text import Text

    console = make_console()
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for finding in findings:
        mark = Text("missing", "red") if finding.cure else Text("")
        table.add_row(finding.name, Text(finding.words), mark)
    console.print(table)
    for finding in findings:
        if finding.cure:
            console.print(Text("Cure: ", "green") + Text(finding.cure))
