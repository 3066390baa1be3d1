"""Error-compensated rounding against nearest rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.quantize.rounding import (
    DAMPING,
    damped,
    keep_extremes,
    round_channels,
    round_rows,
)

Array = np.ndarray[Any, np.dtype[Any]]


def _steps(weights: Array, limit: int) -> Array:
    largest = np.abs(weights).max(axis=1)
    return np.where(largest > 0, largest / limit, 1.0)


def _nearest(weights: Array, steps: Array, limit: int) -> Array:
    return np.clip(np.rint(weights / steps[:, None]), -limit, limit)


def _error(weights: Array, index: Array, steps: Array, hessian: Array) -> float:
    """Σ (w − q)ᵀ·H·(w − q) over the rows; H for all of them, or one each."""
    lost = weights - index * steps[:, None]
    if hessian.ndim == 3:
        return float(np.einsum("ck,ckl,cl->", lost, hessian, lost))
    return float(np.einsum("ck,kl,cl->", lost, hessian, lost))


def _correlated(rng: np.random.Generator, width: int, *, count: int = 400) -> Array:
    """The damped second moments of inputs that share a few causes."""
    causes = rng.normal(size=(count, max(2, width // 4)))
    inputs = causes @ rng.normal(size=(causes.shape[1], width))
    inputs += 0.3 * rng.normal(size=inputs.shape)
    return damped(inputs.T @ inputs / count)


_CASES = st.tuples(
    st.integers(0, 10**6), st.integers(16, 40), st.integers(9, 40), st.sampled_from([7, 31, 127])
)


@settings(max_examples=60)
@given(_CASES)
def test_rows_are_on_the_grid_and_no_worse_than_nearest(case: tuple[int, int, int, int]):
    seed, rows, width, limit = case
    rng = np.random.default_rng(seed)
    weights, hessian = rng.normal(size=(rows, width)), _correlated(rng, width)
    steps = _steps(weights, limit)

    index = round_rows(weights, hessian, steps, limit)

    np.testing.assert_array_equal(index, np.rint(index))
    assert np.abs(index).max() <= limit
    plain = _error(weights, _nearest(weights, steps, limit), steps, hessian)
    assert _error(weights, index, steps, hessian) <= 1.05 * plain


@settings(max_examples=60)
@given(_CASES)
def test_channels_are_on_the_grid_and_no_worse_than_nearest(case: tuple[int, int, int, int]):
    seed, channels, width, limit = case
    width = min(width, 25)
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(channels, width))
    hessians = np.stack([_correlated(rng, width, count=100) for _ in range(channels)])
    steps = _steps(weights, limit)

    index = round_channels(weights, hessians, steps, limit)

    np.testing.assert_array_equal(index, np.rint(index))
    assert np.abs(index).max() <= limit
    plain = _error(weights, _nearest(weights, steps, limit), steps, hessians)
    assert _error(weights, index, steps, hessians) <= 1.05 * plain


@pytest.mark.parametrize("width", [27, 300])  # 300: more than one block of columns
def test_correlated_inputs_lose_less_than_half_of_the_error(width: int):
    rng = np.random.default_rng(0)
    weights, hessian = rng.normal(size=(64, width)), _correlated(rng, width)
    steps = _steps(weights, 127)
    got = _error(weights, round_rows(weights, hessian, steps), steps, hessian)
    assert got < 0.5 * _error(weights, _nearest(weights, steps, 127), steps, hessian)


def test_blocks_give_what_one_column_after_the_other_gives():
    """The textbook form: round a column, then solve anew for those that are left."""
    rng = np.random.default_rng(1)
    width = 140
    weights, hessian = rng.normal(size=(3, width)), _correlated(rng, width)
    steps = _steps(weights, 127)
    free, wanted = weights.copy(), np.zeros_like(weights)
    order = np.argsort(-np.diag(hessian), kind="stable")
    for place, column in enumerate(order):
        left = order[place:]
        inverse = np.linalg.inv(hessian[np.ix_(left, left)])
        index = np.clip(np.rint(free[:, column] / steps), -127, 127)
        wanted[:, column] = index
        error = (free[:, column] - index * steps) / inverse[0, 0]
        free[:, left] -= np.outer(error, inverse[0])
    np.testing.assert_array_equal(round_rows(weights, hessian, steps), wanted)


@given(st.integers(0, 10**6), st.floats(1e-6, 1e6))
def test_uncorrelated_inputs_are_rounded_to_nearest(seed: int, energy: float):
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(5, 9))
    steps, identity = _steps(weights, 127), energy * np.eye(9)
    wanted = _nearest(weights, steps, 127)
    np.testing.assert_array_equal(round_rows(weights, identity, steps), wanted)
    alike = np.stack([identity] * 5)
    np.testing.assert_array_equal(round_channels(weights, alike, steps), wanted)


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_channels_at_once_are_rows_one_by_one(seed: int):
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(6, 9))
    hessians = np.stack([_correlated(rng, 9) for _ in range(6)])
    # `round_rows` takes columns by energy, `round_channels` as they come: make that the same.
    order = np.argsort(-np.diagonal(hessians, axis1=1, axis2=2), axis=1)
    hessians = np.stack([h[np.ix_(o, o)] for h, o in zip(hessians, order, strict=True)])
    steps = _steps(weights, 127)
    one_by_one = [round_rows(weights[[c]], hessians[c], steps[[c]])[0] for c in range(len(weights))]
    np.testing.assert_array_equal(round_channels(weights, hessians, steps), one_by_one)


def test_dead_columns_and_zero_channels_are_harmless():
    rng = np.random.default_rng(2)
    inputs = rng.normal(size=(50, 8))
    inputs[:, [1, 5]] = 0
    weights = rng.normal(size=(4, 8))
    weights[2] = 0
    steps = _steps(weights, 127)
    with np.errstate(all="raise"):
        hessian = damped(inputs.T @ inputs / 50)
        rows = round_rows(weights, hessian, steps)
        channels = round_channels(weights, np.stack([hessian] * 4), steps)
        nothing = round_rows(weights, damped(np.zeros((8, 8))), steps)
    for index in (rows, channels):
        assert np.isfinite(index).all()
        assert not index[2].any()
        # Nothing is known about a dead column and nothing correlates with it.
        np.testing.assert_array_equal(index[:, [1, 5]], _nearest(weights, steps, 127)[:, [1, 5]])
    np.testing.assert_array_equal(nothing, _nearest(weights, steps, 127))


def test_damping_makes_few_samples_invertible():
    inputs = np.random.default_rng(3).normal(size=(2, 10))
    hessian = inputs.T @ inputs / 2
    raised = damped(hessian)
    assert np.linalg.eigvalsh(raised).min() > 0
    np.testing.assert_allclose(raised - hessian, DAMPING * np.trace(hessian) / 10 * np.eye(10))


def test_extremes_that_rounding_lost_come_back():
    weights = np.array([[1.0, -0.5], [-2.0, 1.9], [0.0, 0.0], [0.3, 0.1]])
    rounded = np.array([[126.0, -64.0], [-125.0, 121.0], [0.0, 0.0], [127.0, 40.0]])
    kept = keep_extremes(rounded, weights)
    np.testing.assert_array_equal(kept, [[127, -64], [-127, 121], [0, 0], [127, 40]])
    assert rounded[0, 0] == 126  # the argument is not changed
