"""``edgekit compile``: a file for an accelerator, by the accelerator's own compiler."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli.parameters import GIGABYTES, PATH, SECONDS
from edgekit.cli.target import print_report
from edgekit.cli.terminal import echo, make_console, print_next

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgekit.pipeline.compilation import Compilation


@click.command(
    name="compile",
    epilog="Example: edgekit compile model_int8.tflite --target ethos-u55-128",
)
@click.argument("file", type=PATH, required=False, metavar="FILE.tflite")
@click.option(
    "--target", metavar="NAME", help="The accelerator, such as ethos-u55-128. See --list."
)
@click.option("--output", "-o", type=PATH, help="The compiled file [NAME_TARGET.tflite].")
@click.option(
    "--option",
    "handed_on",
    multiple=True,
    metavar="KEY=VALUE",
    help="Repeatable: an option of the compiler, such as optimise=Size. See --list.",
)
@click.option("--force", is_flag=True, help="Replace an existing file.")
@click.option("--step-timeout", type=SECONDS, help="Seconds for the compiler [300].")
@click.option("--step-memory", type=GIGABYTES, help="Memory for the compiler, in GB [8].")
@click.option("--list", "listing", is_flag=True, help="Show compilers, targets and options.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--quiet", "-q", is_flag=True, help="No progress and no report.")
def command(
    file: Path | None,
    target: str | None,
    output: Path | None,
    handed_on: tuple[str, ...],
    step_timeout: float | None,
    step_memory: float | None,
    *,
    force: bool,
    listing: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Compile a .tflite FILE for an accelerator, and say what of it runs there.

    The accelerator's own compiler runs in a locked environment of its own, built when first needed.
    The compiled file is another file: it runs on the accelerator only. NAME_TARGET.lock beside it
    says what it was made from, and edgekit verify holds a copy against that.
    """
    from edgekit.cli.progress import Display
    from edgekit.errors import UsageError
    from edgekit.pipeline.compilation import CompilationRequest, compile_to_file
    from edgekit.report.following import command as command_line
    from edgekit.toolchain.workshop import Limits

    if listing:
        return _list(as_json=as_json)
    if file is None or target is None:
        raise UsageError(
            "A file and a --target are needed.",
            cure="edgekit compile model_int8.tflite --target ethos-u55-128",
        )
    request = CompilationRequest(
        file=file,
        target=target,
        output=output,
        options=dict(map(_pair, handed_on)),
        force=force,
        limits=Limits(seconds=step_timeout, memory_gb=step_memory),
    )
    with Display(quiet=quiet or as_json) as display:
        made = compile_to_file(request, display)
    if as_json:
        echo(json.dumps(_document(made), indent=2, allow_nan=False))
    elif not quiet:
        console = make_console()
        print_report(console, made.report)
        for line in _figures(made):
            console.print(line, soft_wrap=True, markup=False, highlight=False)
        print_next(command_line("edgekit", "verify", made.compiled.artifact))
    return 0


def _pair(text: str) -> tuple[str, str]:
    from edgekit.errors import UsageError

    key, equals, value = text.partition("=")
    if not (key and equals and value):
        raise UsageError(f"--option {text!r} is not a KEY=VALUE.", cure="--option optimise=Size")
    return key, value


def _list(*, as_json: bool) -> int:
    from edgekit.compilers.manifests import discover

    compilers = discover()
    if as_json:
        rows = [
            {
                "name": name,
                "summary": one.worker.summary,
                "targets": one.targets,
                "options": one.options,
            }
            for name, one in compilers.items()
        ]
        echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return 0
    for name, one in compilers.items():
        echo(f"{name}: {one.worker.summary}")
        echo(f"  targets: {', '.join(one.targets)}")
        echo(f"  options: {', '.join(one.options) or 'none'}")
    return 0


def _document(made: Compilation) -> dict[str, Any]:
    from edgekit import __version__

    compiled = made.compiled
    return {
        "schema": "edgekit-compile",
        "schema_version": 1,
        "edgekit": __version__,
        "source": {"path": str(made.source), "sha256": made.source_sha256},
        "artifact": {"path": str(compiled.artifact), "sha256": made.sha256},
        "lock": str(made.lock),
        "target": compiled.target,
        "compiler": compiled.compiler,
        "versions": dict(compiled.versions),
        "options": dict(compiled.options),
        "figures": asdict(compiled.figures) if compiled.figures else None,
        "left_to_the_cpu": [
            {"operator": index, "why": why} for index, why in compiled.left.items()
        ],
        "report": asdict(made.report),
    }


def _figures(made: Compilation) -> Iterable[str]:
    compiled, figures = made.compiled, made.compiled.figures
    if figures is not None:
        yield f"  SRAM: {figures.sram_bytes:,} bytes; flash: {figures.flash_bytes:,} bytes" + (
            f"; DRAM: {figures.dram_bytes:,} bytes" if figures.dram_bytes else ""
        )
        if figures.cycles:
            rate = f"{figures.inferences_per_second:,.0f} inferences a second"
            yield (
                f"  {figures.cycles:,} cycles, {rate} at {figures.clock_hz / 1e6:.0f} MHz, without "
                "what the CPU computes (estimates of the compiler)"
            )
        yield f"  for the board {figures.system}, {figures.memory_mode}"
    version = " ".join(f"{name} {number}" for name, number in compiled.versions.items())
    yield f"Compiled by {version}: {compiled.artifact}"
