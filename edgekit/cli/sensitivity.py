"""``edgekit sensitivity``: which layers cost how much accuracy in int8."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from edgekit.cli.options import AnalysisCommand, limits, open_option, preprocess_flags
from edgekit.cli.parameters import COUNT, PATH
from edgekit.cli.terminal import echo, make_console, open_page, print_next
from edgekit.types import Effort

if TYPE_CHECKING:
    from rich.table import Table

    from edgekit.report.sensitivity import SensitivityReport

_MODES = ("both", "each", "prefix")
_MOST_ROWS = 20


@click.command(
    name="sensitivity",
    cls=AnalysisCommand,
    epilog="Example: edgekit sensitivity model_fp32.tflite --calibration photos/",
)
@click.argument("file", type=PATH)
@click.option(
    "--mode",
    type=click.Choice(_MODES),
    default="both",
    show_default=True,
    help="Each layer alone in int8, growing prefixes of the graph, or both.",
)
@click.option(
    "--effort",
    type=click.Choice(get_args(Effort)),
    default="none",
    show_default=True,
    help="Prepare the model first, as quantize does.",
)
@click.option(
    "--ranges",
    default="auto",
    show_default=True,
    help="How activation ranges are chosen; see quantize.",
)
@click.option(
    "--parity-samples",
    type=COUNT,
    default=16,
    show_default=True,
    help="Compare on at most this many samples.",
)
@open_option
@click.option("--output", "-o", type=PATH, help="The HTML page [NAME_sensitivity.html].")
@click.option("--config", type=PATH, help="An edgekit.toml; flags win over it.")
@click.option("--force", is_flag=True, help="Replace an existing page.")
def command(file: Path, **options: Any) -> int:
    """Show which layers of a float .tflite FILE cost accuracy in int8, and how much."""
    from edgekit.cli.progress import Display
    from edgekit.errors import UsageError
    from edgekit.pipeline.request import ConversionRequest
    from edgekit.pipeline.sensitivity import analyse
    from edgekit.report.following import after_sensitivity
    from edgekit.report.sensitivity import to_json

    if file.suffix.lower() != ".tflite":
        raise UsageError(f"{file} is not a .tflite file.", cure=f"edgekit convert {file}")
    same = ("calibration", "parity", "samples", "parity_samples", "seed", "synthetic")
    request = ConversionRequest(
        model=str(file),
        **{name: options[name] for name in (*same, "effort", "ranges", "config", "force")},
        preprocess=preprocess_flags(options),
        limits=limits(options),
    )
    page = options["output"] or Path(f"{file.stem}_sensitivity.html")
    silent = options["quiet"] or options["as_json"]
    with Display(quiet=silent, verbose=options["verbose"]) as display:
        report = analyse(request, mode=options["mode"], page=page, progress=display)
    if options["as_json"]:
        echo(to_json(report), nl=False)
    elif not options["quiet"]:
        _print(report, page)
        print_next(after_sensitivity(file, _given(options)))
    if options["open_page"]:
        open_page(page)
    return 0


def _given(options: dict[str, Any]) -> list[object]:
    """The data of this run as options."""
    given: list[object] = ["--synthetic"] if options["synthetic"] else []
    for name in ("calibration", "config"):
        given += [f"--{name}", options[name]] if options[name] else []
    return given


def _print(report: SensitivityReport, page: Path) -> None:

    from edgekit.report.sensitivity import judgement_text

    console = make_console()
    console.print(_table(report))
    lines = [f"In int8  {judgement_text(report.whole)} with all layers"]
    lines += [f"         {len(report.layers)} layers, the most damaging first"]
    if report.synthetic:
        lines.append("Data     synthetic: says little")
    lines += [f"Unknown  {row.name}: {row.problem}" for row in report.layers if row.problem]
    lines.append(f"Page     {page}")
    for line in lines:
        console.print(line, soft_wrap=True, markup=False)


def _table(report: SensitivityReport) -> Table:
    """The most damaging layers, by their own noise or else by the drop that they make."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from edgekit.quantize.sensitivity import most_damaging
    from edgekit.report.sensitivity import change_text, db_text

    rows = most_damaging(report.layers) or sorted(
        report.layers, key=lambda row: row.prefix_drop_db or 0.0, reverse=True
    )
    left_out = len(rows) - _MOST_ROWS
    table = Table(
        title=f"{report.model}: layers in int8, {report.seconds:.0f} s",
        title_justify="left",
        caption=f"and {left_out} more: see the page or --json" if left_out > 0 else None,
        caption_justify="left",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("#", justify="right")
    table.add_column("layer", overflow="fold", ratio=1)
    for heading in ("alone", "of the\nnoise", "up to\nhere", "change\ndB"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows[:_MOST_ROWS]:
        share = row.noise_share
        table.add_row(
            str(row.place),
            # Names come from the file: shown as they are, never read as rich markup.
            Text(f"{row.name} ({row.operator})"),
            db_text(row.each),
            "–" if share is None else f"{share:.1%}",
            db_text(row.prefix),
            change_text(row),
        )
    return table
