"""How far a client's answer is from LiteRT's, in steps of the output.

The step of a quantized output is its scale, and so a difference is counted in the integers that the
file stores; one in float that the file dequantizes at the end has the scale of those. Any other
output in float has none: its step is the 255th part of the range that LiteRT's values cover, which
is what 8 bits would resolve.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.closeness import STEPS, is_vector_of_scores
from edgekit.devices.tensors import DeviceTensor

if TYPE_CHECKING:
    from edgekit.runners.protocol import Array

MOST_STEPS = 4.0
"""How many output steps a client that agrees may be from LiteRT."""
OTHER_KERNELS = {
    "built-in": "LiteRT's own kernels without XNNPACK",
    "reference": "LiteRT's reference kernels",
}
"""What else LiteRT can compute a file by, as its worker and people call it. The three ways round
otherwise: on sound int8 files they are up to 8 output steps apart. A client may be near to any."""
_NOTICED = 0.5
"""A smaller part of a step is no difference that an app could see."""


@dataclass(frozen=True, kw_only=True)
class ClientDifference:
    """One output against LiteRT's, over all samples.

    Attributes:
        output: its name.
        step: what one step is, in the output's own unit.
        quantized: whether the file states the step.
        largest: the largest difference of a value, in steps; infinite where one is NaN or infinite
            and the other is not.
        share: of the values that differ by more than half a step, 0 to 1.
        same_decisions: share of the samples with the same largest value, for a vector of scores.
    """

    output: str
    step: float
    quantized: bool
    largest: float
    share: float
    same_decisions: float | None


def differences(
    tensors: Sequence[DeviceTensor], wanted: Sequence[Array], got: Sequence[Array]
) -> tuple[ClientDifference, ...]:
    """Each output of a client.

    Args:
        tensors: the outputs as the file describes them; one in float may have the scale of the
            integers that it comes from.
        wanted: LiteRT's stacks (N, *shape), as the file stores them.
        got: the client's, of the same shapes: stored values, or real ones in float for a client
            that has no others.
    """
    return tuple(map(_difference, tensors, wanted, got))


def vary(stacks: Sequence[Array]) -> bool:
    """Whether any output says something else about one sample than about another."""
    return any(bool((stack != stack[:1]).any()) for stack in stacks)


def _difference(tensor: DeviceTensor, wanted: Array, got: Array) -> ClientDifference:
    import numpy as np

    quantized = tensor.is_quantized
    step, unit = tensor.scale, 1.0
    if quantized and got.dtype.kind == "f":
        wanted, unit = tensor.real(wanted), step
    elif tensor.scale and wanted.dtype.kind == "f":
        unit = step
    elif not quantized and wanted.dtype.kind == "f":
        finite = wanted[np.isfinite(wanted)].astype(np.float64)
        unit = step = float(np.ptp(finite)) / STEPS if finite.size else 0.0
    elif not quantized:  # counts, classes, truth: what they are, or not
        unit = step = 1.0
    first, second = wanted.astype(np.float64), got.astype(np.float64)
    with np.errstate(invalid="ignore"):
        apart = np.abs(first - second)
    equal = (first == second) | (np.isnan(first) & np.isnan(second))
    apart[equal] = 0.0
    apart[np.isnan(apart)] = np.inf
    scaled = apart / unit if unit else np.where(apart > 0, np.inf, 0.0)
    scores = is_vector_of_scores(wanted.shape[1:])
    return ClientDifference(
        output=tensor.name,
        step=step,
        quantized=bool(tensor.scale),
        largest=float(scaled.max(initial=0.0)),
        share=float((scaled > _NOTICED).mean()) if scaled.size else 0.0,
        same_decisions=_same(first, second) if scores else None,
    )


def _same(wanted: Array, got: Array) -> float:
    """Share of the samples whose largest value is in the same place; of equal ones any will do."""
    import numpy as np

    rows, others = (one.reshape(len(one), -1) for one in (wanted, got))
    chosen = others.argmax(axis=1)
    best = rows.max(axis=1)
    same = rows[np.arange(len(rows)), chosen] == best
    return math.fsum(same) / len(rows)
