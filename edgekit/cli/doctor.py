"""``edgekit doctor``."""

from __future__ import annotations

import json

import click

from edgekit.cli.terminal import colour, echo, print_next


@click.command(name="doctor", epilog="Example: edgekit doctor --json")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> int:
    """Say what is installed, what is missing, and what to type.

    Exit code 5 if something that every conversion needs is missing.
    """
    from edgekit.errors import SetupError
    from edgekit.report.following import after_doctor
    from edgekit.toolchain.doctor import examine

    checks = examine()
    missing = any(check.state == "missing" for check in checks)
    if as_json:
        from dataclasses import asdict

        echo(json.dumps([asdict(check) for check in checks], indent=2))
        return SetupError.exit_code if missing else 0
    colors = {"ok": "green", "optional": "yellow", "missing": "red"}
    width = max(len(check.name) for check in checks)
    for check in checks:
        click.secho(f"{check.state:9}", fg=colors[check.state], nl=False, color=colour())
        echo(f"{check.name:{width}}  {check.found}")
        if check.cure:
            echo(f"{'':{9 + width}}  → {check.cure}")
    print_next(after_doctor([check.cure for check in checks if check.state == "missing"]))
    return SetupError.exit_code if missing else 0
