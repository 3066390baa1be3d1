"""What goes wrong in zip archives that somebody else made."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from pathlib import Path

ARCHIVE_ERRORS = (
    zipfile.BadZipFile,
    OSError,
    EOFError,
    KeyError,
    ValueError,  # with names that are not text
    OverflowError,
    RuntimeError,  # an encrypted member, or a compression or version that zipfile does not know
    struct.error,
    zlib.error,
    lzma.LZMAError,
)
"""What reading a damaged archive raises."""


def is_archive(path: Path) -> bool:
    """Whether a file ends as a zip archive does; `zipfile.is_zipfile` raises where it half does."""
    try:
        return zipfile.is_zipfile(path)
    except ARCHIVE_ERRORS:
        return False
