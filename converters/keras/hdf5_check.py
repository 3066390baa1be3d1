"""Reads all of an HDF5 file before Keras does: damaged ones can keep the HDF5 library for ever.

Its B-trees, heaps and links are read by native code that believes them, and a loop in there heeds
nobody. So all is read once, within a time; and before room is made for a dataset, it is held
against the size of the file.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import h5py

from edgekit_worker import WorkerError, in_time

_SECONDS, _BYTES_A_SECOND = 30.0, 5e6
_MOST_PACKED = 1100
"""Deflate makes of a byte no more than 1,032."""
_SUFFIXES = (".h5", ".hdf5")
_DAMAGED = (
    *(OSError, EOFError, ValueError, LookupError, TypeError, RuntimeError, OverflowError),
    *(zipfile.BadZipFile, zlib.error),
)
"""What h5py and zipfile raise on files that somebody damaged."""


def check_weights(path: Path) -> None:
    """Read the HDF5 file that is the file, or that is in a ``.keras`` archive.

    Raises:
        WorkerError: it cannot be read, or has more numbers than it can hold.
    """
    try:
        if path.suffix in _SUFFIXES:
            with path.open("rb") as stream:
                _read_all(stream, path.stat().st_size)
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for member in archive.infolist():
                    if member.filename.endswith(_SUFFIXES):
                        with archive.open(member) as stream:
                            _read_all(stream, member.file_size)  # type: ignore[arg-type]
    except _DAMAGED as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise WorkerError(
            f"{path} is damaged or no Keras file: {first}",
            cure="Save the model again: model.save(…)",
            kind="model",
        ) from error


def _read_all(stream: BinaryIO, size: int) -> None:
    def read(name: str, entry: Any) -> None:
        for value in entry.attrs:
            entry.attrs[value]
        if isinstance(entry, h5py.Dataset):
            if entry.nbytes > _MOST_PACKED * size:
                raise ValueError(f"{name} has more numbers than the file can hold")
            if entry.nbytes:
                entry[()]

    with in_time(_SECONDS + size / _BYTES_A_SECOND), h5py.File(stream, "r") as file:
        read("/", file)
        file.visititems(read)
