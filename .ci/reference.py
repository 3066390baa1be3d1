"""Writes the tables of options in docs/reference.md from what the commands themselves say.

A table stands between two comments, the first of which names a command, and a group of its options
where it has groups; without one the table has the command's own::

    <!-- options: quantize / Data -->
    <!-- end of options -->
"""

from __future__ import annotations

import re
from pathlib import Path

import click

from edgekit import cli

REFERENCE = Path(__file__).parents[1] / "docs" / "reference.md"
_TABLE = re.compile(
    r"(<!-- options: ([a-z -]+?)(?: / ([A-Z][\w ]+))? -->\n).*?(<!-- end of options -->)", re.DOTALL
)
_CODE = re.compile(r"edgekit [a-z]+(?: [a-z]+)*(?: --[a-z-]+)?|(?<![`\w-])--[a-z][a-z-]*")
_STATED = re.compile(r"(.*?)(?: \[([^]]*)\])?\.?", re.DOTALL)
"""A help text, and what it says of the default."""


def filled(text: str) -> str:
    """The text with every table as the commands have it now."""

    def table(match: re.Match[str]) -> str:
        start, name, group, end = match.groups()
        rows = [row(option) for option in options(name, group) if not option.hidden]
        return "\n".join([start + "| option | meaning |", "|---|---|", *rows, end])

    return _TABLE.sub(table, text)


def options(name: str, group: str | None) -> list[click.Option]:
    """Those of a group, or those that are the command's alone."""
    command: click.Command = cli.group
    for word in name.split():
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), word)
        assert found is not None, name
        command = found
    if group:
        return list(command.groups[group])  # type: ignore[attr-defined]
    own = getattr(command, "own", command.params)
    return [one for one in own if isinstance(one, click.Option)]


def row(option: click.Option) -> str:
    """An option's names, what it takes, what it means, and what it is where nothing is stated."""
    names = sorted([*option.opts, *option.secondary_opts], key=lambda one: one[:2] != "--")
    first = f"{names[0]} {_taken(option)}".rstrip()
    stated = _STATED.fullmatch(option.help or "")
    assert stated is not None
    meaning, default = stated.groups()
    meaning = _CODE.sub(lambda match: _code(match[0]), meaning)
    if isinstance(option.type, click.Choice):
        meaning += f": {', '.join(map(_code, option.type.choices))}"
    if default:
        meaning += f" [{default}]"
    elif isinstance(option.default, int | float) and not option.is_flag:
        meaning += f" [{option.default:g}]"
    elif isinstance(option.default, str):
        meaning += f" [{option.default}]"
    if option.required:
        meaning += "; required"
    cells = (", ".join(map(_code, (first, *names[1:]))), meaning)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _taken(option: click.Option) -> str:
    """The word for an option's value; none where its meaning says it better."""
    if option.is_flag:
        return ""
    words = {"path": "PATH", "integer": "N", "integer range": "N"}
    return option.metavar or words.get(option.type.name, "")


def _code(text: str) -> str:
    return f"`{text}`"


if __name__ == "__main__":
    REFERENCE.write_text(filled(REFERENCE.read_text(encoding="utf-8")), encoding="utf-8")
