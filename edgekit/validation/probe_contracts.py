"""The contracts that a stated one is often mixed up with, and how their values are made of its.

Nothing is read again for them: colours and ranges only turn values into other values, so what one
contract gives is computed from what the other gave.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from edgekit.contract import Preprocess
from edgekit.validation.probe import Alternative

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]

_IMAGENET = Preprocess(scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
_RANGES: tuple[tuple[str, str, Preprocess], ...] = (
    ("values 0…1", "--scale 1/255 --mean 0 --std 1", Preprocess(scale=1 / 255)),
    (
        "values −1…1",
        "--scale 1/255 --mean 0.5 --std 0.5",
        Preprocess(scale=1 / 255, mean=(0.5,), std=(0.5,)),
    ),
    (
        "ImageNet's mean and std",
        "--scale 1/255 --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225",
        _IMAGENET,
    ),
    ("values 0…255", "--scale 1 --mean 0 --std 1", Preprocess()),
)
_SAME = 0.02
"""Contracts whose values differ by less than this share of their range are one."""
_BLACK = 10.0


@dataclass(frozen=True, kw_only=True)
class Slip:
    """An alternative, and the way to its values from those of the stated contract.

    Attributes:
        stated, meant: gain and shift from 8-bit pixels, per channel (2, channels).
        reversed: the channels come in the other order.
    """

    alternative: Alternative
    stated: Array
    meant: Array
    reversed: bool = False

    def of(self, stack: Array, axis: int) -> Array:
        """The values that the alternative would have given, of the type of ``stack``.

        Args:
            stack: samples under the stated contract, (n, …).
            axis: of the channels.
        """
        import numpy as np

        shape = [1] * stack.ndim
        shape[axis] = -1
        (gain, shift), (other_gain, other_shift) = (
            [row.reshape(shape) for row in pair] for pair in (self.stated, self.meant)
        )
        pixels = (stack - shift) / gain
        if self.reversed:
            pixels = np.flip(pixels, axis)
        values = pixels * other_gain + other_shift
        return np.asarray(values, stack.dtype)


def slips(
    stated: Preprocess, channels: int, *, ready: bool = False, whole: bool = False
) -> list[Slip]:
    """What ``stated`` may have been mixed up with.

    Args:
        stated: how pixels became values.
        channels: of the picture.
        ready: the values came as arrays, so that no option would state it.
        whole: the model takes whole numbers, so that only the order of colours is in question.
    """
    import numpy as np

    mine = _line(stated, channels)
    found = []
    for words, option, preprocess in () if whole else _RANGES:
        if len(preprocess.mean) not in (1, channels):
            continue
        other = _line(preprocess, channels)
        ends = [np.stack([line[1], 255 * line[0] + line[1]]) for line in (mine, other)]
        if np.abs(ends[0] - ends[1]).max() <= _SAME * np.ptp(ends[1]):
            continue
        way = f"save the arrays with {words}" if ready else option
        found.append(
            Slip(
                alternative=Alternative(words=f"with {words}", option=way),
                stated=mine,
                meant=other,
            )
        )
    if channels == 3:
        color = "RGB" if stated.color == "BGR" else "BGR"
        way = "save the arrays with their colours in the other order"
        found.append(
            Slip(
                alternative=Alternative(
                    words="with the colours in the other order"
                    if ready
                    else f"with {color} channel order",
                    option=way if ready else f"--color {color}",
                ),
                stated=mine,
                meant=mine,
                reversed=True,
            )
        )
    return found


def of_arrays(low: float, high: float, channels: int) -> Preprocess | None:
    """How pixels probably became arrays of such values; ``None`` if nobody knows."""
    if low >= 0 and high <= 1:
        return Preprocess(scale=1 / 255)
    if low >= 0 and _BLACK < high <= 255:
        return Preprocess()
    if low >= -1 and high <= 1:
        return Preprocess(scale=1 / 255, mean=(0.5,), std=(0.5,))
    limits = _IMAGENET.value_range
    if channels == 3 and low >= limits[0] - 0.05 and high <= limits[1] + 0.05:
        return _IMAGENET
    return None


def _line(preprocess: Preprocess, channels: int) -> Array:
    import numpy as np

    std = np.resize(np.asarray(preprocess.std, np.float64), channels)
    mean = np.resize(np.asarray(preprocess.mean, np.float64), channels)
    return np.stack([np.full(channels, preprocess.scale) / std, -mean / std])
