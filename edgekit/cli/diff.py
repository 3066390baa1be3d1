"""``edgekit diff``: what changed between two `.tflite` files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import click

from edgekit.cli.options import ConversionCommand, limits, open_option, preprocess_flags
from edgekit.cli.parameters import COUNT, PATH, SEED, THREADS
from edgekit.cli.terminal import echo, make_console, open_page, print_next
from edgekit.errors import LockMismatch, UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from edgekit.diff.findings import Behaviour, Diff

_MOST_ROWS = 12


class DiffCommand(ConversionCommand):
    """A command that looks at two files."""

    headings: ClassVar[tuple[str, ...]] = ("Preprocessing", "Limits", "Display")


@click.command(
    name="diff",
    cls=DiffCommand,
    epilog="Example: edgekit diff old_int8.tflite new_int8.tflite --data photos/ "
    "--html changes.html",
)
@click.argument("before", type=PATH, metavar="A.tflite")
@click.argument("after", type=PATH, metavar="B.tflite")
@click.option(
    "--data",
    "--calibration",
    "data",
    type=PATH,
    help="Real inputs: also compare outputs and latency.",
)
@click.option("--limit", type=COUNT, help="Use at most this many samples.")
@click.option(
    "--seed",
    type=SEED,
    default=0,
    show_default=True,
    help="Seed that picks the samples.",
)
@click.option(
    "--threads", type=THREADS, default=1, show_default=True, help="Threads for latencies."
)
@click.option("--html", type=PATH, help="Write a page that needs nothing else.")
@open_option
@click.option("--exit-code", is_flag=True, help="Exit with 4 where the files differ.")
@click.option("--force", is_flag=True, help="Replace an existing page.")
def command(before: Path, after: Path, **options: Any) -> int:
    """Show what changed from A.tflite to B.tflite.

    Operators, shapes and types, weights, ranges, size, contract and metadata; with --data also the
    outputs, with A as the reference, and latency, measured in turn. Exit code 0 whether they differ
    or not, unless --exit-code is given.
    """
    from edgekit.cli.progress import Display
    from edgekit.pipeline.diff import DiffRequest, compare_files
    from edgekit.pipeline.publish import all_held, write_whole
    from edgekit.report.diff import to_html, to_json
    from edgekit.report.following import after_diff

    page: Path | None = options["html"]
    if options["open_page"] and page is None:
        raise UsageError("--open shows the page that --html writes.", cure="Add: --html diff.html")
    if page is not None and page.exists() and not options["force"]:
        raise UsageError(
            f"{page} exists already.", cure="Choose another --html, or replace it with --force."
        )
    request = DiffRequest(
        before=before,
        after=after,
        data=options["data"],
        limit=options["limit"],
        seed=options["seed"],
        threads=options["threads"],
        preprocess=preprocess_flags(options),
        limits=limits(options),
    )
    silent = options["quiet"] or options["as_json"]
    with all_held(files=[page]):
        with Display(quiet=silent, verbose=options["verbose"]) as display:
            found = compare_files(request, display)
        if page is not None:
            write_whole(page, to_html(found))
    if options["as_json"]:
        echo(to_json(found), nl=False)
    elif not options["quiet"]:
        _print(found, page)
        print_next(after_diff(found, before, after))
    if options["open_page"] and page is not None:
        open_page(page)
    return LockMismatch.exit_code if options["exit_code"] and not found.same_bytes else 0


def _print(found: Diff, page: Path | None) -> None:
    from rich.text import Text

    from edgekit.report.diff import sentence

    console = make_console()
    console.print(Text(sentence(found)))
    if not found.same_bytes:
        for table in _tables(found):
            console.print(table)
    if found.behaviour is not None:
        console.print(_behaviour_table(found.behaviour))
        for line in _latency(found.behaviour):
            console.print(line)
    if page is not None:
        console.print(Text(f"Page     {page}"), soft_wrap=True)


def _tables(found: Diff) -> Iterator[Table]:
    from edgekit.report import diff as words

    yield _table(
        "Size",
        ("", ">before", ">after", ">change"),
        [(row.what, row.before, row.after, row.change) for row in words.sizes(found)],
    )
    operators = [
        (one.kind, f"{one.operator} {one.name}", "; ".join(map(words.change_text, one.changes)))
        for one in found.operators
    ]
    yield from _some("Operators", ("", "operator", "what"), operators)
    weights = [
        (
            f"{one.layer} ({one.operator})",
            one.tensor,
            words.share_text(one.share),
            words.relative_text(one),
            words.number_text(one.max_abs),
        )
        for one in found.weights
    ]
    headings = ("layer", "constant", ">other\nvalues", ">relative\nL2", ">largest\nchange")
    yield from _some(
        f"Weights ({found.equal_constants} constants are bit-equal)", headings, weights
    )
    ranges = [
        (one.tensor, words.range_text(one), words.percent_text(one.percent)) for one in found.ranges
    ]
    yield from _some("Ranges", ("tensor", "scale, zero point", ">scale"), ranges)
    tensors = [(one.name, "; ".join(map(words.change_text, one.changes))) for one in found.tensors]
    yield from _some("Shapes and types", ("tensor", "what"), tensors)
    for title, rows in (("Contract", found.contract), ("Metadata", found.metadata)):
        cells = [(one.what, one.before or "–", one.after or "–") for one in rows]
        yield from _some(title, ("what", "before", "after"), cells)


def _behaviour_table(behaviour: Behaviour) -> Table:
    from edgekit.report import diff as words

    rows = [
        (
            one.name,
            f"{one.sqnr_db:.1f}",
            f"{one.worst_sqnr_db:.1f}",
            words.number_text(one.max_abs),
            words.share_text(one.top1_agreement),
        )
        for one in behaviour.outputs
    ]
    headings = ("output", ">SQNR\ndB", ">worst\ndB", ">largest\nchange", ">same\ntop-1")
    return _table(f"Outputs on {behaviour.samples} samples", headings, rows)


def _latency(behaviour: Behaviour) -> Iterator[str]:
    from edgekit.report.diff import percent_text

    old, new = behaviour.latency_before_ms, behaviour.latency_after_ms
    if old and new:
        change = percent_text((new / old - 1) * 100)
        yield f"Latency  {old:.3f} → {new:.3f} ms, median ({change})"


def _some(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[Table]:
    """A table of the first rows, none where there are none."""
    if rows:
        table = _table(title, headings, rows[:_MOST_ROWS])
        if len(rows) > _MOST_ROWS:
            table.caption = f"and {len(rows) - _MOST_ROWS} more: see --html or --json"
            table.caption_justify = "left"
        yield table


def _table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Headings that begin with ``>`` are of numbers."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for heading in headings:
        number = heading.startswith(">")
        table.add_column(
            heading.removeprefix(">"), justify="right" if number else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*map(Text, row))  # names come from the file: never read as markup
    return table
