"""Parity from rows: the same as from whole stacks, however the samples are cut into batches."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import mean_absolute_error
from sklearn.metrics.pairwise import cosine_similarity

from edgekit.types import Binding
from edgekit.validation.parity import (
    EQUAL_DB,
    compare,
    is_vector_of_scores,
    summarize,
    summarize_part,
    sums,
)

VALUES = st.floats(-1e3, 1e3, width=32) | st.sampled_from([np.nan, np.inf, -np.inf])


def rows(wanted, got, cuts=()):
    """The columns of a stack that is cut at some places."""
    edges = [0, *sorted(cuts), len(wanted)]
    parts = [
        sums(wanted[start:end], got[start:end]) for start, end in pairwise(edges) if end > start
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.float32, (7, 5), elements=VALUES),
    arrays(np.float32, (7, 5), elements=VALUES),
    st.sets(st.integers(1, 6)),
)
def test_batches_make_no_difference_and_equal_the_comparison_of_files(
    tmp_path_factory, wanted, got, cuts
):
    folder = tmp_path_factory.mktemp("stacks")
    np.save(folder / "a.npy", wanted)
    np.save(folder / "b.npy", got)
    ids = [f"s{number}" for number in range(7)]
    report = compare(
        reference="a",
        candidate="b",
        data="",
        samples=ids,
        reference_files=[folder / "a.npy"],
        candidate_files=[folder / "b.npy"],
        bindings=[Binding(reference="o", candidate="o", permutation=(0, 1))],
    )
    whole = summarize("o", rows(wanted, got), ids, scores=True)
    cut = summarize("o", rows(wanted, got, cuts), ids, scores=True)
    assert repr(whole) == repr(cut)
    assert repr(cut) == repr(report.outputs[0])


def test_against_scikit_learn():
    rng = np.random.default_rng(0)
    wanted = rng.normal(size=(6, 4, 3)).astype(np.float32)
    got = wanted + rng.normal(0, 0.1, wanted.shape).astype(np.float32)
    output = summarize("o", rows(wanted, got, {2}), list("abcdef"), scores=False)
    assert output.cosine == pytest.approx(
        cosine_similarity(wanted.reshape(1, -1), got.reshape(1, -1))[0, 0]
    )
    assert output.mean_abs == pytest.approx(mean_absolute_error(wanted.ravel(), got.ravel()))
    assert output.max_abs == pytest.approx(abs(wanted - got).max())
    noise = ((wanted - got) ** 2).reshape(6, -1).sum(1)
    per_sample = 10 * np.log10((wanted**2).reshape(6, -1).sum(1) / noise)
    assert output.per_sample_sqnr_db == pytest.approx(per_sample.tolist(), abs=1e-4)
    assert output.worst_sample == "abcdef"[int(per_sample.argmin())]
    assert output.top1_agreement is None


def test_new_nan_counts_and_equal_infinities_do_not():
    wanted = np.array([[1.0, np.inf, np.nan]])
    got = np.array([[np.nan, np.inf, np.nan]])
    output = summarize("o", sums(wanted, got), ["a"], scores=False)
    assert output.nonfinite == 1
    assert output.sqnr_db == -EQUAL_DB
    assert math.isnan(output.cosine)
    equal = summarize("o", sums(wanted, wanted), ["a"], scores=False)
    assert (equal.nonfinite, equal.sqnr_db) == (0, EQUAL_DB)


def test_a_part_has_its_own_signal():
    wanted = np.array([[100.0, 100.0, 0.1, 0.1]])
    got = np.array([[100.0, 100.0, 0.1, 0.0]])
    part = summarize_part((1, 2, 2), sums(wanted[:, 2:], got[:, 2:]), ["a"])
    assert part.sqnr_db == pytest.approx(10 * math.log10(2))
    assert (part.axis, part.start, part.size) == (1, 2, 2)


@pytest.mark.parametrize(
    ("shape", "scores"),
    [((1, 5), True), ((5,), True), ((1, 1, 1, 9), True), ((1, 2), False), ((1, 3, 3), False)],
)
def test_which_outputs_are_scores(shape, scores):
    assert is_vector_of_scores(shape) is scores
