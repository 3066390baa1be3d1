"""What the documentation says exists, and what exists is documented."""

from __future__ import annotations

import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import click
import pytest

from edgekit import cli, errors
from edgekit.contract import Preprocess, Task
from edgekit.types import SCHEMES, Scheme
from edgekit.validation import gates

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
REFERENCE = ROOT / "docs" / "reference.md"
SUPPORT = ROOT / "docs" / "support.md"
TUTORIAL = ROOT / "docs" / "tutorial.md"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
DOCUMENTS = [
    README,
    ROOT / "CONTRIBUTING.md",
    ROOT / "converters" / "README.md",
    ROOT / "clients" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
UNDOCUMENTED_OPTIONS = {"--help", "-h"}


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def commands() -> dict[str, click.Command]:
    """Every command by what one types after ``edgekit``."""

    def walk(group: click.Group, path: tuple[str, ...]) -> Iterator[tuple[str, click.Command]]:
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            yield " ".join((*path, name)), command
            if isinstance(command, click.Group):
                yield from walk(command, (*path, name))

    return dict(walk(cli.group, ()))


COMMANDS = commands()


def options(command: click.Command) -> set[str]:
    found = {"--help", "-h"}
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            found.update(parameter.opts, parameter.secondary_opts)
    return found


def typed_commands(text: str) -> Iterator[list[str]]:
    """The words after ``edgekit`` in code spans and in shell blocks."""
    for block in re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("edgekit "):
                yield shlex.split(line, comments=True)[1:]
    without_blocks = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    for span in re.findall(r"`edgekit ([^`]+)`", without_blocks):
        yield span.split()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_typed_commands_and_their_options_exist(document: Path) -> None:
    for words in typed_commands(read(document)):
        if words[0].startswith("-"):
            assert words[0] in {*options(cli.group), "--version"}
            continue
        if words[0].isupper():  # a placeholder, COMMAND
            continue
        name = " ".join(words[:2]) if " ".join(words[:2]) in COMMANDS else words[0]
        assert name in COMMANDS, f"edgekit {' '.join(words)}"
        if name == "sweep":  # `edgekit sweep FILE` is `edgekit sweep run FILE`
            name = "sweep run"
        used = {word.partition("=")[0] for word in words if word.startswith("-")}
        assert used <= options(COMMANDS[name]), f"edgekit {' '.join(words)}"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_reference(name: str) -> None:
    assert re.search(rf"(^## |`)edgekit {name}\b", read(REFERENCE), re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_in_the_reference(name: str) -> None:
    text = read(REFERENCE)
    wanted = options(COMMANDS[name]) - UNDOCUMENTED_OPTIONS
    missing = [option for option in wanted if not re.search(rf"`{option}\b", text)]
    assert not missing


def test_the_tables_of_options_are_what_the_commands_say() -> None:
    program = runpy.run_path(str(ROOT / ".ci" / "reference.py"))
    assert program["filled"](read(REFERENCE)) == read(REFERENCE), "make reference"


@pytest.mark.parametrize("document", [README, REFERENCE], ids=lambda path: path.name)
def test_every_option_that_is_named_exists(document: Path) -> None:
    known = set().union(*map(options, COMMANDS.values()), {"--version"})
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", read(document)))
    assert named <= known


def test_every_scheme_is_in_support_and_reference() -> None:
    for scheme in SCHEMES:
        assert f"`{scheme}`" in read(SUPPORT)
        assert f"`{scheme}`" in read(REFERENCE)


def flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def test_every_task_metric_and_preprocessing_key_is_in_the_reference() -> None:
    text = read(REFERENCE)
    names = {*get_args(Task), *gates.METRICS, *(flag(name) for name in vars(Preprocess()))}
    assert not [name for name in names if f"`{name}`" not in text]


def test_every_exit_code_is_explained() -> None:
    codes, waiting = {0, 130}, [errors.EdgekitError]
    for kind in waiting:
        codes.add(kind.exit_code)
        waiting.extend(kind.__subclasses__())
    table = read(SUPPORT).partition("## Exit codes")[2].partition("## ")[0]
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)} == codes


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_default_gates_are_as_the_tutorial_says(scheme: Scheme) -> None:
    limits = {gate.metric: gate.limit for gate in gates.defaults(scheme, "classification")}
    table = read(TUTORIAL).partition("## Gates")[2].partition("## ")[0]
    row = next(
        line
        for name in (f"`{scheme}`", "all others")
        for line in table.splitlines()
        if line.startswith(f"| {name} |")
    )
    assert f"at least {limits['centred_sqnr_db']:g} dB" in row
    if "top1_agreement" in limits:
        assert f"at least {limits['top1_agreement']:.0%}".replace("%", " %") in row
    assert limits["nonfinite"] == 0


def test_every_environment_variable_is_in_the_reference() -> None:
    sources = [*(ROOT / "edgekit").rglob("*.py"), *(ROOT / "converters").glob("*.py")]
    used = {name for file in sources for name in re.findall(r"EDGEKIT_[A-Z_]*[A-Z]", read(file))}
    assert used
    assert used == set(re.findall(r"(?<!_)EDGEKIT_[A-Z_]*[A-Z]", read(REFERENCE)))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", read(document)):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_make_targets_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", read(ROOT / "Makefile"), re.MULTILINE))
    blocks = re.findall(r"^```bash\n(.*?)^```", read(document), re.MULTILINE | re.DOTALL)
    named = set(re.findall(r"^make ([a-z-]+)", "\n".join(blocks), re.MULTILINE))
    named |= set(re.findall(r"`make ([a-z-]+)`", read(document)))
    assert named <= targets


def test_the_architecture_names_every_module() -> None:
    text = read(ARCHITECTURE)
    package = ROOT / "edgekit"
    modules = [p for p in package.glob("*.py") if not p.name.startswith("__")]
    folders = [p.parent for p in package.glob("*/__init__.py")]
    pipeline = [p for p in (package / "pipeline").glob("*.py") if not p.name.startswith("__")]
    named = [p.relative_to(ROOT).as_posix() for p in (*modules, *folders, *pipeline)]
    assert not [name for name in named if f"`{name}" not in text]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_of_the_repository_that_are_named_exist(document: Path) -> None:
    pattern = r"`((?:edgekit|converters|tests|docs|benchmarks|examples)/[\w./-]+)`"
    named = re.findall(pattern, read(document))
    only_in_a_wheel = {
        "edgekit/_converters",
        "edgekit/_clients",
        "edgekit/_compilers",
        "edgekit/_sources",
    }
    assert not [name for name in {*named} - only_in_a_wheel if not (ROOT / name).exists()]
