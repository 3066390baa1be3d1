"""Resizing as the contract's, written out: what every generated wrapper does, in plain NumPy.

OpenCV computes on 8 bits in its own way, and a wrapper that computes otherwise gives other pixels.
This module is the same arithmetic without OpenCV, and the text from which the wrappers in other
languages were written. Against OpenCV 5.0.0 on x86-64: bilinear, area and nearest are equal bit for
bit, bicubic within one grey level (`tests/unit/test_embed_resize.py`).

Bilinear (and area where a side grows) works with weights of 11 bits, rounded as
``((b0·(r0 >> 4) >> 16) + (b1·(r1 >> 4) >> 16) + 2) >> 2`` over two rows that were already weighted
along x. Bicubic has four such weights (a = −0.75). Area where both sides shrink is the mean over
the covered pixels in float32.

With ``antialias`` it is Pillow's: a filter as wide as the factor, first along x, then along y, each
pass with weights of 22 bits that add up to one, and its result rounded to 8 bits. Equal bit for bit
to Pillow up to 12 in every filter; Pillow 13 has other passes first for some sizes, and
`edgekit.preprocess` does not let it. Sources: the filters of C. E. Duchon, "Lanczos
Filtering in One and Two Dimensions", 1979, and R. G. Keys, "Cubic Convolution Interpolation for
Digital Image Processing", 1981; the numbers of bits by measuring Pillow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from edgekit.contract import Interpolation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]

_ONE = 2048
"""The weight 1 in 11 bits."""
_FINE = 1 << 22
"""The weight 1 in 22 bits."""
_LEAST_COVER = 1e-3
"""A pixel that is covered less than this does not count (OpenCV's constant)."""


def step(given: int, wanted: int) -> float:
    """How far apart neighbours are in the given picture; in double precision, and in this order.

    ``given / wanted`` may differ in the last bit, and then another pixel is taken.
    """
    return 1 / (wanted / given)


def resize(
    image: Array, size: tuple[int, int], interpolation: Interpolation, *, antialias: bool = False
) -> Array:
    """A uint8 picture (h, w, C) in another size.

    Args:
        image: the picture.
        size: (height, width).
        interpolation: how.
        antialias: as Pillow does, not as OpenCV.
    """
    import numpy as np

    if image.shape[:2] == size:
        return image
    if antialias:
        narrow = _pass(image.swapaxes(0, 1), size[1], interpolation)
        return _pass(narrow.swapaxes(0, 1), size[0], interpolation)
    match interpolation:
        case "bilinear":
            result = _linear(image, *(_halfway(n, m) for n, m in zip(image.shape, size)))  # noqa: B905
        case "bicubic":
            result = _cubic(image, size)
        case "area":
            result = _area(image, size)
        case _:
            rows, columns = (
                np.minimum(np.floor(np.arange(m) * step(n, m)).astype(int), n - 1)
                for n, m in zip(image.shape[:2], size, strict=True)
            )
            result = image[rows][:, columns]
    return np.asarray(result, np.uint8)


def _pass(image: Array, wanted: int, interpolation: Interpolation) -> Array:
    """Rows (h, …) to ``wanted`` rows: sums of 8-bit pixels by weights of 22 bits, rounded to 8."""
    import numpy as np

    given = len(image)
    factor = given / wanted
    wide = max(factor, 1.0)
    reach, weigh = _FILTERS[interpolation]
    result = np.empty((wanted, *image.shape[1:]), np.uint8)
    for place in range(wanted):
        centre = (place + 0.5) * factor
        first = max(0, int(centre - reach * wide + 0.5))
        last = min(given, int(centre + reach * wide + 0.5))
        exact = [weigh((one - centre + 0.5) / wide) for one in range(first, last)]
        total = sum(exact)
        scaled = [_FINE * weight / total for weight in exact]
        weights = [int(weight + (0.5 if weight >= 0 else -0.5)) for weight in scaled]
        sums = np.tensordot(weights, image[first:last].astype(np.int64), (0, 0)) + _FINE // 2
        result[place] = (sums >> 22).clip(0, 255)
    return result


def _triangle(x: float) -> float:
    return max(0.0, 1.0 - abs(x))


def _keys(x: float) -> float:
    """Keys' cubic with a = −0.5."""
    x = abs(x)
    if x < 1:
        return (1.5 * x - 2.5) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * -0.5 if x < 2 else 0.0


def _sinc(x: float) -> float:
    return math.sin(math.pi * x) / (math.pi * x) if x else 1.0


def _hamming(x: float) -> float:
    """Its two constants are 0.54 and 0.46 in single precision."""
    window = 0.5400000214576721 + 0.46000000834465027 * math.cos(math.pi * x)
    return _sinc(x) * window if abs(x) < 1 else 0.0


_FILTERS: dict[str, tuple[float, Callable[[float], float]]] = {
    "box": (0.5, lambda x: float(-0.5 < x <= 0.5)),
    "bilinear": (1.0, _triangle),
    "hamming": (1.0, _hamming),
    "bicubic": (2.0, _keys),
    "lanczos": (3.0, lambda x: _sinc(x) * _sinc(x / 3) if -3 <= x < 3 else 0.0),
}
"""How far each reaches, in pixels of the smaller picture, and its weight at a distance."""


def _halfway(given: int, wanted: int) -> tuple[Array, Array]:
    """For each wanted pixel: the given one before it, and how far it is beyond that, in float32."""
    import numpy as np

    place = np.float32((np.arange(wanted) + 0.5) * step(given, wanted) - 0.5)
    before = np.floor(place).astype(int)
    return before, place - before.astype(np.float32)


def _linear(image: Array, rows: tuple[Array, Array], columns: tuple[Array, Array]) -> Array:
    """Two weights a side. At the borders columns lose their weight, rows are repeated."""
    import numpy as np

    height, width = image.shape[:2]
    x, beyond = columns
    beyond = np.where((x < 0) | (x >= width - 1), np.float32(0), beyond)
    x = x.clip(0, width - 1)
    before, after = _weights(beyond)
    values = image.astype(np.int64)
    across = values[:, x] * before[:, None] + values[:, (x + 1).clip(0, width - 1)] * after[:, None]
    y, below = rows
    upper, lower = (weight[:, None, None] for weight in _weights(below))
    first, second = across[y.clip(0, height - 1)], across[(y + 1).clip(0, height - 1)]
    rounded = ((upper * (first >> 4)) >> 16) + ((lower * (second >> 4)) >> 16)
    return np.asarray((rounded + 2) >> 2)


def _weights(beyond: Array) -> tuple[Array, Array]:
    import numpy as np

    after = np.rint(beyond * np.float32(_ONE)).astype(np.int64)
    return np.rint((np.float32(1) - beyond) * np.float32(_ONE)).astype(np.int64), after


def _cubic(image: Array, size: tuple[int, int]) -> Array:
    """Four weights a side, borders repeated."""
    import numpy as np

    height, width = image.shape[:2]
    (y, below), (x, beyond) = _halfway(height, size[0]), _halfway(width, size[1])
    values = image.astype(np.int64)
    across = sum(
        values[:, (x + k - 1).clip(0, width - 1)] * weight[:, None]
        for k, weight in enumerate(_cubic_weights(beyond))
    )
    down = sum(
        np.asarray(across)[(y + k - 1).clip(0, height - 1)] * weight[:, None, None]
        for k, weight in enumerate(_cubic_weights(below))
    )
    return np.asarray((down + (1 << 21)) >> 22).clip(0, 255)


def _cubic_weights(beyond: Array) -> list[Array]:
    """Keys' cubic with a = −0.75, in 11 bits."""
    import numpy as np

    a, one = np.float32(-0.75), np.float32(1)
    x, left = beyond + one, one - beyond
    first = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    second = ((a + 2) * beyond - (a + 3)) * beyond * beyond + one
    third = ((a + 2) * left - (a + 3)) * left * left + one
    exact = (first, second, third, one - first - second - third)
    return [np.rint(weight * np.float32(_ONE)).astype(np.int64) for weight in exact]


def _area(image: Array, size: tuple[int, int]) -> Array:
    """The mean over what a pixel covers; where a side grows, linear with sharp steps."""
    import numpy as np

    (height, width), (rows, columns) = image.shape[:2], size
    if rows > height or columns > width:
        return _linear(image, _steps(height, rows), _steps(width, columns))
    if height % rows == 0 and width % columns == 0:
        tall, wide = height // rows, width // columns
        sums = image.astype(np.int64).reshape(rows, tall, columns, wide, -1).sum((1, 3))
        if tall == wide == 2:
            return np.asarray((sums + 2) >> 2)
        return np.asarray(np.rint(sums.astype(np.float32) * np.float32(1 / (tall * wide))))
    across = np.einsum("Ww,hwc->hWc", _cover(width, columns), image.astype(np.float32))
    mean = np.einsum("Hh,hwc->Hwc", _cover(height, rows), across)
    return np.asarray(np.rint(mean).clip(0, 255))


def _steps(given: int, wanted: int) -> tuple[Array, Array]:
    """As `_halfway`, for area where a side grows."""
    import numpy as np

    wanted_place = np.arange(wanted)
    before = np.floor(wanted_place * step(given, wanted)).astype(int)
    beyond = ((wanted_place + 1) - (before + 1) * (wanted / given)).astype(np.float32)
    return before, np.where(beyond <= 0, np.float32(0), beyond - np.floor(beyond))


def _cover(given: int, wanted: int) -> Array:
    """(wanted, given): which share of a wanted pixel each given one covers."""
    import numpy as np

    size = step(given, wanted)
    shares = np.zeros((wanted, given), np.float32)
    for place in range(wanted):
        start, end = place * size, place * size + size
        whole = min(size, given - start)
        last = min(int(np.floor(end)), given - 1)
        first = min(int(np.ceil(start)), last)
        if first - start > _LEAST_COVER:
            shares[place, first - 1] = (first - start) / whole
        shares[place, first:last] = 1 / whole
        if end - last > _LEAST_COVER:
            shares[place, last] = min(end - last, 1.0, whole) / whole
    return shares
