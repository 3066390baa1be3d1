"""Writing to the terminal: the one place where text leaves, escaped.

What comes from files (names, labels, paths) must not steer the terminal, see `edgekit.text`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from edgekit.text import escaped

if TYPE_CHECKING:
    from rich.console import Console

_KEPT = "\n\t"


def echo(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print a text or a JSON document."""
    click.echo(escaped(text, keep=_KEPT), err=err, nl=nl)


def make_console(*, stderr: bool = False, quiet: bool = False, width: int | None = None) -> Console:
    """A console of rich whose own colours are the only control characters."""
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class Escaping(Console):
        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Any:
            for segment in super().render(renderable, options):
                if segment.control:
                    yield segment
                else:
                    yield Segment(escaped(segment.text, keep=_KEPT), segment.style)

    return Escaping(stderr=stderr, quiet=quiet, width=width, highlight=False)
