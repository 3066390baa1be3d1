"""The integer program against trying everything, on small made-up models."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from edgekit.quantize.allocation import Compute, CostModel, PrecisionCost, SharedValue, allocate

SEEDS = range(24)


def made_up(seed: int) -> CostModel:
    """Four or five layers in a row with one value past the next, some without 16 bits."""
    rng = np.random.default_rng(seed)
    count, outputs = int(rng.integers(4, 6)), int(rng.integers(1, 3))

    def noise(scale: float) -> tuple[float, ...]:
        return tuple(float(one) for one in scale * rng.exponential(size=outputs))

    layers: list[dict[Compute, PrecisionCost]] = []
    for _ in range(count):
        fast = float(rng.uniform(1, 3))
        options: dict[Compute, PrecisionCost] = {
            "int8": PrecisionCost(seconds=fast, noise=noise(1.0)),
            "float": PrecisionCost(seconds=fast * float(rng.uniform(0.8, 3)), noise=(0,) * outputs),
        }
        if rng.random() < 0.5:
            options["int16"] = PrecisionCost(seconds=fast * 1.5, noise=noise(0.1))
        layers.append(options)
    values = [
        SharedValue(layers=(n, n + 1), noise=noise(0.5), seconds=float(rng.uniform(0, 1)))
        for n in range(count - 1)
    ]
    values.append(SharedValue(layers=(0, 2, 3), noise=noise(0.5), seconds=0.3))
    for place, fixed in ((0, "int8"), (count - 1, "float")):
        ends = frozenset({fixed})
        values.append(SharedValue(layers=(place,), fixed=ends, noise=noise(0.2), seconds=0.4))  # type: ignore[arg-type]
    return CostModel(layers=layers, values=values)


def everything(costs: CostModel) -> list[tuple[Compute, ...]]:
    return list(product(*costs.layers))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_fastest_within_a_noise(seed: int) -> None:
    costs = made_up(seed)
    plain: list[Compute] = ["int8"] * len(costs.layers)
    for share in (0.7, 0.3, 0.1):
        most = share * max(costs.noise(plain))
        fitting = [one for one in everything(costs) if max(costs.noise(one)) <= most]
        found = allocate(costs, most_noise=most)
        if not fitting:
            assert found is None
            continue
        assert found is not None
        assert max(costs.noise(found)) <= most * (1 + 1e-5)
        assert costs.seconds(found) == pytest.approx(min(map(costs.seconds, fitting)), rel=1e-5)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_most_accurate_within_a_time(seed: int) -> None:
    costs = made_up(seed)
    least = min(map(costs.seconds, everything(costs)))
    for factor in (1.05, 1.3, 2.0):
        most = factor * least
        fitting = [one for one in everything(costs) if costs.seconds(one) <= most]
        found = allocate(costs, most_seconds=most)
        assert found is not None
        assert costs.seconds(found) <= most * (1 + 1e-5)
        best = min(max(costs.noise(one)) for one in fitting)
        assert max(costs.noise(found)) == pytest.approx(best, rel=1e-4)


def test_nothing_is_that_fast() -> None:
    assert allocate(made_up(0), most_seconds=0.01) is None


def test_neighbours_share_a_border() -> None:
    """Two float layers side by side convert once on each side, not between them."""
    one = PrecisionCost(seconds=1.0, noise=(1.0,))
    exact = PrecisionCost(seconds=1.1, noise=(0.0,))
    costs = CostModel(
        layers=[{"int8": one, "float": exact}] * 3,
        values=[
            SharedValue(layers=(0,), fixed=frozenset({"int8"}), noise=(0.0,), seconds=1.0),
            SharedValue(layers=(0, 1), noise=(0.0,), seconds=1.0),
            SharedValue(layers=(1, 2), noise=(0.5,), seconds=1.0),
        ],
    )
    assert costs.seconds(("int8", "float", "float")) == pytest.approx(4.2)
    assert costs.seconds(("int8", "float", "int8")) == pytest.approx(5.1)
    assert costs.noise(("int8", "float", "int8")) == (2.5,)  # the value is rounded for its reader
    assert allocate(costs, most_noise=1.0) == ("int8", "float", "float")
