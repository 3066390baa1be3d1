"""``edgekit benchmark``: latency and memory of files, without data."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli import native
from edgekit.cli.addresses import DEVICE_HELP, resolve_address
from edgekit.cli.options import ConversionCommand, limits
from edgekit.cli.parameters import PATH, THREADS
from edgekit.cli.terminal import echo, make_console, print_next

if TYPE_CHECKING:
    from typing import ClassVar

    from rich.table import Table

    from edgekit.runners.protocol import Timing


class BenchmarkCommand(ConversionCommand):
    """A command that needs no data."""

    headings: ClassVar[tuple[str, ...]] = ("Limits", "Display")


@click.command(
    name="benchmark",
    cls=BenchmarkCommand,
    epilog="Example: edgekit benchmark model_fp32.tflite model_int8.tflite --threads 2",
)
@click.argument("files", type=PATH, nargs=-1, required=True)
@click.option("--threads", type=THREADS, default=1, show_default=True, help="The device to run on.")
@click.option("--device", help=DEVICE_HELP)
@click.option(
    "--runtime",
    help="Another runtime on this computer: tflite-runtime==2.14.0, ai-edge-litert==1.4.0.",
)
@click.option(
    "--runner-binary",
    type=PATH,
    help="LiteRT's benchmark_model, built for the device; with --device adb.",
)
@click.option(
    "--runner-arg",
    multiple=True,
    help="Passed on to the binary, such as --use_gpu=true. Repeatable.",
)
@click.option("--no-operators", is_flag=True, help="Leave out which operators take how long.")
def command(files: tuple[Path, ...], **options: Any) -> int:
    """Time .tflite FILES in turn: latency, first inference, loading, memory, operators."""
    from edgekit.cli.progress import Display
    from edgekit.errors import ConversionError, DeviceError, UsageError
    from edgekit.pipeline.target import open_target
    from edgekit.pipeline.validation.result import environment
    from edgekit.pipeline.validation.timing import benchmark, benchmark_on
    from edgekit.report.following import after_benchmark

    address = resolve_address(options["device"] or "local", None)
    if options["runner_binary"]:
        return native.benchmark(files, address, options)
    if options["runner_arg"]:
        raise UsageError("--runner-arg goes with --runner-binary.")
    silent = options["quiet"] or options["as_json"]
    lost: DeviceError | None = None
    with Display(quiet=silent, verbose=options["verbose"]) as display:
        target = open_target(
            address,
            options["runtime"],
            threads=options["threads"],
            limits=limits(options),
            progress=display,
        )
        if target is not None:
            with target:
                ran_on = target.environment()
                timings, failures, lost = benchmark_on(target, files, progress=display)
        else:
            ran_on = environment()
            timings, failures = benchmark(
                files,
                threads=options["threads"],
                profile=not options["no_operators"],
                limits=limits(options),
                progress=display,
            )
    if options["as_json"]:
        _print_json(files, timings, failures, {"environment": ran_on, "device": address})
    elif not options["quiet"]:
        _print(timings)
        print_next(after_benchmark(files))
    for name, why in failures.items():
        echo(f"{name} was not timed: {why}", err=True)
    return (lost or ConversionError).exit_code if failures else 0


def _print_json(
    files: tuple[Path, ...],
    timings: dict[str, Timing],
    failures: dict[str, str],
    ran_on: dict[str, Any],
) -> None:
    import json

    from edgekit.version import __version__

    document = {
        "schema": "edgekit-benchmark",
        "schema_version": 1,
        "edgekit": __version__,
        **ran_on,
        "files": [str(path) for path in files],
        "timings": {name: asdict(timing) for name, timing in timings.items()},
        "failures": failures,
    }
    echo(json.dumps(document, indent=2, allow_nan=False))


def _print(timings: dict[str, Timing]) -> None:

    console = make_console()
    if timings:
        console.print(_table(timings))
    for name, timing in timings.items():
        if timing.operators:
            console.print(_operators(name, timing))


def _table(timings: dict[str, Timing]) -> Table:
    """One row a file."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    threads = next(iter(timings.values())).latency.threads
    title = f"Milliseconds and megabytes, {threads} thread{'s' if threads > 1 else ''}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("file", overflow="fold")
    for heading in ("p50", "p90", "p99", "first", "load", "peak\nMB", "arena\nMB"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, timing in timings.items():
        latency = timing.latency
        figures = [latency.percentile(q) for q in (50, 90, 99)]
        figures += [latency.first_ms, latency.load_ms]
        table.add_row(
            Text(name),
            *(f"{value:.2f}" if value >= 1 else f"{value:.2g}" for value in figures),
            "–" if timing.peak_memory_mb is None else f"{timing.peak_memory_mb:.0f}",
            "–" if timing.arena_mb is None else f"{timing.arena_mb:.3g}",
        )
    return table


def _operators(name: str, timing: Timing) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(f"{name}: where the time goes"), box=box.SIMPLE_HEAD)
    table.title_justify = "left"
    for heading in ("operator", "delegate"):
        table.add_column(heading)
    for heading in ("count", "ms", "share"):
        table.add_column(heading, justify="right")
    for one in timing.operators:
        table.add_row(
            Text(one.operator),
            Text(one.delegate or "–"),
            str(one.count),
            f"{one.ms:.3f}",
            f"{one.share:.1%}",
        )
    return table
