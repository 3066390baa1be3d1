"""Small pictures for reports: decoded small, scaled down, as bytes that a page can hold."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]

SIDE = 256
_TINY = 64
"""Pictures up to this size stay as they are, without loss: JPEG would blur an 8×8 digit."""
_QUALITY = 72
_MOST_BYTES = 64_000_000


@dataclass(frozen=True, kw_only=True)
class Thumbnail:
    """An encoded picture; ``width`` and ``height`` in pixels."""

    data: bytes
    kind: str
    width: int
    height: int

    @property
    def uri(self) -> str:
        """The picture as an address that needs no file."""
        return f"data:image/{self.kind};base64,{base64.b64encode(self.data).decode('ascii')}"

    @property
    def tiny(self) -> bool:
        """Whether it must be shown larger than it is."""
        return max(self.width, self.height) <= _TINY


def thumbnail(path: Path, *, side: int = SIDE) -> Thumbnail | None:
    """A picture with its longer side scaled down to at most ``side`` pixels.

    Turned as its EXIF data says. ``None`` where the file is missing or no picture: a report about a
    run is still a report when the data has been moved since.
    """
    pixels = _read(path, side)
    return None if pixels is None else encoded(pixels, side=side)


def encoded(pixels: Array, *, side: int = SIDE) -> Thumbnail | None:
    """Pixels (H, W), (H, W, 3) BGR or (H, W, 4) BGRA of 8 bits, scaled down in the same way."""
    import cv2

    longest = max(pixels.shape[:2])
    if longest > side:
        height, width = (max(1, round(size * side / longest)) for size in pixels.shape[:2])
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    height, width = pixels.shape[:2]
    tiny = max(height, width) <= _TINY or pixels.shape[2:] == (4,)
    kind, options = ("png", []) if tiny else ("jpeg", [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    done, data = cv2.imencode(f".{kind}", pixels, options)
    if not done:
        return None
    return Thumbnail(data=data.tobytes(), kind=kind, width=width, height=height)


def _read(path: Path, side: int) -> Array | None:
    """(H, W, 3) BGR of 8 bits; a JPEG is decoded at an eighth of its size where that is enough."""
    import cv2
    import numpy as np

    try:
        if path.stat().st_size > _MOST_BYTES:
            return None
        data = np.fromfile(path, np.uint8)
    except (OSError, ValueError):  # ValueError: a path with a null character
        return None
    if not len(data):
        return None
    reduced = (cv2.IMREAD_REDUCED_COLOR_8, cv2.IMREAD_REDUCED_COLOR_4, cv2.IMREAD_REDUCED_COLOR_2)
    for how in (*reduced, cv2.IMREAD_COLOR):
        try:
            pixels = cv2.imdecode(data, how)
        except cv2.error:  # an absurd size in a damaged header
            return None
        if pixels is None:
            return None
        if max(pixels.shape[:2]) >= side or how == cv2.IMREAD_COLOR:
            return np.asarray(pixels)
    return None
