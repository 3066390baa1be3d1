"""A video as samples: frames, evenly spread."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from edgekit.calibration.samples import Sample, Source
from edgekit.calibration.tensors import Picture
from edgekit.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

MAX_FRAMES = 512
"""Neighbouring frames are nearly the same picture: more would cost time and tell nothing."""


def open_video(path: Path) -> Source:
    """Up to `MAX_FRAMES` frames of a video, evenly spread.

    The last quarter is for parity and the rest for calibration: frames taken at random would put
    a frame into one and its neighbour, almost the same picture, into the other.

    Raises:
        DataError: OpenCV cannot decode the file.
    """
    reader = _Reader(path)
    total = reader.count()
    if not total:
        raise DataError(
            f"{path} is not a video that OpenCV can decode.",
            cure="Convert it to H.264 in .mp4, or give its frames as a folder of pictures.",
        )
    count = min(total, MAX_FRAMES)
    frames = [position * total // count for position in range(count)]
    first_for_parity = count - count // 4
    return Source(
        name=path.name,
        samples=tuple(
            Sample(
                id=f"{path.name}[{frame}]",
                read=partial(reader.read, frame),
                split="parity" if position >= first_for_parity else "calibration",
            )
            for position, frame in enumerate(frames)
        ),
        parallel=False,
    )


class _Reader:
    """Reads frames by number, fast if they are asked for in order.

    Seeking is slow or wrong in many formats; so it goes forward frame by frame, and starts again
    for an earlier one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._capture: Any = None
        self._next = 0

    def count(self) -> int:
        """The number of frames; 0 if the file is not a video."""
        import cv2

        self._open()
        # Some containers do not know: then every frame has to be looked at.
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if count <= 0:
            count = sum(1 for _ in iter(self._capture.grab, False))
        elif not self._capture.grab():
            count = 0
        self._capture = None
        return count

    def read(self, frame: int) -> Picture:
        """One frame.

        Raises:
            DataError: the video ends before it, or is damaged there.
        """
        if self._capture is None or frame < self._next:
            self._open()
        while self._next <= frame:
            if not self._capture.grab():
                raise DataError(
                    f"{self._path.name} has no readable frame {frame}.",
                    cure="Convert the video again, or give its frames as pictures.",
                )
            self._next += 1
        ok, pixels = self._capture.retrieve()
        if not ok:
            raise DataError(f"Frame {frame} of {self._path.name} cannot be decoded.")
        return Picture(pixels=pixels)

    def _open(self) -> None:
        import cv2

        if self._capture is not None:
            self._capture.release()
        self._capture = cv2.VideoCapture(str(self._path))
        self._next = 0
