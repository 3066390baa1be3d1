"""``edgekit benchmark --runner-binary``: what the user's own runner tells, as tables or JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.cli.terminal import echo, make_console

if TYPE_CHECKING:
    from rich.table import Table

    from edgekit.devices.benchmark_model import DelegateShare, NativeTiming


def benchmark(files: Sequence[Path], address: str, options: dict[str, Any]) -> int:
    """Time files by the runner that the options name, and print what it tells."""
    from edgekit.cli.progress import Display
    from edgekit.devices.native import NativeRunner, benchmark_native
    from edgekit.errors import ConversionError
    from edgekit.pipeline.validation.contracts import name_of
    from edgekit.tflite.model import read

    runner = NativeRunner(
        address,
        options["runner_binary"],
        arguments=options["runner_arg"],
        threads=options["threads"],
    )
    named = {name_of(path, files): path for path in files}
    for path in files:
        read(path)
    silent = options["quiet"] or options["as_json"]
    with Display(quiet=silent, verbose=options["verbose"]) as display:
        timings, failures, lost = benchmark_native(runner, named, display)
    if options["as_json"]:
        _print_json(files, timings, failures, address, options)
    elif timings and not options["quiet"]:
        _print(timings, options["threads"])
    for name, why in failures.items():
        echo(f"{name} was not timed: {why}", err=True)
    return (lost or ConversionError).exit_code if failures else 0


def _print_json(
    files: Sequence[Path],
    timings: dict[str, NativeTiming],
    failures: dict[str, str],
    address: str,
    options: dict[str, Any],
) -> None:
    from edgekit.version import __version__

    document = {
        "schema": "edgekit-native-benchmark",
        "schema_version": 1,
        "edgekit": __version__,
        "device": address,
        "threads": options["threads"],
        "runner": {"binary": str(options["runner_binary"]), "arguments": options["runner_arg"]},
        "files": [str(path) for path in files],
        "timings": {name: asdict(timing) for name, timing in timings.items()},
        "failures": failures,
    }
    echo(json.dumps(document, indent=2, allow_nan=False))


def _print(timings: dict[str, NativeTiming], threads: int) -> None:

    console = make_console()
    console.print(_table(timings, threads))
    for name, timing in timings.items():
        for words in _placement(timing):
            console.print(f"{name}: {words}", markup=False)


def _table(timings: dict[str, NativeTiming], threads: int) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    title = f"Milliseconds and megabytes, {threads} thread{'s' if threads > 1 else ''}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("file", overflow="fold")
    for heading in ("runs", "p50", "mean", "min", "max", "first", "load", "peak\nMB"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, timing in timings.items():
        figures = (timing.p50_ms, timing.mean_ms, timing.min_ms, timing.max_ms)
        peak = timing.peak_memory_mb
        table.add_row(
            Text(name),
            str(timing.runs),
            *(_ms(one) for one in (*figures, timing.first_ms, timing.load_ms)),
            "–" if peak is None else f"{peak:.0f}",
        )
    return table


def _ms(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.2f}" if value >= 1 else f"{value:.2g}"


def _placement(timing: NativeTiming) -> list[str]:
    """Where the operators ran, in words."""
    words = [_taken(one) for one in timing.placement]
    if timing.refused:
        words.append("a delegate that was asked for took nothing")
    return words or ["no delegate: all ran in the runtime's own kernels"]


def _taken(one: DelegateShare) -> str:
    if one.nodes is None:
        return f"{one.delegate}: {'all operators' if one.whole else 'a part of the operators'}"
    parts = f"{one.partitions} partition{'s' if one.partitions != 1 else ''}"
    return f"{one.delegate}: {one.nodes} of {one.all_nodes} operators, {parts}"
