"""What MediaPipe Tasks wants to know beyond the schema: entries of their own, each a flatbuffer.

Their schemas have the identifier ``V001``; slots are the fields' places in their tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.contract import Decoder
from edgekit.standard_metadata.schema import custom
from edgekit.standard_metadata.tables import Table, TableNumber, to_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_IDENTIFIER = b"V001"
_ACTIVATIONS = {"none": 0, "sigmoid": 1, "softmax": 2}


def segmenter(activation: str = "none") -> Table:
    """``ImageSegmenterOptions``: what turns the output into shares."""
    options = Table({0: TableNumber(kind="int8", value=_ACTIVATIONS[activation])})
    return custom("SEGMENTER_METADATA", to_bytes(options, _IDENTIFIER))


def detector(decoder: Decoder, anchors: Array, classes: int) -> Table:
    """``ObjectDetectorOptions`` of a detector whose boxes are offsets to anchors.

    Args:
        decoder: of format ``ssd``, with boxes as cx, cy, w, h.
        anchors: (N, 4), cx, cy, w, h as shares of the picture.
        classes: entries of a row of scores.
    """
    fixed = Table({0: [_anchor(row) for row in anchors.tolist()]})
    x, y, w, h = (1 / variance for variance in decoder.variances)
    decoding = Table(
        {
            0: TableNumber(kind="int32", value=classes),
            1: TableNumber(kind="int32", value=len(anchors)),
            2: TableNumber(kind="int32", value=4),
            5: TableNumber(
                kind="int32", value=2
            ),  # of a keypoint; asked for even where there is none
            6: TableNumber(kind="float32", value=x),
            7: TableNumber(kind="float32", value=y),
            8: TableNumber(kind="float32", value=w),
            9: TableNumber(kind="float32", value=h),
            10: TableNumber(kind="bool", value=True),
            11: TableNumber(kind="bool", value=decoder.activation == "sigmoid"),
        }
    )
    options = Table({1: Table({0: fixed}), 2: decoding})
    return custom("DETECTOR_METADATA", to_bytes(options, _IDENTIFIER))


def _anchor(row: list[float]) -> Table:
    return Table({slot: TableNumber(kind="float32", value=value) for slot, value in enumerate(row)})
