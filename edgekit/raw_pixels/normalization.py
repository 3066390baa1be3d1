"""What the values of a contract's preprocessing mean, as one gain and one shift a channel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgekit.contract import Color, Preprocess

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

WHITE = 255
_WHOLE = 0.01
"""Pixels that come back within this of a whole number were whole: float32 is more exact by far."""


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """``value = gain · pixel + shift`` for each channel of the model.

    Attributes:
        gains, shifts: one for each channel, in the model's order.
        order: the model's channel ``i`` is the channel ``order[i]`` of what the app feeds.
    """

    gains: tuple[float, ...]
    shifts: tuple[float, ...]
    order: tuple[int, ...]

    @classmethod
    def of(cls, preprocess: Preprocess, channels: int, fed: Color | None = None) -> Normalization:
        """What ``preprocess`` does with the pixels of a picture whose colours are ``fed``.

        Args:
            preprocess: of the model.
            channels: of the model's input.
            fed: the colours that the app feeds, the model's own where it is ``None``.
        """
        mean, std = (
            values * channels if len(values) == 1 else values
            for values in (preprocess.mean, preprocess.std)
        )
        order = list(range(channels))
        if fed is not None and {fed, preprocess.color} == {"RGB", "BGR"}:
            order[:3] = [2, 1, 0]
        return cls(
            gains=tuple(preprocess.scale / one for one in std),
            shifts=tuple(-m / s for m, s in zip(mean, std, strict=True)),
            order=tuple(order),
        )

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Normalization:
        """From what `dataclasses.asdict` gives, after it was JSON."""
        return cls(**{name: tuple(values) for name, values in table.items()})

    @property
    def is_identity(self) -> bool:
        """Whether values are the fed pixels as they are."""
        plain = all(gain == 1 for gain in self.gains) and not any(self.shifts)
        return plain and not self.swaps

    @property
    def swaps(self) -> bool:
        """Whether channels change places."""
        return self.order != tuple(range(len(self.order)))

    @property
    def zeros(self) -> tuple[float, ...]:
        """The pixel of each fed channel whose value is zero."""
        found = [0.0] * len(self.order)
        for gain, shift, source in zip(self.gains, self.shifts, self.order, strict=True):
            found[source] = -shift / gain + 0.0  # no -0.0
        return tuple(found)

    def values(self, pixels: Array, axis: int) -> Array:
        """The model's values of pixels, float32, with the channels along ``axis``."""
        import numpy as np

        taken = np.take(pixels, self.order, axis).astype(np.float64)
        gains, shifts = (_along(one, axis, pixels.ndim) for one in (self.gains, self.shifts))
        return np.asarray(taken * gains + shifts, np.float32)

    def pixels(self, values: Array, axis: int) -> Array:
        """The pixels that these values were made of, float32: the inverse of `values`.

        They are whole where the values were made of whole pixels.
        """
        import numpy as np

        gains, shifts = (_along(one, axis, values.ndim) for one in (self.gains, self.shifts))
        found = (values.astype(np.float64) - shifts) / gains
        back = [self.order.index(place) for place in range(len(self.order))]
        found = np.take(found, back, axis)
        whole = np.rint(found)
        # + 0.0: a negative zero would be another byte pattern, and another digest.
        return np.asarray(np.where(abs(found - whole) < _WHOLE, whole + 0.0, found), np.float32)


def raw(preprocess: Preprocess, fed: Color) -> Preprocess:
    """What is left to do in the app: size and colours, but nothing with the values."""
    return replace(preprocess, color=fed, scale=1.0, mean=(0.0,), std=(1.0,))


def _along(values: tuple[float, ...], axis: int, rank: int) -> Array:
    import numpy as np

    shape = [1] * rank
    shape[axis] = len(values)
    return np.asarray(values, np.float64).reshape(shape)
