"""Which precision each layer gets, as an integer program over what was measured.

A layer computes in 8 bits, in 16 or in float. A value between layers is there in every precision
that a layer next to it has: in 8 bits it has the noise of its rounding, and for each precision
beyond the first it is converted once, however many layers read it. Noise energies of small
independent errors add up, and so do milliseconds, so both are linear in what is chosen; where the
sums do not hold, `edgekit.quantize.mixed_precision` corrects them by measuring.

Mixed precision by integer programming is that of HAWQ-V3 (Yao et al., ICML 2021); there every layer
has one number for each precision, and borders between them cost nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    import numpy as np

    Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

Compute: TypeAlias = Literal["int8", "int16", "float"]
"""What a layer computes in."""


@dataclass(frozen=True, kw_only=True)
class PrecisionCost:
    """What a layer costs in a precision.

    Attributes:
        seconds: of one inference.
        noise: energy in each output of the model as a share of the signal's, without that of the
            values it shares with other layers.
    """

    seconds: float
    noise: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class SharedValue:
    """A tensor between layers, with what only moves it.

    Attributes:
        layers: the places of the layers that make or read it.
        fixed: precisions in which it is there whatever is chosen, as at the graph's ends.
        noise: energy in each output where it is rounded to 8 bits.
        seconds: of converting it once.
    """

    layers: tuple[int, ...]
    fixed: frozenset[Compute] = frozenset()
    noise: tuple[float, ...]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class CostModel:
    """All layers and values of a model."""

    layers: Sequence[Mapping[Compute, PrecisionCost]]
    values: Sequence[SharedValue]

    def noise(self, choice: Sequence[Compute]) -> tuple[float, ...]:
        """The energy of the noise in each output."""
        parts = [layer[mine].noise for layer, mine in zip(self.layers, choice, strict=True)]
        parts += [value.noise for value in self.values if "int8" in _present(value, choice)]
        return tuple(map(sum, zip(*parts, strict=True)))

    def seconds(self, choice: Sequence[Compute]) -> float:
        """The time of one inference."""
        computing = sum(
            layer[mine].seconds for layer, mine in zip(self.layers, choice, strict=True)
        )
        borders = sum(
            value.seconds * max(len(_present(value, choice)) - 1, 0) for value in self.values
        )
        return computing + borders


def _present(value: SharedValue, choice: Sequence[Compute]) -> frozenset[Compute]:
    return value.fixed | {choice[place] for place in value.layers}


def allocate(
    costs: CostModel, *, most_noise: float | None = None, most_seconds: float | None = None
) -> tuple[Compute, ...] | None:
    """Choose a precision for every layer.

    Args:
        costs: of all layers and values.
        most_noise: allowed in each output; the fastest choice within it is looked for.
        most_seconds: allowed; the choice with the least noise in its worst output within it is.
            Exactly one of the two is given.

    Returns:
        The precision of each layer; ``None`` where nothing keeps to the limit.
    """
    import numpy as np
    from scipy.optimize import Bounds, LinearConstraint, milp

    program = _Program.of(costs)
    rows, limits = program.rows, program.limits
    noise_unit = max(map(sum, zip(*program.noise, strict=True))) or 1.0
    time_unit = abs(program.seconds).sum() or 1.0
    noise, seconds = program.noise / noise_unit, program.seconds / time_unit
    objective = np.zeros(program.size)
    if most_noise is not None:
        objective[:-1] = seconds
        for row in noise.T:
            rows.append([*row, 0.0])
            limits.append(most_noise / noise_unit)
    else:
        assert most_seconds is not None
        objective[-1] = 1.0  # the last variable is the noise of the worst output
        for row in noise.T:
            rows.append([*row, -1.0])
            limits.append(0.0)
        rows.append([*seconds, 0.0])
        limits.append((most_seconds + program.spared) / time_unit)
    lower = np.zeros(program.size)
    lower[list(program.present)] = 1.0
    upper = np.array([*([1.0] * (program.size - 1)), np.inf])
    found = milp(
        objective,
        integrality=np.array([*program.whole, 0]),
        bounds=Bounds(lower, upper),
        constraints=LinearConstraint(np.array(rows), -np.inf, np.array(limits)),
        options={"mip_rel_gap": 0.0},
    )
    if found.x is None:
        return None
    chosen = [
        max(places, key=lambda name, places=places: found.x[places[name]])  # type: ignore[misc]
        for places in program.choices
    ]
    return tuple(chosen)


@dataclass(kw_only=True)
class _Program:
    """Variables: a layer has a precision (0 or 1); a value is there in one (0 to 1); the worst.

    Attributes:
        size: so many variables.
        choices: of each layer, the variables of its precisions.
        noise: (variables without the last, outputs).
        seconds: of each variable; ``spared`` is what they count too much in all.
        whole: 1 for the variables that are whole numbers.
        present: variables that are 1 whatever is chosen.
        rows, limits: sums of variables that must not be above a limit.
    """

    size: int
    choices: list[dict[Compute, int]]
    noise: Array
    seconds: Array
    spared: float
    whole: list[int]
    present: set[int] = field(default_factory=set)
    rows: list[list[float]] = field(default_factory=list)
    limits: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, costs: CostModel) -> _Program:
        """Everything but the objective and what is asked for."""
        import numpy as np

        noise: list[tuple[float, ...]] = []
        seconds: list[float] = []
        choices: list[dict[Compute, int]] = []
        for layer in costs.layers:
            choices.append({name: len(noise) + n for n, name in enumerate(layer)})
            noise += [cost.noise for cost in layer.values()]
            seconds += [cost.seconds for cost in layer.values()]
        binaries = len(noise)
        nothing = tuple(0.0 for _ in noise[0])
        there: list[dict[Compute, int]] = []
        for value in costs.values:
            names = {name for place in value.layers for name in costs.layers[place]} | value.fixed
            there.append({name: len(noise) + n for n, name in enumerate(sorted(names))})
            noise += [value.noise if name == "int8" else nothing for name in sorted(names)]
            seconds += [value.seconds] * len(names)
        size = len(noise) + 1
        program = cls(
            size=size,
            choices=choices,
            noise=np.array(noise),
            seconds=np.array(seconds),
            spared=sum(value.seconds for value in costs.values),
            whole=[1] * binaries + [0] * (size - 1 - binaries),
        )
        for places in choices:
            program.at_most(dict.fromkeys(places.values(), 1.0), 1.0)
            program.at_most(dict.fromkeys(places.values(), -1.0), -1.0)
        for value, variables in zip(costs.values, there, strict=True):
            program.present.update(variables[name] for name in value.fixed)
            for place in value.layers:
                for name, variable in choices[place].items():
                    program.at_most({variable: 1.0, variables[name]: -1.0}, 0.0)
        return program

    def at_most(self, terms: Mapping[int, float], limit: float) -> None:
        """Σ terms ≤ limit."""
        row = [0.0] * self.size
        for variable, factor in terms.items():
            row[variable] = factor
        self.rows.append(row)
        self.limits.append(limit)
