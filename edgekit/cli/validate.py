"""``edgekit validate``: may these files ship?"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli.addresses import DEVICE_HELP, resolve_address
from edgekit.cli.options import (
    REFERENCE_ARGUMENTS,
    ReferenceCommand,
    accept_contract_option,
    accept_few_option,
    cluster_option,
    limits,
    open_option,
    preprocess_flags,
)
from edgekit.cli.parameters import PATH, THREADS
from edgekit.cli.terminal import echo, make_console, open_page, print_next
from edgekit.cli.verdicts import exit_code_of
from edgekit.errors import ConversionError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.table import Table

    from edgekit.validation_result import CandidateResult, ValidationResult

INTERRUPTED = 130
_SIDE_BY_SIDE = 3
"""More candidates than these go into a second table: 80 columns hold no more."""


@click.command(
    name="validate",
    cls=ReferenceCommand,
    epilog="Example: edgekit validate model_int8.tflite --reference model.onnx --data photos/",
)
@click.argument("files", type=PATH, nargs=-1, required=True)
@click.option(
    "--reference",
    required=True,
    help="The model itself, an .edgeref bundle, another .tflite, or the URL of a server.",
)
@click.option("--data", type=PATH, required=True, help="Pictures, arrays, or a labelled data set.")
@click.option("--metric", help="Your own, in place of the task's: package.module:function")
@click.option(
    "--gate",
    "gates",
    multiple=True,
    help='Repeatable: "top1_drop <= 1%", "latency_p90_ms <= 12", "top1_drop <= 1% (upper)".',
)
@click.option("--strict", is_flag=True, help="A default gate that was not measured fails, too.")
@accept_few_option
@accept_contract_option
@click.option("--device", "address", default="local", help=DEVICE_HELP)
@click.option(
    "--runtime",
    help="Another runtime on this computer: tflite-runtime==2.14.0, ai-edge-litert==1.4.0.",
)
@click.option("--jobs", type=THREADS, help="Processes that measure [all cores].")
@cluster_option
@click.option("--resume", is_flag=True, help="Go on after a run that was killed or interrupted.")
@click.option(
    "--worst",
    type=click.IntRange(0, 1_000_000_000),
    default=8,
    show_default=True,
    help="How many of the worst samples are kept.",
)
@click.option(
    "--threads", type=THREADS, default=1, show_default=True, help="Threads for latencies."
)
@click.option(
    "--explain",
    type=click.Choice(("auto", "always", "never")),
    default="auto",
    show_default=True,
    help="Find layer and cause; auto: of candidates that a gate stopped.",
)
@click.option("--no-latency", is_flag=True, help="Compare only.")
@click.option("--output", "-o", type=PATH, help="Folder for report.html and report.json.")
@open_option
@click.option("--no-pictures", is_flag=True, help="Keep the samples' pictures out of reports.")
@click.option("--junit", type=PATH, help="Write the gates as JUnit XML.")
@click.option("--markdown", type=PATH, help="Write the gates as Markdown, for a pull request.")
@click.option("--tensorboard", type=PATH, help="Folder for TensorBoard.")
@click.option("--force", is_flag=True, help="Replace existing reports.")
def command(files: tuple[Path, ...], inputs: tuple[str, ...], **options: Any) -> int:
    """Compare .tflite FILES with their reference on your data, and judge whether they may ship.

    --reference is whatever `edgekit convert` takes, a bundle that `edgekit reference record` made,
    or the URL of a served model.
    """
    from edgekit.cli.progress import Display
    from edgekit.config import parse_input_flag
    from edgekit.pipeline.validation.reports import PAGE, Reports
    from edgekit.pipeline.validation.request import ValidationRequest
    from edgekit.pipeline.validation.run import validate
    from edgekit.report.validation_json import to_json

    same = [*REFERENCE_ARGUMENTS, "reference", "data", "metric", "gates", "strict", "jobs"]
    same += ["accept_few", "accept_contract"]
    same += ["resume", "worst", "threads", "runtime", "explain", "cluster"]
    request = ValidationRequest(
        candidates=files,
        inputs=tuple(map(parse_input_flag, inputs)),
        preprocess=preprocess_flags(options),
        address=resolve_address(options["address"], options["config"]),
        latency=not options["no_latency"],
        limits=limits(options),
        command=shlex.join(["edgekit", *sys.argv[1:]]),
        **{name: options[name] for name in same},
    )
    targets = ("output", "junit", "markdown", "tensorboard", "force")
    reports = Reports(
        pictures=not options["no_pictures"], **{name: options[name] for name in targets}
    )
    if options["open_page"] and options["output"] is None:
        raise UsageError("--open shows the page that --output writes.", cure="Add: -o FOLDER")
    reports.check()
    silent = options["quiet"] or options["as_json"]
    with reports.held(), Display(quiet=silent, verbose=options["verbose"]) as display:
        result = validate(request, display)
        written = reports.write(result)
    if options["as_json"]:
        echo(to_json(result), nl=False)
    elif not options["quiet"]:
        _print(result, written)
    if options["open_page"]:
        open_page(options["output"] / PAGE)
    return _exit_code(result)


def _exit_code(result: ValidationResult) -> int:
    if not result.complete:
        return INTERRUPTED
    if any(one.error for one in result.candidates):
        return ConversionError.exit_code
    return exit_code_of(result.states)


def _print(result: ValidationResult, written: Sequence[Path]) -> None:
    from rich.text import Text

    from edgekit.report.following import after_validation

    console = make_console()
    sound = [one for one in result.candidates if not one.error]
    for start in range(0, len(sound), _SIDE_BY_SIDE):
        console.print(_table(result, sound[start : start + _SIDE_BY_SIDE]))
    for line in _lines(result, written):
        console.print(Text.from_markup(line), soft_wrap=True)
    print_next(after_validation(result))


def _device(environment: Mapping[str, str]) -> str:
    """Where the candidates ran: ``ssh://pi@board (aarch64, Cortex-A72, ai-edge-litert 2.1.6)``."""
    runtimes = ("ai-edge-litert", "tflite-runtime", "@litertjs/core")
    found = [environment["machine"], environment["cpu"]]
    found += [f"{name} {environment[name]}" for name in runtimes if name in environment]
    return f"{environment['device']} ({', '.join(found)})"


def _table(result: ValidationResult, candidates: Sequence[CandidateResult]) -> Table:
    """A row per figure, the reference and some candidates beside each other."""
    from dataclasses import replace

    from rich import box
    from rich.table import Table
    from rich.text import Text

    from edgekit.report.validation_tables import table

    rows = table(replace(result, candidates=tuple(candidates)))
    shown = Table(box=box.SIMPLE_HEAD)
    shown.add_column("")
    for name in ("reference", *(one.name for one in candidates)):
        shown.add_column(Text(name), justify="right", overflow="fold")
    for row in rows:
        shown.add_row(Text(row.title), *(Text(cell.text) for cell in row.cells))
    return shown


def _lines(result: ValidationResult, written: Sequence[Path]) -> list[str]:
    """Verdicts first, then what they stand on."""
    from rich.markup import escape

    from edgekit.report import words

    colours = {"pass": "green", "fail": "bold red", "not proven": "yellow"}
    lines = []
    for one in result.candidates:
        state = one.state(strict=result.strict)
        sentence = words.sentence(one, strict=result.strict, complete=result.complete)
        lines.append(
            f"[{colours[state]}]{state.upper():7}[/] {escape(one.name)}: {escape(sentence)}"
        )
        lines += [f"        {escape(line)}" for line in (*words.diagnosis(one), *one.notes)]
    if said := words.reference_words(result.probe):
        lines.append(f"Model   {escape(said)}")
    reference, data = result.reference, result.data
    lines.append(f"Against {escape(reference.name)} ({escape(reference.device)})")
    if "device" in result.environment:
        lines.append(f"Ran on  {escape(_device(result.environment))}")
    lines.append(
        f"Data    {escape(data.path)}: {data.samples:,} samples, {data.labelled:,} with a label, "
        f"{len(data.skipped):,} unreadable, {result.seconds:.0f} s"
    )
    if not result.complete:
        lines.append("[bold red]Interrupted[/]: --resume goes on with the samples that are left")
    return lines + [f"Wrote   {escape(str(path))}" for path in written]
