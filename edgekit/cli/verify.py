"""``edgekit verify``: is a file one that a lock knows."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekit.cli.parameters import PATH
from edgekit.cli.terminal import echo, make_console, print_next
from edgekit.errors import LockMismatch

if TYPE_CHECKING:
    from edgekit.provenance.verify import Verified


@click.command(
    name="verify",
    epilog="Example: edgekit verify downloads/net_int8.tflite --lock edgekit.lock",
)
@click.argument("files", type=PATH, nargs=-1, required=True, metavar="FILE.tflite...")
@click.option("--lock", type=PATH, help="The lock [NAME.lock or edgekit.lock beside each file].")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@click.option("--quiet", "-q", is_flag=True, help="No table; the exit code tells.")
def command(files: tuple[Path, ...], *, lock: Path | None, as_json: bool, quiet: bool) -> int:
    """Hold .tflite files against an edgekit.lock: content, size, contract.

    Exit code 0 where every file is one of the lock's, 4 where one differs or is unknown to it. A
    lock is not signed: take it from where you trust it.
    """
    from edgekit.provenance.text import read_lock
    from edgekit.provenance.verify import lock_beside, verify_file
    from edgekit.report.following import after_verify

    results = [verify_file(file, read_lock(lock or lock_beside(file))) for file in files]
    same = all(one.state == "same" for one in results)
    if as_json:
        echo(json.dumps({"same": same, "files": [asdict(one) for one in results]}, indent=2))
    elif not quiet:
        _print(results)
        print_next(after_verify(files[0], same=same, lock=lock or lock_beside(files[0])))
    return 0 if same else LockMismatch.exit_code


def _print(results: list[Verified]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("file", "scheme", "", "why"):
        table.add_column(heading, overflow="fold")
    for one in results:
        state = Text(one.state, style="green" if one.state == "same" else "bold red")
        table.add_row(Text(one.path), Text(one.scheme or "–"), state, Text("; ".join(one.remarks)))
    make_console().print(table)
