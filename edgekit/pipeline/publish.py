"""The output folder: a private work folder in it, and files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import SetupError, UsageError
from edgekit.files import is_alive, remove_leftovers
from edgekit.sources import digest
from edgekit.text import escaped

if TYPE_CHECKING:  # each process that measures imports this module
    from edgekit.pipeline.plan import Plan
    from edgekit.results import FileResult

_WORK_PREFIX = ".edgekit-work-"
_LOCK_NAME = ".edgekit-lock"
_HOLDER = re.compile(r"process (\d{1,10}), .*")
_NO_LOCKS = frozenset((errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP))


@contextmanager
def work_folder(plan: Plan) -> Iterator[Path]:
    """A private folder inside the output folder (the same file system), removed in the end.

    Raises:
        UsageError: an output exists and ``--force`` was not given.
        SetupError: another run has the output folder, it cannot be made or written, or the disk is
            full.
    """
    require_free(plan)
    with held(plan.output), scratch_folder(plan.output) as folder, disk_errors(plan.output):
        yield folder


def require_free(plan: Plan) -> None:
    """Refuse an output folder that a run could not write to, before any work is done.

    Raises:
        UsageError: an output exists and ``--force`` was not given.
        SetupError: the output is a file, or lies where nothing can be made.
    """
    output = plan.output
    wanted = (*map(plan.file, plan.schemes), plan.report, plan.page, plan.lock)
    with reachable(output):
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
def held(folder: Path, name: str = "") -> Iterator[None]:
    """Keep a folder for this run, or one file in it: another run that wants the same is refused.

    A folder that is not there is made, and removed again where it stays empty. The kernel lets go
    when the process ends, however it ends; what a killed one left is taken over. On file systems
    that have no locks nothing is held.

    Args:
        folder: where the run writes.
        name: of the only file that it writes there; empty for the folder as a whole.

    Raises:
        SetupError: another run has it, or the folder cannot be made or written.
    """
    with reachable(folder):
        made = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        with reachable(folder), disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            _remove_stale_locks(folder)
            own = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
            path = folder / (f"{_LOCK_NAME}-{own}" if name else _LOCK_NAME)
            handle = _locked(path, folder / name)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            os.close(handle)
    finally:
        for empty in made:
            with contextlib.suppress(OSError):  # not empty: the run succeeded
                empty.rmdir()


@contextmanager
def all_held(
    *, files: Iterable[Path | None] = (), folders: Iterable[Path | None] = ()
) -> Iterator[None]:
    """Keep whatever of these a run was asked to write; see `held`.

    Raises:
        SetupError: see `held`.
    """
    places = {(path.resolve(), "") for path in folders if path is not None}
    places |= {(path.parent.resolve(), path.name) for path in files if path is not None}
    with contextlib.ExitStack() as stack:
        for folder, name in sorted(places):
            stack.enter_context(held(folder, name))
        yield


def is_ours(path: Path) -> bool:
    """Whether a file or folder is there for the time of a run only."""
    return path.name.startswith((_LOCK_NAME, _WORK_PREFIX))


def _locked(path: Path, wanted: Path) -> int:
    """The descriptor of a lock, which names this run from now on."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            if _lock(handle):
                if _is_at(path, handle):  # and not one that its owner has just removed
                    _sign(path, handle)
                    return handle
            else:
                told = os.pread(handle, 1000, 0).decode(errors="replace").strip()
                raise SetupError(
                    f"Another run is writing to {wanted}: {escaped(told) or 'which is not known'}.",
                    cure="Wait until it has ended, or choose another place with --output.",
                )
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _sign(path: Path, handle: int) -> None:
    """Say in the lock whose it is; on a full disk it goes again."""
    try:
        os.ftruncate(handle, 0)
        os.write(handle, f"process {os.getpid()}, {_command()}\n".encode())
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


def _is_at(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def _command() -> str:
    program = Path(sys.argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.name
    return shlex.join([name, *sys.argv[1:]])[:300]


def _remove_stale_locks(folder: Path) -> None:
    """Those of processes that are gone; one that is being made names none yet."""
    for path in folder.glob(f"{_LOCK_NAME}*"):
        with contextlib.suppress(OSError, UnicodeDecodeError):  # it is not ours, or just gone
            handle = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                holder = _HOLDER.match(os.pread(handle, 1000, 0).decode())
                if holder and not is_alive(int(holder[1])) and _lock(handle):
                    path.unlink()
            finally:
                os.close(handle)


@contextmanager
def reachable(output: Path) -> Iterator[None]:
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
    page: str = "",
) -> None:
    """Move the finished files into place, the report last.

    ``lock`` and ``page`` are the texts of `Plan.lock` and `Plan.page`.

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
    shown = waiting.with_name(plan.page.name)
    shown.write_text(page, encoding="utf-8")
    for path in (*(file.artifact.path for file in made), waiting, locked, shown):
        _flush(path)
    stale = _listed_files(plan)
    with _uninterrupted():
        plan.report.unlink(missing_ok=True)
        plan.lock.unlink(missing_ok=True)
        plan.page.unlink(missing_ok=True)
        for path in stale:
            path.unlink(missing_ok=True)
        for file in made:
            file.artifact.path.replace(plan.file(file.scheme))
        if prepared is not None:
            prepared.replace(plan.prepared)
        if lock:
            locked.replace(plan.lock)
        if page:
            shown.replace(plan.page)
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
def scratch_folder(output: Path) -> Iterator[Path]:
    """A private folder in an output folder, so on the same file system; removed in the end.

    What killed runs left there is removed first.

    Raises:
        SetupError: it cannot be made.
    """
    with reachable(output), disk_errors(output):
        remove_leftovers(output, _WORK_PREFIX, nameless=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{_WORK_PREFIX}{os.getpid()}-", dir=output))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
    with disk_errors(path.parent), scratch_folder(path.parent) as new:
        waiting = new / path.name
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
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
    return [path for path, sha256 in digests.items() if path.is_file() and digest(path) == sha256]


def _flush(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
