"""What goes wrong in zip archives that somebody else made."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib

ARCHIVE_ERRORS = (
    zipfile.BadZipFile,
    OSError,
    EOFError,
    KeyError,
    ValueError,  # with names that are no text
    OverflowError,
    RuntimeError,  # an encrypted member, or a compression or version that zipfile does not know
    struct.error,
    zlib.error,
    lzma.LZMAError,
)
"""What reading a damaged archive raises."""
