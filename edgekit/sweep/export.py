"""The files of a sweep, copied out of it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from edgekit.errors import UsageError
from edgekit.pipeline.publish import disk_errors, held, scratch_folder
from edgekit.sweep.result import SweepResult
from edgekit.sweep.rows import SweepRow


def export(
    result: SweepResult, output: Path, *, everything: bool = False, force: bool = False
) -> tuple[Path, ...]:
    """Copy what was made for combinations that passed: a folder each, with file, report and lock.

    Args:
        result: the sweep.
        output: the folder; it is made.
        everything: all that passed, and not the front alone.
        force: replace folders that are there.

    Returns:
        The `.tflite` files.

    Raises:
        UsageError: nothing passed, or a folder is there already.
        SetupError: the disk is full, or the folder cannot be written.
    """
    wanted: dict[str, SweepRow] = {}
    for row in result.table:
        if row.front or (everything and row.state == "pass"):
            wanted.setdefault(_folder_name(row), row)
    if not wanted:
        raise UsageError(
            "Nothing is on the front yet." if not everything else "Nothing has passed yet.",
            cure="See: edgekit sweep status",
        )
    there = [name for name in wanted if (output / name).exists()]
    if there and not force:
        raise UsageError(
            f"{output / there[0]} exists already.", cure="Replace it with --force, or name another."
        )
    with held(output), disk_errors(output), scratch_folder(output) as work:
        for name, row in wanted.items():
            shutil.copytree((result.folder / row.file).parent, work / name)
        for name in wanted:
            if (output / name).exists():
                shutil.rmtree(output / name)
            (work / name).rename(output / name)
    return tuple(output / name / Path(row.file).name for name, row in wanted.items())


def _folder_name(row: SweepRow) -> str:
    return re.sub(r"[^\w.-]+", "_", row.point.name)
