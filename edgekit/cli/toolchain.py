"""``edgekit toolchain``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from edgekit.cli.terminal import echo, make_console

if TYPE_CHECKING:
    from edgekit.toolchain.converters import Converter


@click.group(name="toolchain", epilog="Example: edgekit toolchain install onnx2tf")
def command() -> None:
    """List, install or remove the environments of converters, clients and compilers."""


@command.command(name="list", epilog="Example: edgekit toolchain list --json")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_converters(as_json: bool) -> None:
    """All converters, clients and compilers: what each does, where it runs, if it is ready."""
    from edgekit.toolchain.environments import is_ready

    rows = [
        {
            "name": converter.name,
            "summary": converter.summary,
            "environment": converter.environment,
            "ready": is_ready(converter),
            "converts": sorted({f"{c.source} → {c.target}" for c in converter.converts}),
            "folder": str(converter.program.parent),
        }
        for converter in _programs().values()
    ]
    if as_json:
        echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    from rich.table import Table

    table = Table("converter", "environment", "ready", "what it does")
    for row in rows:
        state = "[green]yes[/]" if row["ready"] else "no"
        table.add_row(str(row["name"]), str(row["environment"]), state, str(row["summary"]))
    make_console().print(table)


@command.command(name="install", epilog="Example: edgekit toolchain install --all")
@click.argument("names", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Build the environment of every converter.")
def install(names: tuple[str, ...], everything: bool) -> None:
    """Build environments now, for later use without a network (default: onnx2tf)."""
    from edgekit.cli.progress import Display
    from edgekit.toolchain.converters import discover
    from edgekit.toolchain.environments import ensure

    converters = _programs()
    isolated = [name for name, c in discover().items() if c.environment == "isolated"]
    with Display(verbose=True) as display:
        for name in isolated if everything else names or ("onnx2tf",):
            ensure(_known(name, converters), display)
            display.console.print(f"{name} is ready.")


@command.command(name="remove", epilog="Example: edgekit toolchain remove litert_torch")
@click.argument("names", nargs=-1, required=True)
def remove(names: tuple[str, ...]) -> None:
    """Delete environments; they are built again when needed."""
    from edgekit.errors import UsageError
    from edgekit.toolchain.environments import remove as remove_environment

    converters = _programs()
    for name in names:
        converter = _known(name, converters)
        if converter.environment == "host":
            raise UsageError(
                f"{name} runs in your own Python, which edgekit never changes.",
                cure="Uninstall packages there with pip.",
            )
        gone = remove_environment(converter)
        echo(f"{name} {'removed' if gone else 'was not installed'}.")


def _programs() -> dict[str, Converter]:
    """Everything that has an environment: converters, clients of `compat`, compilers."""
    from edgekit.compat import clients
    from edgekit.compilers import manifests
    from edgekit.toolchain.converters import discover

    return {**discover(), **clients.workers(), **manifests.workers()}


def _known(name: str, converters: dict[str, Converter]) -> Converter:
    from edgekit.arguments import nearest
    from edgekit.errors import UsageError

    for spelling in (name, name.replace("-", "_")):
        if spelling in converters:
            return converters[spelling]
    raise UsageError(
        f"There is no converter, client or compiler {name!r}.", cure=nearest(name, converters)
    )
