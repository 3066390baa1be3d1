"""What a validation keeps on the disk: rows of measured chunks, and the reference's outputs.

Both are tables of columns. A table's file is a line of JSON (names, types, shapes, and a few words
beside them) and then the bytes of the columns: a run has thousands of them, and they are read in
microseconds. A file appears whole or not at all.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import ConversionError, SetupError
from edgekit.files import remove_leftovers
from edgekit.measure.rows import Joining, Rows
from edgekit.pipeline.publish import held, scratch_folder
from edgekit.toolchain import home

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_KEPT_SECONDS = 7 * 24 * 3600
"""A run that nobody resumed for a week is forgotten."""
_TRIMMED = 0.8
"""A cache that is full is emptied down to this share, so that it is not full again at once."""

_UNFINISHED = ".*.rows."
"""How tables begin that are being written, before the number of the process."""


def write_table(path: Path, columns: Mapping[str, Array], **words: Any) -> None:
    """Write columns, and JSON-ready words beside them."""
    import numpy as np

    arrays = {name: np.ascontiguousarray(column) for name, column in columns.items()}
    head = {name: [array.dtype.str, array.shape] for name, array in arrays.items()}
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{time.monotonic_ns()}")
    with temporary.open("wb") as stream:
        stream.write(json.dumps({"columns": head, "words": words}).encode() + b"\n")
        for array in arrays.values():
            stream.write(array.tobytes())
    temporary.replace(path)


def read_table(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """The columns (read only) and words of a file that `write_table` wrote.

    Raises:
        ValueError: it is none, or was damaged.
    """
    import numpy as np

    head, _, data = path.read_bytes().partition(b"\n")
    described = json.loads(head)
    columns, place = {}, 0
    for name, (kind, shape) in described["columns"].items():
        dtype = np.dtype(kind)
        count = int(np.prod(shape))
        values = np.frombuffer(data, dtype, count, place) if count else np.zeros(0, dtype)
        columns[name] = values.reshape(shape)
        place += count * dtype.itemsize
    return columns, described["words"]


@dataclass(frozen=True)
class RunStore:
    """The rows of one run, in the user's cache folder until the run is complete."""

    folder: Path

    @classmethod
    @contextmanager
    def open(cls, key: str, *, resume: bool) -> Iterator[RunStore]:
        """The folder of the run with this key; emptied first unless it is to be resumed.

        While the same run goes on in another process, this one has a folder for itself.
        """
        base, name = home.home() / "validations", key[:32]
        _forget_old(base)
        with ExitStack() as stack:
            try:
                stack.enter_context(held(base, name))
            except SetupError:
                folder = stack.enter_context(scratch_folder(base))
            else:
                folder = base / name
                if not resume:
                    shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True, exist_ok=True)
                remove_leftovers(folder, _UNFINISHED)
                os.utime(folder)
            yield cls(folder)

    def path(self, chunk: int) -> Path:
        """Where the rows of a chunk are, or will be."""
        return self.folder / f"chunk-{chunk:07d}.rows"

    def finished(self) -> set[int]:
        """The chunks that need not be measured again."""
        return {int(path.stem.partition("-")[2]) for path in self.folder.glob("chunk-*.rows")}

    def dropped(self) -> dict[int, str]:
        """Candidates that crashed on the data, with what happened."""
        try:
            text = (self.folder / "dropped.json").read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        return {int(number): why for number, why in json.loads(text).items()}

    def drop(self, dropped: Mapping[int, str]) -> None:
        """Remember which candidates crashed."""
        (self.folder / "dropped.json").write_text(json.dumps(dropped), encoding="utf-8")

    def remove(self) -> None:
        """The run is complete, or will never be."""
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True)
class ReferenceCache:
    """Outputs of references by what they were made from.

    Attributes:
        folder: one for each model, contract and version.
        keep: false for a reference that may change unseen (a server): its outputs serve one run.
    """

    folder: Path
    keep: bool = True

    @classmethod
    def open(cls, key: str | None, run: RunStore) -> ReferenceCache:
        """The cache of a reference; without a key what is kept ends with the run."""
        folder = references() / key[:32] if key else run.folder / "reference"
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder, _UNFINISHED)
        return cls(folder, keep=key is not None)

    def place(self, key: str) -> Path:
        """Where a chunk's outputs are, by the digest that a measuring process names.

        Raises:
            ConversionError: it is not a digest, and would lead elsewhere.
        """
        if not re.fullmatch("[0-9a-f]{64}", key):
            raise ConversionError("A measuring process names outputs that are not its own.")
        return self.folder / f"{key}.rows"

    def used(self, key: str) -> None:
        """What was used goes last: processes that measure may only read here."""
        with suppress(FileNotFoundError):  # another run has trimmed it, or the chunk is empty
            os.utime(self.place(key))


def references() -> Path:
    """The folder of all references' outputs."""
    return home.home() / "references"


def trim(folder: Path, most_bytes: float) -> int:
    """Remove the files that were not used for longest until the rest fits; how many went."""
    files = []
    for path in folder.rglob("*.rows"):
        try:
            status = path.stat()
        except FileNotFoundError:  # another run trims too
            continue
        files.append((status.st_mtime, status.st_size, path))
    total = sum(size for _, size, _ in files)
    if total <= most_bytes:
        return 0
    removed = 0
    for _, size, path in sorted(files):
        if total <= most_bytes * _TRIMMED:
            break
        path.unlink(missing_ok=True)
        total -= size
        removed += 1
    return removed


def _forget_old(base: Path) -> None:
    if not base.is_dir():
        return
    for folder in base.iterdir():
        try:
            if time.time() - folder.stat().st_mtime > _KEPT_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
        except FileNotFoundError:
            continue


def load_rows(store: RunStore, chunks: Iterable[int], candidates: int) -> Rows:
    """Read the rows of some chunks, in their order.

    Args:
        store: where they are.
        chunks: those that are finished.
        candidates: how many there are; one that crashed has rows of some chunks only.
    """
    joining = Joining(candidates)
    for chunk in sorted(chunks):
        columns, words = read_table(store.path(chunk))
        joining.add(columns, words["skipped"])
    return joining.rows()
