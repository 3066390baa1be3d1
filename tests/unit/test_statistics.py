"""Intervals and tests against SciPy, and the properties that an interval must have."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.types import Interval
from edgekit.validation.statistics import (
    bootstrap,
    mcnemar,
    paired_drop,
    percentile_interval,
    resampled_means,
    resamples,
    wilson,
    with_margin,
)


@pytest.mark.parametrize(("k", "n"), [(0, 10), (10, 10), (3, 7), (370, 500), (1, 2)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_wilson_is_scipys(k, n, confidence):
    wanted = scipy.stats.binomtest(k, n).proportion_ci(confidence, method="wilson")
    found = wilson(k, n, confidence=confidence)
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


def test_no_interval_for_a_single_sample():
    one = np.ones(1)
    assert wilson(1, 1) is None
    assert bootstrap(one) is None
    assert paired_drop(one, one) is None


@pytest.mark.parametrize(("b", "c"), [(0, 0), (0, 5), (5, 0), (3, 9), (12, 12), (20, 4)])
def test_mcnemar_with_few_pairs_is_the_binomial_test(b, c):
    found = mcnemar(b, c)
    assert found.exact
    wanted = scipy.stats.binomtest(b, b + c, 0.5).pvalue if b + c else 1.0
    assert found.p_value == pytest.approx(wanted)


@pytest.mark.parametrize(("b", "c"), [(25, 0), (20, 40), (30, 30), (100, 140), (31, 30)])
def test_mcnemar_with_many_pairs_is_chi_square_with_correction(b, c):
    statistic = max(abs(b - c) - 1, 0) ** 2 / (b + c)
    found = mcnemar(b, c)
    assert not found.exact
    assert found.p_value == pytest.approx(scipy.stats.chi2.sf(statistic, 1))


@pytest.mark.parametrize("n", [60, 5_000])
def test_bootstrap_of_means_is_scipys(n):
    rng = np.random.default_rng(3)
    values = rng.exponential(size=n)
    wanted = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=4_000, batch=200, method="percentile", rng=rng
    ).confidence_interval
    found = bootstrap(values)
    spread = values.std() / np.sqrt(n)
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=0.12 * spread)


def test_bootstrap_of_a_paired_function_of_two_columns_is_scipys():
    rng = np.random.default_rng(4)
    first = rng.normal(size=400) ** 2
    both = np.stack([first, first * rng.uniform(0.8, 1.1, 400)], axis=1)

    def difference(a, b, axis=-1):
        return np.sqrt(a.mean(axis)) - np.sqrt(b.mean(axis))

    wanted = scipy.stats.bootstrap(
        tuple(both.T), difference, paired=True, n_resamples=20_000, batch=500, method="percentile",
        rng=rng,
    )  # fmt: skip
    found = bootstrap(both, lambda means: np.sqrt(means[:, 0]) - np.sqrt(means[:, 1]))
    limits = wanted.confidence_interval
    assert (found.low, found.high) == pytest.approx(
        (limits.low, limits.high), abs=0.12 * wanted.standard_error
    )
    alone = bootstrap(both, lambda means: np.sqrt(means[:, 0]))
    assert found.margin(0) < alone.margin(np.sqrt(first.mean()))  # pairs cancel what they share


def test_the_drop_of_hits_is_scipys_paired_bootstrap():
    rng = np.random.default_rng(5)
    mine = rng.random(3_000) < 0.75
    theirs = np.where(rng.random(3_000) < 0.06, ~mine, mine)
    wanted = scipy.stats.bootstrap(
        (mine.astype(float) - theirs,), np.mean, n_resamples=4_000, batch=200, method="percentile",
        rng=rng,
    )  # fmt: skip
    found = paired_drop(mine, theirs)
    assert found.method == "paired bootstrap"
    limits = wanted.confidence_interval
    assert (found.low, found.high) == pytest.approx((limits.low, limits.high), abs=0.0008)


def test_few_discordant_pairs_do_not_make_the_drop_certain():
    hits = np.ones(20)
    found = paired_drop(hits, hits)
    assert found.method == "Bonett-Price"
    assert found.low < -0.05
    assert found.high > 0.05
    # By hand: both shares (1 or 3) + 1 of 42.
    one = np.array([1] * 40), np.array([0] * 3 + [1] * 37)
    p, q = 4 / 42, 1 / 42
    half = 1.959964 * np.sqrt((p + q - (p - q) ** 2) / 42)
    found = paired_drop(*one)
    assert (found.low, found.high) == pytest.approx((p - q - half, p - q + half), rel=1e-6)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=40), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_an_interval_holds_its_point_and_stays_within_the_values(values, seed):
    found = bootstrap(np.array(values), draws=200, seed=seed)
    mean = np.mean(values)
    assert found.low <= mean <= found.high
    assert min(values) - 1e-3 <= found.low
    assert found.high <= max(values) + 1e-3


@given(st.integers(2, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share(numbers):
    k, n = numbers
    found = wilson(k, n)
    assert 0 <= found.low <= k / n <= found.high <= 1


@pytest.mark.parametrize("n", [300, 4_000])
def test_equal_seeds_draw_the_same_and_others_do_not(n):
    values = np.random.default_rng(0).random((n, 2))
    first, again, other = (resampled_means(values, draws=300, seed=seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize("n", [100, 5_000])
def test_weights_are_counts_with_the_bootstraps_mean_and_variance(n):
    counts = np.concatenate(list(resamples(n, draws=400, seed=0)))
    assert counts.shape == (400, n)
    assert (counts == np.rint(counts)).all()
    assert counts.mean() == pytest.approx(1, abs=0.01)
    assert counts.var() == pytest.approx(1 - (1 / n if n == 100 else 0), abs=0.02)
    if n == 100:
        assert (counts.sum(axis=1) == n).all()


def test_a_draw_of_zeros_alone_is_exactly_zero():
    values = np.zeros((5_000, 2))
    values[:3, 0] = 1e6
    values[:, 1] = 7.25
    means = resampled_means(values, draws=500)
    none = np.exp(-3)
    assert (means[:, 0] == 0).mean() == pytest.approx(none, abs=0.05)
    assert means[:, 1] == pytest.approx(7.25)


def test_single_precision_is_spent_on_what_varies():
    values = 1e6 + np.random.default_rng(0).normal(size=5_000)
    found = bootstrap(values, draws=2_000)
    assert found.margin(values.mean()) == pytest.approx(1.96 / np.sqrt(5_000), rel=0.1)


def test_values_that_are_no_numbers_have_no_interval():
    assert bootstrap(np.array([1.0, np.nan, 2.0])) is None
    assert percentile_interval(np.array([np.nan]), 1.0) is None
    assert percentile_interval(np.array([np.nan, 1, 2]), 3.0).high == 3.0


def test_words():
    interval = Interval(low=0.001, high=0.006)
    assert with_margin(0.004, interval, percent=True) == "0.4 % ± 0.3 %"
    assert with_margin(0.004, None, percent=True) == "0.4 %"
    assert with_margin(31.25, Interval(low=31, high=31.5)) == "31.250 ± 0.250"
