"""``edgekit embed``: a `.tflite` becomes a module for an app, with a test of every stage."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, get_args

import click

from edgekit.cli.options import ConversionCommand, limits, preprocess_flags
from edgekit.cli.parameters import COUNT, PATH, THREADS
from edgekit.cli.terminal import echo, make_console, print_next
from edgekit.contract import Task

if TYPE_CHECKING:
    from rich.table import Table

    from edgekit.embed import EmbedResult

_WIDTH = 80


class EmbedCommand(ConversionCommand):
    """A command that looks at one file and may be told what its contract does not say."""

    headings: ClassVar[tuple[str, ...]] = ("Preprocessing", "Limits", "Display")


@click.command(
    name="embed",
    cls=EmbedCommand,
    epilog="Example: edgekit embed model_int8.tflite --target cpp --output app/model "
    "--samples photos/",
)
@click.argument("file", type=PATH, metavar="FILE.tflite")
@click.option("--target", required=True, help="What to write it for: cpp, micro …")
@click.option("--output", "-o", type=PATH, required=True, help="The module's folder.")
@click.option("--app", is_flag=True, help="A whole app around the module: android, ios, web.")
@click.option("--name", help="Name of the module [the file's name].")
@click.option("--samples", type=PATH, help="Pictures for the golden vectors [calibration data].")
@click.option(
    "--golden",
    type=click.IntRange(1, 16),
    default=3,
    show_default=True,
    help="How many golden samples.",
)
@click.option(
    "--delegate",
    type=click.Choice(("cpu", "gpu", "npu")),
    default="cpu",
    show_default=True,
    help="What the wrapper asks for first; the CPU takes over where it is not there.",
)
@click.option("--threads", type=THREADS, default=1, show_default=True, help="Threads of the CPU.")
@click.option(
    "--top-k",
    type=COUNT,
    default=5,
    show_default=True,
    help="How many classes a classifier returns.",
)
@click.option("--task", type=click.Choice(get_args(Task)), help="What the first output means.")
@click.option("--labels", type=PATH, help="Class names, one a line.")
@click.option("--config", type=PATH, help="An edgekit.toml; flags win over it.")
@click.option(
    "--fold-preprocess",
    is_flag=True,
    help="Give the module a copy of a float file that normalises by itself.",
)
@click.option(
    "--feed-color",
    type=click.Choice(("RGB", "BGR")),
    help="With --fold-preprocess: the channel order that the copy takes [RGB].",
)
@click.option("--force", is_flag=True, help="Replace an earlier module; never other files.")
def command(file: Path, **options: Any) -> int:
    """Write a module for an app: FILE.tflite, pre- and postprocessing, golden vectors, a test.

    Everything comes from the contract in the file. The test feeds each stage (resize, normalise,
    inference, decode) the golden values of the one before, and names the first that differs.
    """
    from edgekit.cli.progress import Display
    from edgekit.embed import EmbedRequest, Stated, embed
    from edgekit.errors import UsageError

    if options["feed_color"] and not options["fold_preprocess"]:
        raise UsageError(
            "--feed-color says what pixels a copy with its normalisation folded in takes.",
            cure="Add --fold-preprocess, or state the model's own order with --color.",
        )
    request = EmbedRequest(
        file=file,
        **{
            name: options[name]
            for name in ("target", "output", "name", "samples", "golden", "delegate")
        },
        **{name: options[name] for name in ("threads", "top_k", "fold_preprocess", "app", "force")},
        feed_color=options["feed_color"] or "RGB",
        stated=Stated(
            config=options["config"],
            preprocess=preprocess_flags(options),
            task=options["task"],
            labels=options["labels"],
        ),
        limits=limits(options),
    )
    silent = options["quiet"] or options["as_json"]
    with Display(quiet=silent, verbose=options["verbose"]) as display:
        result = embed(request, display)
    if options["as_json"]:
        echo(json.dumps(asdict(result), indent=2, default=str))
    elif not options["quiet"]:
        _print(result)
    return 0


def _print(result: EmbedResult) -> None:

    console = make_console(width=_WIDTH)
    if result.costs:
        console.print(_costs(result))
    made = f"{len(result.files)} files for {result.target}"
    for line in (
        f"Module   {result.output}: {made}, {result.wrapper_lines} lines of wrapper",
        f"Golden   {len(result.samples)} samples from {result.samples_from}",
        *(f"Note     {note}" for note in result.notes),
    ):
        console.print(line, soft_wrap=True, markup=False)
    print_next(f"read {result.output / 'README.md'}: how the app uses it, and its test")


def _costs(result: EmbedResult) -> Table:
    from rich.table import Table

    title = f"Another resize in place of the contract's, on {result.costs[0].samples} samples"
    table = Table(title=title, title_justify="left")
    table.add_column("resize")
    for name in ("mean grey levels", "worst", "outputs, dB", "same class"):
        table.add_column(name, justify="right")
    for cost in result.costs:
        same = "–" if cost.same_class is None else f"{cost.same_class:.1%}"
        words = (f"{cost.levels:.2f}", str(cost.worst_level), f"{cost.sqnr_db:.1f}", same)
        table.add_row(cost.way, *words)
    return table
