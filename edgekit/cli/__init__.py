"""The command line: parse, call, render. The only place for click, rich and exit codes."""

from __future__ import annotations

import importlib
import sys
from typing import NoReturn

import click

from edgekit.version import __version__

COMMANDS = {
    "init": ("edgekit.cli.init", "Write an edgekit.toml for a model, with comments."),
    "convert": ("edgekit.cli.convert", "Turn a trained model into verified .tflite files."),
    "quantize": ("edgekit.cli.quantize", "Quantize a float .tflite file."),
    "sweep": ("edgekit.cli.sweep", "Convert and measure many models in many ways."),
    "sensitivity": ("edgekit.cli.sensitivity", "Show which layers cost accuracy in int8."),
    "validate": ("edgekit.cli.validate", "Compare .tflite files with their reference, and judge."),
    "explain": ("edgekit.cli.explain", "Find the first bad operator of a .tflite, and why."),
    "benchmark": ("edgekit.cli.benchmark", "Time .tflite files: latency, memory, operators."),
    "reference": ("edgekit.cli.reference", "Record a reference's outputs for later."),
    "inspect": ("edgekit.cli.inspect", "Show what is inside a .tflite file or another model."),
    "compile": ("edgekit.cli.compile", "Compile a .tflite file for an accelerator."),
    "embed": ("edgekit.cli.embed", "Write a module for an app, with a test of every stage."),
    "diff": ("edgekit.cli.diff", "Show what changed between two .tflite files."),
    "verify": ("edgekit.cli.verify", "Say whether .tflite files are those of an edgekit.lock."),
    "replay": ("edgekit.cli.replay", "Make the files of an edgekit.lock again, and compare."),
    "target": ("edgekit.cli.target", "List the targets that a file can be held against."),
    "device": ("edgekit.cli.device", "Say which devices are there, and what is on them."),
    "runtimes": ("edgekit.cli.runtimes", "Run a .tflite file in the runtimes that apps ship."),
    "compat": ("edgekit.cli.compat", "Run a .tflite file in the clients that apps use."),
    "toolchain": ("edgekit.cli.toolchain", "List, install or remove isolated environments."),
    "doctor": ("edgekit.cli.doctor", "Say what is installed, what is missing, and what to type."),
}


class LazyGroup(click.Group):
    """Imports a command when it is used; ``edgekit --help`` imports none (click docs)."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order in which people meet them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest command where there is none of this name."""
        if args and args[0] not in COMMANDS and args[0][:1] != "-" and not ctx.resilient_parsing:
            from edgekit.arguments import nearest
            from edgekit.errors import UsageError

            raise UsageError(
                f"There is no command {args[0]!r}.",
                cure=f"{nearest(args[0], COMMANDS)} See: edgekit --help",
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in the help text, from the table and not from imports."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: edgekit convert model.onnx --calibration photos/",
)
@click.version_option(__version__, "-V", "--version", prog_name="edgekit")
def group() -> None:
    """Turn trained models into .tflite files, and prove that they still do the model's job."""


def main() -> NoReturn:
    """The ``edgekit`` program: the one place where errors are printed and exit codes chosen."""
    from edgekit.cli.boundary import run

    sys.exit(run(group, sys.argv[1:]))
