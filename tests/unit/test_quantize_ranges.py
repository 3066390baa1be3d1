"""Histograms and the ranges that are chosen from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quantize_nets import Net, feed, mixed_net, photos, quiet
from tflite_builder import invoke

from edgekit.errors import DataError, UsageError
from edgekit.quantize.observe import Histogram, _Growing, count_samples, observe, samples
from edgekit.quantize.ranges import (
    Method,
    _divergence,
    choose,
    parse_method,
    without_ignored,
)
from edgekit.tflite.model import read

_VALUES = st.lists(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=20), min_size=1, max_size=8
)


def _histogram(values: np.ndarray[Any, Any], bins: int = 2048) -> Histogram:
    low, high = float(values.min()), float(values.max())
    counts, _ = np.histogram(values, bins=bins, range=(low, high))
    return Histogram(low=low, high=high, counts=counts.astype(float))


def _one(histogram: Histogram, method: Method, percentile: float = 99.99) -> tuple[float, float]:
    return choose({"x": histogram}, method, percentile)["x"]


def _error(values: np.ndarray[Any, Any], low: float, high: float) -> float:
    """What int8 with this range really does to the values."""
    low, high = min(low, 0), max(high, 0)
    step = max((high - low) / 255, 1e-12)
    zero = np.rint(-low / step)
    stored = np.clip(np.rint(values / step) + zero, 0, 255)
    return float(np.mean(((stored - zero) * step - values) ** 2))


@given(_VALUES)
def test_a_growing_histogram_loses_no_value_and_knows_its_ends(batches: list[list[float]]):
    growing = _Growing(64)
    for batch in batches:
        assert growing.add(np.array(batch, np.float32))
    finished = growing.finished()
    everything = [value for batch in batches for value in batch]
    assert finished.counts.sum() == pytest.approx(len(everything))
    assert (finished.low, finished.high) == (min(everything), max(everything))
    assert (finished.counts >= 0).all()


@settings(max_examples=40)
@given(st.permutations([-5.0, -1.0, 0.0, 0.5, 2.0, 8.0, 100.0]))
def test_values_stay_near_where_they_were_counted(values: list[float]):
    growing = _Growing(1024)
    for value in values:
        growing.add(np.array([value], np.float32))
    histogram = growing.finished()
    step = 105 / 1024
    for value in values:  # each widening moves a count by up to half a bin
        near = np.abs(histogram.centres() - value) <= 4 * step
        assert histogram.counts[near].sum() >= 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_histogram_refuses_what_is_not_finite(bad: float):
    growing = _Growing(8)
    assert growing.add(np.array([1.0, 2.0], np.float32))
    assert not growing.add(np.array([1.0, bad, 2.0], np.float32))


def test_large_tensors_are_counted_in_part_but_their_ends_are_true():
    values = np.linspace(0, 1, 100_000, dtype=np.float32).reshape(1, 100, 100, 10)
    values[0, 3, 3, 3] = 77
    growing = _Growing(16)
    growing.add(values)
    finished = growing.finished()
    assert finished.high == 77
    assert 7000 < finished.counts.sum() < 10_000


def test_observed_ends_are_those_of_the_interpreter(tmp_path: Path):
    path, stack = mixed_net(tmp_path / "net.tflite"), photos(5, 8, 8, 3)
    feeds = feed(tmp_path / "x.npy", stack)
    seen = observe(path, feeds, progress=quiet)
    outputs = np.concatenate([invoke(path, image[None])[0] for image in stack])
    assert seen["scores"].low == pytest.approx(outputs.min(), rel=1e-5)
    assert seen["scores"].high == pytest.approx(outputs.max(), rel=1e-5)
    assert (seen["image"].low, seen["image"].high) == (stack.min(), stack.max())
    made = {t.name for op in read(path).main.operators for t in op.outputs}
    assert set(seen) == made | {"image"}
    assert seen["scores"].counts.sum() == pytest.approx(outputs.size)


def test_feeds_are_permuted_and_cut(tmp_path: Path):
    from dataclasses import replace

    stack = np.arange(5 * 3 * 4 * 2, dtype=np.float32).reshape(5, 3, 4, 2)
    (whole,) = feed(tmp_path / "x.npy", stack)
    part = replace(whole, permutation=(0, 2, 3, 1), rows=(1, 2, 3))
    assert count_samples([part]) == 3
    got = [values[0] for values in samples([part])]
    np.testing.assert_array_equal(np.concatenate(got), stack[1:4].transpose(0, 2, 3, 1))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_calibration_values_that_are_not_finite_name_the_tensor(bad: float, tmp_path: Path):
    path, stack = mixed_net(tmp_path / "net.tflite"), photos(4, 8, 8, 3)
    stack[2, 1, 1, 0] = bad
    with pytest.raises(DataError, match=r"sample 2 .*image"):
        observe(path, feed(tmp_path / "x.npy", stack), progress=quiet)


def test_an_overflow_inside_names_the_tensor_that_overflowed(tmp_path: Path):
    net = Net(1, 4, 4, 1)
    huge = net.constant("w", np.full((1, 1, 1, 1), 1e30, np.float32))
    first = net.conv(net.image, "big", 1, kernel=1, weights=huge)
    path = net.save(tmp_path / "net.tflite", net.conv(first, "out", 1))
    stack = np.full((1, 4, 4, 1), 1e20, np.float32)
    with pytest.raises(DataError, match="big"):
        observe(path, feed(tmp_path / "x.npy", stack), progress=quiet)


def test_minmax_is_the_whole_range():
    assert _one(_histogram(np.array([-3.5, 0, 9.25])), "minmax") == (-3.5, 9.25)


@pytest.mark.parametrize("percentile", [99.0, 99.9, 99.99])
def test_percentile_agrees_with_numpy(percentile: float):
    values = np.random.default_rng(0).normal(1, 2, 200_000)
    low, high = _one(_histogram(values), "percentile", percentile)
    step = (values.max() - values.min()) / 2048
    assert low == pytest.approx(np.percentile(values, 100 - percentile), abs=1.01 * step)
    assert high == pytest.approx(np.percentile(values, percentile), abs=1.01 * step)


def test_percentile_of_mostly_zeros_is_a_range():
    values = np.zeros(1_000_000)
    values[0] = 5.0
    low, high = _one(_histogram(values), "percentile", 99.0)
    assert low == 0 < high


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.sampled_from(["normal", "laplace", "relu", "outlier", "positive"]))
def test_mse_is_never_worse_than_minmax(seed: int, kind: str):
    rng = np.random.default_rng(seed)
    values = rng.laplace(size=4000) if kind == "laplace" else rng.normal(size=4000)
    if kind == "relu":
        values = np.maximum(values, 0)
    elif kind == "positive":
        values = np.abs(values) + 2
    elif kind == "outlier":
        values[0] = 200
    histogram = _histogram(values)
    chosen = _one(histogram, "mse")
    assert _error(values, *chosen) <= 1.1 * _error(values, *_one(histogram, "minmax"))
    assert histogram.low <= chosen[0] < chosen[1] <= histogram.high


def test_mse_cuts_a_lonely_outlier_off():
    values = np.random.default_rng(0).normal(size=200_000)
    values[0] = 12
    low, high = _one(_histogram(values), "mse")
    assert high < 9
    got = _error(values, low, high)
    assert got < 0.9 * _error(values, values.min(), values.max())
    by_hand = [_error(values, low, end) for end in np.linspace(4, 12, 60)]
    assert got < 1.05 * min(by_hand)


def test_divergence_of_merged_bins_by_hand():
    # 510 bins of width 1, steps of 2: bins 1 and 2 share a level, 3 and 4 do, and so on.
    counts = np.ones(510)
    counts[1] = 3
    got = _divergence(Histogram(low=0, high=510, counts=counts), 0, 510)
    assert got == pytest.approx((3 * np.log(3 / 2) + np.log(1 / 2)) / 512)


def test_divergence_of_clipped_values_by_hand():
    # Fewer bins than levels: nothing is merged. Ten of a hundred values move into the last bin.
    histogram = Histogram(low=0, high=100, counts=np.ones(100))
    got = _divergence(histogram, 0, 90)
    assert got == pytest.approx(0.89 * np.log(0.01 * 90) + 0.11 * np.log(0.11 * 90))
    assert _divergence(histogram, 0, 100) == pytest.approx(0)


@pytest.mark.parametrize("sign", [1, -1])
def test_entropy_does_not_clip_because_there_are_many_zeros(sign: int):
    rng = np.random.default_rng(0)
    values = np.clip(rng.normal(0, 2, 400_000), 0, 6)  # RELU6: zeros, a bulk, and some sixes
    low, high = sorted(sign * end for end in _one(_histogram(sign * values), "entropy"))
    assert low == 0
    assert high > 5


def test_entropy_clips_a_lonely_outlier():
    values = np.random.default_rng(0).normal(size=200_000)
    values[0] = 40
    low, high = _one(_histogram(values), "entropy")
    assert 3 < high < 20
    assert low == values.min()
    assert _error(values[1:], low, high) < 0.3 * _error(values[1:], low, 40)


def test_what_hard_swish_ignores_is_cut_and_nothing_else(tmp_path: Path):
    net = Net(1, 4, 4, 3)
    alone, shared, last = (net.conv(net.image, name, 4) for name in ("alone", "shared", "last"))
    swished = [net.relu(t, f"swish_{t.name}", "HARD_SWISH") for t in (alone, shared, last)]
    ends = [*swished, net.add(shared, shared, "sum"), last]
    path = net.save(tmp_path / "net.tflite", *ends)
    limits = dict.fromkeys(("image", "alone", "shared", "last", "swish_alone"), (-9.0, 5.0))
    got = without_ignored(limits, read(path))
    assert got == {**limits, "alone": (-3.0, 5.0)}
    assert without_ignored({"alone": (-2.0, 5.0)}, read(path)) == {"alone": (-2.0, 5.0)}
    assert without_ignored({"alone": (-9.0, -4.0)}, read(path)) == {"alone": (-9.0, -4.0)}


@pytest.mark.parametrize("method", ["mse", "entropy", "minmax"])
def test_an_end_at_zero_stays(method: Method):
    values = np.maximum(np.random.default_rng(0).laplace(size=20_000), 0)
    assert _one(_histogram(values), method)[0] == 0
    assert _one(_histogram(-values), method)[1] == 0


@pytest.mark.parametrize("method", ["mse", "entropy", "minmax", "percentile"])
@pytest.mark.parametrize("sign", [1, -1])
def test_values_of_one_sign_keep_their_bulk(method: Method, sign: int):
    values = sign * np.random.default_rng(0).uniform(5, 10, 50_000)
    low, high = _one(_histogram(values), method)
    assert low < high
    inside = np.mean((values >= low) & (values <= high))
    assert inside > 0.95


@pytest.mark.parametrize("method", ["mse", "entropy"])
def test_both_signs_are_treated_alike(method: Method):
    values = np.maximum(np.random.default_rng(1).laplace(size=20_000), 0)
    low, high = _one(_histogram(values), method)
    mirrored = _one(_histogram(-values), method)
    assert mirrored == pytest.approx((-high, -low), abs=values.max() / 29)


@pytest.mark.parametrize("method", ["mse", "entropy", "minmax", "percentile"])
@pytest.mark.parametrize("value", [0.0, 3.0, -3.0])
def test_a_constant_tensor_has_a_range(method: Method, value: float):
    growing = _Growing(64)
    growing.add(np.full((2, 2), value, np.float32))
    low, high = _one(growing.finished(), method)
    assert (low, high) == (value, value)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("auto", ("auto", 99.99)),
        ("mse", ("mse", 99.99)),
        ("percentile", ("percentile", 99.99)),
        ("percentile:99.9", ("percentile", 99.9)),
        ("percentile:100", ("percentile", 100.0)),
    ],
)
def test_methods_are_read(text: str, wanted: tuple[str, float]):
    assert parse_method(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "max",
        "MSE",
        "mse:99",
        "mse:",
        "percentile:",
        "percentile:x",
        "percentile:50",
        "percentile:101",
        "percentile:nan",
    ],
)
def test_other_methods_are_refused(text: str):
    with pytest.raises(UsageError, match="not a method"):
        parse_method(text)
