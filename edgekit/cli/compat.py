"""``edgekit compat``: one file in all the clients that apps use."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli.parameters import COUNT, PATH, SECONDS, SEED, Number
from edgekit.cli.terminal import echo, make_console, print_next
from edgekit.compat.judging import MOST_STEPS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from edgekit.compat.clients import Client
    from edgekit.compat.run import Compatibility
    from edgekit.types import VerdictState


@click.command(
    name="compat",
    epilog="Example: edgekit compat model_int8.tflite --data photos/ --gate openvino",
)
@click.argument("files", type=PATH, nargs=-1, metavar="FILE.tflite…")
@click.option(
    "--clients", "names", multiple=True, metavar="NAME,…", help="Clients to run it in [all]."
)
@click.option(
    "--gate",
    "gates",
    multiple=True,
    metavar="NAME,…",
    help="All are tried; these must run it and agree.",
)
@click.option("--data", type=PATH, help="Inputs that the model will really see.")
@click.option("--synthetic", is_flag=True, help="Use random inputs.")
@click.option(
    "--samples", type=COUNT, default=16, show_default=True, help="At most so many samples."
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of the random inputs.")
@click.option(
    "--max-steps",
    type=Number(0, 255),
    default=MOST_STEPS,
    show_default=True,
    help="How many output steps a client that agrees may be away from LiteRT.",
)
@click.option("--timeout", type=SECONDS, help="Seconds for a client to open a file, or run it.")
@click.option("--fresh", is_flag=True, help="Run again what an earlier run has found out already.")
@click.option("--list", "listing", is_flag=True, help="Show the clients, and run nothing.")
@click.option("--html", type=PATH, help="Write a page that needs nothing else.")
@click.option("--force", is_flag=True, help="Replace an existing page.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def command(
    files: tuple[Path, ...],
    names: tuple[str, ...],
    gates: tuple[str, ...],
    max_steps: float,
    timeout: float | None,
    *,
    listing: bool,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> int:
    """Will a .tflite FILE open in the clients that apps use, and say the same there?

    Each client is installed once, in a locked environment of its own, and gets the same samples.
    Its outputs are held against LiteRT's. A step is the output's quantization step; of an output in
    float that of the integers it comes from, or else 1/255 of the range of its values. A client
    that is further away than --max-steps, but near to what LiteRT says by kernels that round
    otherwise, agrees too, and is told so.

    A client that gives other results fails the file (exit code 4). So does one that does not run it
    and that --clients or --gate names. Exit code 8: no client but LiteRT ran it, or one that was
    named could not be had.
    """
    from edgekit.cli.progress import Display
    from edgekit.cli.verdicts import exit_code_of
    from edgekit.compat.clients import BASELINE, choose, discover
    from edgekit.compat.run import compatibility
    from edgekit.pipeline.publish import all_held, write_whole
    from edgekit.report.compat import to_html

    clients = discover()
    wanted = choose(_split(names), clients)
    required = [one.name for one in choose(_split(gates), clients)] if gates else []
    if listing:
        return _list(wanted, as_json=as_json)
    _check(files, options)
    asked = {one.name: one for one in (clients[BASELINE], *wanted, *(clients[n] for n in required))}
    required = list(dict.fromkeys([*required, *(asked if names else ())]))
    data = None if options["synthetic"] else options["data"]
    page: Path | None = options["html"]
    with all_held(files=[page]), Display(quiet=quiet or as_json) as display:
        results = [
            compatibility(
                file,
                list(asked.values()),
                data=data,
                samples=options["samples"],
                seed=options["seed"],
                most_steps=max_steps,
                seconds=timeout,
                fresh=options["fresh"],
                progress=display,
            )
            for file in files
        ]
        verdicts = [result.verdict(required) for result in results]
        if page is not None:
            write_whole(page, to_html(results, verdicts))
    if as_json:
        _print_json(results, verdicts, required)
    else:
        for result, verdict in zip(results, verdicts, strict=True):
            _print(result, verdict, quiet=quiet)
    return exit_code_of(state for state, _ in verdicts)


def _split(names: Sequence[str]) -> list[str]:
    return [name.strip() for text in names for name in text.split(",") if name.strip()]


def _check(files: Sequence[Path], options: dict[str, Any]) -> None:
    from edgekit.errors import UsageError

    if not files:
        raise UsageError("No file was named.", cure="edgekit compat model.tflite --data photos/")
    if (options["data"] is None) != options["synthetic"]:
        raise UsageError(
            "Inputs come from --data PATH, or are random with --synthetic.",
            cure="Give one of them.",
        )
    page: Path | None = options["html"]
    if page is not None and page.exists() and not options["force"]:
        raise UsageError(
            f"{page} exists already.", cure="Choose another --html, or replace it with --force."
        )


def _list(clients: Sequence[Client], *, as_json: bool) -> int:
    from rich.table import Table

    if as_json:
        rows = [{"name": c.name, "summary": c.summary, "timed": c.timed} for c in clients]
        echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return 0
    table = Table("client", "what it is", box=None, padding=(0, 2, 0, 0))
    for client in clients:
        table.add_row(client.name, client.summary)
    make_console().print(table)
    return 0


def _print_json(
    results: Sequence[Compatibility],
    verdicts: Sequence[tuple[VerdictState, str]],
    required: Sequence[str],
) -> None:
    from edgekit import __version__

    found = [
        {**_finite(asdict(result)), "verdict": state, "why": why}
        for result, (state, why) in zip(results, verdicts, strict=True)
    ]
    document = {
        "schema": "edgekit-compat",
        "schema_version": 1,
        "edgekit": __version__,
        "required": list(required),
        "files": found,
    }
    echo(json.dumps(document, indent=2, allow_nan=False))


def _finite(value: Any) -> Any:
    """Infinite differences as ``null``, which JSON has a word for."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _print(result: Compatibility, verdict: tuple[VerdictState, str], *, quiet: bool) -> None:
    from rich.text import Text

    from edgekit.report.compat import said

    console = make_console()
    console.print(_table(result))
    for row in result.rows:
        if told := said(row):
            console.print(Text(f"{row.client}: {told}"), soft_wrap=True)
    state, why = verdict
    colours = {"pass": "green", "fail": "bold red", "not proven": "yellow"}
    line = Text.assemble((state.upper(), colours[state]), f" {Path(result.file).name}: {why}.")
    console.print(line, soft_wrap=True)
    if following := _next(result):
        print_next(following)
    elif not quiet:
        console.print()


def _next(result: Compatibility) -> str:
    """What to type about the worst that was found; empty where there is nothing to do."""
    states = {row.state: row.client for row in result.rows}
    file = result.file
    if "differs" in states:
        return f"edgekit compat {file} --clients {states['differs']} --json   (each output)"
    if "refused" in states or "stopped" in states:
        return f"edgekit inspect {file}   (its operators and their versions)"
    if "missing" in states:
        return f"edgekit toolchain install {states['missing']}"
    return ""


def _table(result: Compatibility) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from edgekit.report.compat import cells

    title = f"{Path(result.file).name}, {result.samples} samples"
    table = Table(
        title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, collapse_padding=True
    )
    table.add_column("client", no_wrap=True)
    for heading in ("opens", "runs", "most\nsteps", "over\nhalf", "same\ntop-1", "p50\nms"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in result.rows:
        table.add_row(*map(Text, (row.client, *cells(row), row.state)))
    return table
