"""Finding pictures in a folder."""

from __future__ import annotations

import contextlib
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
    found, waiting = [], [(folder, "")]
    while waiting:
        place, prefix = waiting.pop()
        # Entries and text, no paths: a large data set is listed in every process that measures it.
        with contextlib.suppress(OSError), os.scandir(place) as entries:  # as os.walk does
            for entry in entries:
                name = entry.name
                if name.startswith("."):
                    continue
                if entry.is_dir():
                    if not entry.is_symlink():
                        waiting.append((place / name, f"{prefix}{name}/"))
                elif name[name.rfind(".") :].lower() in IMAGES and (
                    not entry.is_symlink() or Path(entry.path).resolve().is_relative_to(root)
                ):
                    found.append(f"{prefix}{name}")
    if not found:
        raise DataError(
            f"There is no picture in {folder}.",
            cure="Give a folder with pictures (jpg, png, webp, bmp).",
        )
    return sorted(found)
