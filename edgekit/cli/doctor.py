"""``edgekit doctor``."""

from __future__ import annotations

import json

import click


@click.command(name="doctor", epilog="Example: edgekit doctor --json")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> int:
    """Say what is installed, what is missing, and what to type.

    Exit code 5 if something that every conversion needs is missing.
    """
    from edgekit.errors import SetupError
    from edgekit.toolchain.doctor import examine

    checks = examine()
    missing = any(check.state == "missing" for check in checks)
    if as_json:
        from dataclasses import asdict

        click.echo(json.dumps([asdict(check) for check in checks], indent=2))
        return SetupError.exit_code if missing else 0
    from rich.console import Console
    from rich.table import Table

    colors = {"ok": "green", "optional": "yellow", "missing": "red"}
    table = Table("", "what", "found", "what to type")
    for check in checks:
        table.add_row(
            f"[{colors[check.state]}]{check.state}[/]", check.name, check.found, check.cure
        )
    Console(highlight=False).print(table)
    return SetupError.exit_code if missing else 0
