"""How close tensors are: the one place that turns values into energies, decibels and variation.

A signal-to-noise ratio counts an offset as signal: a temperature around 290 K that answers one
constant has 84 dB. What matters is how far the error is below what *varies* in the reference.
`spread` measures that over any number of samples without keeping their outputs, `sums` measures the
error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

EQUAL_DB = 200.0
"""What equal tensors are given instead of infinity, so that means and JSON stay finite."""
RESOLUTION = 2.0**-21
"""What float32 arithmetic leaves of a value: four units in the last place."""
STEPS = 255
"""So many steps has what is stored in 8 bits."""
_MOST_KEPT = 65_536
"""So many values of an output are looked at for its mean; of larger ones a fixed draw of places."""
_FEWEST_POSITIONS = 4
_QUIET = 1e-4
"""A channel with less than this share of the loudest one's energy is not looked at by itself."""
_GAP, _SIDE = 1e3, 0.2
"""A gap of 30 dB between the channels' energies, with a fifth of the channels on either side."""
_EXPLAINED = 0.9


def sqnr_db(signal: float, noise: float) -> float:
    """Signal-to-quantization-noise ratio in decibels from two energies, within ±`EQUAL_DB`."""
    if not math.isfinite(noise):
        return -EQUAL_DB
    if noise <= 0:
        return EQUAL_DB
    if signal <= 0:
        return -EQUAL_DB
    return max(-EQUAL_DB, min(EQUAL_DB, 10 * (math.log10(signal) - math.log10(noise))))


def is_vector_of_scores(shape: Sequence[int]) -> bool:
    """Whether a sample's output has one axis only that is longer than 1."""
    return math.prod(shape) > 1 and math.prod(shape) == max(shape, default=0)


# ------------------------------------------------------------------------- the error


def sums(wanted: Array, got: Array, *, channel: int | None = None) -> dict[str, Array]:
    """What one output adds to its comparison, a row per sample: energies, extremes, counts.

    So a comparison can be taken over any number of samples without keeping their outputs.

    Args:
        wanted: the reference's (B, …).
        got: the candidate's, of the same shape and axes.
        channel: with it there is also ``channel_noise``, one row for all samples: the energy of the
            error in each channel, see `channel_axis`.
    """
    import numpy as np

    shape = wanted.shape
    wanted = np.asarray(wanted, np.float64).reshape(len(wanted), -1)
    got = np.asarray(got, np.float64).reshape(wanted.shape)
    difference = _difference(wanted, got)
    absolute = np.abs(difference)
    # Energies of the finite values: an infinite one on both sides (a mask) is equal, not loud.
    wanted_finite = np.where(np.isfinite(wanted), wanted, 0.0)
    got_finite = np.where(np.isfinite(got), got, 0.0)
    there = wanted.shape[1] > 0
    none = np.full(len(wanted), -1)
    with np.errstate(invalid="ignore"):  # infinite differences make infinite or no sums
        found = {
            "signal": np.einsum("ij,ij->i", wanted_finite, wanted_finite),
            "noise": np.einsum("ij,ij->i", difference, difference),
            "dot": np.einsum("ij,ij->i", wanted_finite, got_finite),
            "energy": np.einsum("ij,ij->i", got_finite, got_finite),
            "wanted_sum": wanted_finite.sum(axis=1),
            "difference_sum": difference.sum(axis=1),
            "cross": np.einsum("ij,ij->i", wanted_finite, difference),
        }
    found |= {
        "largest": absolute.max(axis=1, initial=0.0),
        "total": absolute.sum(axis=1),
        "count": np.full(len(wanted), wanted.shape[1]),
        "nonfinite": np.count_nonzero(~np.isfinite(got) & np.isfinite(wanted), axis=1),
        "reference_nan": np.isnan(wanted).any(axis=1),
        "decision": wanted.argmax(axis=1) if there else none,
        "answer": got.argmax(axis=1) if there else none,
    }
    if channel is not None:
        squared = _by_channel((difference * difference).reshape(shape), channel)
        found["channel_noise"] = squared.sum(axis=(0, 1))[None]
    return found


def _difference(wanted: Array, got: Array) -> Array:
    """Candidate minus reference: 0 where both are the same infinity or NaN, else infinite there."""
    import numpy as np

    same = (wanted == got) | (np.isnan(wanted) & np.isnan(got))
    comparable = np.isfinite(wanted) & np.isfinite(got)
    with np.errstate(invalid="ignore"):
        difference = np.where(comparable, got - wanted, np.inf)
    return np.where(same, 0.0, difference)


def systematic_error(columns: Mapping[str, Array], variation: float) -> float:
    """How wrong the outputs are by a constant factor and offset, as a share of what varies.

    The error is fitted as ``a · reference + b`` over all values. Where that explains nine tenths of
    its energy, the result is the root of the explained energy over the variation's; else 0, since
    rounding noise has a small systematic part in any file.

    Args:
        columns: the rows that `sums` gave.
        variation: the energy of what varies in the reference.
    """
    total = {name: float(columns[name].sum()) for name in ("signal", "noise", "cross", "count")}
    values, difference = (float(columns[name].sum()) for name in ("wanted_sum", "difference_sum"))
    count, noise = total["count"], total["noise"]
    if not (count and math.isfinite(noise) and noise > 0 and variation > 0):
        return 0.0
    power = total["signal"] - values * values / count
    offset = difference * difference / count
    cross = total["cross"] - values * difference / count
    slope = cross * cross / power if power > 1e-12 * total["signal"] else 0.0
    explained = min(noise, offset + slope)
    return math.sqrt(explained / variation) if explained >= _EXPLAINED * noise else 0.0


# ------------------------------------------------------------------------- what varies


def channel_axis(shape: Sequence[int], layout: str | None = None) -> int:
    """Where a sample's channels are, counted from the last axis.

    By the layout where it is known; else the shorter one of the first and the last axis, since
    there are mostly more positions than channels. An output with one long axis has nothing but
    channels.

    Args:
        shape: of one sample, without the axis of the samples.
        layout: ``NCHW`` or ``NHWC``.
    """
    sizes = list(shape)
    while len(sizes) > 1 and sizes[0] == 1:
        sizes = sizes[1:]
    if is_vector_of_scores(sizes):
        return max(range(len(sizes)), key=lambda axis: sizes[axis]) - len(sizes)
    if len(sizes) < 2 or layout == "NHWC":
        return -1
    if layout == "NCHW" or sizes[0] < sizes[-1]:
        return -len(sizes)
    return -1


def _by_channel(stack: Array, axis: int) -> Array:
    """(B, …) as (B, positions, channels)."""
    import numpy as np

    if stack.ndim < 2:
        return stack.reshape(len(stack), 1, 1)
    turned = np.moveaxis(stack, axis, -1)
    return turned.reshape(len(stack), -1, turned.shape[-1])


def spread(stack: Array, axis: int) -> dict[str, Array]:
    """How the reference's output varies over samples (B, …), as one row that `merge` can add up.

    Columns: ``count`` of samples, ``size`` of one, ``mean`` of each value, and by channel ``low``,
    ``high``, ``element`` (the energy around each value's own mean over the samples) and
    ``position`` (the same after the mean over each sample's positions is taken away, so that a map
    that is mostly background counts as what stands out of it). Source for adding up: T. F. Chan,
    G. H. Golub, R. J. LeVeque, "Algorithms for Computing the Sample Variance", 1983.

    Args:
        stack: the outputs.
        axis: of the channels, from `channel_axis`.
    """
    import numpy as np

    values = _by_channel(np.asarray(stack, np.float64), axis)
    values = np.where(np.isfinite(values), values, 0.0)
    positions, channels = values.shape[1:]
    kept = max(1, _MOST_KEPT // max(channels, 1))
    scale = 1.0
    low, high = (
        edge(values.reshape(-1, channels), axis=0, initial=start)
        for edge, start in ((np.min, np.inf), (np.max, -np.inf))
    )
    if positions > kept:
        drawn = np.sort(np.random.default_rng(0).choice(positions, kept, replace=False))
        values, scale = values[:, drawn], positions / kept
    mean = values.mean(axis=0)
    return {
        "count": np.array([len(values)]),
        "size": np.array([positions * channels]),
        "scale": np.array([scale]),
        "mean": mean.reshape(1, -1),
        "low": low[None],
        "high": high[None],
        "element": _energy(values - mean)[None] * scale,
        "position": _energy(_without_background(values - mean))[None] * scale,
    }


def merge(one: Mapping[str, Array], two: Mapping[str, Array]) -> dict[str, Array]:
    """The `spread` of two batches together."""
    import numpy as np

    count = one["count"] + two["count"]
    channels = one["element"].shape[1]
    weight = float((one["count"] * two["count"] / np.maximum(count, 1))[0])
    moved = (two["mean"] - one["mean"]).reshape(1, -1, channels)
    factor = weight * float(one["scale"][0])
    return {
        "count": count,
        "size": one["size"],
        "scale": one["scale"],
        "mean": one["mean"] + (two["mean"] - one["mean"]) * (two["count"] / np.maximum(count, 1)),
        "low": np.minimum(one["low"], two["low"]),
        "high": np.maximum(one["high"], two["high"]),
        "element": one["element"] + two["element"] + factor * _energy(moved),
        "position": one["position"]
        + two["position"]
        + factor * _energy(_without_background(moved)),
    }


def _without_background(values: Array) -> Array:
    """(B, P, C) minus the mean over the positions, where there are some."""
    if values.shape[1] < _FEWEST_POSITIONS:
        return values
    rest: Array = values - values.mean(axis=1, keepdims=True)
    return rest


def _energy(values: Array) -> Array:
    """Per channel, of (B, P, C)."""
    import numpy as np

    found: Array = np.einsum("bpc,bpc->c", values, values)
    return found


@dataclass(frozen=True)
class Variation:
    """What varies in one of the reference's outputs over all samples.

    Args:
        columns: from `spread` and `merge`.
        width: how wide the output's possible range is where its last operator says so (1 after a
            sigmoid or softmax, 2 after a tanh), ``None`` where any value is possible.
    """

    columns: Mapping[str, Array]
    width: float | None = None

    @property
    def energy(self) -> float:
        """Of what varies, over all samples."""
        return float(self.columns["position"].sum())

    @property
    def floor(self) -> float:
        """The energy of an error that is no more than the arithmetic's resolution."""
        import numpy as np

        ends = np.abs(np.concatenate([self.columns["low"], self.columns["high"]]))
        largest = float(ends.max(initial=0.0, where=np.isfinite(ends)))
        reach = self.width if self.width is not None else largest
        count = float(self.columns["count"][0]) * float(self.columns["size"][0])
        return count * (reach * RESOLUTION) ** 2

    def is_seen(self, *, coarse: bool) -> bool:
        """Whether there is something to lose: the output differs from sample to sample.

        With ``coarse``, for a file that computes in 8 bits, an output of bounded range must move by
        more than one step of that range.
        """
        if self.energy <= 4 * self.floor:
            return False
        moved = float((self.columns["high"] - self.columns["low"]).max(initial=0.0))
        return self.width is None or not coarse or moved > self.width / STEPS

    def centred_db(self, noise: float) -> float:
        """The ratio of what varies to an error, in decibels."""
        return sqnr_db(self.energy, noise - self.floor if math.isfinite(noise) else noise)

    def lost_share(self, channel_noise: Array) -> float | None:
        """The share of channels whose error is larger than what varies in them.

        Channels that hardly vary do not count: those with less than a ten-thousandth of the loudest
        one's energy, or with less than one of 255 steps of a bounded range. But where a clear gap
        divides the channels, as between boxes in pixels and their scores, each side is judged by
        itself, and the worse one counts. ``None`` where none is left.
        """
        import numpy as np

        energy = self.columns["position"][0]
        floor = 4 * self.floor / max(energy.size, 1)
        if self.width is not None:
            moved = (self.columns["high"] - self.columns["low"])[0]
            counted = (moved > self.width / STEPS) & (energy > floor)
        else:
            counted = energy > floor
        lost = ~(channel_noise < energy)
        shares = []
        for some in _sides(np.where(counted, energy, 0.0)):
            heard = some & (energy > _QUIET * float(energy[some].max(initial=0.0)))
            if heard.any():
                shares.append(float(lost[heard].mean()))
        return max(shares, default=None)


def _sides(energy: Array) -> list[Array]:
    """Which channels belong together: all that have any, or those on each side of a clear gap."""
    import numpy as np

    there = energy > 0
    ordered = np.sort(energy[there])
    least = max(1, int(np.ceil(_SIDE * len(ordered))))
    if len(ordered) < 2 * least:
        return [there]
    ratios = ordered[least : len(ordered) - least + 1] / ordered[least - 1 : len(ordered) - least]
    if not len(ratios) or ratios.max() < _GAP:
        return [there]
    edge = ordered[least + int(ratios.argmax())]
    return [there & (energy >= edge), there & (energy < edge)]


def centred_db(wanted: Array, got: Array, axis: int) -> float:
    """The centred ratio of whole stacks (N, …) in decibels; the plain one where nothing varies."""
    found = Variation(spread(wanted, axis))
    columns = sums(wanted, got)
    noise = float(columns["noise"].sum())
    if not found.is_seen(coarse=False):
        return sqnr_db(float(columns["signal"].sum()), noise)
    return found.centred_db(noise)
