"""From an operator's figures to the reason for its error, and what to try."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.closeness import sqnr_db
from edgekit.validation.explain import relations
from edgekit.validation.explain.points import Cause, Point
from edgekit.validation.explain.split import ErrorSplit, energy

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

BAD_DB = 20.0
"""An operator that adds error above this level is looked at; int8 adds 25 to 50 dB where all is
well (measured on EfficientNet-Lite0: 31 to 48 dB)."""
_FAR = 3.0
"""Kernels of the same arithmetic differ by a step, two at most; more is not a rounding."""
_HARMLESS_DB = 40.0
"""Rounding to int8 alone adds as much."""
_CORRUPT_DB = 12.0
"""Weights in int8 are stored with 40 dB and more, in int4 with about 20 dB."""

_ADVICE: Mapping[Cause, tuple[str, ...]] = {
    "nan": ("Look for a division by zero, a logarithm or an overflow in this operator.",),
    "weights-corrupted": (
        "Convert again; compare the checkpoint that was converted with the reference's.",
    ),
    "weights-coarse": (
        "Quantize with --effort balanced.",
        "Quantize with --effort thorough.",
        "Leave it out with --keep-float.",
    ),
    "dead-channels": (
        "Quantize with --effort balanced (channel equalization).",
        "Check the weights of these channels.",
        "Leave it out with --keep-float.",
    ),
    "saturation": ("Calibrate with data that reaches these values.", "Try --ranges minmax."),
    "range-too-wide": (
        "Take outliers out of the calibration data.",
        "Try --ranges mse.",
        "Try --keep-int16.",
    ),
    "transposed-layout": (
        "State the input layout (--input NAME:SHAPE:LAYOUT).",
        "Try another --route.",
    ),
    "channel-order": ("Correct --color (RGB or BGR): the model and the data disagree.",),
    "wrong-padding": ("Try another --route.", "Pad in the model by an operator of its own."),
    "different-operator": ("Try another --route.", "Compare the graphs around it."),
    "kernel": (
        "Report it to the runtime's makers.",
        "Leave the operator out with --keep-float.",
    ),
    "bias-overflow": (
        "Quantize again with this edgekit.",
        "Leave the operator out with --keep-float.",
    ),
    "normalisation": ("Correct --scale, --mean and --std: the model and the data disagree.",),
    "unexplained": ("Compare the two graphs around it with edgekit inspect.",),
}


def advice(cause: Cause, used: Collection[str] = ()) -> str:
    """What to try against a cause.

    Args:
        cause: what is wrong.
        used: options that the file was made with, such as ``--effort balanced``: what says to use
            them is left out.
    """
    return " ".join(
        one for one in _ADVICE.get(cause, ()) if not any(option in one for option in used)
    )


@dataclass(kw_only=True)
class Symptoms:
    """What is known about one operator's result.

    Attributes:
        split: its error by source.
        point: the candidate's tensor.
        stepped, weighted, candidate: some samples on axis 0, in the candidate's units.
        weights_db: SQNR of its weights, ``None`` where it has none.
        full_biases: how many entries of its bias are at the end of 32 bits.
        structure: how its operator differs from the reference's, in words; empty if it does not.
        kernel_steps: the largest difference to the plain C kernels on the same inputs, in steps.
    """

    split: ErrorSplit
    point: Point
    stepped: Array
    weighted: Array
    candidate: Array
    weights_db: float | None = None
    full_biases: int = 0
    structure: str = ""
    kernel_steps: float | None = None


def wants_kernels(split: ErrorSplit) -> bool:
    """Whether something is left that the graph or the kernels must explain."""
    return split.added_db < BAD_DB and split.shares()["rest"] >= 0.25


def diagnose(evidence: Symptoms) -> tuple[Cause, str]:
    """The cause and a sentence that says how it is known; ``none`` where nothing is wrong."""
    split = evidence.split
    if split.nonfinite > split.inherited_nonfinite:
        return "nan", f"{split.nonfinite} values are NaN or infinite, and not in the reference."
    shares = split.shares()
    if split.added_db >= BAD_DB:
        overflow = (
            split.added_db < _HARMLESS_DB
            and shares["rest"] > 0.5
            and split.steps > _FAR
            and evidence.full_biases
        )
        return _overflow(evidence) if overflow else ("none", "")
    lost, share = relations.lost_channels(evidence.stepped, evidence.candidate)
    if lost and share > 0.5:
        return "dead-channels", (
            f"{lost} of {evidence.candidate.shape[-1]} channels are constant, which vary in the "
            f"reference: {share:.0%} of the error."
        )
    # In the order in which they arise: a wrong weight also clips and rounds.
    if shares["weights"] >= 0.25 and _level(split, "weights") < BAD_DB:
        return _weights(evidence)
    if shares["rest"] >= 0.25 and _level(split, "rest") < BAD_DB:
        return _rest(evidence)
    if shares["clipping"] >= shares["rounding"]:
        # Values that only an earlier fault made so large are not this operator's fault.
        own = split.would_clip >= 0.1 * split.parts["clipping"]
        return _clipping(evidence) if own else ("none", "")
    return _rounding(evidence)


def _level(split: ErrorSplit, source: Any) -> float:
    return sqnr_db(split.signal, split.parts[source])


def _weights(evidence: Symptoms) -> tuple[Cause, str]:
    known = evidence.weights_db
    said = "" if known is None else f" Its weights agree with the reference's to {known:.0f} dB."
    if known is None or known < _CORRUPT_DB:
        return "weights-corrupted", f"Its constants are others than the reference's.{said}"
    return "weights-coarse", f"Rounding its weights adds most of the error.{said}"


def _clipping(evidence: Symptoms) -> tuple[Cause, str]:
    import numpy as np

    limits = np.iinfo(evidence.point.stored(0).dtype)
    low, high = (
        (end - evidence.point.zero_point) * evidence.point.scale for end in (limits.min, limits.max)
    )
    reach = float(evidence.weighted.min()), float(evidence.weighted.max())
    return "saturation", (
        f"{evidence.split.clipped:.1%} of the values lie outside {low:.4g} … {high:.4g}, all that "
        f"its scale can express; they reach {reach[0]:.4g} … {reach[1]:.4g}."
    )


def _rounding(evidence: Symptoms) -> tuple[Cause, str]:
    import numpy as np

    steps = evidence.weighted / evidence.point.scale
    low, high = np.quantile(steps, [0.005, 0.995])
    limits = np.iinfo(evidence.point.stored(0).dtype)
    return "range-too-wide", (
        f"99 % of the values fall on {max(1, round(float(high - low)) + 1)} of the "
        f"{limits.max - limits.min + 1} steps; the range is {evidence.point.scale * 255:.4g} wide."
    )


def _overflow(evidence: Symptoms) -> tuple[Cause, str]:
    return "bias-overflow", (
        f"{evidence.full_biases} of its biases are at the end of 32 bits: sums wrap around, and "
        f"values are up to {evidence.split.steps:.0f} steps off."
    )


def _rest(evidence: Symptoms) -> tuple[Cause, str]:
    wanted, got = evidence.weighted, evidence.candidate
    if evidence.full_biases:
        return _overflow(evidence)
    if order := relations.turned(wanted, got):
        return "transposed-layout", f"It equals the reference with its axes in the order {order}."
    if relations.reversed_channels(wanted, got):
        return "channel-order", "It equals the reference with its channels reversed."
    if difference := relations.activation(wanted, got):
        return "different-operator", f"{difference}. {evidence.structure}".strip()
    if relations.at_the_border(wanted, got):
        return "wrong-padding", (
            f"The error is in the outermost rows and columns. {evidence.structure}".strip()
        )
    if evidence.kernel_steps is not None and evidence.kernel_steps > _FAR:
        return "kernel", (
            f"The runtime's plain C kernels answer up to {evidence.kernel_steps:.0f} steps "
            "otherwise on the same inputs."
        )
    if evidence.structure:
        return _by_structure(evidence.structure)
    return "unexplained", "The reference's operator gives another result on the same inputs."


def _by_structure(structure: str) -> tuple[Cause, str]:
    if "TRANSPOSE" in structure:
        return "transposed-layout", structure
    pads = "padding" in structure.lower() or "in PAD" in structure
    return ("wrong-padding" if pads else "different-operator"), structure


def weights_db(reference: Array, candidate: Array) -> float:
    """SQNR of weights in decibels."""
    return sqnr_db(energy(reference), energy(candidate - reference))
