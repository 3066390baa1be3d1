"""Finding pictures in a folder."""

from __future__ import annotations

import os
from pathlib import Path

from edgekit.calibration.sources import IMAGES
from edgekit.errors import DataError


def pictures(folder: Path) -> list[str]:
    """The pictures below a folder: relative, sorted, without hidden files and links that leave it.

    Raises:
        DataError: there is none.
    """
    root = folder.resolve()
    found = []
    for base, folders, names in os.walk(folder, followlinks=False):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(base, name)
            if name.startswith(".") or path.suffix.lower() not in IMAGES:
                continue
            if not path.is_symlink() or path.resolve().is_relative_to(root):
                found.append(path.relative_to(folder).as_posix())
    if not found:
        raise DataError(
            f"There is no picture in {folder}.",
            cure="Give a folder with pictures (jpg, png, webp, bmp).",
        )
    return sorted(found)
