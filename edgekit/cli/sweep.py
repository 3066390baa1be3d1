"""``edgekit sweep``: many models in many ways, and which of their files are on the front."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli import terminal
from edgekit.cli.options import ConversionCommand, cluster_option, limits, open_option
from edgekit.cli.parameters import PATH
from edgekit.cli.terminal import echo, make_console, print_next
from edgekit.cli.verdicts import exit_code_of
from edgekit.errors import ConversionError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import ClassVar

    from rich.table import Table

    from edgekit.sweep.planning import SweepPlan
    from edgekit.sweep.result import SweepResult
    from edgekit.sweep.rows import SweepRow
    from edgekit.sweep.run import Outlook

INTERRUPTED = 130


class SweepGroup(click.Group):
    """``edgekit sweep FILE`` is ``edgekit sweep run FILE``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the command's name where there is none."""
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(name="sweep", cls=SweepGroup, epilog="Example: edgekit sweep sweep.toml")
def command() -> None:
    """Convert and measure many models in many ways. A sweep that was killed goes on where it was.

    `edgekit sweep FILE` runs the sweep that FILE describes. The other commands look at one, also
    while it runs.
    """


class SweepRunCommand(ConversionCommand):
    """A command whose data are in a file."""

    headings: ClassVar[tuple[str, ...]] = ("Limits", "Display")


@command.command(
    name="run", cls=SweepRunCommand, epilog="Example: edgekit sweep sweep.toml --dry-run"
)
@click.argument("file", type=PATH)
@click.option("--output", "-o", type=PATH, help="Folder for everything [NAME_sweep].")
@click.option(
    "--dry-run", is_flag=True, help="Print jobs, what is done, how long the rest may take."
)
@click.option(
    "--resume/--no-resume",
    default=True,
    help="Go on with what the folder holds [yes]; otherwise it must hold none.",
)
@click.option(
    "--retry-failed", is_flag=True, help="Also try again what failed because of its input."
)
@click.option("--trust-pickle", is_flag=True, help="Open pickles, which can run any code.")
@cluster_option
def run_command(file: Path, output: Path | None, **options: Any) -> int:
    """Run the sweep that FILE describes, or what is left of it."""
    from edgekit.cli.progress import Display
    from edgekit.jobs.ray_cluster import RayExecutor
    from edgekit.sweep.file import read_sweep
    from edgekit.sweep.planning import plan_sweep
    from edgekit.sweep.run import carry_out, cores_here, folder_of, look_ahead, require_new

    described = read_sweep(file)
    cluster = RayExecutor(options["cluster"]) if options["cluster"] else None
    plan = plan_sweep(
        described,
        cores=cluster.largest() if cluster else cores_here(),
        limits=limits(options),
        trust_pickle=options["trust_pickle"],
    )
    folder = output or folder_of(file)
    if options["dry_run"]:
        return _print_plan(plan, look_ahead(plan, folder), as_json=options["as_json"])
    if not options["resume"]:
        require_new(folder)
    silent = options["quiet"] or options["as_json"]
    with Display(quiet=silent, verbose=options["verbose"]) as display:
        result = carry_out(
            plan,
            folder,
            executor=cluster.within if cluster else None,
            again=options["retry_failed"],
            progress=display,
        )
    if options["as_json"]:
        _print_json(result)
    elif not options["quiet"]:
        _print(result)
        _print_next(result, file)
    return _exit_code(result)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
folder_argument = click.argument("folder", metavar="FOLDER|FILE.toml", type=PATH)


@command.command(name="status", epilog="Example: edgekit sweep status sweep_sweep")
@folder_argument
@json_option
def status_command(folder: Path, as_json: bool) -> int:
    """How far a sweep is, and what failed in it and why."""
    result = _read(folder)
    if as_json:
        facts = {"jobs": result.jobs, "done": result.done, "complete": result.complete}
        failed = [vars(one) for one in result.failures]
        echo(json.dumps({"folder": str(result.folder), **facts, "failures": failed}, indent=2))
        return 0
    for line in _status(result):
        echo(line)
    _print_next(result, folder if folder.is_file() else None)
    return 0


@command.command(name="results", epilog="Example: edgekit sweep results sweep_sweep --front")
@folder_argument
@click.option("--front", is_flag=True, help="Only the front: what no other combination beats.")
@click.option("--markdown", type=PATH, help="Write a summary for a pull request.")
@click.option("--tensorboard", type=PATH, help="Folder for TensorBoard's HParams.")
@click.option("--mlflow", metavar="URI", help="Log a run for each combination to MLflow there.")
@click.option("--experiment", help="With --mlflow: its name [edgekit].")
@click.option("--baseline", type=PATH, help="The folder of a sweep; the summary says what changed.")
@json_option
def results_command(folder: Path, front: bool, as_json: bool, **options: Any) -> int:
    """The figures of all combinations that have any."""
    from edgekit.errors import UsageError
    from edgekit.pipeline.publish import write_whole
    from edgekit.sweep.reports import to_markdown, write_hparams
    from edgekit.sweep.tracking import EXPERIMENT, log_to_mlflow

    markdown, baseline = options["markdown"], options["baseline"]
    if baseline is not None and markdown is None:
        raise UsageError("--baseline is for the summary.", cure="Add --markdown FILE.")
    if options["experiment"] and not options["mlflow"]:
        raise UsageError("--experiment is MLflow's.", cure="Add --mlflow URI.")
    result = _read(folder)
    if markdown is not None:
        write_whole(markdown, to_markdown(result, _read(baseline) if baseline else None))
    if options["tensorboard"] is not None:
        write_hparams(result, options["tensorboard"])
    if options["mlflow"]:
        log_to_mlflow(result, options["mlflow"], experiment=options["experiment"] or EXPERIMENT)
    if as_json:
        _print_json(result, front=front)
    else:
        make_console().print(_table(result.front if front else result.table))
    return 0


@command.command(name="show", epilog='Example: edgekit sweep show sweep_sweep "digits int8"')
@folder_argument
@click.argument("name", required=False, default="")
@open_option
@json_option
def show_command(folder: Path, name: str, *, open_page: bool, as_json: bool) -> int:
    """Everything about the combinations whose name begins with NAME, or about all of them."""
    from edgekit.arguments import nearest
    from edgekit.errors import UsageError
    from edgekit.sweep.reports import PAGE

    result = _read(folder)
    if open_page and not (result.folder / PAGE).is_file():
        raise UsageError(
            f"The sweep in {result.folder} has no page yet.",
            cure="Its end writes it: the same edgekit sweep goes on.",
        )
    rows = [row for row in result.table if not name or f"{row.name} ".startswith(f"{name} ")]
    if not rows:
        names = [row.name for row in result.table]
        raise UsageError(f"There is no combination {name!r}.", cure=nearest(name, names))
    if as_json:
        from edgekit.sweep.reports import flat

        echo(json.dumps([flat(row) for row in rows], indent=2, ensure_ascii=False))
        return 0
    for row in rows:
        for line in _described(row, result.folder):
            echo(line)
    if open_page:
        terminal.open_page(result.folder / PAGE)
    return 0


@command.command(name="export", epilog="Example: edgekit sweep export sweep_sweep -o best")
@folder_argument
@click.option("--output", "-o", type=PATH, required=True, help="A folder for the files.")
@click.option("--all", "everything", is_flag=True, help="All that passed, not only the front.")
@click.option("--force", is_flag=True, help="Replace what is there.")
@json_option
def export_command(folder: Path, output: Path, everything: bool, force: bool, as_json: bool) -> int:
    """Copy the files of the front, each with its report and its lock."""
    from edgekit.sweep.export import export

    written = export(_read(folder), output, everything=everything, force=force)
    if as_json:
        echo(json.dumps([str(path) for path in written], indent=2))
    else:
        for path in written:
            echo(f"Wrote {path}")
    return 0


def _read(path: Path) -> SweepResult:
    """A sweep by its folder, or by the file that it was run from."""
    from edgekit.jobs.store import Store
    from edgekit.sweep.result import look
    from edgekit.sweep.run import folder_of

    folder = folder_of(path) if path.is_file() else path
    with Store(folder) as store:
        return look(store)


def _print_plan(plan: SweepPlan, ahead: Outlook, *, as_json: bool) -> int:
    if as_json:
        jobs = [
            {"name": job.name, "key": job.key, "done": job.key in ahead.done} for job in ahead.jobs
        ]
        facts = {"seconds": ahead.seconds, "combinations": len(plan.candidates)}
        echo(json.dumps({**facts, "jobs": jobs}, indent=2, ensure_ascii=False))
        return 0
    for job in ahead.jobs:
        echo(f"  {'done' if job.key in ahead.done else 'to do'}  {job.name}")
    left = len(ahead.jobs) - len(ahead.done)
    echo(f"{len(plan.candidates)} combinations: {len(ahead.jobs)} jobs, {left} to do.")
    if plan.sweep.search:
        echo("The search will leave out some of those that measure.")
    if ahead.seconds is not None and left:
        echo(f"About {_duration(ahead.seconds)}, by what such jobs took here so far.")
    return 0


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _exit_code(result: SweepResult) -> int:
    if result.interrupted:
        return INTERRUPTED
    if result.failures:
        return ConversionError.exit_code
    return exit_code_of(result.states)


def _print_next(result: SweepResult, file: Path | None) -> None:
    from edgekit.report.following import after_sweep

    following = after_sweep(
        result.folder,
        complete=result.complete,
        failures=bool(result.failures),
        front=[row.name for row in result.front],
        source=file,
    )
    print_next(following)


def _print(result: SweepResult) -> None:
    make_console().print(_table(result.table))
    for line in _status(result):
        echo(line)
    for path in result.written:
        echo(f"Wrote {path}")


def _status(result: SweepResult) -> Iterable[str]:
    yield f"{result.done:,} of {result.jobs:,} jobs are done."
    for one in result.failures:
        times = f", after {one.tries} tries" if one.tries > 1 else ""
        yield f"{one.name} failed ({one.ending}{times}): {one.reason}"
    if not result.complete:
        yield "The same edgekit sweep again goes on from here."


def _table(rows: Iterable[SweepRow]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from edgekit.report import words
    from edgekit.sweep.rows import LATENCY, SIZE, accuracy_metric

    rows = list(rows)
    columns = (accuracy_metric(rows), "centred_sqnr_db", LATENCY, SIZE)
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("file", overflow="fold")
    table.add_column("on", overflow="fold")
    for metric in dict.fromkeys(columns):
        table.add_column(words.name(metric), justify="right")
    table.add_column("verdict")
    for row in rows:
        cells = [
            Text(words.number(metric, row.metrics[metric]) if metric in row.metrics else "–")
            for metric in dict.fromkeys(columns)
        ]
        verdict = Text(f"{row.state.upper()}{' ◆' if row.front else ''}", _COLOURS[row.state])
        table.add_row(Text(row.point.name), Text(row.point.on), *cells, verdict)
    if any(row.front for row in rows):
        table.caption = "◆ on the front: nothing is better in all of accuracy, latency and size"
        table.caption_justify = "left"
    return table


_COLOURS = {
    "pass": "green",
    "fail": "bold red",
    "not proven": "yellow",
    "failed": "bold red",
    "dropped": "dim",
    "waiting": "dim",
}


def _described(row: SweepRow, folder: Path) -> Iterable[str]:
    yield f"{row.name}: {row.state.upper()}{', on the front' if row.front else ''}"
    yield from (f"  {why}" for why in row.why)
    for name, value in row.metrics.items():
        yield f"  {name:24} {value:.6g}"
    if row.machine:
        yield f"  measured on {row.machine}" + (f", {row.samples:,} samples" if row.samples else "")
    if row.file:
        yield f"  file   {folder / row.file}"
        yield f"  report {folder / row.report}"


def _print_json(result: SweepResult, *, front: bool = False) -> None:
    from edgekit.sweep.reports import to_json

    echo(to_json(result, result.front if front else None), nl=False)
