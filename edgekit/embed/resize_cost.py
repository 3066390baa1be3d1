"""What it costs to resize with a platform's own code in place of the contract's, measured.

The model is run on the same pictures, resized in other ways, and its outputs are compared with
those of the contract's way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from edgekit.embed.spec import Classification, Embedding
from edgekit.embed.stages import real_outputs, resized, tensor_of
from edgekit.geometry import geometry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgekit.contract import InputContract, Preprocess

    Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class ResizeCost:
    """Another way to resize, against the contract's.

    Attributes:
        way: which.
        like: where one meets it.
        levels: mean absolute difference of the pixels, in grey levels.
        worst_level: the greatest.
        sqnr_db: of the outputs over all samples, in decibels; the contract's way is the signal.
        same_class: the share of samples with the same best class; ``None`` for other tasks.
        samples: how many.
    """

    way: str
    like: str
    levels: float
    worst_level: int
    sqnr_db: float
    same_class: float | None
    samples: int


def float_bilinear(image: Array, size: tuple[int, int]) -> Array:
    """Two neighbours a side in float, whatever the factor: no averaging over what is left out."""
    import numpy as np

    values = image.astype(np.float64)
    for axis, wanted in enumerate(size):
        given = values.shape[axis]
        place = ((np.arange(wanted) + 0.5) * (given / wanted) - 0.5).clip(0, given - 1)
        before = np.floor(place).astype(int)
        share = (place - before).reshape([-1 if one == axis else 1 for one in range(3)])
        after = np.minimum(before + 1, given - 1)
        values = values.take(before, axis) * (1 - share) + values.take(after, axis) * share
    return np.asarray(np.rint(values).clip(0, 255), np.uint8)


def antialiased(image: Array, size: tuple[int, int]) -> Array:
    """A triangle that grows with the factor, as Pillow's and browsers' smooth scaling do it."""
    import numpy as np

    values = image.astype(np.float64)
    for axis, wanted in enumerate(size):
        given = values.shape[axis]
        factor = given / wanted
        centre = (np.arange(wanted) + 0.5) * factor
        away = np.abs(np.arange(given) + 0.5 - centre[:, None]) / max(factor, 1.0)
        weights = (1 - away).clip(0)
        weights /= weights.sum(1, keepdims=True)
        values = np.moveaxis(np.tensordot(weights, values, (1, axis)), 0, axis)
    return np.asarray(np.rint(values).clip(0, 255), np.uint8)


def nearest(image: Array, size: tuple[int, int]) -> Array:
    """One pixel for each."""
    import numpy as np

    rows, columns = (
        ((np.arange(wanted) + 0.5) * given / wanted).astype(int)
        for given, wanted in zip(image.shape[:2], size, strict=True)
    )
    return np.asarray(image[rows][:, columns])


_WAYS: tuple[tuple[str, str, Callable[[Array, tuple[int, int]], Array]], ...] = (
    (
        "bilinear",
        "Android's createScaledBitmap with a filter, GPU texture sampling",
        float_bilinear,
    ),
    ("antialiased", "browsers' high quality, Core Graphics, Pillow, TorchVision", antialiased),
    ("nearest", "Android's createScaledBitmap without a filter", nearest),
)


def resize_costs(
    spec: Embedding,
    entry: InputContract,
    pictures: Sequence[Array],
    run: Callable[[Sequence[Array]], list[tuple[Array, ...]]],
) -> tuple[ResizeCost, ...]:
    """Every other way against the contract's; empty where the contract does not resize.

    Args:
        spec: of the file.
        entry: the input's contract.
        pictures: uint8 RGB.
        run: from inputs as stored to outputs as stored.
    """
    if entry.preprocess is None or entry.preprocess.resize is None:
        return ()
    exact = [resized(picture, spec.input, entry) for picture in pictures]
    given = entry.preprocess
    pairs = list(zip(pictures, exact, strict=True))
    ways = [exact] + [[_other(*pair, given, way) for pair in pairs] for _, _, way in _WAYS]
    tensors = [tensor_of(pixels, spec.input, entry) for way in ways for pixels in way]
    outputs = run(tensors)
    count = len(pictures)
    wanted = outputs[:count]
    return tuple(
        _cost(way, like, spec, (exact, wanted), (ways[number], outputs[count * number :][:count]))
        for number, (way, like, _) in enumerate(_WAYS, start=1)
    )


def _other(
    picture: Array,
    exact: Array,
    preprocess: Preprocess,
    other: Callable[[Array, tuple[int, int]], Array],
) -> Array:
    """What the model sees if ``other`` resizes; a letterbox's padding is taken from ``exact``."""
    height, width = exact.shape[:2]
    place = geometry(picture.shape[:2], preprocess, (height, width))
    pixels = other(picture, (place.height, place.width))
    if not preprocess.letterbox:
        return pixels[place.top : place.top + height, place.left : place.left + width]
    padded = exact.copy()
    padded[-place.top :, -place.left :][: place.height, : place.width] = pixels
    return padded


def _cost(
    way: str,
    like: str,
    spec: Embedding,
    exact: tuple[Sequence[Array], Sequence[tuple[Array, ...]]],
    other: tuple[Sequence[Array], Sequence[tuple[Array, ...]]],
) -> ResizeCost:
    import numpy as np

    pixels = [
        abs(one.astype(int) - two.astype(int)) for one, two in zip(exact[0], other[0], strict=True)
    ]
    place = getattr(spec.decode, "output", 0)
    wanted, found = (
        np.stack([real_outputs(spec, stored)[place].ravel() for stored in outputs]).astype(float)
        for outputs in (exact[1], other[1])
    )
    noise = float(((wanted - found) ** 2).sum())
    signal = float((wanted**2).sum())
    same = None
    if isinstance(spec.decode, Classification):
        same = float((wanted.argmax(1) == found.argmax(1)).mean())
    return ResizeCost(
        way=way,
        like=like,
        levels=float(np.mean([one.mean() for one in pixels])),
        worst_level=int(max(one.max() for one in pixels)),
        sqnr_db=200.0 if noise == 0 else float(10 * np.log10(max(signal, 1e-30) / noise)),
        same_class=same,
        samples=len(pixels),
    )
