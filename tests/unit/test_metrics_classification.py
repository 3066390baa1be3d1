"""Classification figures against scikit-learn and against cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, top_k_accuracy_score

from edgekit.errors import DataError
from edgekit.validation.metrics import Batch, ClassificationMetric, Settings, Tally

FAST = Settings(draws=300)


def batch(reference, candidate, labels, start=0):
    return Batch(
        index=range(start, start + len(labels)),
        reference=[np.asarray(reference)],
        candidate=[np.asarray(candidate)],
        labels=labels,
    )


def summary(*batches):
    tally = Tally(ClassificationMetric())
    for one in batches:
        tally.update(one)
    return tally.result(FAST)


def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


@pytest.fixture(scope="module")
def noisy():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 12, 400)
    mine = rng.normal(size=(400, 12)) + 2.5 * np.eye(12)[labels]
    return mine, mine + 0.7 * rng.normal(size=mine.shape), labels


def test_accuracies_are_scikit_learns(noisy):
    mine, theirs, labels = noisy
    found = summary(batch(mine, theirs, labels.tolist())).values
    for k in (1, 5):
        right = [top_k_accuracy_score(labels, one, k=k) for one in (mine, theirs)]
        assert found[f"reference_top{k}_accuracy"] == pytest.approx(right[0])
        assert found[f"top{k}_accuracy"] == pytest.approx(right[1])
        assert found[f"top{k}_drop"] == pytest.approx(right[0] - right[1])
        agreement = top_k_accuracy_score(mine.argmax(1), theirs, k=k, labels=range(12))
        assert found[f"top{k}_agreement"] == pytest.approx(agreement)


def test_flips_are_the_entries_beside_the_diagonal(noisy):
    mine, theirs, labels = noisy
    flips = summary(batch(mine, theirs, labels.tolist())).details["flips"]
    matrix = confusion_matrix(mine.argmax(1), theirs.argmax(1), labels=range(12))
    assert flips["count"] == matrix.sum() - np.trace(matrix)
    for pair in flips["pairs"]:
        assert pair["count"] == matrix[pair["reference"], pair["candidate"]]
    counts = [pair["count"] for pair in flips["pairs"]]
    assert counts == sorted(counts, reverse=True)
    lost = ((mine.argmax(1) == labels) & (theirs.argmax(1) != labels)).sum()
    assert flips["right_to_wrong"] == lost


def test_every_figure_has_an_interval_that_holds_it(noisy):
    mine, theirs, labels = noisy
    for score in summary(batch(mine, theirs, labels.tolist())).scores:
        assert score.interval.low <= score.value <= score.interval.high, score.name


def test_batches_make_no_difference(noisy):
    mine, theirs, labels = noisy
    whole = summary(batch(mine, theirs, labels.tolist()))
    cuts = [slice(0, 1), slice(1, 150), slice(150, 400)]
    parts = summary(*(batch(mine[c], theirs[c], labels[c].tolist(), c.start) for c in cuts))
    assert whole == parts


def test_rows_of_a_killed_run_are_taken_up(noisy):
    mine, theirs, labels = noisy
    first, second = Tally(ClassificationMetric()), Tally(ClassificationMetric())
    rows = first.update(batch(mine[:200], theirs[:200], labels[:200].tolist()))
    second.restore({name: column.copy() for name, column in rows.items()})
    second.update(batch(mine[200:], theirs[200:], labels[200:].tolist(), 200))
    assert second.result(FAST) == summary(batch(mine, theirs, labels.tolist()))


def test_rows_are_a_few_numbers_a_sample():
    scores = np.random.default_rng(0).normal(size=(10, 1000))
    rows = ClassificationMetric().measure(batch(scores, scores, [1] * 10))
    assert sum(column.nbytes for column in rows.values()) <= 10 * 64


def test_calibration_error_by_hand():
    # Two bins are hit. Confidence 0.8 five times, right three times: gap |3 - 4| = 1.
    # Confidence 0.6 five times, right four times: gap |4 - 3| = 1. Together 2 of 10.
    scores = np.array([[0.8, 0.2]] * 5 + [[0.6, 0.4]] * 5)
    labels = [0, 0, 0, 1, 1, 0, 0, 0, 0, 1]
    found = summary(batch(scores, scores, labels)).values
    assert found["ece"] == pytest.approx(0.2)
    assert found["reference_ece"] == pytest.approx(0.2)
    logits = np.log(scores) + 7
    assert summary(batch(logits, logits, labels)).values["ece"] == pytest.approx(0.2)


def test_calibration_error_against_a_loop(noisy):
    mine, theirs, labels = noisy
    probable = softmax(theirs)
    confidence, hit = probable.max(1), probable.argmax(1) == labels
    total = 0.0
    for low in range(15):
        inside = (confidence > low / 15) & (confidence <= (low + 1) / 15)
        if inside.any():
            total += inside.mean() * abs(hit[inside].mean() - confidence[inside].mean())
    assert summary(batch(mine, theirs, labels.tolist())).values["ece"] == pytest.approx(total)


def test_the_first_of_equal_scores_decides():
    tied = np.array([[1.0, 3.0, 3.0, 0.0]])
    rows = ClassificationMetric().measure(batch(tied, tied, [2]))
    assert rows["candidate_class"] == [1]
    assert rows["candidate_rank"] == [1]


def test_nan_decides_for_nothing_and_is_not_hidden():
    good, bad = np.array([[3.0, 1, 0], [0, 1, 2]]), np.array([[np.nan, 1, 0], [0, 1, 2]])
    found = summary(batch(good, bad, [0, 2])).values
    assert found["top1_agreement"] == 0.5
    assert found["top1_accuracy"] == 0.5
    assert found["top5_accuracy"] == 0.5
    assert np.isnan(found["ece"])
    both = summary(batch(bad, bad, [0, 2])).values
    assert both["top1_agreement"] == 0.5  # two NaN are not agreement


def test_without_labels_there_is_agreement_only():
    scores = np.eye(3)
    found = summary(batch(scores, scores[::-1], [None] * 3))
    assert set(found.values) == {"top1_agreement", "top5_agreement"}
    assert found.values["top1_agreement"] == pytest.approx(1 / 3)
    partly = summary(batch(scores, scores[::-1], [0, 1, None]))
    accuracy = next(one for one in partly.scores if one.name == "top1_accuracy")
    assert (accuracy.value, accuracy.samples) == (0.5, 2)


def test_one_sample_has_no_interval():
    assert summary(batch(np.eye(3)[:1], np.eye(3)[:1], [0])).intervals == {}


def test_what_cannot_be_compared_is_said():
    scores = np.eye(3)
    with pytest.raises(DataError, match="label 3 is not a class"):
        summary(batch(scores, scores, [0, 1, 3]))
    with pytest.raises(DataError, match=r"shape \(3, 3\).*\(3, 2\)"):
        summary(batch(scores, scores[:, :2], [0, 1, 2]))
    with pytest.raises(DataError, match="not a vector"):
        summary(batch(np.zeros((2, 4, 4, 3)), np.zeros((2, 4, 4, 3)), [0, 1]))
    with pytest.raises(DataError, match="at least two"):
        summary(batch(np.zeros((2, 1)), np.zeros((2, 1)), [0, 1]))
    with pytest.raises(DataError, match="no sample"):
        Tally(ClassificationMetric()).result()
