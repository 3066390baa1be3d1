"""The output folder: a private work folder in it, and files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from edgekit.errors import SetupError, UsageError
from edgekit.pipeline.plan import Plan
from edgekit.results import FileResult

_WORK_PREFIX = ".edgekit-work-"


@contextmanager
def work_folder(plan: Plan) -> Iterator[Path]:
    """A private folder inside the output folder (the same file system), removed in the end.

    Work folders that killed runs left behind are removed too. An output folder that this call made
    and that stays empty is removed again.

    Raises:
        UsageError: an output exists and ``--force`` was not given.
        SetupError: the output folder cannot be made or written, or the disk is full.
    """
    output = plan.output
    existing = [path for path in (*map(plan.file, plan.schemes), plan.report) if path.exists()]
    if existing and not plan.request.force:
        raise UsageError(
            f"{existing[0]} exists already.",
            cure="Choose another --output folder, or replace it with --force.",
        )
    made = not output.exists()
    with disk_errors(output):
        output.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(output)
        folder = Path(tempfile.mkdtemp(prefix=f"{_WORK_PREFIX}{os.getpid()}-", dir=output))
    try:
        with disk_errors(output):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if made:
            with contextlib.suppress(OSError):  # not empty: the run succeeded
                output.rmdir()


def publish(plan: Plan, files: Sequence[FileResult], report: str) -> None:
    """Move the finished files into place, the report last.

    What an earlier run's report lists and this run does not replace is removed: it would look as if
    it belonged to this run. Foreign files are never touched. While files are being replaced there
    is no report, so a run that is killed in between leaves nothing that claims to be complete.
    """
    stale = _listed_files(plan)
    plan.report.unlink(missing_ok=True)
    for path in stale:
        path.unlink(missing_ok=True)
    for file in files:
        if not file.error:
            _flush(file.artifact.path)
            file.artifact.path.replace(plan.file(file.scheme))
    handle, name = tempfile.mkstemp(dir=plan.output, prefix=_WORK_PREFIX)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(report)
    _flush(Path(name))
    Path(name).chmod(0o644)
    Path(name).replace(plan.report)


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn the operating system's refusals into errors with a cure."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise SetupError(
                f"The disk of {folder} is full.",
                cure="Free some space, or choose another --output folder. Nothing was replaced.",
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise SetupError(
                f"The output folder {folder} cannot be written: {error.strerror}.",
                cure="Choose another --output folder.",
            ) from error
        raise


def _listed_files(plan: Plan) -> list[Path]:
    """The files of an earlier run, as its report lists them; only plain names in this folder."""
    try:
        listed = json.loads(plan.report.read_text(encoding="utf-8"))["files"]
        names = [Path(entry["artifact"]["path"]).name for entry in listed]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [plan.output / name for name in names if name.endswith(".tflite")]


def _flush(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _remove_leftovers(output: Path) -> None:
    import psutil

    for folder in output.glob(f"{_WORK_PREFIX}*"):
        pid = folder.name.removeprefix(_WORK_PREFIX).partition("-")[0]
        if pid.isdecimal() and psutil.pid_exists(int(pid)):
            continue
        if folder.is_dir():
            shutil.rmtree(folder, ignore_errors=True)
        else:
            folder.unlink(missing_ok=True)
