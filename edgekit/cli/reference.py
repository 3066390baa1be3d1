"""``edgekit reference``: keep what a reference says, to compare with it elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli.options import (
    REFERENCE_ARGUMENTS,
    ReferenceCommand,
    limits,
    preprocess_flags,
)
from edgekit.cli.parameters import PATH
from edgekit.cli.terminal import echo, make_console, print_next

if TYPE_CHECKING:
    from edgekit.runners.bundle_format import Manifest


@click.group(name="reference", epilog="Example: edgekit reference record model.onnx --data photos/")
def command() -> None:
    """Record a reference's outputs, and show what a recording holds."""


@command.command(
    name="record",
    cls=ReferenceCommand,
    epilog="Example: edgekit reference record my_package.nets:build --weights weights.pt "
    "--input image:1x3x224x224 --data photos/ -o ref.edgeref",
)
@click.argument("model")
@click.option("--data", type=PATH, required=True, help="What candidates will be validated on.")
@click.option(
    "--runs",
    type=click.IntRange(0, 1_000_000_000),
    default=50,
    show_default=True,
    help="Inferences that are timed; 0 for none.",
)
@click.option("--output", "-o", type=PATH, help="The file [NAME.edgeref].")
@click.option("--force", is_flag=True, help="Replace an existing file.")
def record_command(model: str, inputs: tuple[str, ...], **options: Any) -> int:
    """Run MODEL on --data and keep its outputs in one file.

    MODEL is whatever `edgekit convert` takes, or the URL of a served model:
    http://HOST:PORT/v2/models/NAME (Open Inference Protocol),
    http://HOST:PORT/v1/models/NAME:predict (TensorFlow Serving).
    """
    from edgekit.cli.progress import Display
    from edgekit.config import parse_input_flag
    from edgekit.pipeline.record import RecordRequest, record
    from edgekit.report.following import after_reference
    from edgekit.runners.bundle import default_name

    same = [*REFERENCE_ARGUMENTS, "data", "runs", "force"]
    request = RecordRequest(
        model=model,
        output=options["output"] or Path(default_name(model)),
        inputs=tuple(map(parse_input_flag, inputs)),
        preprocess=preprocess_flags(options),
        limits=limits(options),
        **{name: options[name] for name in same},
    )
    silent = options["quiet"] or options["as_json"]
    with Display(quiet=silent, verbose=options["verbose"]) as display:
        manifest = record(request, display)
    if options["as_json"]:
        _print_json(manifest, request.output)
    elif not options["quiet"]:
        _print(manifest, request.output)
        print_next(after_reference(request.output, str(options["data"])))
    return 0


@command.command(name="show", epilog="Example: edgekit reference show ref.edgeref --json")
@click.argument("file", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show_command(file: Path, as_json: bool) -> int:
    """Check a recorded reference FILE, and print what it holds."""
    from edgekit.report.following import after_reference
    from edgekit.runners.bundle import RecordedReference

    with RecordedReference(file) as bundle:
        bundle.verify()
        manifest = bundle.manifest
    if as_json:
        _print_json(manifest, file)
    else:
        _print(manifest, file)
        print_next(after_reference(file, manifest.origin.data))
    return 0


def _print_json(manifest: Manifest, file: Path) -> None:
    import json

    table = {"file": str(file), **manifest.to_table()}
    echo(json.dumps(table, indent=2, ensure_ascii=False))


def _print(manifest: Manifest, file: Path) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_header=False, title=str(file), title_justify="left")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(manifest):
        # What the file says is shown as it is, never read as rich markup.
        table.add_row(name, Text(value))
    make_console().print(table)


def _rows(manifest: Manifest) -> list[tuple[str, str]]:
    origin, latency = manifest.origin, manifest.latency
    rows = [("model", f"{origin.name} ({origin.kind})")]
    rows += [(f"  SHA-256 of {name}", value) for name, value in origin.digests.items()]
    rows += [("ran on", origin.device)]
    rows += [(f"  {name}", value) for name, value in origin.hardware.items()]
    rows += [(f"  {name}", value) for name, value in origin.versions.items()]
    rows += [
        ("recorded", f"{origin.created} by edgekit {origin.edgekit}"),
        ("data", f"{manifest.samples} samples of {origin.data}"),
        ("  SHA-256", manifest.data_digest),
    ]
    for entry in manifest.contract.inputs:
        rows.append((f"input {entry.tensor.name}", _tensor(entry.tensor)))
        if entry.preprocess is not None:
            stated = vars(entry.preprocess).items()
            rows.append(("  preprocessing", ", ".join(f"{key} {value}" for key, value in stated)))
    for output in manifest.contract.outputs:
        task = f", {output.task}" if output.task else ""
        rows.append((f"output {output.tensor.name}", _tensor(output.tensor) + task))
    if latency is not None and latency.samples_ms:
        parts = [f"{name} {latency.percentile(q):.2f} ms" for name, q in (("p50", 50), ("p90", 90))]
        parts += [f"first {latency.first_ms:.2f} ms", f"{len(latency.samples_ms)} runs"]
        rows.append(("latency", ", ".join(parts)))
    return rows


def _tensor(spec: Any) -> str:
    shape = "x".join("?" if size is None else str(size) for size in spec.shape) or "scalar"
    return f"{spec.dtype} {shape}" + (f" {spec.layout}" if spec.layout else "")
