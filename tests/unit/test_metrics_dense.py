"""Segmentation, regression, embeddings, pictures and users' own metrics."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import jaccard_score, mean_absolute_error, root_mean_squared_error
from sklearn.neighbors import NearestNeighbors

from edgekit.errors import DataError, UsageError
from edgekit.validation.metrics import (
    Batch,
    EmbeddingMetric,
    ImageQuality,
    Regression,
    SegmentationMetric,
    Settings,
    Tally,
    load_metric,
)
from edgekit.validation.metrics.image import psnr, ssim
from edgekit.validation.metrics.segmentation import confusion, iou

FAST = Settings(draws=300)


def run(metric, reference, candidate, labels, step=None):
    tally = Tally(metric)
    step = step or len(labels)
    for start in range(0, len(labels), step):
        part = slice(start, start + step)
        tally.update(
            Batch(
                index=range(len(labels))[part],
                reference=[np.asarray(reference)[part]],
                candidate=[np.asarray(candidate)[part]],
                labels=labels[part],
            )
        )
    return tally.result(FAST)


def holds(summary):
    for name, interval in summary.intervals.items():
        assert interval.low <= summary.values[name] <= interval.high, name


# ------------------------------------------------------------------------- segmentation


def test_miou_by_hand():
    # Class 0: 2 right of 3 labelled, 2 predicted: 2/3. Class 1: 1 right of 1 and 2 predicted: 1/2.
    # The last pixel is ignored. Class 2 is nowhere and does not count.
    label = np.array([[0, 0, 0], [1, 255, 255]])
    predicted = np.array([[0, 0, 1], [1, 2, 0]])
    found = run(SegmentationMetric(classes=3, layout="map"), [label % 255], [predicted], [label])
    assert found.values["miou"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found.values["pixel_accuracy"] == pytest.approx(3 / 4)
    assert found.values["reference_miou"] == 1
    assert found.values["miou_drop"] == pytest.approx(1 - (2 / 3 + 1 / 2) / 2)
    assert found.details["candidate_iou_by_class"][2] is None
    assert found.intervals == {}


@pytest.fixture(scope="module")
def planes():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, (9, 12, 10))
    labels[:5][labels[:5] == 3] = 0  # a class that is in some of the pictures only
    labels[rng.random(labels.shape) < 0.1] = 255
    scores = rng.normal(size=(9, 12, 10, 4)) + 2 * np.eye(4)[labels % 255]
    return labels, scores, scores + rng.normal(size=scores.shape)


def test_miou_is_scikit_learns_jaccard(planes):
    labels, mine, theirs = planes
    found = run(SegmentationMetric(classes=4), mine, theirs, list(labels), step=2)
    used = labels != 255
    for prefix, scores in (("reference_", mine), ("", theirs)):
        wanted = jaccard_score(labels[used], scores.argmax(3)[used], average=None)
        assert found.values[f"{prefix}miou"] == pytest.approx(wanted.mean())
    each = jaccard_score(labels[used], theirs.argmax(3)[used], average=None)
    assert found.details["candidate_iou_by_class"] == pytest.approx(list(each))
    agreement = jaccard_score(mine.argmax(3).ravel(), theirs.argmax(3).ravel(), average="macro")
    assert found.values["miou_agreement"] == pytest.approx(agreement)
    assert "miou_drop" in found.intervals
    holds(found)
    first = np.moveaxis(np.array([mine, theirs]), -1, 2)
    turned = run(SegmentationMetric(classes=4, layout="NCHW"), first[0], first[1], list(labels))
    assert turned == found


def test_an_unlabelled_picture_counts_for_agreement_only(planes):
    labels, mine, theirs = planes
    some = [label if place < 4 else None for place, label in enumerate(labels)]
    found = run(SegmentationMetric(classes=4), mine, theirs, some)
    wanted = run(SegmentationMetric(classes=4), mine[:4], theirs[:4], some[:4])
    assert found.values["miou"] == wanted.values["miou"]
    assert found.intervals["miou_drop"] == wanted.intervals["miou_drop"]
    assert {one.name: one.samples for one in found.scores}["pixel_agreement"] == 9


def test_a_small_output_is_scaled_to_the_label():
    label = np.kron(np.array([[0, 1], [2, 0]]), np.ones((3, 2), int))
    small = np.eye(3)[[[0, 1], [2, 0]]][None]
    assert run(SegmentationMetric(classes=3), small, small, [label]).values["miou"] == 1


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60))
def test_a_confusion_matrix_counts_every_pixel(pairs):
    label, predicted = np.array(pairs).T
    matrix = confusion(label, predicted, 4, None)
    assert matrix.sum() == len(pairs)
    assert (matrix.sum(1) == np.bincount(label, minlength=4)).all()
    values = iou(matrix)
    assert ((values[np.isfinite(values)] >= 0) & (values[np.isfinite(values)] <= 1)).all()


def test_wrong_planes_are_refused():
    plane = np.zeros((1, 4, 4, 3))
    with pytest.raises(DataError, match="not a NHWC plane of 5"):
        run(SegmentationMetric(classes=5), plane, plane, [None])
    with pytest.raises(DataError, match="label is 7"):
        run(SegmentationMetric(classes=3), plane, plane, [np.full((4, 4), 7)])


# ------------------------------------------------------------------------- regression


def test_errors_are_scikit_learns():
    rng = np.random.default_rng(0)
    labels = rng.normal(size=(200, 3))
    mine, theirs = labels + rng.normal(0, 0.2, (200, 3)), labels + rng.normal(0, 0.3, (200, 3))
    found = run(Regression(), mine, theirs, list(labels), step=64)
    values = found.values
    assert values["mae"] == pytest.approx(mean_absolute_error(labels, theirs))
    # scikit-learn takes the root for each of several outputs; here it is one root over all values.
    flat = [one.ravel() for one in (labels, mine, theirs)]
    assert values["rmse"] == pytest.approx(root_mean_squared_error(flat[0], flat[2]))
    increase = values["rmse"] - root_mean_squared_error(flat[0], flat[1])
    assert values["rmse_increase"] == pytest.approx(increase)
    assert values["mae_to_reference"] == pytest.approx(mean_absolute_error(mine, theirs))
    assert values["rmse_to_reference"] == pytest.approx(root_mean_squared_error(flat[1], flat[2]))
    holds(found)


def test_regression_without_labels_and_with_wrong_ones():
    x = np.arange(4.0)[:, None]
    assert set(run(Regression(), x, x + 1, [None] * 4).values) == {
        "mae_to_reference",
        "rmse_to_reference",
    }
    with pytest.raises(DataError, match="2 values"):
        run(Regression(), x, x, [np.zeros(2)] * 4)
    broken = x.copy()
    broken[1] = np.nan
    found = run(Regression(), x, broken, [0.0] * 4)
    assert np.isnan(found.values["mae"])
    assert "mae" not in found.intervals


# ------------------------------------------------------------------------- embeddings


def test_embeddings_against_scikit_learns_neighbours():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 6, 150)
    mine = rng.normal(size=(150, 8)) + 1.2 * rng.normal(size=(6, 8))[labels]
    theirs = mine + 0.5 * rng.normal(size=mine.shape)
    found = run(EmbeddingMetric(samples=150), mine, theirs, labels.tolist(), step=40)
    near = []
    for prefix, one in (("reference_", mine), ("", theirs)):
        search = NearestNeighbors(n_neighbors=6, metric="cosine").fit(one)
        order = search.kneighbors(one, return_distance=False)[:, 1:]
        near.append(order[:, 0])
        for k in (1, 5):
            hits = (labels[order[:, :k]] == labels[:, None]).any(1)
            assert found.values[f"{prefix}recall_at_{k}"] == pytest.approx(hits.mean())
    assert found.values["neighbour_agreement"] == pytest.approx((near[0] == near[1]).mean())
    lengths = np.linalg.norm(mine, axis=1) * np.linalg.norm(theirs, axis=1)
    assert found.values["mean_cosine"] == pytest.approx(((mine * theirs).sum(1) / lengths).mean())
    holds(found)


def test_the_gallery_is_bounded():
    vectors = np.random.default_rng(0).normal(size=(90, 4))
    found = run(EmbeddingMetric(samples=12_000), vectors, vectors, [0] * 90, step=7)
    assert found.details["gallery"] == 30  # every third
    assert {one.name: one.samples for one in found.scores}["mean_cosine"] == 90


def test_a_label_that_is_alone_is_not_asked_for():
    vectors = np.eye(4)[:3]
    found = run(EmbeddingMetric(), vectors, vectors, [0, 0, 1])
    assert {one.name: one.samples for one in found.scores}["recall_at_1"] == 2


def test_an_embedding_with_nan_has_no_neighbour():
    vectors = np.eye(3)
    broken = vectors.copy()
    broken[0, 0] = np.nan
    found = run(EmbeddingMetric(), vectors, broken, [0, 0, 0])
    assert found.values["recall_at_1"] == pytest.approx(2 / 3)
    assert np.isnan(found.values["mean_cosine"])


# ------------------------------------------------------------------------- pictures


def slow_ssim(x, y, data_range):
    """Equation 13 of Wang et al. for each window, one after the other."""
    offset = np.arange(-5, 6)
    window = np.exp(-(offset[:, None] ** 2 + offset**2) / (2 * 1.5**2))
    window /= window.sum()
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    values = []
    for i in range(x.shape[0] - 10):
        for j in range(x.shape[1] - 10):
            a, b = x[i : i + 11, j : j + 11], y[i : i + 11, j : j + 11]
            ma, mb = (window * a).sum(), (window * b).sum()
            va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
            cab = (window * (a - ma) * (b - mb)).sum()
            values.append(
                (2 * ma * mb + c1) * (2 * cab + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
            )
    return np.mean(values)


@pytest.mark.parametrize("data_range", [1, 255])
def test_ssim_is_the_formula(data_range):
    rng = np.random.default_rng(0)
    x = rng.random((17, 20, 3)) * data_range
    y = (x + 0.2 * data_range * rng.normal(size=x.shape)).clip(0, data_range)
    wanted = np.mean([slow_ssim(x[..., c], y[..., c], data_range) for c in range(3)])
    assert ssim(x, y, data_range) == pytest.approx(wanted, rel=1e-9)


@given(st.integers(0, 1000))
@settings(max_examples=20)
def test_ssim_is_symmetric_and_at_most_1(seed):
    x, y = np.random.default_rng(seed).random((2, 12, 13))
    assert ssim(x, y, 1) == pytest.approx(ssim(y, x, 1))
    assert ssim(x, y, 1) < 1
    assert ssim(x, x, 1) == pytest.approx(1)


def test_psnr_by_hand():
    x = np.zeros((4, 4))
    assert psnr(x, x + 0.1, 1) == pytest.approx(20)
    assert psnr(x, x + 25.5, 255) == pytest.approx(20)
    assert psnr(x, x, 1) == 200


def test_pictures_with_and_without_labels():
    rng = np.random.default_rng(0)
    label = rng.random((6, 12, 12, 1))
    mine, theirs = label + 0.01, label + 0.1
    found = run(ImageQuality(), mine, theirs, [*label[:4], None, None], step=4)
    assert found.values["psnr_db"] == pytest.approx(20)
    assert found.values["reference_psnr_db"] == pytest.approx(40)
    assert found.values["psnr_drop_db"] == pytest.approx(20)
    assert found.values["psnr_to_reference_db"] == pytest.approx(-20 * np.log10(0.09))
    assert {one.name: one.samples for one in found.scores}["ssim_drop"] == 4
    turned = np.moveaxis(np.array([mine, theirs]), -1, 2)
    labels = [*np.moveaxis(label, -1, 1)[:4], None, None]
    assert run(ImageQuality(layout="NCHW"), turned[0], turned[1], labels).values == pytest.approx(
        found.values
    )


def test_pictures_in_another_range_or_too_small_are_refused():
    x = np.random.default_rng(0).random((1, 12, 12, 3)) * 255
    with pytest.raises(DataError, match="beyond the range of 1"):
        run(ImageQuality(), x, x, [None])
    with pytest.raises(DataError, match="11x11"):
        run(ImageQuality(data_range=255), x[:, :8], x[:, :8], [None])


# ------------------------------------------------------------------------- users' own

MODULE = """
def far(reference, candidate, label):
    return abs(reference[0] - candidate[0]).max()

def two(reference, candidate, label):
    return {"least": candidate[0].min(), "label_sum": label.sum() if label is not None else 0}

def text(reference, candidate, label):
    return "much"

def taken(reference, candidate, label):
    return {"sqnr_db": 1}

def ragged(reference, candidate, label):
    return {str(label): 1}
"""


@pytest.fixture
def own(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(MODULE)
    return lambda name: load_metric(f"{file}:{name}")


def test_a_users_metric(own):
    x = np.arange(6.0).reshape(3, 2)
    found = run(own("far"), x, x * 2, [None] * 3, step=2)
    assert found.values == {"far": pytest.approx(np.mean([1, 3, 5]))}
    holds(found)
    two = run(own("two"), x, x, [np.ones(2)] * 3).values
    assert two == {"least": pytest.approx(2), "label_sum": pytest.approx(2)}


def test_a_users_metric_in_a_module(own, tmp_path, monkeypatch):
    (tmp_path / "edgekit_test_metrics.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load_metric("edgekit_test_metrics:far").name == "far"


@pytest.mark.parametrize(
    ("name", "words"),
    [("text", "failed on sample 0"), ("taken", "'sqnr_db'"), ("ragged", "other names")],
)
def test_a_users_metric_that_gives_no_numbers(own, name, words):
    with pytest.raises(UsageError, match=words):
        run(own(name), np.zeros((2, 1)), np.zeros((2, 1)), [1, 2])


def test_a_users_metric_that_is_not_there(own):
    for text in ("mine", "no_such_module_here:f", "mine.py:f", "json:no_such", ":f"):
        with pytest.raises(UsageError) as caught:
            load_metric(text)
        assert caught.value.cure
    with pytest.raises(UsageError, match="no function gone"):
        own("gone")
