"""``edgekit runtimes``: the same file in the runtimes that apps ship."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekit.cli.parameters import COUNT, PATH, SEED
from edgekit.cli.terminal import echo, make_console, print_next

if TYPE_CHECKING:
    from edgekit.devices.matrix import RuntimeRow


@click.command(
    name="runtimes",
    epilog="Example: edgekit runtimes m.tflite --runtime tflite-runtime==2.14.0 --data photos/",
)
@click.argument("file", type=PATH, metavar="FILE.tflite")
@click.option(
    "--runtime",
    "runtimes",
    multiple=True,
    help="Repeatable: tflite-runtime==VERSION or ai-edge-litert==VERSION.",
)
@click.option("--runtime-matrix", help="The same as a comma-separated list.")
@click.option("--data", type=PATH, help="Inputs that the model will really see.")
@click.option("--synthetic", is_flag=True, help="Use random inputs.")
@click.option(
    "--samples", type=COUNT, default=16, show_default=True, help="At most so many samples."
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of the random inputs.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def command(
    file: Path,
    runtimes: tuple[str, ...],
    runtime_matrix: str | None,
    data: Path | None,
    samples: int,
    seed: int,
    *,
    synthetic: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Will a .tflite FILE load in the runtime that an app ships, and say the same?

    Each runtime is installed once, in an environment of its own, and compared with edgekit's.
    Exit code 3 if one of them does not run the file.
    """
    from edgekit.cli.progress import Display
    from edgekit.devices.matrix import compare_runtimes
    from edgekit.devices.runtimes import parse_runtime
    from edgekit.errors import ConversionError, UsageError
    from edgekit.report.following import after_runtimes

    names = [*runtimes, *(runtime_matrix or "").split(",")]
    wanted = [parse_runtime(name) for name in names if name.strip()]
    if not wanted:
        raise UsageError(
            "No runtime was named.",
            cure=f"edgekit runtimes {file} --runtime tflite-runtime==2.14.0",
        )
    if (data is None) != synthetic:
        raise UsageError(
            "Inputs come from --data PATH, or are random with --synthetic.",
            cure="Give one of them.",
        )
    with Display(quiet=quiet or as_json) as display:
        rows = compare_runtimes(
            file, wanted, data=data, samples=samples, seed=seed, progress=display
        )
    if as_json:
        from dataclasses import asdict

        echo(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        _print(rows)
        print_next(after_runtimes(file, refused=any(row.error for row in rows)))
    return ConversionError.exit_code if any(row.error for row in rows) else 0


def _print(rows: list[RuntimeRow]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("runtime", "loads", "SQNR dB", "worst", "top-1", "steps", "p50 ms"):
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, _cells(row)))
    console = make_console()
    console.print(table)
    for row in rows:
        if row.error:
            console.print(Text(f"{row.runtime}: {row.error} {row.cure}".strip()))


def _cells(row: RuntimeRow) -> tuple[str, ...]:
    worst = row.worst
    if worst is None:
        return row.runtime, "no", *("–",) * 5
    agreement = worst.top1_agreement
    return (
        row.runtime,
        "yes",
        f"{worst.sqnr_db:.1f}",
        f"{worst.worst_sqnr_db:.1f}",
        "–" if agreement is None else f"{agreement:.1%}",
        "–" if row.steps is None else f"{row.steps:.0f}",
        f"{row.p50_ms:.1f}",
    )
