"""Where a picture lies when it has the model's size: for its pixels, its labels and app code."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.contract import Preprocess


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """A picture after the resize, and the window of it that the model sees.

    Attributes:
        height, width: of the whole picture after the resize, in pixels.
        top, left: where the model's window starts in it.
    """

    height: int
    width: int
    top: int
    left: int


def geometry(picture: tuple[int, int], preprocess: Preprocess) -> Geometry:
    """What becomes of a picture of (height, width)."""
    height, width = picture
    if isinstance(preprocess.resize, int):
        # The longer side is cut, not rounded: what torchvision's Resize does.
        short = min(height, width)
        height, width = preprocess.resize * height // short, preprocess.resize * width // short
    elif preprocess.resize is not None:
        height, width = preprocess.resize
    if preprocess.crop is None:
        return Geometry(height=height, width=width, top=0, left=0)
    top, left = round((height - preprocess.crop[0]) / 2), round((width - preprocess.crop[1]) / 2)
    return Geometry(height=height, width=width, top=top, left=left)
