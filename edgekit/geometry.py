"""Where a picture lies when it has the model's size: for its pixels, its labels and app code."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.contract import Preprocess


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """A picture after the resize, and the window of it that the model sees.

    Attributes:
        height, width: of the whole picture after the resize, in pixels.
        top, left: where the model's window starts in it; negative where padding comes first.
    """

    height: int
    width: int
    top: int
    left: int


def geometry(picture: tuple[int, int], preprocess: Preprocess, size: tuple[int, int]) -> Geometry:
    """What becomes of a picture.

    Args:
        picture: its height and width.
        preprocess: what is done with it.
        size: height and width of the model's input, up to which a letterbox pads.
    """
    height, width = picture
    if preprocess.letterbox:
        return _letterbox(picture, preprocess, size)
    if isinstance(preprocess.resize, int):
        # The longer side is cut, not rounded: what torchvision's Resize does.
        short = min(height, width)
        height, width = preprocess.resize * height // short, preprocess.resize * width // short
    elif preprocess.resize is not None:
        height, width = preprocess.resize
    if preprocess.crop is None:
        return Geometry(height=height, width=width, top=0, left=0)
    whole = int if preprocess.crop_rounding == "down" else round
    top, left = whole((height - preprocess.crop[0]) / 2), whole((width - preprocess.crop[1]) / 2)
    return Geometry(height=height, width=width, top=top, left=left)


def _letterbox(picture: tuple[int, int], preprocess: Preprocess, size: tuple[int, int]) -> Geometry:
    """As ultralytics computes it: sides are rounded, and of an odd padding less comes first."""
    height, width = picture
    if preprocess.resize is not None:
        side = preprocess.resize
        tall, wide = (side, side) if isinstance(side, int) else side
        factor = min(tall / height, wide / width)
        factor = factor if preprocess.enlarge else min(factor, 1.0)
        height, width = max(1, round(height * factor)), max(1, round(width * factor))
    top, left = 0, 0
    if preprocess.pad_place == "centre":
        top, left = -((size[0] - height) // 2), -((size[1] - width) // 2)
    return Geometry(height=height, width=width, top=top, left=left)
