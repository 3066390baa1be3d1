"""The files of an explanation: checked before anything runs, written when all is known."""

from __future__ import annotations

from pathlib import Path

from edgekit.errors import SetupError, UsageError
from edgekit.pipeline.publish import write_whole
from edgekit.report.explain import model_explorer, to_html
from edgekit.validation.explain.points import Explanation


def require_free(page: Path, explorer: Path | None, *, force: bool) -> None:
    """Check that the files may be written.

    Raises:
        UsageError: one exists and ``force`` is not set, or is a folder.
        SetupError: its folder does not exist.
    """
    for path in filter(None, (page, explorer)):
        _require_free(path, force=force)


def write_files(explanation: Explanation, page: Path, explorer: Path | None) -> None:
    """Write the page and, where asked for, node data for Model Explorer: whole or not at all.

    Raises:
        SetupError: the disk is full.
    """
    write_whole(page, to_html(explanation))
    if explorer is not None:
        write_whole(explorer, model_explorer(explanation))


def _require_free(path: Path, *, force: bool) -> None:
    if path.is_dir():
        raise UsageError(f"{path} is a folder.", cure="Name a file.")
    if path.exists() and not force:
        raise UsageError(
            f"{path} exists already.", cure="Choose another file, or replace it with --force."
        )
    if not path.parent.is_dir():
        raise SetupError(f"There is no folder {path.parent}.", cure="Make it, or check the path.")
