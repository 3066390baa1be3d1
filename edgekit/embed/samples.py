"""The pictures that golden vectors and the cost of other resizes are made from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from edgekit.calibration import open_source
from edgekit.calibration.tensors import Picture
from edgekit.contract import InputContract, Preprocess
from edgekit.errors import DataError, UsageError
from edgekit.geometry import geometry
from edgekit.measure.tasks import input_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]

_REPORT = "edgekit-report.json"
_SAMPLE = Path(__file__).parents[2] / "calibration_data"
_LEAST_LONG_SIDE = 480
_COLOURFUL = 8
"""Mean difference of red and blue, in grey levels, from which on a swap of them shows."""


def find_folder(model: Path, stated: Path | None) -> tuple[Path, str]:
    """Where the pictures are, and who said so.

    Raises:
        UsageError: nobody said so.
    """
    if stated is not None:
        return stated, "--samples"
    report = model.with_name(_REPORT)
    try:
        known = json.loads(report.read_text(encoding="utf-8"))["data"]["path"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        known = None
    if isinstance(known, str) and Path(known).exists():
        return Path(known), f"the calibration data in {report.name}"
    if _SAMPLE.is_dir():
        return _SAMPLE, "edgekit's own sample"
    raise UsageError(
        "It is not known which pictures to make golden vectors from.",
        cure="Give a folder with a few that the app will really see: --samples photos/",
    )


def read_pictures(folder: Path, most: int, *, entry: InputContract) -> list[tuple[str, Array]]:
    """Pictures by name, uint8 RGB (h, w, 3), spread evenly over the folder.

    One that the resize would leave as it is gets half as large again first: golden vectors must
    test the resize. Its name then says so.

    Args:
        folder: of pictures, or a video.
        most: at most so many.
        entry: the model's input, with preprocessing; a picture much larger than that is made
            smaller first, so that golden vectors stay small.

    Raises:
        DataError: there is no picture, or one cannot be read.
    """
    samples = open_source(folder).samples
    assert entry.preprocess is not None
    size = input_size(entry.tensor)
    assert size is not None
    longest = max(_LEAST_LONG_SIDE, 2 * max(size))
    step = max(1, len(samples) // most)
    found = []
    for sample in samples[::step][:most]:
        content = sample.read()
        if not isinstance(content, Picture):
            raise DataError(
                f"{sample.id} is an array, not a picture.",
                cure="Give a folder of pictures with --samples: wrappers start from pixels.",
            )
        picture = _as_rgb(content.pixels, longest)
        found.append(_resizable(sample.id, picture, entry.preprocess, size))
    if not found:
        raise DataError(f"There is no picture in {folder}.", cure="Give another --samples folder.")
    return found


def choose(pictures: Sequence[tuple[str, Array]], count: int) -> list[tuple[str, Array]]:
    """The ones for golden vectors: colourful ones first, since gray ones hide swapped channels."""
    ordered = sorted(pictures, key=lambda named: _colour(named[1]) < _COLOURFUL)
    return list(ordered[:count])


def _colour(picture: Array) -> float:
    return float(abs(picture[..., 0].astype(float) - picture[..., 2]).mean())


def _resizable(
    name: str, picture: Array, preprocess: Preprocess, model: tuple[int, int]
) -> tuple[str, Array]:
    import cv2

    height, width = picture.shape[:2]
    after = geometry((height, width), preprocess, model)
    if preprocess.resize is None or (after.height, after.width) != (height, width):
        return name, picture
    size = (width * 3 // 2, height * 3 // 2)
    return f"{name}, enlarged", cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)


def _as_rgb(pixels: Array, longest: int) -> Array:
    import cv2
    import numpy as np

    channels = pixels.shape[2]
    code = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}[channels]
    picture = cv2.cvtColor(pixels, code)
    height, width = picture.shape[:2]
    if (long := max(height, width)) > longest:
        size = (max(1, width * longest // long), max(1, height * longest // long))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(picture)
