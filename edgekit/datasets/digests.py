"""What a sample is known by, here and on the machine where a reference was recorded."""

from __future__ import annotations

import hashlib
from pathlib import Path

from edgekit.calibration.tensors import Content, Picture
from edgekit.errors import DataError


def sample_digest(content: Content, path: Path | None = None) -> str:
    """SHA-256 of what a sample holds, before any preprocessing.

    Of a picture file it is the file's bytes: decoders may differ in the last bit from machine to
    machine, files do not. Otherwise it is names, types, shapes and values of the arrays by name.

    Args:
        content: the sample as it was read.
        path: its picture's file, where it is one.

    Raises:
        DataError: the file cannot be read.
    """
    import numpy as np

    if path is not None:
        try:
            with path.open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise DataError(
                f"{path} cannot be read: {error.strerror or error}.",
                cure="Check that the file exists and that you may read it.",
            ) from error
    arrays = {"picture": content.pixels} if isinstance(content, Picture) else content
    result = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        result.update(f"{name}\0{array.dtype.str}\0{np.shape(arrays[name])}\0".encode())
        result.update(array.tobytes())
    return result.hexdigest()
