"""Mixed precision: which layers compute in more than 8 bits, as a front of accuracy and latency.

Every layer's noise and time is measured in every precision (`edgekit.quantize.layer_costs`), an
integer program chooses for one accuracy after the other (`edgekit.quantize.allocation`), and each
choice is written as a file and measured. Sums are no more than a first guess, since errors and
times do not quite add up: what was measured corrects the next guess.

The choices are made on one half of the held-out samples and judged on the other. One that is not
better there than plain int8, or that another one beats in both, is dropped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from edgekit.errors import ConversionError, ModelError
from edgekit.quantize.allocation import Compute, CostModel, allocate
from edgekit.quantize.emit import NO_EXCEPTIONS, Exceptions
from edgekit.quantize.excerpts import fastest
from edgekit.quantize.judge import Judge
from edgekit.quantize.layer_costs import energies, measure_costs, restore
from edgekit.quantize.sensitivity import LayerSensitivity
from edgekit.tflite.model import Model
from edgekit.types import Ranges, Scheme

Precision: TypeAlias = Literal["float", "int16"]
_FIRST_DB = (2, 4, 6, 8, 12)
_STEPS_DB = (0.5, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20)
"""So much closer than plain int8: to learn the times of whole files from, and for the front."""
_ROUNDS = 80
_FACTORS = (0.4, 1.5)
"""Within these bounds times of pieces are corrected: beyond them it is the machine that changed."""
_MOST_CORRECTION = 4.0
"""Measured noise is at most so many times what the sum says, or so many times less."""
_ENOUGH_DB = 60.0
"""Nobody needs a quantized file that is closer than a float one has to be."""


@dataclass(frozen=True, kw_only=True)
class Relief:
    """A layer taken out of 8 bits.

    Attributes:
        name: of the layer in the original model where known.
        operator: ``CONV_2D`` …
        members: first outputs of the operators that go with it, see `sensitivity.LayerSensitivity`.
        precision: what it computes in instead.
        gain: the share of the output's noise energy that is its own and goes with it, without that
            of the values around it.
        cost: by which share of the int8 file's time it takes longer, without what it takes to
            convert values around it.
    """

    name: str
    operator: str
    members: tuple[str, ...]
    precision: Precision
    gain: float
    cost: float


@dataclass(frozen=True, kw_only=True)
class Mix:
    """A choice of layers, measured.

    Attributes:
        layers: those that are not in 8 bits, in the order of execution; none for plain int8.
        db: the SQNR of the worst output on held-out samples that nothing was chosen by.
        slowdown: the file's time in parts of that of plain int8.
        predicted_db, predicted_slowdown: what the sums said.
    """

    layers: tuple[Relief, ...]
    db: float
    slowdown: float
    predicted_db: float
    predicted_slowdown: float


def find_front(
    model: Model,
    ranges: Ranges,
    choosing: Judge,
    judging: Judge,
    *,
    scheme: Scheme,
    unrounded: Model | None = None,
    progress: Callable[[float, str], None],
) -> list[Mix]:
    """The choices of layers that none beats in both accuracy and latency, the fastest first.

    Args:
        model: the prepared float one.
        ranges: of its tensors.
        choosing: measures on the samples to choose by.
        judging: measures on others.
        scheme: which of the int8 schemes.
        unrounded: the same model before its weights were rounded, for what computes in float.
        progress: told the fraction done.

    Returns:
        Plain int8 first, then mixes; plain int8 alone where none is better.

    Raises:
        ConversionError: the model cannot be quantized to int8 at all.
    """
    layers, costs = measure_costs(
        model,
        ranges,
        choosing,
        scheme=scheme,
        unrounded=unrounded or model,
        progress=lambda fraction, text: progress(0.7 * fraction, text),
    )
    trial = _Trial(
        model=model,
        ranges=ranges,
        choosing=choosing,
        judging=judging,
        scheme=scheme,
        unrounded=unrounded,
        layers=layers,
    )
    trial.measure(costs, _FIRST_DB, lambda f, text: progress(0.7 + 0.1 * f, text))
    costs = corrected(costs, {choice: one.slowdown for choice, one in trial.made.items()})
    trial.measure(costs, _STEPS_DB, lambda f, text: progress(0.8 + 0.2 * f, text))
    return not_beaten([_mix(layers, costs, choice, one) for choice, one in trial.made.items()])


@dataclass(kw_only=True)
class _Measured:
    """A choice as a file."""

    data: bytes
    chosen_noise: float
    db: float
    slowdown: float = 1.0


@dataclass(kw_only=True)
class _Trial:
    """Makes files of choices and measures them; plain int8 is the first."""

    model: Model
    ranges: Ranges
    choosing: Judge
    judging: Judge
    scheme: Scheme
    unrounded: Model | None
    layers: Sequence[LayerSensitivity]
    made: dict[tuple[Compute, ...], _Measured] = field(default_factory=dict)

    def measure(
        self, costs: CostModel, steps: Sequence[float], progress: Callable[[float, str], None]
    ) -> None:
        """One choice for each of the steps, in decibels closer than plain int8; then all timed."""
        plain = _plain(self.layers)
        if plain not in self.made:
            self.made[plain] = self._made(plain)
        noise = max(costs.noise(plain))
        correction = _bounded(self.made[plain].chosen_noise, noise)
        for number, step in enumerate(steps):
            progress(number / (len(steps) + 1), f"{len(self.made)} mixes measured")
            wanted = self.made[plain].chosen_noise * 10 ** (-step / 10)
            choice = allocate(costs, most_noise=wanted / correction)
            if choice is None:
                break
            if choice not in self.made:
                try:
                    self.made[choice] = self._made(choice)
                except (ConversionError, ModelError):
                    continue  # layers that cannot be neighbours in these precisions
            correction = _bounded(self.made[choice].chosen_noise, max(costs.noise(choice)))
            if self.made[choice].db > _ENOUGH_DB:
                break
        progress(len(steps) / (len(steps) + 1), "timing the mixes")
        times = fastest([one.data for one in self.made.values()], rounds=_ROUNDS)
        for one, spent in zip(self.made.values(), times, strict=True):
            one.slowdown = spent / times[0]

    def _made(self, choice: Sequence[Compute]) -> _Measured:
        exceptions = _exceptions(self.layers, choice)
        source = restore(self.model, self.unrounded, exceptions)
        emitted = self.choosing.emissions(source, self.scheme, self.ranges, exceptions)
        return _Measured(
            data=emitted.data,
            chosen_noise=max(energies(self.choosing.floating(emitted.model))),
            db=self.judging.floating(emitted.model).worst_db,
        )


def corrected(costs: CostModel, slowdowns: Mapping[tuple[Compute, ...], float]) -> CostModel:
    """The same with times that fit what whole files took.

    A layer in a file is not as fast as alone, and a conversion next to a layer not as slow. So
    both, what layers take longer and what conversions take, get the factor that fits best.

    Args:
        costs: as measured piece by piece.
        slowdowns: the time of files in parts of that of plain int8.
    """
    import numpy as np
    from scipy.optimize import lsq_linear

    plain = _plain(costs.layers)
    base = costs.seconds(plain)
    free = replace(costs, values=[replace(value, seconds=0.0) for value in costs.values])
    rows = np.array(
        [
            [
                free.seconds(choice) - free.seconds(plain),
                costs.seconds(choice) - free.seconds(choice),
            ]
            for choice in slowdowns
        ]
    )
    longer = np.array([slowdown - 1 for slowdown in slowdowns.values()]) * base
    if not rows.any(axis=0).all():
        return costs
    computing, converting = lsq_linear(rows, longer, _FACTORS).x
    return CostModel(
        layers=[
            {
                name: replace(
                    cost,
                    seconds=options["int8"].seconds
                    + computing * (cost.seconds - options["int8"].seconds),
                )
                for name, cost in options.items()
            }
            for options in costs.layers
        ],
        values=[replace(value, seconds=converting * value.seconds) for value in costs.values],
    )


def not_beaten(mixes: Sequence[Mix]) -> list[Mix]:
    """Those that no other one equals or beats in both accuracy and latency, the fastest first."""
    front: list[Mix] = []
    for mix in sorted(mixes, key=lambda mix: (mix.slowdown, -mix.db, len(mix.layers))):
        if not front or mix.db > front[-1].db:
            front.append(mix)
    return front


def knee(front: Sequence[Mix]) -> Mix:
    """Where more latency begins to buy less accuracy than on the whole way.

    The point farthest from the straight line between the ends (Satopaa et al., "Finding a 'Kneedle'
    in a Haystack", 2011), without smoothing; accuracy is the energy of the noise.
    """
    first, last = front[0], front[-1]
    width, height = last.slowdown - first.slowdown, _noise(first) - _noise(last)

    def below(mix: Mix) -> float:
        return (_noise(first) - _noise(mix)) / height - (mix.slowdown - first.slowdown) / width

    return max(front, key=below) if len(front) > 2 else last


def _noise(mix: Mix) -> float:
    return float(10 ** (-mix.db / 10))


def excepting(choices: Iterable[tuple[Sequence[str], Precision]]) -> Exceptions:
    """The exceptions that take operators, named by their first outputs, out of 8 bits."""
    floating: set[str] = set()
    sixteen: set[str] = set()
    for members, precision in choices:
        (floating if precision == "float" else sixteen).update(members)
    return Exceptions(floating=frozenset(floating), sixteen=frozenset(sixteen))


def _exceptions(layers: Sequence[LayerSensitivity], choice: Sequence[Compute]) -> Exceptions:
    pairs = zip(layers, choice, strict=True)
    found = excepting((layer.members, mine) for layer, mine in pairs if mine != "int8")
    return found if found.floating or found.sixteen else NO_EXCEPTIONS


def _plain(layers: Sequence[object]) -> tuple[Compute, ...]:
    """Every layer in 8 bits."""
    return tuple("int8" for _ in layers)


def _bounded(measured: float, predicted: float) -> float:
    """By which factor the sum of noises is wrong."""
    factor = measured / predicted if predicted else 1.0
    return min(max(factor, 1 / _MOST_CORRECTION), _MOST_CORRECTION)


def _mix(
    layers: Sequence[LayerSensitivity],
    costs: CostModel,
    choice: Sequence[Compute],
    found: _Measured,
) -> Mix:
    plain = _plain(layers)
    base_noise, base_seconds = max(costs.noise(plain)), costs.seconds(plain)
    reliefs = []
    for layer, options, mine in zip(layers, costs.layers, choice, strict=True):
        if mine != "int8":
            before, after = options["int8"], options[mine]
            less = max(a - b for a, b in zip(before.noise, after.noise, strict=True))
            reliefs.append(
                Relief(
                    name=layer.name,
                    operator=layer.operator,
                    members=layer.members,
                    precision=mine,
                    gain=less / base_noise if base_noise else 0.0,
                    cost=(after.seconds - before.seconds) / base_seconds,
                )
            )
    predicted = max(costs.noise(choice))
    return Mix(
        layers=tuple(reliefs),
        db=found.db,
        slowdown=found.slowdown,
        predicted_db=-10 * math.log10(predicted) if predicted else _ENOUGH_DB,
        predicted_slowdown=costs.seconds(choice) / base_seconds,
    )
