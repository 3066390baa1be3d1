"""Reading what somebody else wrote: regular files only, so many bytes at most, no raw errors.

Each function takes the class of the error that it raises, since the same file can be a slip in the
command, bad data or a bad model.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
import shutil
import stat
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias

from edgekit.errors import EdgekitError

MOST_BYTES = 2 << 30
"""Of a picture, a model, a list of annotations: as much as a flatbuffer can hold."""
MOST_TEXT = 64 << 20
"""Of a configuration or a list of names."""
_END = r"\Z"
"""With which `fnmatch.translate` ends."""
_LONGEST_NAME = 255
_LONGEST_PATH = 4095

Kind: TypeAlias = Literal["file", "folder", "other", "none"]


def kind_of(path: Path) -> Kind:
    """What is at a path, without opening it; ``other`` is a pipe, a device or a socket."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # nothing there, or no name that a file can have
        return "none"
    if stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) else "other"


def is_name(text: str) -> bool:
    """Whether a file can be called so, here or below some folder."""
    try:
        encoded = os.fsencode(text)
    except UnicodeError:
        return False
    parts = encoded.split(b"/")
    long = len(encoded) > _LONGEST_PATH or any(len(part) > _LONGEST_NAME for part in parts)
    return bool(encoded) and not long and b"\0" not in encoded


def is_inside(path: Path, folder: Path) -> bool:
    """Whether a path, with its links followed, lies in a folder."""
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError):
        return False


def shown(path: Path | str) -> str:
    """A path for a message: one that is too long to read is cut."""
    text = str(path)
    return text if len(text) <= _LONGEST_NAME else f"{text[:100]}…{text[-50:]}"


def read_bytes(
    path: Path, error: type[EdgekitError], *, cure: str = "", most: int = MOST_BYTES
) -> bytes:
    """The content of a regular file.

    Raises:
        error: it is missing, no regular file, cannot be read, or has more than ``most`` bytes.
    """
    cure = cure or "Check that the file exists and that you may read it."
    try:
        # A pipe that nobody writes to must not be waited for.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(handle, "rb") as stream:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise error(f"{shown(path)} is not a regular file.", cure="Give a file on a disk.")
            data = stream.read() if found.st_size <= most else None
    except OSError as problem:
        why = problem.strerror or problem
        raise error(f"{shown(path)} cannot be read: {why}.", cure=cure) from problem
    except ValueError as problem:  # NUL or half a surrogate, from a JSON or TOML file
        raise error(f"{shown(path)!r} is not a name of a file.", cure=cure) from problem
    if data is None or len(data) > most:
        raise error(
            f"{shown(path)} has more than {most / 1e6:.0f} MB.", cure="Give a smaller file."
        )
    return data


def read_text(
    path: Path, error: type[EdgekitError], *, cure: str = "", most: int = MOST_TEXT
) -> str:
    """The text of a UTF-8 file, without a byte order mark.

    Raises:
        error: as `read_bytes`, or it is not UTF-8.
    """
    data = read_bytes(path, error, cure=cure, most=most)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise error(
            f"{shown(path)} is not UTF-8 text: {problem.reason} at byte {problem.start}.",
            cure="Save it as UTF-8.",
        ) from problem


def read_toml(path: Path, error: type[EdgekitError], *, cure: str = "") -> dict[str, Any]:
    """The table of a TOML file.

    Raises:
        error: as `read_text`, or it is not TOML, nests too deeply, or has an absurd number.
    """
    text = read_text(path, error, cure=cure)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as problem:
        raise error(
            f"{shown(path)} cannot be read as TOML: {problem}.",
            cure=cure or "Correct it; https://toml.io shows how it is written.",
        ) from problem


def lines_of(text: str) -> list[str]:
    r"""The lines of a text file: ends of lines are \n, \r\n and \r, and nothing else.

    `str.splitlines` also cuts at U+2028, form feeds and others that may be inside of a name.
    """
    lines = re.split(r"\r\n|\n|\r", text)
    return lines[:-1] if not lines[-1] else lines


@contextmanager
def temporary_folder(purpose: str) -> Iterator[Path]:
    """A folder for what one run needs for a while, removed in the end.

    It is named after this process, so that a later run can tell and remove what a killed one left.
    """
    remove_leftovers(Path(tempfile.gettempdir()), "edgekit-[a-z]*-")
    prefix = temporary_prefix(purpose)
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def temporary_prefix(purpose: str) -> str:
    """How a temporary folder of this process is called, for one that lives longer than a block."""
    return f"edgekit-{purpose}-{os.getpid()}-"


def remove_leftovers(folder: Path, prefix: str, *, nameless: bool = False) -> None:
    """Remove ``PREFIX PID -…`` of this user's processes that are gone; others stay untouched.

    Args:
        folder: where they lie.
        prefix: of their names, as `fnmatch` has it.
        nameless: also remove what has the prefix but no number: nobody else calls anything so.
    """
    numbered = re.compile(rf"{fnmatch.translate(prefix).removesuffix(_END)}(\d{{1,10}})-")
    for path in folder.glob(f"{prefix}*"):
        match = numbered.match(path.name)
        gone = not is_alive(int(match[1])) if match else nameless
        if not gone or not _is_mine(path):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink()


def is_alive(pid: int) -> bool:
    """Whether a process has this number."""
    import psutil

    return 0 < pid < 1 << 31 and psutil.pid_exists(pid)


def _is_mine(path: Path) -> bool:
    try:
        return path.lstat().st_uid == os.getuid()
    except (OSError, AttributeError):
        return False
