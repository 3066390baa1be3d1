"""``edgekit inspect``: what a `.tflite` holds, or a model that is to become one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli.parameters import PATH
from edgekit.cli.target import print_report
from edgekit.cli.terminal import echo, make_console, print_next
from edgekit.errors import GateFailed, UsageError
from edgekit.sources import OTHER_SUFFIXES

if TYPE_CHECKING:
    from rich.table import Table

    from edgekit.pipeline.inspection import SourceSummary
    from edgekit.targets.check import TargetReport
    from edgekit.tflite.summary import Port, Summary
    from edgekit.types import TensorSpec

_WIDTH = 80
_MAX_FLOAT_OPS = 10


@click.command("inspect")
@click.argument("model")
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="NAME|PROFILE.toml",
    help="Repeatable: does it fit this target? See: edgekit target list",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
@click.option("--input", "inputs", multiple=True, help="The inputs of a PyTorch model: NAME:SHAPE.")
@click.option("--weights", type=PATH, help="A state dict for a PyTorch factory.")
@click.option("--trust-pickle", is_flag=True, help="Open a pickle, which can run any code.")
@click.option("--signature", help="Which function of a SavedModel [serving_default].")
def command(model: str, *, targets: tuple[str, ...], as_json: bool, **source: Any) -> int:
    """Show what a .tflite file holds, or a model that is to be converted.

    Of a .tflite file, without running it: inputs and outputs with their quantization, operators
    with their versions, the share of them that compute in integers, the size by part, and the
    embedded contract. Of any other model that edgekit converts, loaded by its framework: inputs and
    outputs, operators, routes, and what `edgekit convert` has to be told.

    \b
    Example:
      edgekit inspect mobilenet_int8.tflite
      edgekit inspect mobilenet_int8.tflite --json
      edgekit inspect mobilenet_int8.tflite --target tflite-runtime-2.14.0
      edgekit inspect detector.onnx
    """
    file = Path(model)
    if file.suffix in OTHER_SUFFIXES or file.is_dir() or (":" in model and not file.exists()):
        return _show_source(model, targets, as_json=as_json, **source)
    from edgekit.report.following import after_inspect
    from edgekit.tflite.summary import summarize

    summary = summarize(file)
    reports = _held_against(file, targets, quiet=as_json)
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
    print_next(after_inspect(summary, targets, fits=code == 0))
    return code


def _show_source(
    location: str,
    targets: tuple[str, ...],
    *,
    as_json: bool,
    inputs: tuple[str, ...],
    **options: Any,
) -> int:
    """A model that is not a `.tflite` yet."""
    from edgekit.config import parse_input_flag
    from edgekit.pipeline.inspection import inspect_source
    from edgekit.report.following import after_inspect_source

    if targets:
        raise UsageError(
            f"--target asks whether a .tflite file fits; {location} is none yet.",
            cure="Give --target to: edgekit convert",
        )
    summary = inspect_source(location, inputs=tuple(map(parse_input_flag, inputs)), **options)
    if as_json:
        echo(json.dumps(asdict(summary), indent=2))
        return 0
    from rich.table import Table
    from rich.text import Text

    console = make_console(width=_WIDTH)
    facts = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    size = "unknown" if summary.parameters is None else f"{summary.parameters:,}"
    rows = [("model", f"{summary.path} ({summary.kind})"), ("parameters", size)]
    rows += [("format", summary.format)] if summary.format else []
    rows += [("route", route) for route in summary.routes]
    rows += [("state", f"{option} (each ? is a size that you choose)") for option in summary.needed]
    rows += [("note", note) for note in summary.notes]
    for name, value in rows:
        facts.add_row(name, Text(value))
    console.print(facts)
    console.print(_specs_table(summary))
    counts = Table(title="Operators", title_justify="left")
    counts.add_column("operator", overflow="fold")
    counts.add_column("count", justify="right")
    for name, count in summary.operators.items():
        counts.add_row(Text(name), str(count))
    console.print(counts)
    print_next(after_inspect_source(location, summary.needed))
    return 0


def _specs_table(summary: SourceSummary) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Inputs and outputs", title_justify="left", width=_WIDTH)
    table.add_column("")
    table.add_column("name", overflow="fold", ratio=1)
    for name in ("shape", "type", "layout"):
        table.add_column(name, overflow="fold")
    for kind, specs in (("in", summary.inputs), ("out", summary.outputs)):
        for spec in specs:
            table.add_row(kind, *map(Text, _described(spec)))
    return table


def _held_against(file: Path, targets: tuple[str, ...], *, quiet: bool) -> list[TargetReport]:
    """What each target says about the file."""
    if not targets:
        return []
    from edgekit.cli.progress import Display
    from edgekit.pipeline.on_targets import held_against

    with Display(quiet=quiet) as display:
        return held_against(file, targets, display)


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
    if summary.cleaned:
        yield "cleaned", summary.cleaned
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
    quantized = "" if port.scale is None else f"{port.scale:.6g}, {port.zero_point}"
    return *_described(port.tensor), quantized


def _described(spec: TensorSpec) -> tuple[str, ...]:
    shape = "×".join("?" if size is None else str(size) for size in spec.shape) or "scalar"
    return spec.name, shape, spec.dtype, spec.layout or "–"


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
