"""``edgekit inspect``: what a `.tflite` holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekit.cli.parameters import PATH
from edgekit.cli.target import print_report
from edgekit.cli.terminal import echo, make_console
from edgekit.errors import GateFailed

if TYPE_CHECKING:
    from rich.table import Table

    from edgekit.targets.check import TargetReport
    from edgekit.tflite.summary import Port, Summary

_WIDTH = 80
_MAX_FLOAT_OPS = 10


@click.command("inspect")
@click.argument("file", type=PATH, metavar="FILE.tflite")
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="NAME|PROFILE.toml",
    help="Repeatable: does it fit this target? See: edgekit target list",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
def command(file: Path, *, targets: tuple[str, ...], as_json: bool) -> int:
    """Show what a .tflite file holds, without running it.

    Inputs and outputs with their quantization, operators with their versions, the share of them
    that compute in integers, the size by part, and the embedded contract.

    \b
    Example:
      edgekit inspect mobilenet_int8.tflite
      edgekit inspect mobilenet_int8.tflite --json
      edgekit inspect mobilenet_int8.tflite --target tflite-runtime-2.14.0
    """
    from edgekit.tflite.summary import summarize

    summary = summarize(file)
    reports = _held_against(file, targets)
    code = 0 if all(report.fits for report in reports) else GateFailed.exit_code
    if as_json:
        found = {"targets": [asdict(report) for report in reports]} if targets else {}
        echo(json.dumps({**asdict(summary), **found}, indent=2))
        return code

    console = make_console(width=_WIDTH)
    for table in (_facts_table(summary), _ports_table(summary), _ops_table(summary)):
        console.print(table)
    if 0 < len(summary.float_ops) < sum(op.count for op in summary.ops) - summary.border_ops:
        console.print(_float_table(summary))
    for report in reports:
        print_report(console, report)
    return code


def _held_against(file: Path, targets: tuple[str, ...]) -> list[TargetReport]:
    """What each target says about the file."""
    if not targets:
        return []
    from edgekit.targets.check import check
    from edgekit.targets.reading import load
    from edgekit.tflite.model import read

    model, size = read(file), file.stat().st_size
    return [check(model, load(target), size_bytes=size) for target in targets]


def _facts_table(summary: Summary) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _facts(summary):
        # Names come from the file: shown as they are, never read as rich markup.
        table.add_row(name, Text(value))
    return table


def _facts(summary: Summary) -> Iterator[tuple[str, str]]:
    sizes = summary.sizes
    yield "file", summary.path
    parts = {"weights": sizes.weights, "graph": sizes.structure, "metadata": sizes.metadata}
    shares = ", ".join(f"{name} {_bytes(count)}" for name, count in parts.items())
    yield "size", f"{_bytes(summary.size_bytes)}: {shares}"
    kinds = ", ".join(f"{dtype} {n:,}" for dtype, n in summary.parameters_by_dtype.items())
    yield "parameters", f"{summary.parameters:,}" + (f" ({kinds})" if kinds else "")
    yield "made by", summary.description or "–"
    runtime = summary.min_runtime_version
    yield "runtime", f"at least {runtime}" if runtime else "not stated in the file"
    yield "integer ops", _integer_share(summary)
    if summary.custom_ops:
        yield "custom ops", ", ".join(summary.custom_ops) + " (your app must register them)"
    if summary.flex_ops:
        yield "Flex ops", ", ".join(summary.flex_ops) + " (your app needs TensorFlow Select)"
    yield "contract", _contract(summary)


def _integer_share(summary: Summary) -> str:
    if summary.integer_share is None:
        return "the file has no operators"
    total = sum(op.count for op in summary.ops) - summary.border_ops
    border = f", and {summary.border_ops} at the float border" if summary.border_ops else ""
    return f"{total - len(summary.float_ops)} of {total} ({summary.integer_share:.1%}){border}"


def _contract(summary: Summary) -> str:
    if summary.contract_problem:
        return summary.contract_problem
    if summary.contract is None:
        return "none"
    labels = sum(len(output.labels) for output in summary.contract.outputs)
    folded = [
        entry.preprocess.color
        for entry in summary.contract.inputs
        if entry.folded and entry.preprocess
    ]
    pixels = f", raw {folded[0]} pixels" if folded else ""
    return f"task {summary.contract.task or 'not stated'}, {labels} labels{pixels}"


def _ports_table(summary: Summary) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Inputs and outputs", title_justify="left", width=_WIDTH)
    table.add_column("")
    table.add_column("name", overflow="fold", ratio=1)
    for name in ("shape", "type", "layout"):
        table.add_column(name, overflow="fold")
    table.add_column("scale, zero point", overflow="fold")
    for kind, ports in (("in", summary.inputs), ("out", summary.outputs)):
        for port in ports:
            table.add_row(kind, *(Text(cell) for cell in _cells(port)))
    return table


def _cells(port: Port) -> tuple[str, ...]:
    spec = port.tensor
    shape = "×".join("?" if size is None else str(size) for size in spec.shape) or "scalar"
    quantized = "" if port.scale is None else f"{port.scale:.6g}, {port.zero_point}"
    return spec.name, shape, spec.dtype, spec.layout or "–", quantized


def _ops_table(summary: Summary) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Operators", title_justify="left")
    table.add_column("operator", overflow="fold")
    table.add_column("version", justify="right")
    table.add_column("count", justify="right")
    for op in summary.ops:
        table.add_row(Text(op.op), str(op.version), str(op.count))
    return table


def _float_table(summary: Summary) -> Table:
    from rich.table import Table
    from rich.text import Text

    left_out = len(summary.float_ops) - _MAX_FLOAT_OPS
    caption = f"and {left_out} more: see --json" if left_out > 0 else None
    table = Table(title="Still computed in float", title_justify="left", caption=caption)
    table.add_column("operator", overflow="fold")
    table.add_column("output", overflow="fold")
    for op in summary.float_ops[:_MAX_FLOAT_OPS]:
        table.add_row(Text(op.op), Text(op.output))
    return table


def _bytes(count: int) -> str:
    """Bytes in decimal units, as app stores count them."""
    if count < 1000:
        return f"{count} B"
    return f"{count / 1000:.1f} kB" if count < 1_000_000 else f"{count / 1_000_000:.2f} MB"
