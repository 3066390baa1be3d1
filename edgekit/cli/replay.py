"""``edgekit replay``: the files of a lock made again, byte for byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli.parameters import FOLDER, PATH
from edgekit.cli.terminal import echo, make_console, print_next
from edgekit.errors import LockMismatch, UsageError

if TYPE_CHECKING:
    from edgekit.pipeline.replay import Replay


@click.command(
    name="replay",
    epilog="Example: edgekit replay efficientnet_tflite/edgekit.lock "
    "--moved calibration=/data/photos",
)
@click.argument("lock", type=PATH, metavar="edgekit.lock")
@click.option("--output", "-o", type=PATH, help="Keep the files here [compared and thrown away].")
@click.option(
    "--moved",
    multiple=True,
    metavar="ROLE=PATH",
    help="Repeatable: where an input is now: model=net.onnx, calibration=/data/photos",
)
@click.option("--dry-run", is_flag=True, help="Check the inputs, print the command, make nothing.")
@click.option("--force", is_flag=True, help="Replace existing outputs.")
@click.option("--trust-pickle", is_flag=True, help="Open a pickle, as the lock asks.")
@click.option(
    "--allow-network", is_flag=True, help="Let the model's code use the network, as the lock asks."
)
@click.option(
    "--allow-write",
    type=FOLDER,
    multiple=True,
    metavar="FOLDER",
    help="Repeatable: let the model's code write there, as the lock asks.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@click.option("--quiet", "-q", is_flag=True, help="No progress, no table.")
@click.option("--verbose", "-v", is_flag=True, help="A line with the time of every step.")
def command(lock: Path, moved: tuple[str, ...], **options: Any) -> int:
    """Make the files of an edgekit.lock again, and compare them with it byte for byte.

    Every input is held against the lock first; where one is not what it was, it is named and
    nothing is made. The model's code runs as it does in convert. Exit code 4 where an input or a
    file is not what the lock says.
    """
    from edgekit.cli.progress import Display
    from edgekit.pipeline.replay import ReplayRequest, replay
    from edgekit.report.following import after_replay

    request = ReplayRequest(
        lock=lock,
        output=options["output"],
        moved=dict(map(_moved, moved)),
        force=options["force"],
        trust_pickle=options["trust_pickle"],
        allow_network=options["allow_network"],
        allow_write=options["allow_write"],
        check_only=options["dry_run"],
    )
    silent = options["quiet"] or options["as_json"]
    with Display(quiet=silent, verbose=options["verbose"]) as display:
        result = replay(request, display)
    if options["as_json"]:
        from dataclasses import asdict

        echo(json.dumps({**asdict(result), "same": result.same}, indent=2))
    elif not options["quiet"]:
        _print(result)
        print_next(
            after_replay(
                lock,
                same=result.same,
                checked_only=result.checked_only,
                moved=[one.role for one in result.inputs],
            )
        )
    return 0 if result.same else LockMismatch.exit_code


def _moved(text: str) -> tuple[str, Path]:
    role, sign, path = text.partition("=")
    if not (role and sign and path):
        raise UsageError(
            f"--moved {text!r} is not ROLE=PATH.", cure="For example calibration=/data/photos"
        )
    return role, Path(path)


def _print(result: Replay) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    console = make_console()
    if result.inputs:
        table = Table(title="Inputs that differ", title_justify="left", box=box.SIMPLE_HEAD)
        for heading in ("input", "path", "it …"):
            table.add_column(heading, overflow="fold")
        for one in result.inputs:
            table.add_row(Text(one.role), Text(one.path), Text(one.why))
        console.print(table)
        console.print(
            "Nothing was made. If an input has moved, say where it is now: --moved ROLE=PATH."
        )
        return
    if result.checked_only:
        console.print("Every input is what the lock says. It was made with:")
        console.print(Text(result.command), soft_wrap=True)
        return
    table = Table(title="Files made again", title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("file", "lock", "now", ""):
        table.add_column(heading, overflow="fold")
    colours = {"same": "green", "differs": "bold red", "not made": "bold red"}
    for file in result.files:
        state = Text(file.outcome, style=colours[file.outcome])
        table.add_row(Text(file.name), file.locked[:12], file.made[:12] or "–", state)
    console.print(table)
    for line in result.changed:
        console.print(Text(f"Changed  {line}"), soft_wrap=True)
    if not result.same and not result.changed:
        console.print("Neither inputs, versions nor the machine changed: please report this.")
    if result.output:
        console.print(Text(f"Files    {result.output}/"), soft_wrap=True)
