"""Figures of closeness against hand-computed ones, other libraries, and their own laws."""

from __future__ import annotations

import math
from functools import reduce
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.metrics.pairwise import cosine_similarity

from edgekit.closeness import (
    EQUAL_DB,
    Variation,
    channel_axis,
    is_vector_of_scores,
    merge,
    spread,
    sqnr_db,
    sums,
)
from edgekit.types import OutputParity, ParityReport
from edgekit.validation import gates
from edgekit.validation.parity import summarize, summarize_part


def parity(reference, candidate, *, cuts=(), width=None, coarse=False) -> OutputParity:
    """The parity of stacks (N, …) that are measured in batches, cut at some places."""
    axis = channel_axis(reference.shape[1:])
    edges = list(pairwise([0, *sorted(cuts), len(reference)]))
    parts = [sums(reference[a:b], candidate[a:b], channel=axis) for a, b in edges if b > a]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    found = reduce(merge, [spread(reference[a:b], axis) for a, b in edges if b > a])
    return summarize(
        "y",
        columns,
        [f"s{number}" for number in range(len(reference))],
        scores=is_vector_of_scores(reference.shape[1:]),
        variation=Variation(found, width),
        coarse=coarse,
    )


def test_hand_computed():
    reference = np.array([[3.0, 4.0, 0.0], [1.0, 2.0, 2.0]])
    candidate = np.array([[3.0, 3.0, 0.0], [1.0, 2.0, 4.0]])
    output = parity(reference, candidate)
    # Signal 25 and 9; noise 1 and 4.
    assert output.per_sample_sqnr_db == pytest.approx((10 * math.log10(25), 10 * math.log10(9 / 4)))
    assert output.sqnr_db == pytest.approx(10 * math.log10(34 / 5))
    # Around the means (2, 3, 1) every value is 1 away: an energy of 6.
    assert output.centred_db == pytest.approx(10 * math.log10(6 / 5), abs=1e-6)
    # By class the error has 0, 1 and 4 where the reference varies by 2 each.
    assert output.lost_share == pytest.approx(1 / 3)
    assert output.worst_sample == "s1"
    assert output.worst_sqnr_db == pytest.approx(10 * math.log10(9 / 4))
    # Products 9+12+1+4+8 = 34; energies 34 and 18+21 = 39.
    assert output.cosine == pytest.approx(34 / math.sqrt(34 * 39))
    assert (output.max_abs, output.mean_abs) == (2.0, 0.5)
    assert output.top1_agreement == 0  # s0: 1, then the first of the equal ones; s1: 1 and 2
    assert output.decisions == 1
    assert output.nonfinite == 0


@pytest.mark.parametrize(
    ("signal", "noise", "db"),
    [
        (1, 1, 0),
        (100, 1, 20),
        (1, 0, EQUAL_DB),
        (0, 0, EQUAL_DB),
        (0, 1, -EQUAL_DB),
        (1, math.inf, -EQUAL_DB),
        (1, math.nan, -EQUAL_DB),
        (1e300, 1e-300, EQUAL_DB),
        (1e-300, 1e300, -EQUAL_DB),
    ],
)
def test_decibels(signal, noise, db):
    assert sqnr_db(signal, noise) == pytest.approx(db)


values = arrays.arrays(
    np.float32, (3, 4), elements=st.floats(-100, 100, width=32).filter(lambda v: abs(v) > 1e-3)
)
VALUES = st.floats(-1e3, 1e3, width=32) | st.sampled_from([np.nan, np.inf, -np.inf])


@given(values)
def test_equal_tensors(tensor):
    output = parity(tensor, tensor)
    assert output.sqnr_db == output.worst_sqnr_db == output.centred_db == EQUAL_DB
    assert output.cosine == pytest.approx(1)
    assert output.max_abs == output.mean_abs == output.systematic == 0
    assert output.top1_agreement == 1


@given(values, values, st.sampled_from([2.0**-20, 0.5, 4.0, 2.0**20]))
def test_the_unit_does_not_matter(one, two, scale):
    plain, scaled = parity(one, two), parity(one * scale, two * scale)
    assert scaled.per_sample_sqnr_db == pytest.approx(plain.per_sample_sqnr_db)
    assert scaled.centred_db == pytest.approx(plain.centred_db, abs=1e-6)
    assert scaled.cosine == pytest.approx(plain.cosine)
    assert scaled.max_abs == pytest.approx(plain.max_abs * scale)
    assert scaled.worst_sample == plain.worst_sample
    assert scaled.top1_agreement == plain.top1_agreement


@given(values, values)
def test_the_worst_sample_is_not_hidden_by_the_others(one, two):
    output = parity(one, two)
    assert output.worst_sqnr_db == min(output.per_sample_sqnr_db)
    assert output.worst_sqnr_db <= output.sqnr_db + 1e-9
    assert output.sqnr_db <= max(output.per_sample_sqnr_db) + 1e-9
    worst = int(output.worst_sample[1:])
    assert output.per_sample_sqnr_db[worst] == output.worst_sqnr_db
    difference = np.abs(one.astype(float) - two)
    assert output.max_abs == difference.max()
    assert output.mean_abs == pytest.approx(difference.mean())
    assert -1 - 1e-9 <= output.cosine <= 1 + 1e-9


@given(values, st.permutations(range(12)))
def test_more_noise_never_looks_better(one, order):
    offset = np.asarray(order, np.float32).reshape(3, 4) / 10 + 0.1
    less, more = parity(one, one + offset), parity(one, one + 2 * offset)
    assert more.sqnr_db == pytest.approx(less.sqnr_db - 20 * math.log10(2), abs=0.01)


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(np.float32, (7, 5), elements=VALUES),
    arrays.arrays(np.float32, (7, 5), elements=VALUES),
    st.sets(st.integers(1, 6)),
)
def test_batches_make_no_difference(wanted, got, cuts):
    whole, cut = parity(wanted, got), parity(wanted, got, cuts=cuts)
    assert cut.centred_db == pytest.approx(whole.centred_db, abs=1e-6)
    for name in ("sqnr_db", "cosine", "max_abs", "mean_abs", "nonfinite", "decisions"):
        assert getattr(cut, name) == pytest.approx(getattr(whole, name), nan_ok=True)


def test_against_scikit_learn():
    rng = np.random.default_rng(0)
    wanted = rng.normal(size=(6, 4, 3)).astype(np.float32)
    got = wanted + rng.normal(0, 0.1, wanted.shape).astype(np.float32)
    output = parity(wanted, got, cuts={2})
    assert output.cosine == pytest.approx(
        cosine_similarity(wanted.reshape(1, -1), got.reshape(1, -1))[0, 0]
    )
    assert output.mean_abs == pytest.approx(mean_absolute_error(wanted.ravel(), got.ravel()))
    noise = ((wanted - got) ** 2).reshape(6, -1).sum(1)
    per_sample = 10 * np.log10((wanted**2).reshape(6, -1).sum(1) / noise)
    assert output.per_sample_sqnr_db == pytest.approx(per_sample.tolist(), abs=1e-4)
    assert output.worst_sample == f"s{int(per_sample.argmin())}"
    assert output.top1_agreement is None


def test_r2_is_that_of_scikit_learn():
    rng = np.random.default_rng(1)
    wanted = 40 + rng.normal(size=(50, 1))
    got = wanted + rng.normal(0, 0.2, (50, 1))
    found = figures(parity(wanted, got))
    assert found["r2"] == pytest.approx(r2_score(wanted, got), abs=1e-6)


# ------------------------------------------------------------------- what varies, and what does not


def figures(*outputs: OutputParity) -> dict[str, float]:
    report = ParityReport(reference="r", candidate="c", data="", samples=1, outputs=outputs)
    return gates.metrics(report, None, size_bytes=1, integer_share=None)


def state(output: OutputParity, scheme="int8", task=None) -> bool:
    """Whether a file with one such output holds the default gates on its values."""
    wanted = [g for g in gates.defaults(scheme, task) if g.metric in gates.PARITY_METRICS]
    return all(one.state != "fail" for one in gates.judge(wanted, figures(output)))


STACKS = [(40, 1), (40, 10), (24, 4, 6, 6), (24, 6, 6, 3), (24, 30, 5)]


def random_pair(shape, seed, error):
    rng = np.random.default_rng(seed)
    reference = rng.normal(size=shape)
    return reference, reference + error * rng.normal(size=shape)


@pytest.mark.parametrize("shape", STACKS)
@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 1000),
    error=st.sampled_from([1e-5, 0.05, 0.2, 0.5, 2.0]),
    offset=st.sampled_from([-1e3, 7.0, 300.0]),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
)
def test_neither_an_offset_nor_a_unit_changes_what_holds(shape, seed, error, offset, scale):
    """Property asked for: adding a constant to both, or scaling both, changes no verdict."""
    reference, candidate = random_pair(shape, seed, error)
    plain = parity(reference, candidate)
    moved = parity(scale * (reference + offset), scale * (candidate + offset))
    if error > 1e-4:  # away from what the arithmetic leaves
        assert moved.centred_db == pytest.approx(plain.centred_db, abs=0.01)
    for scheme in ("fp32", "int8"):
        assert state(moved, scheme) == state(plain, scheme)


@pytest.mark.parametrize("shape", STACKS)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), offset=st.sampled_from([0.0, 50.0, 1e4]))
def test_the_mean_of_the_reference_never_passes(shape, seed, offset):
    """Property asked for: the best constant is not a candidate."""
    reference = offset + np.random.default_rng(seed).normal(size=shape)
    constant = np.broadcast_to(reference.mean(axis=0), shape)
    output = parity(reference, constant)
    assert output.centred_db <= 0.01
    assert not state(output, "int8")
    assert not state(output, "fp32")


def test_a_temperature_that_answers_one_constant():
    rng = np.random.default_rng(0)
    reference = 290 + 0.012 * rng.normal(size=(96, 1))
    output = parity(reference, np.full_like(reference, 290.019))
    assert output.sqnr_db > 80
    assert output.cosine == pytest.approx(1, abs=1e-9)
    assert output.centred_db < 0
    assert not state(output)


def test_a_map_that_is_mostly_background():
    """Per place the mean over samples explains little; what stands out of it counts."""
    rng = np.random.default_rng(0)
    reference = np.full((20, 16, 16, 1), 0.9)
    for sample in reference:
        top, left = rng.integers(0, 12, 2)
        sample[top : top + 4, left : left + 4] = 0.1
    assert parity(reference, np.full_like(reference, 0.9)).sqnr_db > 12
    flat = parity(reference, np.broadcast_to(reference.mean(), reference.shape))
    assert flat.centred_db < 0.1
    assert not state(flat)


def test_brightness_alone_does_not_carry_a_picture():
    """A file that gives each picture's mean has lost the picture."""
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(16, 8, 8, 3)) + rng.normal(scale=30, size=(16, 1, 1, 1))
    blurred = np.broadcast_to(reference.mean(axis=(1, 2), keepdims=True), reference.shape)
    output = parity(reference, blurred)
    assert output.sqnr_db > 20
    assert not state(output)


def test_what_float_arithmetic_leaves_is_no_error():
    rng = np.random.default_rng(0)
    reference = (290 + 0.012 * rng.normal(size=(96, 1))).astype(np.float32)
    candidate = np.nextafter(reference, np.float32(1e3))
    assert state(parity(reference, candidate), "fp32")


def test_rare_events_of_a_sigmoid_are_right_within_its_resolution():
    """Values of 0…1e-4: 58.7 dB without the floor that the possible range of 0…1 gives."""
    rng = np.random.default_rng(0)
    reference = 1e-4 * rng.random((16, 1)) ** 4
    candidate = reference + 6e-8 * rng.normal(size=(16, 1))
    assert parity(reference, candidate).centred_db < 60
    assert parity(reference, candidate, width=1.0).centred_db > 60


def test_an_output_that_the_samples_do_not_move_is_not_seen():
    quiet = np.random.default_rng(0).random((32, 4)) * 1e-3
    assert parity(quiet, quiet * 0, width=1.0, coarse=True).varies is False
    assert parity(quiet, quiet, width=1.0).varies is True
    same = np.full((32, 4), 0.3)
    assert parity(same, same).varies is False
    assert parity(same[:1], same[:1]).varies is False


def test_one_class_that_is_never_chosen():
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(80, 10)) * 3
    reference[np.arange(80), np.arange(80) % 10] += 12
    candidate = reference.copy()
    candidate[:, 4] = candidate[:, 4].min()
    output = parity(reference, candidate)
    assert output.top1_agreement == pytest.approx(0.9)
    assert (output.decisions, output.classes_lost) == (10, 1)
    assert output.lost_share == pytest.approx(0.1)
    assert not state(output, task="classification")
    assert not state(output)


def test_scores_beside_boxes_are_not_drowned():
    """(N, channels, places): four boxes up to 640, scores up to 1 that are all set to zero."""
    rng = np.random.default_rng(0)
    reference = np.concatenate(
        [rng.random((16, 4, 50)) * 640, rng.random((16, 4, 50)) ** 3], axis=1
    )
    candidate = reference.copy()
    candidate[:, 4:] = 0
    output = parity(reference, candidate, width=1.0)
    assert output.sqnr_db > 40
    assert output.lost_share == 1
    assert not state(output)


def test_scores_beside_boxes_without_a_bounded_range():
    """Boxes and scores in one output of which the graph says nothing."""
    rng = np.random.default_rng(0)
    scale = np.array([300.0, 300, 300, 300, 0.3, 0.3])
    reference = rng.normal(size=(64, 9, 6)) * scale
    swapped = parity(reference, reference[..., [0, 1, 2, 3, 5, 4]])
    assert swapped.centred_db > 40
    assert swapped.lost_share == 1
    assert not state(swapped)
    assert parity(reference, reference + 0.01 * scale * rng.normal(size=(64, 9, 6))).lost_share == 0


def test_a_few_quiet_features_are_no_loss():
    """An embedding whose energies fall off without a gap: 8 bits lose its last features."""
    rng = np.random.default_rng(0)
    scale = np.logspace(0, -2.5, 64)
    reference = rng.normal(size=(64, 64)) * scale
    step = 8 / 255
    assert state(parity(reference, np.rint(reference / step) * step))
    few = np.where(np.arange(64) < 62, 1.0, 1e-3)
    reference = rng.normal(size=(64, 64)) * few
    assert state(parity(reference, np.rint(reference / step) * step))


@pytest.mark.parametrize(("factor", "offset"), [(1.1, 0), (0.8, 0), (1, 0.2), (1.05, 0.1)])
def test_a_constant_factor_or_offset_is_told_from_rounding(factor, offset):
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(64, 8))
    off = parity(reference, factor * reference + offset + 0.005 * rng.normal(size=(64, 8)))
    assert off.centred_db > 10
    assert off.systematic == pytest.approx(math.hypot(factor - 1, offset), rel=0.1)
    assert not state(off)
    rounded = parity(reference, np.rint(reference * 4) / 4 + 0.01)
    assert rounded.systematic == 0
    assert state(rounded)


def test_the_mean_of_large_outputs_is_taken_from_a_draw():
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(6, 200, 200, 3)) * np.array([1, 5, 20]) + 100
    whole = ((reference - reference.mean(axis=0)) ** 2).sum(axis=(0, 1, 2))
    found = spread(reference, -1)
    assert found["mean"].size <= 65_536
    assert found["element"][0] == pytest.approx(whole, rel=0.05)


@pytest.mark.parametrize(
    ("shape", "layout", "axis"),
    [
        ((10,), None, -1),
        ((1, 1, 10), None, -1),
        ((10, 1, 1), None, -3),
        ((84, 2100), None, -2),
        ((2100, 84), None, -1),
        ((21, 32, 32), None, -3),
        ((32, 32, 21), None, -1),
        ((32, 32, 32), "NCHW", -3),
        ((32, 32, 64), "NHWC", -1),
        ((), None, -1),
    ],
)
def test_where_the_channels_are(shape, layout, axis):
    assert channel_axis(shape, layout) == axis


# ------------------------------------------------------------------------- not finite


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_only_the_candidate_lacks(bad):
    reference = np.arange(12.0).reshape(3, 4) + 1
    candidate = reference.copy()
    candidate[1, 2] = bad
    output = parity(reference, candidate)
    assert output.nonfinite == 1
    assert output.worst_sample == "s1"
    assert output.per_sample_sqnr_db == (EQUAL_DB, -EQUAL_DB, EQUAL_DB)
    assert output.sqnr_db == output.centred_db == -EQUAL_DB
    assert output.max_abs == math.inf, "a maximum that overlooks NaN would say 0"
    assert math.isnan(output.cosine)


@pytest.mark.parametrize("same", [np.nan, np.inf, -np.inf])
def test_masks_that_both_have_are_equal(same):
    reference = np.array([[same, 1.0, 2.0], [3.0, same, 1.0]])
    output = parity(reference, reference)
    assert (output.sqnr_db, output.max_abs, output.nonfinite) == (EQUAL_DB, 0, 0)
    assert output.reference_nan == (2 if math.isnan(same) else 0)
    near = parity(reference, reference + 0.1)
    assert near.sqnr_db == pytest.approx(10 * math.log10(15 / (4 * 0.01)))
    assert near.cosine < 1


def test_new_nan_counts_and_equal_infinities_do_not():
    wanted = np.array([[1.0, np.inf, np.nan]])
    got = np.array([[np.nan, np.inf, np.nan]])
    output = parity(wanted, got)
    assert output.nonfinite == 1
    assert output.sqnr_db == -EQUAL_DB
    assert math.isnan(output.cosine)


def test_infinities_of_opposite_sign_differ():
    infinite = np.array([[np.inf, 1.0]])
    assert parity(infinite, -infinite).sqnr_db == -EQUAL_DB
    assert parity(infinite, np.array([[3.4e38, 1.0]])).sqnr_db == -EQUAL_DB


def test_silence():
    zero = np.zeros((1, 3))
    equal, other = parity(zero, zero), parity(zero, zero + 1)
    assert (equal.sqnr_db, equal.cosine) == (EQUAL_DB, 1)
    assert (other.sqnr_db, other.cosine) == (-EQUAL_DB, 0)


# ------------------------------------------------------------------------- shapes


def test_scalars_and_vectors_of_one():
    """A stack of scalars has shape (N,), one of vectors of one element (N, 1)."""
    scalars = np.array([1.0, 2.0, 3.0])
    assert parity(scalars, scalars).sqnr_db == EQUAL_DB
    assert parity(scalars[:, None], scalars[:, None]).top1_agreement is None


@pytest.mark.parametrize("shape", [(3, 4), (1,), (2, 1, 2)])
def test_agreement_is_only_for_vectors_of_scores(shape):
    stack = np.random.default_rng(0).normal(size=(2, *shape))
    assert parity(stack, stack).top1_agreement is None


@pytest.mark.parametrize("shape", [(2,), (5, 1, 1), (1, 9)])
def test_two_classes_are_scores_too(shape):
    stack = np.random.default_rng(0).normal(size=(4, *shape))
    assert parity(stack, -stack).top1_agreement == 0


def test_a_part_has_its_own_signal():
    wanted = np.array([[100.0, 100.0, 0.1, 0.1]])
    got = np.array([[100.0, 100.0, 0.1, 0.0]])
    part = summarize_part(
        (1, 2, 2),
        sums(wanted[:, 2:], got[:, 2:]),
        ["a"],
        variation=Variation(spread(wanted[:, 2:], -1)),
    )
    assert part.sqnr_db == pytest.approx(10 * math.log10(2))
    assert (part.axis, part.start, part.size) == (1, 2, 2)


@given(arrays.arrays(np.float64, (6, 3), elements=st.floats(-50, 50)), st.integers(1, 5))
def test_merged_spreads_are_those_of_all(stack, cut):
    assume(np.ptp(stack) > 1e-3)
    whole = spread(stack, -1)
    both = merge(spread(stack[:cut], -1), spread(stack[cut:], -1))
    for name, column in whole.items():
        assert both[name] == pytest.approx(column, abs=1e-6), name
    assert whole["element"][0] == pytest.approx(6 * stack.var(axis=0), abs=1e-6)
