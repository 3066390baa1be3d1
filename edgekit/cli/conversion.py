"""Carrying a conversion out for the terminal: the plan, the progress, the verdict table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgekit.cli.terminal import echo, make_console, open_page, print_next
from edgekit.cli.verdicts import exit_code_of
from edgekit.errors import SchemesMissing
from edgekit.pipeline.request import ConversionRequest
from edgekit.report.following import after_conversion
from edgekit.report.words import reference_words, unproven
from edgekit.types import CALIBRATED_SCHEMES, GateResult

if TYPE_CHECKING:
    from rich.table import Table

    from edgekit.results import ConversionResult, FileResult


def carry_out(request: ConversionRequest, *, dry_run: bool, options: Mapping[str, Any]) -> int:
    """Plan, run and print; the exit code of a failed gate comes with the table."""
    from edgekit.cli.progress import Display
    from edgekit.pipeline.plan import plan
    from edgekit.pipeline.publish import require_free
    from edgekit.pipeline.reference import check_model
    from edgekit.pipeline.run import run

    planned = plan(request)
    as_json = options["as_json"]
    display = Display(quiet=options["quiet"] or as_json, verbose=options["verbose"])
    if dry_run:
        require_free(planned)
        with display:
            contract = check_model(planned, display)
        ends = {
            side: {port.tensor.name: port.tensor.shape for port in ports}
            for side, ports in (("inputs", contract.inputs), ("outputs", contract.outputs))
        }
        echo(json.dumps({**planned.describe(), **ends}, indent=2, ensure_ascii=False))
        return 0
    with display:
        if request.config is None and planned.request.config is not None:
            display.note(f"Settings from {planned.request.config}")
        result = run(planned, display)
    if as_json:
        echo(result.report.read_text(encoding="utf-8"), nl=False)
    elif not options["quiet"]:
        _print(result)
    for line in _failures(result):
        echo(line, err=True)
    if options["open_page"]:
        open_page(result.page)
    if any(file.error for file in result.files):
        return SchemesMissing.exit_code
    return exit_code_of(result.states)


def _failures(result: ConversionResult) -> list[str]:
    """One line for everything that failed, also for those who asked for quiet."""
    lines = list(result.probe.wrong)
    lines += [f"{file.scheme} was not made: {file.error}" for file in result.files if file.error]
    for file in result.files:
        own = [text for text in file.verdict.wrong if text not in result.probe.wrong]
        lines += [f"{file.scheme} fails: {text}" for text in own]
        lines += [
            f"{file.scheme} fails {gate.gate}: {_measured(gate)}"
            for gate in file.verdict.gates
            if gate.state == "fail" and not file.error
        ]
        if file.verdict.state == "not proven":
            lines.append(f"{file.scheme} is not proven: {'; '.join(unproven(file.verdict))}")
    return lines


def _measured(gate: GateResult) -> str:
    """What was measured, or why nothing was."""
    if gate.measured is None:
        return f"it could not be measured ({gate.why})"
    return f"measured {gate.measured:.4g}" + (f" ({gate.why})" if gate.why else "")


def _print(result: ConversionResult) -> None:

    console = make_console()
    if said := reference_words(result.probe):
        console.print(f"Model    {said}", soft_wrap=True, markup=False)
    title = f"{result.source.name}: files against the framework, {result.seconds:.0f} s"
    console.print(verdict_table(title, result.files))
    if result.ladder:
        console.print(_ladder(result))
    if result.front:
        console.print(_front(result))
    used = next(attempt for attempt in result.attempts if attempt.state == "used")
    console.print(f"Route    {used.path}", soft_wrap=True)
    for attempt in result.attempts:
        if attempt.state != "used":
            console.print(
                f"         {attempt.route}: {attempt.state}. {attempt.why}", soft_wrap=True
            )
    console.print(
        f"Data     {result.data.calibration_samples} samples for calibration, "
        f"{result.data.parity_samples} for comparing"
        + (" [bold red](synthetic: says little)[/]" if result.data.synthetic else ""),
        soft_wrap=True,
    )
    for one in result.advice:
        if not one.warning:  # warnings were told when they were found
            console.print(f"         {one.message}", soft_wrap=True, markup=False)
    console.print(f"Files    {result.output}/", soft_wrap=True, markup=False)
    console.print(f"Report   {result.report}", soft_wrap=True, markup=False)
    console.print(f"Page     {result.page}", soft_wrap=True, markup=False)
    for file in result.files:
        for line in _remarks(file):
            console.print(f"[yellow]{file.scheme}[/] {line}", soft_wrap=True)
    print_next(after_conversion(result))


_COLUMNS = {
    "size_mb": ("MB", "{:.2f}"),
    "centred_sqnr_db": ("SQNR\ndB", "{:.1f}"),
    "worst_sqnr_db": ("worst\ndB", "{:.1f}"),
    "index_agreement": ("same\nindices", "{:.1%}"),
    "top1_agreement": ("same\ntop-1", "{:.1%}"),
    "text_agreement": ("same\ntexts", "{:.1%}"),
    "top1_accuracy": ("accu-\nracy", "{:.1%}"),
    "latency_p50_ms": ("p50\nms", "{:.2f}"),
    "latency_p90_ms": ("p90\nms", "{:.2f}"),
}


_VERDICTS = {
    "pass": "[green]PASS[/]",
    "fail": "[bold red]FAIL[/]",
    "not proven": "[yellow]NOT\nPROVEN[/]",
}


def verdict_table(title: str, files: Sequence[FileResult]) -> Table:
    """One row a file; columns that nothing was measured for are left out."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    measured = {name for file in files for name in file.metrics}
    columns = {name: column for name, column in _COLUMNS.items() if name in measured}
    table.add_column("file", overflow="fold")  # gives way first where the terminal is narrow
    for heading, _ in columns.values():
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("ver-\ndict", no_wrap=True)
    for file in files:
        verdict = _VERDICTS[file.verdict.state]
        figures = [_figure(file.metrics.get(name), form) for name, (_, form) in columns.items()]
        table.add_row(file.scheme, *figures, verdict)
    return table


def _ladder(result: ConversionResult) -> Table:
    """One row a rung; the figures are those of the worst int8 file."""
    from rich import box
    from rich.table import Table

    title = "Accuracy budget: what was tried"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("rung", "effort"):
        table.add_column(heading, no_wrap=True)
    table.add_column("layers not\nin 8 bits", justify="right")
    rows = [list(rung.metrics.values()) for rung in result.ladder]
    measured = {name for row in rows for metrics in row for name in metrics}
    columns = {name: column for name, column in _COLUMNS.items() if name in measured}
    for heading, _ in columns.values():
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("holds")
    for rung, row in zip(result.ladder, rows, strict=True):
        worst = min(row, key=lambda metrics: metrics.get("centred_sqnr_db", 0.0))
        figures = [_figure(worst.get(name), form) for name, (_, form) in columns.items()]
        kept = str(len(rung.kept)) if rung.kept else "–"
        holds = "[green]yes[/]" if rung.passed else "[bold red]no[/]"
        table.add_row(str(rung.number), rung.effort, kept, *figures, holds)
    return table


def _front(result: ConversionResult) -> Table:
    """One row a mix of precisions; none is beaten by another in both figures."""
    from rich import box
    from rich.table import Table

    title = "Layers in more than 8 bits: accuracy against latency"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("layers not\nin 8 bits", "SQNR, held\nout, dB", "time, of\nplain int8"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for point in result.front:
        figures = (str(len(point.layers) or "–"), f"{point.db:.1f}", f"{point.slowdown:.2f}")
        table.add_row(*figures, "chosen" if point.chosen else "")
    return table


def _figure(value: float | None, form: str) -> str:
    """A figure for the table; what two decimals would show as zero gets more of them."""
    if value is None:
        return "–"
    return f"{value:.4f}" if form == "{:.2f}" and 0 < value < 0.05 else form.format(value)


def _remarks(file: FileResult) -> list[str]:
    """What the table cannot say about a file that was made."""
    if file.error:
        return []
    lines = [
        f"could not be judged on {result.gate}: {result.why}"
        for result in file.verdict.gates
        if result.state == "not measured"
    ]
    lines += [f"keeps {one.op} {one.output} in float: {one.reason}" for one in file.kept_float[:6]]
    inside = [op for op in file.float_ops if op not in ("QUANTIZE", "DEQUANTIZE")]
    if inside and not file.kept_float and file.scheme in CALIBRATED_SCHEMES:
        lines.append(f"keeps in float: {', '.join(inside[:6])}")
    return lines
