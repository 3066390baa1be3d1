"""Parity figures against hand-computed ones and their own laws."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgekit.types import Binding
from edgekit.validation.parity import EQUAL_DB, compare, sqnr_db


def parity(folder: Path, reference, candidate, *, permutations=None, labels=(), indices=None):
    """`compare` on lists of stacks (N, …), one per output."""
    files = []
    for side, stacks in (("r", reference), ("c", candidate)):
        for number, stack in enumerate(stacks):
            np.save(folder / f"{side}{number}.npy", stack)
        files.append([folder / f"{side}{number}.npy" for number in range(len(stacks))])
    bindings = [
        Binding(
            reference=f"y{number}",
            candidate=f"z{number}",
            index=indices[number] if indices else number,
            permutation=permutations[number] if permutations else tuple(range(stack.ndim)),
        )
        for number, stack in enumerate(reference)
    ]
    return compare(
        reference="framework",
        candidate="int8",
        data="digest",
        samples=[f"s{number}" for number in range(len(reference[0]))],
        reference_files=files[0],
        candidate_files=files[1],
        bindings=bindings,
        labels=labels,
    )


def test_hand_computed(tmp_path):
    reference = np.array([[3.0, 4.0, 0.0], [1.0, 2.0, 2.0]])
    candidate = np.array([[3.0, 3.0, 0.0], [1.0, 2.0, 4.0]])
    (output,) = parity(tmp_path, [reference], [candidate]).outputs
    # Signal 25 and 9; noise 1 and 4.
    assert output.per_sample_sqnr_db == pytest.approx((10 * math.log10(25), 10 * math.log10(9 / 4)))
    assert output.sqnr_db == pytest.approx(10 * math.log10(34 / 5))
    assert output.worst_sample == "s1"
    assert output.worst_sqnr_db == pytest.approx(10 * math.log10(9 / 4))
    # Products 9+12+1+4+8 = 34; energies 34 and 18+21 = 39.
    assert output.cosine == pytest.approx(34 / math.sqrt(34 * 39))
    assert (output.max_abs, output.mean_abs) == (2.0, 0.5)
    assert output.top1_agreement == 0  # s0: 1, then the first of the equal ones; s1: 1 and 2
    assert output.nonfinite == 0


def test_the_report_names_what_was_compared(tmp_path):
    report = parity(
        tmp_path, [np.ones((2, 3)), np.ones((2, 4))], [np.ones((2, 3)), np.zeros((2, 4))]
    )
    assert (report.reference, report.candidate, report.data) == ("framework", "int8", "digest")
    assert report.samples == 2
    assert [output.name for output in report.outputs] == ["y0", "y1"]
    assert report.worst_output.name == "y1"


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


@given(values)
def test_equal_tensors(tmp_path_factory, tensor):
    (output,) = parity(tmp_path_factory.mktemp("p"), [tensor], [tensor]).outputs
    assert output.sqnr_db == output.worst_sqnr_db == EQUAL_DB
    assert output.cosine == pytest.approx(1)
    assert output.max_abs == output.mean_abs == 0
    assert output.top1_agreement == 1


@given(values, values, st.sampled_from([2.0**-20, 0.5, 4.0, 2.0**20]))
def test_the_unit_does_not_matter(tmp_path_factory, one, two, scale):
    folder = tmp_path_factory.mktemp("p")
    (plain,) = parity(folder, [one], [two]).outputs
    (scaled,) = parity(folder, [one * scale], [two * scale]).outputs
    assert scaled.per_sample_sqnr_db == pytest.approx(plain.per_sample_sqnr_db)
    assert scaled.cosine == pytest.approx(plain.cosine)
    assert scaled.max_abs == pytest.approx(plain.max_abs * scale)
    assert scaled.worst_sample == plain.worst_sample
    assert scaled.top1_agreement == plain.top1_agreement


@given(values, values)
def test_the_worst_sample_is_not_hidden_by_the_others(tmp_path_factory, one, two):
    (output,) = parity(tmp_path_factory.mktemp("p"), [one], [two]).outputs
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
def test_more_noise_never_looks_better(tmp_path_factory, one, order):
    offset = np.asarray(order, np.float32).reshape(3, 4) / 10 + 0.1
    folder = tmp_path_factory.mktemp("p")
    (less,) = parity(folder, [one], [one + offset]).outputs
    (more,) = parity(folder, [one], [one + 2 * offset]).outputs
    assert more.sqnr_db == pytest.approx(less.sqnr_db - 20 * math.log10(2), abs=0.01)


# ------------------------------------------------------------------------- not finite


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_only_the_candidate_lacks(tmp_path, bad):
    reference = np.ones((3, 4))
    candidate = reference.copy()
    candidate[1, 2] = bad
    (output,) = parity(tmp_path, [reference], [candidate]).outputs
    assert output.nonfinite == 1
    assert output.worst_sample == "s1"
    assert output.per_sample_sqnr_db == (EQUAL_DB, -EQUAL_DB, EQUAL_DB)
    assert output.sqnr_db == -EQUAL_DB
    assert output.max_abs == math.inf, "a maximum that overlooks NaN would say 0"
    assert math.isnan(output.cosine)


@pytest.mark.parametrize("same", [np.nan, np.inf, -np.inf])
def test_masks_that_both_have_are_equal(tmp_path, same):
    reference = np.array([[same, 1.0, 2.0], [3.0, same, 1.0]])
    (output,) = parity(tmp_path, [reference], [reference]).outputs
    assert (output.sqnr_db, output.max_abs, output.nonfinite) == (EQUAL_DB, 0, 0)
    candidate = reference + 0.1
    (near,) = parity(tmp_path, [reference], [candidate]).outputs
    assert near.sqnr_db == pytest.approx(10 * math.log10(15 / (4 * 0.01)))
    assert near.cosine < 1


def test_infinities_of_opposite_sign_differ(tmp_path):
    (output,) = parity(tmp_path, [np.array([[np.inf, 1.0]])], [np.array([[-np.inf, 1.0]])]).outputs
    assert output.sqnr_db == -EQUAL_DB
    (output,) = parity(tmp_path, [np.array([[np.inf, 1.0]])], [np.array([[3.4e38, 1.0]])]).outputs
    assert output.sqnr_db == -EQUAL_DB


def test_silence(tmp_path):
    zero = np.zeros((1, 3))
    (output,) = parity(tmp_path, [zero], [zero]).outputs
    assert (output.sqnr_db, output.cosine) == (EQUAL_DB, 1)
    (output,) = parity(tmp_path, [zero], [zero + 1]).outputs
    assert (output.sqnr_db, output.cosine) == (-EQUAL_DB, 0)


# ------------------------------------------------------------------------- shapes


def test_turned_outputs(tmp_path):
    reference = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    turned = reference.transpose(0, 2, 3, 1)
    (output,) = parity(tmp_path, [reference], [turned], permutations=[(0, 2, 3, 1)]).outputs
    assert output.sqnr_db == EQUAL_DB
    (wrong,) = parity(tmp_path, [reference], [turned], permutations=[(0, 1, 2, 3)]).outputs
    assert wrong.sqnr_db < 10


def test_the_binding_says_which_file(tmp_path):
    one, two = np.full((2, 3), 5.0), np.full((2, 3), 7.0)
    report = parity(tmp_path, [one, two], [two, one], indices=[1, 0])
    assert [output.sqnr_db for output in report.outputs] == [EQUAL_DB, EQUAL_DB]


def test_scalars_and_vectors_of_one(tmp_path):
    """A stack of scalars has shape (N,), one of vectors of one element (N, 1)."""
    scalars = np.array([1.0, 2.0, 3.0])
    (output,) = parity(tmp_path, [scalars], [scalars[:, None]], permutations=[()]).outputs
    assert output.sqnr_db == EQUAL_DB
    (output,) = parity(tmp_path, [scalars[:, None]], [scalars], permutations=[(0, 1)]).outputs
    assert output.sqnr_db == EQUAL_DB
    assert output.top1_agreement is None, "one number is no vector of scores"


@pytest.mark.parametrize("shape", [(2,), (3, 4), (1,), (2, 1, 2)])
def test_agreement_is_only_for_vectors_of_scores(tmp_path, shape):
    stack = np.random.default_rng(0).normal(size=(2, *shape))
    (output,) = parity(tmp_path, [stack], [stack]).outputs
    assert output.top1_agreement is None


def test_agreement_of_a_vector_with_dimensions_of_one(tmp_path):
    stack = np.random.default_rng(0).normal(size=(4, 5, 1, 1))
    (output,) = parity(tmp_path, [stack], [-stack]).outputs
    assert output.top1_agreement == 0


# ------------------------------------------------------------------------- labels


def test_accuracy_counts_labelled_samples_only(tmp_path):
    eye = np.eye(4)
    candidate = eye.copy()
    candidate[1] = [9, 0, 0, 0]
    report = parity(tmp_path, [eye], [candidate], labels=[0, 1, None, 0])
    assert report.reference_accuracy == pytest.approx(2 / 3)
    assert report.accuracy == pytest.approx(1 / 3)
    assert report.outputs[0].top1_agreement == 0.75


def test_no_accuracy_without_labels_or_scores(tmp_path):
    assert parity(tmp_path, [np.eye(4)], [np.eye(4)]).accuracy is None
    assert parity(tmp_path, [np.eye(4)], [np.eye(4)], labels=[None] * 4).accuracy is None
    assert parity(tmp_path, [np.eye(2)], [np.eye(2)], labels=[0, 1]).accuracy is None


def test_only_the_first_output_has_labels(tmp_path):
    report = parity(tmp_path, [np.eye(4), -np.eye(4)], [np.eye(4), -np.eye(4)], labels=[0, 1, 2, 3])
    assert report.accuracy == 1
