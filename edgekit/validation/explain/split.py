"""The error of one operator's result, split into what came in and what the operator added.

Four values of the same tensor are compared, sample by sample:

``reference``  the reference's own
``stepped``    the reference's operator on the candidate's inputs
``weighted``   the same with the candidate's weights and bias, still in float
``candidate``  the candidate's own

``stepped - reference`` is inherited. ``candidate - stepped`` is added; it is the sum of
``weighted - stepped`` (weights), of what the output's scale clips and rounds away of ``weighted``,
and of a rest that the arithmetic should not leave.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgekit.closeness import sqnr_db
from edgekit.validation.explain.points import Point, Source

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

SOURCES: tuple[Source, ...] = ("weights", "clipping", "rounding", "rest")


@dataclass
class ErrorSplit:
    """Energies of one tensor's errors, summed over samples.

    Attributes:
        signal, total, inherited, added: energies.
        parts: of what was added, by source.
        clipped: the share of values outside the representable range.
        would_clip: the energy that clipping would take from the reference's own values.
        steps: the largest rest in steps of the output's scale; 0 for float outputs.
        nonfinite: NaN and infinite values that the candidate has and the reference has not.
        inherited_nonfinite: those that the reference's operator makes of the candidate's inputs.
    """

    signal: float = 0.0
    total: float = 0.0
    inherited: float = 0.0
    added: float = 0.0
    parts: dict[Source, float] = field(default_factory=lambda: dict.fromkeys(SOURCES, 0.0))
    clipped: float = 0.0
    would_clip: float = 0.0
    steps: float = 0.0
    nonfinite: int = 0
    inherited_nonfinite: int = 0
    count: int = 0

    @property
    def total_db(self) -> float:
        """SQNR of the candidate's tensor."""
        return sqnr_db(self.signal, self.total)

    @property
    def inherited_db(self) -> float:
        """SQNR of what the reference's operator makes of the candidate's inputs."""
        return sqnr_db(self.signal, self.inherited)

    @property
    def added_db(self) -> float:
        """The reference's energy over that of the added error."""
        return sqnr_db(self.signal, self.added)

    def shares(self) -> dict[Source, float]:
        """The parts relative to their sum; all 0 where nothing was added."""
        whole = sum(self.parts.values())
        return {name: part / whole if whole else 0.0 for name, part in self.parts.items()}

    def add(
        self,
        reference: Array,
        stepped: Array,
        weighted: Array,
        candidate: Array,
        *,
        point: Point,
        factors: Array | None = None,
    ) -> None:
        """Count one sample.

        Args:
            reference, stepped: in the reference's units.
            weighted, candidate: in the candidate's.
            point: the candidate's tensor: its scale and type.
            factors: by which the candidate's channels (last axis) are multiplied, see `scaled`.
        """
        import numpy as np

        unit = np.ones(1) if factors is None else factors
        self.nonfinite += int(np.count_nonzero(~np.isfinite(candidate) & np.isfinite(reference)))
        self.inherited_nonfinite += int(
            np.count_nonzero(~np.isfinite(stepped) & np.isfinite(reference))
        )
        if not all(np.isfinite(v).all() for v in (reference, stepped, weighted, candidate)):
            reference, stepped, weighted, candidate = (
                np.nan_to_num(v, nan=0.0, posinf=0.0, neginf=0.0)
                for v in (reference, stepped, weighted, candidate)
            )
        clipped, rounded = stored_as(weighted, point)
        self.would_clip += energy(stored_as(reference * unit, point)[0] / unit - reference)
        self.signal += energy(reference)
        self.total += energy(candidate / unit - reference)
        self.inherited += energy(stepped - reference)
        self.added += energy(candidate / unit - stepped)
        self.parts["weights"] += energy(weighted / unit - stepped)
        self.parts["clipping"] += energy((clipped - weighted) / unit)
        self.parts["rounding"] += energy((rounded - clipped) / unit)
        rest = candidate - rounded
        self.parts["rest"] += energy(rest / unit)
        if point.scale:
            self.steps = max(self.steps, float(np.abs(rest).max(initial=0.0)) / point.scale)
            outside = np.count_nonzero(np.abs(clipped - weighted) > point.scale / 2)
            self.clipped += (outside / max(1, weighted.size) - self.clipped) / (self.count + 1)
        self.count += 1


def stored_as(values: Array, point: Point) -> tuple[Array, Array]:
    """Real values clipped to what a tensor's scale can express, and then rounded to its steps."""
    import numpy as np

    if not point.scale:
        return values, values
    limits = np.iinfo(point.stored(0).dtype)
    low, high = ((end - point.zero_point) * point.scale for end in (limits.min, limits.max))
    clipped = np.clip(values, low, high)
    return clipped, (np.rint(clipped / point.scale)) * point.scale


def energy(values: Array) -> float:
    """The sum of squares."""
    import numpy as np

    return float(np.vdot(values, values))
