"""Advice on calibration: odd samples are named, enough and too few are told apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from quantize_nets import feed, mixed_net, photos, quiet

from edgekit.quantize import extremes
from edgekit.quantize.advice import screen, unlike, without
from edgekit.quantize.engine import QuantizeOutcome, quantize
from edgekit.quantize.observe import Histogram, observe, samples
from edgekit.quantize.prepare import split_feeds
from edgekit.quantize.settling import settling
from edgekit.tflite.model import read

_SHAPE = (8, 8, 3)


def _pictures(count: int, seed: int = 1) -> np.ndarray:
    """Alike in brightness, so that the statistics of the tests are their own."""
    pictures = photos(count, *_SHAPE, seed=seed)
    return pictures / np.abs(pictures).max(axis=(1, 2, 3), keepdims=True)


def _quantize(tmp_path: Path, stack: np.ndarray, effort: str = "fast", **more) -> QuantizeOutcome:
    path = mixed_net(tmp_path / "net.tflite")
    outputs = {"int8": tmp_path / "int8.tflite"}
    feeds = feed(tmp_path / "x.npy", stack)
    return quantize(
        path, outputs, feeds=feeds, work=tmp_path, effort=effort, progress=quiet, **more
    )


def _codes(outcome: QuantizeOutcome) -> dict[str, tuple[int, ...]]:
    return {one.code: one.samples for one in outcome.advice}


def _extremes(amplitudes: np.ndarray) -> np.ndarray:
    """Of symmetric tensors with the given amplitudes (samples, tensors)."""
    return np.stack([-amplitudes, amplitudes], axis=-1)


def _histograms(array: np.ndarray) -> dict[str, Histogram]:
    return {
        str(tensor): Histogram(
            low=array[:, tensor, 0].min(),
            high=array[:, tensor, 1].max(),
            counts=np.ones(4),
            extremes=array[:, tensor],
        )
        for tensor in range(array.shape[1])
    }


def test_the_extremes_are_those_of_each_sample(tmp_path: Path):
    stack = photos(5, *_SHAPE)
    path, feeds = mixed_net(tmp_path / "net.tflite"), feed(tmp_path / "x.npy", stack)
    seen = observe(path, feeds, progress=quiet)
    wanted = np.stack([stack.min(axis=(1, 2, 3)), stack.max(axis=(1, 2, 3))], axis=1)
    np.testing.assert_array_equal(seen["image"].extremes, wanted)
    assert extremes.stacked(seen).shape == (5, len(seen), 2)


def test_the_picture_that_is_fifty_times_as_bright_is_named_and_left_out(tmp_path: Path):
    stack = _pictures(33)
    stack[17] *= 50
    outcome = _quantize(tmp_path, stack)
    (found,) = [one for one in outcome.advice if one.code == "calibration-outlier"]
    assert found.samples == (17,)
    assert found.warning
    assert found.data["left_out"]
    assert found.data["db_without"] > found.data["db_with"] + 3
    assert "Left out" in found.message


def test_a_file_made_with_a_left_out_picture_is_the_file_made_without_it(tmp_path: Path):
    normal = _pictures(32)
    odd = np.insert(normal, 5, normal[3] * 50, axis=0)
    files = []
    for name, stack in (("with", odd), ("without", normal)):
        folder = tmp_path / name
        folder.mkdir()
        _quantize(folder, stack)
        files.append((folder / "int8.tflite").read_bytes())
    assert files[0] == files[1]


def test_an_outlier_that_costs_nothing_is_named_and_kept(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("edgekit.quantize.advice._BETTER_DB", 1000.0)
    stack = _pictures(32)
    stack[3] *= 50
    path, feeds = mixed_net(tmp_path / "net.tflite"), feed(tmp_path / "x.npy", stack)
    screened = screen(read(path), feeds, held_out=lambda x: split_feeds(x)[1], progress=quiet)
    assert [one.code for one in screened.advice] == ["calibration-outlier"]
    assert "Kept" in screened.advice[0].message
    assert screened.feeds is feeds


def test_effort_none_names_outliers_and_keeps_them(tmp_path: Path):
    stack = _pictures(32)
    stack[3] *= 50
    outcome = _quantize(tmp_path, stack, "none")
    found = next(one for one in outcome.advice if one.code == "calibration-outlier")
    assert found.samples == (3,)
    assert not found.data["left_out"]


def test_several_outliers_do_not_hide_each_other():
    rng = np.random.default_rng(0)
    amplitudes = rng.uniform(1, 1.3, (40, 12))
    amplitudes[[7, 30, 31]] *= [[20], [22], [18]]
    assert [one.index for one in extremes.find_outliers(_extremes(amplitudes))] == [7, 30, 31]


@pytest.mark.parametrize("scale", [0.01, 0.0])
def test_a_dark_sample_widens_nothing_and_is_no_outlier(scale: float):
    amplitudes = np.random.default_rng(0).uniform(1, 1.3, (40, 12))
    amplitudes[5] *= scale
    assert not extremes.find_outliers(_extremes(amplitudes))


@pytest.mark.parametrize("seed", range(5))
def test_a_set_that_is_wide_by_nature_has_no_outliers(seed: int):
    """Amplitudes over two decades: the widest is far from the middle, and yet none is odd."""
    rng = np.random.default_rng(seed)
    amplitudes = 10 ** rng.uniform(-1, 1, (100, 1)) * rng.uniform(0.9, 1, (100, 10))
    assert not extremes.find_outliers(_extremes(amplitudes))


def test_full_relu6_does_not_divide_by_its_zero_spread():
    amplitudes = np.full((30, 10), 6.0)
    assert not extremes.find_outliers(_extremes(amplitudes))
    assert set(extremes.growth(_extremes(amplitudes)).values()) == {1.0}


_SETS = hnp.arrays(
    np.float64,
    st.tuples(st.integers(2, 24), st.integers(1, 5)),
    elements=st.one_of(st.floats(0.5, 2.0), st.floats(0, 1e3)),
)


@settings(max_examples=60)
@given(_SETS, st.data())
def test_a_copy_changes_nothing(amplitudes: np.ndarray, data: st.DataObject):
    array = _extremes(amplitudes)
    index = data.draw(st.integers(0, len(array) - 1))
    place = data.draw(st.integers(0, len(array)))
    more = np.insert(array, place, array[index], axis=0)
    named = {one.index for one in extremes.find_outliers(array)}
    again = {one.index for one in extremes.find_outliers(more)}
    assert {old + (old >= place) for old in named} == again - {place}
    assert (place in again) == (index in named)
    before, after = _histograms(array), _histograms(more)
    for name in before:
        assert (before[name].low, before[name].high) == (after[name].low, after[name].high)
    if len(extremes.different(array)[0]) >= 4:
        grown = [extremes.growth(one) for one in (array, more)]
        assert set(grown[0]) == set(grown[1])


def test_bounded_samples_settle_and_growing_ones_do_not():
    rng = np.random.default_rng(0)
    bounded = rng.uniform(0.9, 1, (64, 6))
    growing = bounded * (1.25 ** np.arange(64))[:, None]
    told = [
        settling(
            _histograms(_extremes(one)),
            model=Path(),
            chosen={},
            judge=None,
            learned=48,
            held=range(48, 64),
        )
        for one in (bounded, growing)
    ]
    assert [one.code for one in told] == ["calibration-settled", "calibration-not-settled"]
    assert [one.warning for one in told] == [False, True]
    assert "Give more than 64" in told[1].message


def test_the_share_of_the_range_agrees_with_theory():
    """The expected maximum of n uniform values is n / (n + 1)."""
    amplitudes = np.random.default_rng(1).uniform(0, 1, (64, 400))
    grown = extremes.growth(_extremes(amplitudes))
    assert list(grown) == [4, 8, 16, 32, 64]
    for count, share in grown.items():
        assert share == pytest.approx(count / (count + 1) / (64 / 65), abs=0.02)


class _Judge:
    """Gives more decibels the wider the ranges are, or fewer."""

    def __init__(self, gain: float) -> None:
        self.gain = gain

    def int8_db(self, model: Path, ranges: dict) -> float:
        return 20 + self.gain * np.log2(ranges["0"][1])


@pytest.mark.parametrize(
    ("gain", "learned", "code", "says"),
    [
        (0.1, 40, "calibration-settled", "48 samples were enough (24 give 20.5 dB, 48 give 20.6"),
        (0.1, 48, "calibration-settled", "passes that learn would take more"),
        (3.0, 40, "calibration-not-settled", "each doubling of samples still adds 3.0 dB"),
        (-3.0, 40, "calibration-fewer-better", "Fewer samples measure better"),
    ],
)
def test_the_measured_curve_decides(gain: float, learned: int, code: str, says: str):
    # The widest sample doubles with each doubling of samples, whatever their order.
    order = np.random.default_rng(0).permutation(48)
    amplitudes = np.ones((64, 1))
    amplitudes[order, 0] = np.arange(1, 49)
    amplitudes[48:, 0] = np.linspace(1, 2, 16)
    histograms = _histograms(_extremes(amplitudes))
    chosen = {"0": (-48.0, 48.0)}
    found = settling(
        histograms,
        model=Path(),
        chosen=chosen,
        judge=_Judge(gain),
        learned=learned,
        held=range(48, 64),
    )
    assert found.code == code
    assert says in found.message
    curve = found.data["db"]
    assert list(curve) == [12, 24, 48]
    for count, value in curve.items():
        assert value == pytest.approx(20 + gain * np.log2(count), abs=0.01)


def test_balanced_measures_the_curve_and_fast_does_not(tmp_path: Path):
    (fast,) = _quantize(tmp_path, _pictures(32)).advice
    (balanced,) = _quantize(tmp_path, _pictures(32), "balanced").advice
    assert "db" not in fast.data
    assert list(balanced.data["db"]) == [6, 12, 24]  # eight are held out
    assert all(5 < value < 60 for value in balanced.data["db"].values())


def test_ranges_of_all_samples_are_the_chosen_ones(tmp_path: Path):
    path, feeds = mixed_net(tmp_path / "net.tflite"), feed(tmp_path / "x.npy", _pictures(8))
    histograms = observe(path, feeds, progress=quiet)
    chosen = {name: (0.5 * one.low, 0.8 * one.high) for name, one in histograms.items()}
    again = extremes.ranges_of(histograms, np.arange(8), chosen)
    for name, limits in chosen.items():
        assert again[name] == pytest.approx(limits)
    some = extremes.ranges_of(histograms, np.array([2]), chosen)
    one = next(samples([*feed(tmp_path / "y.npy", _pictures(8)[2:3])]))[0]
    assert some["image"] == pytest.approx((0.5 * one.min(), 0.8 * one.max()))


@pytest.mark.parametrize("colour", [(0, 0, 0), (0.3, 0.3, 0.3), (-2.1, -2.0, -1.8)])
def test_ten_black_pictures_end_in_a_named_warning(colour: tuple[float, ...], tmp_path: Path):
    """Black after mean and std is another value in each channel."""
    stack = np.broadcast_to(np.float32(colour), (10, *_SHAPE)).copy()
    outcome = _quantize(tmp_path, stack)
    assert not outcome.failures
    found = _codes(outcome)
    assert found["calibration-constant"] == tuple(range(10))
    assert "calibration-identical" in found
    assert not {"calibration-settled", "calibration-not-settled"} & set(found)


def test_a_gradient_is_not_constant(tmp_path: Path):
    rows = np.linspace(0, 1, 8, dtype=np.float32)[None, :, None, None]
    stack = np.broadcast_to(rows, (10, *_SHAPE)) * np.linspace(0.5, 1, 10)[:, None, None, None]
    assert "calibration-constant" not in _codes(_quantize(tmp_path, stack.astype(np.float32)))


def test_three_samples_are_too_few_to_tell(tmp_path: Path):
    assert set(_codes(_quantize(tmp_path, _pictures(3)))) == {"calibration-few"}


@pytest.mark.parametrize(("factor", "unlike_them"), [(1.0, False), (5.0, True), (1 / 255, True)])
def test_other_preprocessing_of_the_samples_to_compare_on_is_seen(
    factor: float, unlike_them: bool, tmp_path: Path
):
    parity = feed(tmp_path / "parity.npy", _pictures(16, seed=7) * np.float32(factor))
    found = _codes(_quantize(tmp_path, _pictures(32), parity=parity))
    assert ("calibration-unlike-parity" in found) == unlike_them


def test_samples_to_compare_on_that_are_not_finite_are_left_to_the_comparison(tmp_path: Path):
    path, feeds = mixed_net(tmp_path / "net.tflite"), feed(tmp_path / "x.npy", _pictures(8))
    histograms = observe(path, feeds, progress=quiet)
    bad = feed(tmp_path / "bad.npy", np.full((2, *_SHAPE), np.nan, np.float32))
    assert unlike(read(path), histograms, bad) == ()


def test_nearly_black_calibration_is_unlike_pictures(tmp_path: Path):
    """No picture is of one colour, so only the comparison can tell."""
    parity = feed(tmp_path / "parity.npy", _pictures(4))
    found = _codes(_quantize(tmp_path, _pictures(10) * np.float32(0.02), parity=parity))
    assert "calibration-constant" not in found
    assert "calibration-unlike-parity" in found


def test_samples_are_left_out_of_every_input(tmp_path: Path):
    stack = np.arange(6 * 4, dtype=np.float32).reshape(6, 2, 2)
    feeds = feed(tmp_path / "a.npy", stack) + feed(tmp_path / "b.npy", -stack)
    left = without(feeds, [0, 4])
    for one, sign in zip(left, (1, -1), strict=True):
        np.testing.assert_array_equal(one.load()[list(one.indices())], sign * stack[[1, 2, 3, 5]])
