"""Folders of files as plain data, to go from machine to machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from edgekit.errors import ConversionError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

Files = Mapping[str, "Array"]
"""The bytes of each file, as uint8, by its path in the folder."""


def pack(folder: Path) -> dict[str, Array]:
    """All files of a folder; links are followed, empty folders are left out."""
    import numpy as np

    return {
        path.relative_to(folder).as_posix(): np.fromfile(path, np.uint8)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def unpack(files: Files, folder: Path) -> None:
    """Write files into an empty folder, which is made.

    Raises:
        ConversionError: one would lie elsewhere.
    """
    folder.mkdir(parents=True)
    for name, content in files.items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise ConversionError(f"A job's file would lie outside of its folder: {name!r}.")
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        content.tofile(place)
