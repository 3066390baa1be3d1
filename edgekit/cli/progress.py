"""Progress on a terminal: one line a step, a bar while it runs, its time when it is done."""

from __future__ import annotations

import time
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Self

from edgekit.cli.terminal import make_console

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID


class Display:
    """An `edgekit.types.Progress` that draws with rich on standard error.

    Args:
        quiet: draw nothing, not even notes.
        verbose: keep a line with the time of each finished step.
    """

    def __init__(self, *, quiet: bool = False, verbose: bool = False) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self.console: Console = make_console(stderr=True, quiet=quiet)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[message]}", markup=True),
            console=self.console,
            transient=True,
            disable=quiet,
        )
        self._verbose = verbose
        self._task: TaskID | None = None
        self._title = ""
        self._told: deque[str] = deque(maxlen=2)
        self._since = 0.0

    def step(self, title: str) -> None:
        """Finish the step before and start the bar of this one; a repeated title goes on."""
        if self._task is not None and title == self._title:
            return
        self._finish()
        self._title, self._since = title, time.monotonic()
        self._task = self._progress.add_task(title, total=1.0, message="")
        if not (self.console.is_terminal or self._verbose or title in self._told):
            self._told.append(title)
            self.console.print(f"{title} …", markup=False)

    def update(self, fraction: float, message: str = "") -> None:
        """Move the bar."""
        if self._task is not None:
            self._progress.update(self._task, completed=fraction, message=message[-40:])

    def note(self, message: str) -> None:
        """Print a line above the bar."""
        self.console.print(f"[yellow]note[/] {_escape(message)}")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._finish()
        self._progress.stop()

    def _finish(self) -> None:
        if self._task is None:
            return
        self._progress.remove_task(self._task)
        self._task = None
        if self._verbose:
            seconds = time.monotonic() - self._since
            self.console.print(f"[dim]{seconds:6.1f} s[/]  {_escape(self._title)}")


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
