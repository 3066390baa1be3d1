"""What a sample is known by, here and on the machine where a reference was recorded."""

from __future__ import annotations

import hashlib

from edgekit.calibration.tensors import Content, Picture


def sample_digest(content: Content) -> str:
    """SHA-256 of what a sample holds, before any preprocessing.

    Of a picture file it is the file's bytes: decoders may differ in the last bit from machine to
    machine, files do not. Otherwise it is names, types, shapes and values of the arrays by name.

    Args:
        content: the sample as it was read.
    """
    import numpy as np

    if isinstance(content, Picture) and content.encoded:
        return hashlib.sha256(content.encoded).hexdigest()
    arrays = {"picture": content.pixels} if isinstance(content, Picture) else content
    result = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        result.update(f"{name}\0{array.dtype.str}\0{np.shape(arrays[name])}\0".encode())
        result.update(array.tobytes())
    return result.hexdigest()
