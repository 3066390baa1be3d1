"""``edgekit explain``: the first bad operator of a `.tflite`, and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import click

from edgekit.cli.addresses import DEVICE_HELP, resolve_address
from edgekit.cli.options import ConversionCommand, limits, open_option, preprocess_flags
from edgekit.cli.parameters import COUNT, PATH, SEED
from edgekit.cli.terminal import echo, make_console, open_page, print_next

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from edgekit.validation.explain.points import Explanation

_MOST_ROWS = 12


class ExplainCommand(ConversionCommand):
    """A command that compares two models without making one."""

    headings: ClassVar[tuple[str, ...]] = ("Preprocessing", "Limits", "Display")


@click.command(
    name="explain",
    cls=ExplainCommand,
    epilog="Example: edgekit explain model_int8.tflite --reference model_fp32.tflite "
    "--data photos/",
)
@click.argument("candidate", type=PATH)
@click.option("--reference", help="A float .tflite, or a model as for convert.")
@click.option(
    "--data", type=PATH, required=True, help="Inputs that the model really sees; see convert."
)
@click.option(
    "--float",
    "floating",
    type=PATH,
    help="The float .tflite between a framework's model and the candidate [converted anew].",
)
@click.option(
    "--samples", type=COUNT, default=8, show_default=True, help="Use at most this many samples."
)
@click.option(
    "--seed",
    type=SEED,
    default=0,
    show_default=True,
    help="Seed that picks the samples.",
)
@click.option("--weights", type=PATH, help="Of the reference, as for convert.")
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="NAME:SHAPE[:DTYPE][:LAYOUT]",
    help="Of the reference, as for convert.",
)
@click.option("--trust-pickle", is_flag=True, help="Open a pickle, which can run any code.")
@click.option("--config", type=PATH, help="An edgekit.toml about the reference; flags win over it.")
@click.option("--device", "address", default="local", help=DEVICE_HELP)
@click.option(
    "--runtime",
    help="Another runtime on this computer: tflite-runtime==2.14.0, ai-edge-litert==1.4.0.",
)
@click.option("--output", "-o", type=PATH, help="The HTML page [NAME_explain.html].")
@open_option
@click.option("--model-explorer", type=PATH, help="Also write node data for Model Explorer.")
@click.option("--force", is_flag=True, help="Replace existing files.")
def command(candidate: Path, **options: Any) -> int:
    """Find the first operator of a .tflite CANDIDATE that departs from the reference, and why.

    Preprocessing flags and --config are about the reference. The candidate is given what its own
    contract says.

    With --device or --runtime the candidate is first compared with itself: there and here. That
    needs no --reference.
    """
    from edgekit.cli.progress import Display
    from edgekit.config import parse_input_flag
    from edgekit.errors import UsageError
    from edgekit.pipeline.explain import ExplainRequest, explain, require_free, write_files
    from edgekit.pipeline.publish import all_held
    from edgekit.report.explain import to_json
    from edgekit.report.following import after_explain

    if candidate.suffix.lower() != ".tflite":
        raise UsageError(f"{candidate} is not a .tflite file.", cure=f"edgekit convert {candidate}")
    elsewhere = options["runtime"] or options["address"] != "local"
    if not options["reference"] and not elsewhere:
        raise UsageError(
            "There is no --reference to compare with.",
            cure="Give the float .tflite or the model itself, or a --device for the same file.",
        )
    names = ("data", "floating", "samples", "seed", "weights", "trust_pickle")
    request = ExplainRequest(
        candidate=candidate,
        reference=options["reference"] or "",
        address=resolve_address(options["address"], options["config"]),
        **{name: options[name] for name in (*names, "config", "runtime")},
        inputs=tuple(map(parse_input_flag, options["inputs"])),
        preprocess=preprocess_flags(options),
        limits=limits(options),
    )
    page = options["output"] or Path(f"{candidate.stem}_explain.html")
    silent = options["quiet"] or options["as_json"]
    require_free(page, options["model_explorer"], force=options["force"])
    with all_held(files=[page, options["model_explorer"]]):
        with Display(quiet=silent, verbose=options["verbose"]) as display:
            explanation = explain(request, display)
        write_files(explanation, page, options["model_explorer"])
    if options["as_json"]:
        echo(to_json(explanation), nl=False)
    elif not options["quiet"]:
        _print(explanation, page)
        print_next(after_explain(explanation, candidate, _reference(options), options["data"]))
    if options["open_page"]:
        open_page(page)
    return 0


def _reference(options: dict[str, Any]) -> list[object]:
    """The reference with the options that open it, as they were given."""
    if not options["reference"]:
        return []
    given: list[object] = [options["reference"]]
    for name in options["inputs"]:
        given += ["--input", name]
    for option in ("weights", "config"):
        given += [f"--{option}", options[option]] if options[option] else []
    return given + ["--trust-pickle"] * options["trust_pickle"]


def _print(explanation: Explanation, page: Path) -> None:

    console = make_console()
    console.print(_table(explanation))
    _print_stages(console, explanation)
    lines = [f"Verdict  {explanation.verdict}"]
    if explanation.why:
        lines.append(f"Why      {explanation.why}")
    if explanation.advice:
        lines.append(f"Try      {explanation.advice}")
    lines += [f"Note     {note}" for note in explanation.notes]
    lines.append(f"Page     {page}")
    for line in lines:
        console.print(line, soft_wrap=True, markup=False)


def _print_stages(console: Console, explanation: Explanation) -> None:
    from edgekit.report.explain import db_text

    for number, stage in enumerate(explanation.stages):
        said = (
            f"departs at {stage.departs} ({stage.operator}), {db_text(stage.departs_db)}"
            if stage.departs
            else f"{stage.compared} tensors compared, none departs"
        )
        head = "Stages   " if number == 0 else "         "
        line = f"{head}{stage.reference} → {stage.candidate}: {said}"
        console.print(line, soft_wrap=True, markup=False)


def _table(explanation: Explanation) -> Table:
    """The operators with faults, then those that add most error."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from edgekit.report.explain import db_text

    rows = explanation.worst
    left_out = len(rows) - _MOST_ROWS
    table = Table(
        title=f"{explanation.candidate} against {explanation.reference}, "
        f"{len(explanation.samples)} samples, {explanation.seconds:.0f} s",
        title_justify="left",
        caption=f"and {left_out} more: see the page or --json" if left_out > 0 else None,
        caption_justify="left",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("#", justify="right")
    table.add_column("operator", overflow="fold", ratio=1)
    for heading in ("its\nSQNR", "came\nin", "added"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("cause", no_wrap=True)
    for op in rows[:_MOST_ROWS]:
        main = max(op.sources, key=lambda name: op.sources[name], default="")
        table.add_row(
            str(op.place) if op.place >= 0 else "in",
            # Names come from the file: shown as they are, never read as rich markup.
            Text(f"{op.called} ({op.operator})"),
            db_text(op.total_db).removesuffix(" dB"),
            db_text(op.inherited_db).removesuffix(" dB"),
            db_text(op.added_db).removesuffix(" dB"),
            Text(op.cause, style="bold red") if op.bad else Text(f"({main})", style="dim"),
        )
    return table
