"""Writing to the terminal: the one place where text leaves, escaped.

What comes from files (names, labels, paths) must not steer the terminal, see `edgekit.text`.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from edgekit.text import escaped

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

_KEPT = "\n\t"


def echo(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print a text or a JSON document."""
    click.echo(escaped(text, keep=_KEPT), err=err, nl=nl)


def colour() -> bool | None:
    """What click is told of colours: none where NO_COLOR asks for none (https://no-color.org)."""
    return False if os.environ.get("NO_COLOR") else None


def print_next(text: str) -> None:
    """The last line of a command: what to type now; nothing where there is nothing to do."""
    if text:
        make_console().print(f"Next     {text}", soft_wrap=True, markup=False)


def open_page(page: Path) -> None:
    """Show a page in the browser; where there is none, say where it lies."""
    import webbrowser

    screen = (
        sys.platform != "linux" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
    if not (screen and webbrowser.open(page.absolute().as_uri())):
        echo(f"There is no browser here. The page: {page.absolute()}", err=True)


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
