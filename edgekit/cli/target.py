"""``edgekit target``: the profiles that files can be held against, and how findings are shown."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli.terminal import echo, make_console

if TYPE_CHECKING:
    from rich.console import Console

    from edgekit.targets.check import TargetReport
    from edgekit.targets.finding import Finding
    from edgekit.targets.profile import Profile


@click.group(name="target", epilog="Example: edgekit target show edge-tpu")
def command() -> None:
    """Runtimes and accelerators that a file can be held against without running it."""


@command.command(name="list", epilog="Example: edgekit target list --json")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_targets(as_json: bool) -> None:
    """The targets that edgekit knows."""
    from edgekit.targets.reading import load, names

    profiles = [load(name) for name in names()]
    if as_json:
        rows = [{"name": p.name, "summary": p.summary, "verified": p.verified} for p in profiles]
        echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    from rich.table import Table

    table = Table("target", "tried", "what it is")
    for profile in profiles:
        table.add_row(profile.name, "[green]yes[/]" if profile.verified else "no", profile.summary)
    console = make_console()
    console.print(table)
    console.print("tried: its facts were measured on the real runtime or tool, not only read.")


@command.command(name="show", epilog="Example: edgekit target show tflite-runtime-2.14.0")
@click.argument("target", metavar="NAME|PROFILE.toml")
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
def show(target: str, as_json: bool) -> None:
    """What a target takes, and where that is known from."""
    from edgekit.targets.reading import load

    profile = load(target)
    if as_json:
        echo(json.dumps(_plain(asdict(profile)), indent=2, ensure_ascii=False))
        return
    for line in _described(profile):
        echo(line)


def _plain(value: Any) -> Any:
    """Sets as sorted lists, all the way down."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, frozenset):
        return sorted(value)
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _described(profile: Profile) -> Iterable[str]:
    yield f"{profile.name}: {profile.summary}"
    yield "Tried on the real thing." if profile.verified else "Read in documents, not tried."
    if runtime := profile.runtime:
        yield f"\nRuntime: {runtime.name}"
        if runtime.operators is None:
            since = runtime.tensorflow_lite
            yield f"  operators of TensorFlow Lite {since}" if since else "  operators: not known"
        else:
            yield "  " + ", ".join(
                name if runtime.any_version else f"{name} {first}–{last}"
                for name, (first, last) in sorted(runtime.operators.items())
            )
        yield f"  custom operators: {', '.join(sorted(runtime.custom)) or 'none'}"
        yield f"  Flex: {'yes' if runtime.flex else 'no'}"
    if accelerator := profile.accelerator:
        yield f"\nAccelerator: {accelerator.name}, for {', '.join(sorted(accelerator.types))}"
        yield "  " + ", ".join(sorted(accelerator.operators))
        if not accelerator.complete:
            yield "  Whether it takes others is not known."
    limits = {name: value for name, value in asdict(profile.limits).items() if value}
    if limits:
        yield "\nLimits: " + ", ".join(f"{name} {_plain(value)}" for name, value in limits.items())
    for note in profile.notes:
        yield f"\nNote: {note}"
    for source in profile.sources:
        yield f"\nSource: {source.name}" + (f"\n  {source.url}" if source.url else "")
        yield f"  {source.says}"


def print_report(console: Console, report: TargetReport) -> None:
    """What a target says about a file: the verdict, figures, and every finding with its cure."""
    from rich.text import Text

    verdict = Text("fits", "green") if report.fits else Text("does not fit", "bold red")
    console.print(Text.assemble(f"\nTarget {report.target}: ", verdict))
    for line in _figures(report):
        console.print(Text(f"  {line}"))
    for finding in report.findings:
        console.print(_sentence(finding, basis=bool(report.basis)))
    if report.basis == "predicted":
        console.print(Text("  Predicted: the compiler was not asked. It is installed by:"))
        console.print(Text(f"      {_installed_by(report.target)}"))


def _installed_by(target: str) -> str:
    from edgekit.compilers.manifests import compiler_for
    from edgekit.targets.reading import load

    worker = compiler_for(load(target).compiles[0]).worker
    return worker.install or f"edgekit toolchain install {worker.name}"


def _figures(report: TargetReport) -> Iterable[str]:
    if not report.verified:
        yield "What this target takes was read in documents, not tried."
    loads = {True: "yes", False: "no", None: "not known"}[report.loads]
    yield f"loads: {loads}"
    said = f" ({report.basis})" if report.basis else ""
    if placement := report.placement:
        unknown = f", {placement.unknown} not known" if placement.unknown else ""
        share = f"{placement.accelerated} of {placement.operators} operators"
        yield f"accelerated: {share}{unknown}{said}"
    arena = report.arena
    if report.arena_bytes is not None:
        yield f"working memory: {report.arena_bytes:,} bytes (measured by the runtime)"
        return
    yield (
        f"working memory: about {arena.planned:,} bytes (estimated)"
        if arena
        else ("working memory: not known, a shape is not fixed")
    )


_STYLES = {"violation": "bold red", "warning": "yellow", "note": "dim"}


def _sentence(finding: Finding, *, basis: bool) -> Any:
    from rich.text import Text

    said = f" ({finding.basis})" if basis else ""
    text = Text.assemble(
        "  ", (finding.severity, _STYLES[finding.severity]), f"{said}  {finding.message}"
    )
    return text.append(f"\n      → {finding.cure}") if finding.cure else text
