"""What jobs have come to: a row each in a SQLite file, and their files in a folder beside it.

A finished job is there whole or not at all. Its files are moved into place first, under the digest
of their content, and then its row says that it is done; whoever is killed in between has left files
that nothing points to, and the next run puts the same in their place. The file is in WAL mode, so
that others can look while a run writes.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from edgekit.errors import SetupError
from edgekit.jobs.protocol import Ending, Job, Outcome, Plain
from edgekit.plain import from_plain

STATE_NAME = "state.sqlite"
SCHEMA_VERSION = 1
_FILES = "artifacts"
_NEW = ".new-"
_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE jobs (
  key TEXT PRIMARY KEY, name TEXT NOT NULL, ending TEXT NOT NULL, tries INTEGER NOT NULL,
  reason TEXT NOT NULL, exit_code INTEGER NOT NULL, value TEXT NOT NULL, files TEXT NOT NULL,
  seconds REAL NOT NULL, machine TEXT NOT NULL
) WITHOUT ROWID;
"""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, kw_only=True)
class KeptJob:
    """What is known of a job that has ended.

    ``files`` is the digest of its folder, empty where it has none; ``tries`` counts its starts.
    The rest is as in `Outcome`.
    """

    key: str
    name: str
    ending: Ending
    tries: int
    reason: str = ""
    exit_code: int = 0
    value: Plain = None
    files: str = ""
    seconds: float = 0.0
    machine: Mapping[str, str] = field(default_factory=dict)


class Store:
    """The jobs of one folder. Used as a context manager, which opens the file.

    Args:
        folder: with the file and the artifacts; it is made where ``version`` is given.
        version: of edgekit, which begins or goes on with this; ``None`` only to look.

    Raises:
        SetupError: on entering: there is nothing to look at, the file is damaged, another version
            wrote it, or the disk is full.
    """

    def __init__(self, folder: Path, *, version: str | None = None) -> None:
        self.folder = folder
        self._version = version
        self._base: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        path = self.folder / STATE_NAME
        if self._version is None and not path.is_file():
            raise SetupError(
                f"{self.folder} holds no sweep: there is no {STATE_NAME}.",
                cure="Name the folder that edgekit sweep wrote to.",
            )
        with self._errors():
            self._base = self._open(path)
            self._remove_leftovers()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._base is not None:
            with contextlib.suppress(sqlite3.Error):  # all that was committed is there
                self._base.close()
            self._base = None

    def __getitem__(self, key: str) -> KeptJob:
        found = self.find([key])
        return found[key]

    def find(self, keys: Iterable[str]) -> dict[str, KeptJob]:
        """What is known of these jobs; those that never ended are left out."""
        wanted = list(keys)
        found = {}
        with self._errors():
            for start in range(0, len(wanted), 500):
                some = wanted[start : start + 500]
                marks = ",".join("?" * len(some))
                rows = self._ready.execute(f"SELECT * FROM jobs WHERE key IN ({marks})", some)  # noqa: S608  only marks
                found.update({row[0]: _kept(row) for row in rows})
        return found

    def path(self, files: str) -> Path:
        """Where the files of a job are, by their digest."""
        return self.folder / _FILES / files[:2] / files

    def note(self, name: str, value: Plain) -> None:
        """Keep a named piece of plain data, such as the plan."""
        with self._errors(), self._ready as base:
            base.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, json.dumps(value)))

    def noted(self, name: str) -> Any:
        """What `note` kept, ``None`` where nothing."""
        with self._errors():
            row = self._ready.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
            return None if row is None else _parsed(row[0])

    def keep(self, ended: Sequence[tuple[Job, Outcome, int]]) -> list[KeptJob]:
        """Keep jobs that have ended, with the number of their tries; all at once.

        The folders of the outcomes are moved, and are gone afterwards.

        Raises:
            SetupError: the disk is full, or the file was damaged meanwhile.
        """
        with self._errors():
            kept = [self._entry(*one) for one in ended]
            with self._ready as base:
                base.executemany(
                    "INSERT OR REPLACE INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    map(_row, kept),
                )
        return kept

    def _entry(self, job: Job, outcome: Outcome, tries: int) -> KeptJob:
        files = ""
        if outcome.folder is not None and outcome.ending == Ending.DONE:
            files = self._adopt(outcome.folder)
        elif outcome.folder is not None:
            shutil.rmtree(outcome.folder, ignore_errors=True)
        return KeptJob(
            key=job.key,
            name=job.name,
            ending=outcome.ending,
            tries=tries,
            reason=outcome.reason,
            exit_code=outcome.exit_code,
            value=outcome.value,
            files=files,
            seconds=outcome.seconds,
            machine=outcome.machine,
        )

    def _adopt(self, folder: Path) -> str:
        """Move a folder to the place of its content; the digest of that."""
        listing = _listing(folder)
        if not listing:
            shutil.rmtree(folder, ignore_errors=True)
            return ""
        files = hashlib.sha256(json.dumps(listing).encode()).hexdigest()
        place = self.path(files)
        if place.exists():
            shutil.rmtree(folder, ignore_errors=True)
            return files
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.rename(place)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            waiting = Path(tempfile.mkdtemp(prefix=_NEW, dir=place.parent)) / "files"
            shutil.copytree(folder, waiting)
            waiting.rename(place)
            waiting.parent.rmdir()
            shutil.rmtree(folder, ignore_errors=True)
        return files

    def _remove_leftovers(self) -> None:
        """Files that no job has: of runs that were killed, and of jobs that were done once more."""
        if self._version is None:
            return
        wanted = {row[0] for row in self._ready.execute("SELECT files FROM jobs")}
        for path in (self.folder / _FILES).glob("*/*"):
            if path.name not in wanted:
                shutil.rmtree(path, ignore_errors=True)

    def _open(self, path: Path) -> sqlite3.Connection:
        if self._version is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
        # Who only looks changes nothing; where nobody writes, not even SQLite's own files are made.
        way = "mode=rwc"
        if self._version is None:
            way = "mode=ro" if Path(f"{path}-wal").exists() else "immutable=1"
        base = sqlite3.connect(f"{path.absolute().as_uri()}?{way}", uri=True, timeout=30.0)
        base.text_factory = partial(str, encoding="utf-8", errors="replace")
        try:
            self._prepare(base)
        except BaseException:
            base.close()
            raise
        return base

    def _prepare(self, base: sqlite3.Connection) -> None:
        if self._version is not None:
            base.execute("PRAGMA journal_mode = WAL")
            base.execute("PRAGMA synchronous = NORMAL")
        if base.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("its pages contradict each other")
        schema = base.execute("PRAGMA user_version").fetchone()[0]
        if schema == 0 and base.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
            base.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        elif schema != SCHEMA_VERSION:
            raise SetupError(
                f"{self.folder / STATE_NAME} has the form {schema}; this edgekit knows "
                f"{SCHEMA_VERSION}.",
                cure="Use the edgekit that wrote it, or begin anew in another folder.",
            )
        self._check_version(base)

    def _check_version(self, base: sqlite3.Connection) -> None:
        """Results of two versions are not mixed: another kernel or rounding may be in between."""
        if self._version is None:
            return
        row = base.execute("SELECT value FROM meta WHERE name = 'edgekit'").fetchone()
        wrote = self._version if row is None else json.loads(row[0])
        if wrote != self._version:
            raise SetupError(
                f"{self.folder} was begun by edgekit {wrote}, and this is {self._version}: results "
                "of two versions are not mixed.",
                cure=f"Finish it with edgekit {wrote}, or begin anew in another folder.",
            )
        if row is None:
            with base:
                base.execute("INSERT INTO meta VALUES ('edgekit', ?)", (json.dumps(wrote),))

    @property
    def _ready(self) -> sqlite3.Connection:
        assert self._base is not None, "the store is not open"
        return self._base

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """What SQLite and the disk say, in words and with a cure."""
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:
            if "full" in str(error):
                raise self._full() from error
            if isinstance(error, sqlite3.OperationalError) and "malformed" not in str(error):
                raise SetupError(
                    f"{self.folder / STATE_NAME} cannot be used: {error}.",
                    cure="Check the folder's permissions and its disk.",
                ) from error
            raise SetupError(
                f"{self.folder / STATE_NAME} is damaged: {error}.",
                cure="Restore it from a copy, or remove the folder and begin anew.",
            ) from error
        except OSError as error:
            if error.errno not in _FULL:
                raise SetupError(
                    f"{error.filename or self.folder}: {error.strerror or error}.",
                    cure="Check the folder's permissions and its disk.",
                ) from error
            raise self._full() from error

    def _full(self) -> SetupError:
        return SetupError(
            f"The disk of {self.folder} is full. What had finished is kept.",
            cure="Free some space and run the same command again: it goes on from there.",
        )


def _listing(folder: Path) -> list[list[str]]:
    """The files of a folder with their digests, sorted; each is on the disk afterwards."""
    found = []
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            path = Path(parent, name)
            if path.is_symlink() or not path.is_file():
                path.unlink()  # what it points to is not the job's
                continue
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
                os.fsync(stream.fileno())
            found.append([path.relative_to(folder).as_posix(), digest])
    return sorted(found)


def _row(one: KeptJob) -> tuple[str | int | float, ...]:
    value, machine = json.dumps(one.value), json.dumps(dict(one.machine))
    start = (one.key, one.name, one.ending.value, one.tries, one.reason, one.exit_code)
    return *start, value, one.files, one.seconds, machine


def _kept(row: tuple[Any, ...]) -> KeptJob:
    """A row, whose columns are of their types if nobody but this module wrote it."""
    key, name, ending, tries, reason, exit_code, value, files, seconds, machine = row
    table = {
        "key": key,
        "name": name,
        "ending": ending,
        "tries": tries,
        "reason": reason,
        "exit_code": exit_code,
        "files": files,
        "seconds": seconds,
        "machine": _parsed(machine),
    }
    try:
        kept = replace(from_plain(KeptJob, table), ending=Ending(ending), value=_parsed(value))
    except (TypeError, ValueError, KeyError) as error:
        raise sqlite3.DatabaseError(f"a job in it makes no sense: {error}") from error
    if not (_DIGEST.fullmatch(kept.key) and (not kept.files or _DIGEST.fullmatch(kept.files))):
        raise sqlite3.DatabaseError("a job in it has no digest")
    return kept


def _parsed(text: Any) -> Any:
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise sqlite3.DatabaseError(f"what is noted in it is not JSON: {error}") from error
