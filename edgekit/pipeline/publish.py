"""The output folder: a private work folder in it, and files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from edgekit.errors import SetupError, UsageError
from edgekit.files import remove_leftovers
from edgekit.pipeline.plan import Plan
from edgekit.results import FileResult
from edgekit.sources import digest

_WORK_PREFIX = ".edgekit-work-"
_LOCK_NAME = ".edgekit-lock"


@contextmanager
def work_folder(plan: Plan) -> Iterator[Path]:
    """A private folder inside the output folder (the same file system), removed in the end.

    Work folders that killed runs left behind are removed too. Folders that this call made and that
    stay empty are removed again.

    Raises:
        UsageError: an output exists and ``--force`` was not given.
        SetupError: the output folder cannot be made or written, or the disk is full.
    """
    output = plan.output
    require_free(plan)
    with _reachable(output):
        made = [folder for folder in (output, *output.parents) if not folder.exists()]
    try:
        with _reachable(output), disk_errors(output):
            output.mkdir(parents=True, exist_ok=True)
        with held(output):
            folder = _make_work_folder(output)
            try:
                with disk_errors(output):
                    yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    finally:
        for empty in made:
            with contextlib.suppress(OSError):  # not empty: the run succeeded
                empty.rmdir()


def require_free(plan: Plan) -> None:
    """Refuse an output folder that a run could not write to, before any work is done.

    Raises:
        UsageError: an output exists and ``--force`` was not given.
        SetupError: the output is a file, or lies where nothing can be made.
    """
    output = plan.output
    wanted = (*map(plan.file, plan.schemes), plan.report, plan.lock)
    with _reachable(output):
        existing = [path for path in wanted if path.exists()]
        nearest = next(one for one in (output, *output.absolute().parents) if one.exists())
    if existing and not plan.request.force:
        raise UsageError(
            f"{existing[0]} exists already.",
            cure="Choose another --output folder, or replace it with --force.",
        )
    if not nearest.is_dir():
        raise SetupError(
            f"The output folder {output} cannot be made: {nearest} is a file, not a folder.",
            cure="Choose another --output folder.",
        )
    if not os.access(nearest, os.W_OK | os.X_OK):
        read_only = os.statvfs(nearest).f_flag & os.ST_RDONLY
        code = errno.EROFS if read_only else errno.EACCES
        raise _not_writable(output, OSError(code, os.strerror(code)))


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep a folder for this run: another one that wants to write into it is refused.

    The kernel lets go of the lock when the process ends, however it ends.

    Raises:
        SetupError: another run has it.
    """
    import fcntl

    path = folder / _LOCK_NAME
    with _reachable(folder), disk_errors(folder):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(handle, 100).decode("ascii", "replace").strip() or "another process"
            raise SetupError(
                f"Another run is writing into {folder}: {holder}.",
                cure="Wait until it has ended, or choose another --output folder.",
            ) from None
        try:
            with disk_errors(folder):
                os.ftruncate(handle, 0)
                os.write(handle, f"edgekit, process {os.getpid()}\n".encode())
            yield
        finally:
            path.unlink(missing_ok=True)
    finally:
        os.close(handle)


def _make_work_folder(output: Path) -> Path:
    with _reachable(output), disk_errors(output):
        remove_leftovers(output, _WORK_PREFIX, nameless=True)
        return Path(tempfile.mkdtemp(prefix=f"{_WORK_PREFIX}{os.getpid()}-", dir=output))


@contextmanager
def _reachable(output: Path) -> Iterator[None]:
    """Any refusal here is about the path: one that is too long, for example, or below /proc."""
    try:
        yield
    except OSError as error:
        raise _not_writable(output, error) from error


def publish(
    plan: Plan,
    files: Sequence[FileResult],
    report: str,
    prepared: Path | None = None,
    *,
    lock: str = "",
) -> None:
    """Move the finished files into place, the report last; ``lock`` is the text of `Plan.lock`.

    Everything that can fail comes first: all bytes, the report's too, are on the disk before the
    first file is replaced. What an earlier run's report lists and this run does not replace is
    removed: it would look as if it belonged to this run. Foreign files are never touched. While
    files are being replaced there is no report and no lock, so a run that is killed in between
    leaves nothing that claims to be complete.
    """
    made = [file for file in files if not file.error]
    if prepared is not None:
        _flush(prepared)
    waiting = made[0].artifact.path.with_name(plan.report.name)
    waiting.write_text(report, encoding="utf-8")
    locked = waiting.with_name(plan.lock.name)
    locked.write_text(lock, encoding="utf-8")
    for path in (*(file.artifact.path for file in made), waiting, locked):
        _flush(path)
    stale = _listed_files(plan)
    with _uninterrupted():
        plan.report.unlink(missing_ok=True)
        plan.lock.unlink(missing_ok=True)
        for path in stale:
            path.unlink(missing_ok=True)
        for file in made:
            file.artifact.path.replace(plan.file(file.scheme))
        if prepared is not None:
            prepared.replace(plan.prepared)
        if lock:
            locked.replace(plan.lock)
        waiting.replace(plan.report)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let Ctrl-C and `kill` wait: half of the old files and half of the new would help nobody."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn the operating system's refusals into errors with a cure."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SetupError(
                f"The disk of {folder} is full.",
                cure="Free some space, or choose another --output folder. Nothing was replaced.",
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise _not_writable(folder, error) from error
        raise


def write_whole(path: Path, text: str) -> None:
    """Write a text file that appears whole or not at all, in a folder that is there.

    Raises:
        SetupError: the disk is full, or the folder cannot be written.
    """
    with (
        disk_errors(path.parent),
        tempfile.TemporaryDirectory(dir=path.parent, prefix=".edgekit-") as new,
    ):
        waiting = Path(new, path.name)
        waiting.write_text(text, encoding="utf-8")
        waiting.replace(path)


def _not_writable(folder: Path, error: OSError) -> SetupError:
    return SetupError(
        f"The output folder {folder} cannot be written: {error.strerror}.",
        cure="Choose another --output folder.",
    )


def _listed_files(plan: Plan) -> list[Path]:
    """The files of an earlier run: named in its report, in this folder, and unchanged since."""
    try:
        listed = json.loads(plan.report.read_text(encoding="utf-8"))["files"]
        digests = {
            plan.output / Path(entry["artifact"]["path"]).name: entry["artifact"]["sha256"]
            for entry in listed
        }
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [path for path, sha256 in digests.items() if path.is_file() and digest(path) == sha256]


def _flush(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
