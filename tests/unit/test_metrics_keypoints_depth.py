"""Keypoints and depth: figures by hand, and what only a constant answer gets."""

from __future__ import annotations

import numpy as np
import pytest
import validate_nets as nets

from edgekit.contract import Contract, OutputContract
from edgekit.errors import DataError
from edgekit.measure.tasks import make_metric, picture_range
from edgekit.types import TensorSpec
from edgekit.validation.metrics import Batch, DepthMetric, KeypointMetric, Settings
from edgekit.validation.metrics.protocol import join

SETTINGS = Settings(draws=200)
RNG = np.random.default_rng(0)


def measured(metric, reference, candidate, labels=None):
    labels = labels or [None] * len(reference)
    batches = [
        Batch(
            index=range(len(labels))[some],
            reference=[reference[some]],
            candidate=[candidate[some]],
            labels=labels[some],
        )
        for some in (slice(0, 5), slice(5, None))
    ]
    return metric.summarize(join([metric.measure(one) for one in batches]), SETTINGS)


def poses(count=20, keypoints=17):
    """(N, K, 3): people of 60 to 120 pixels somewhere in a picture of 256."""
    shape = np.random.default_rng(1).uniform(0, 1, (keypoints, 2))
    places, sizes = RNG.uniform(0, 130, (count, 1, 2)), RNG.uniform(60, 120, (count, 1, 1))
    where = places + sizes * (shape + RNG.normal(0, 0.05, (count, keypoints, 2)))
    return np.concatenate([where, np.ones((count, keypoints, 1))], axis=2)


def maps(points, side=64, size=256):
    """Heat maps (N, K, 64, 64) of keypoints in a picture of 256."""
    rows, columns = np.mgrid[:side, :side] * (size / side) + size / side / 2 - 0.5
    x, y = points[..., 0, None, None], points[..., 1, None, None]
    return np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 8**2))


def coordinates():
    return KeypointMetric(axis=None)


def test_the_same_keypoints_are_the_same():
    same = poses()
    found = measured(coordinates(), same, same)
    assert found.values == {"oks_to_reference": 1, "pck_agreement": 1, "keypoints_lost": 0}


def test_oks_and_pck_by_hand():
    points = np.array([[[0, 0, 1], [100, 50, 1], [50, 25, 1]]], float).repeat(6, axis=0)
    moved = points.copy()
    moved[:, 2, 0] += 9
    found = measured(coordinates(), points, moved)
    oks = np.exp(-(9**2) / (2 * 100 * 50 * (2 * 0.05) ** 2))
    assert found.values["oks_to_reference"] == pytest.approx((2 + oks) / 3)
    assert found.values["pck_agreement"] == 1
    moved[:, 2, 0] += 2
    assert measured(coordinates(), points, moved).values["pck_agreement"] == pytest.approx(2 / 3)


def test_cocos_deviations_count_for_17_keypoints():
    points = poses(6)
    moved = points.copy()
    moved[:, 0, 0] += 3  # a nose has to be met closer than a hip
    nose = measured(coordinates(), points, moved).values["oks_to_reference"]
    moved = points.copy()
    moved[:, 11, 0] += 3
    assert measured(coordinates(), points, moved).values["oks_to_reference"] > nose


def test_two_of_68_keypoints_swapped_are_lost():
    points = poses(keypoints=68)
    swapped = points[:, [0, 5, 2, 3, 4, 1, *range(6, 68)]]
    far = np.abs(points[:, 1] - points[:, 5]).max()
    found = measured(coordinates(), points, swapped)
    assert far > 10
    assert found.values["pck_agreement"] > 0.95
    assert found.values["keypoints_lost"] == 2
    assert found.details["lost"] == ["keypoint 1", "keypoint 5"]


def test_a_mean_pose_is_far_from_all():
    points = poses()
    mean = points.mean(axis=0, keepdims=True).repeat(len(points), axis=0)
    found = measured(coordinates(), points, mean)
    assert found.values["oks_to_reference"] < 0.6
    assert found.values["pck_agreement"] < 0.4


@pytest.mark.parametrize("turned", [False, True])
def test_keypoints_of_maps_lie_in_the_pixels_of_the_input(turned):
    points = poses()
    stack = maps(points)
    axis = 2 if turned else 0
    metric = KeypointMetric(axis=axis, size=(256, 256))
    found, scores = metric.points(np.moveaxis(stack, 1, 3) if turned else stack)
    assert np.abs(found - points[..., :2]).max() <= 2.01, "half a cell of four pixels"
    assert scores.min() > 0.8
    one = measured(metric, *[np.moveaxis(stack, 1, 3) if turned else stack] * 2, list(points))
    assert one.values["pck"] == one.values["pck_agreement"] == 1
    assert one.values["oks"] > 0.85
    assert one.values["pck_drop"] == 0


def test_what_the_reference_does_not_see_does_not_count():
    points = poses()
    stack = maps(points)
    stack[:, 3] *= 0.01
    other = stack.copy()
    other[:, 3] = 0.01 * maps(poses())[:, 3]
    found = measured(KeypointMetric(axis=0, size=(256, 256)), stack, other)
    assert found.values["pck_agreement"] == 1
    assert found.values["keypoints_lost"] == 0


def test_keypoints_that_are_not_labelled_do_not_count():
    points = poses()
    labels = points.copy()
    labels[:, 4:, 2] = 0
    labels[:, 4:, :2] = 0
    found = measured(coordinates(), points, points, list(labels))
    assert found.values["pck"] == 1
    with pytest.raises(DataError, match="17 keypoints"):
        measured(coordinates(), points, points, [np.zeros((3, 2))] * len(points))
    with pytest.raises(DataError, match="no keypoints"):
        measured(coordinates(), np.zeros((6, 17, 384)), np.zeros((6, 17, 384)))


def of(task, shape, labels=()):
    entry = OutputContract(
        tensor=TensorSpec(name="y", shape=shape), task=task, labels=labels, decoder=None
    )
    return Contract(inputs=nets.contract().inputs, outputs=(entry,))


def test_the_contract_tells_where_keypoints_are():
    assert make_metric(of("keypoints", (1, 17, 64, 48)), samples=1).axis == 0
    assert make_metric(of("keypoints", (1, 64, 64, 17)), samples=1).axis == 2
    found = make_metric(of("keypoints", (1, 17, 3)), samples=1)
    assert (found.axis, found.size) == (None, (16, 16))
    flat = make_metric(of("keypoints", (1, 6), ("left", "right")), samples=1)
    assert flat.points(np.arange(12.0).reshape(2, 6))[1].tolist() == [[2, 5], [8, 11]]
    assert make_metric(of("depth", (1, 1, 16, 16)), samples=1) == DepthMetric()


# ------------------------------------------------------------------------- depth


def depths(count=12):
    """(N, 1, 8, 8): one to ten metres."""
    return RNG.uniform(1, 10, (count, 1, 8, 8))


def test_depth_figures_by_hand():
    wanted = np.full((6, 1, 2, 2), 4.0)
    got = wanted * np.array([[1.0, 1.1], [0.5, 1.3]])
    found = measured(DepthMetric(), wanted, got)
    assert found.values["absrel_to_reference"] == pytest.approx((0 + 0.1 + 0.5 + 0.3) / 4)
    assert found.values["delta1_agreement"] == 0.5
    assert found.missing == ()


def test_depth_up_to_a_factor():
    truth = depths()
    found = measured(DepthMetric(), truth * 3, truth * 3, list(truth))
    assert found.values["delta1"] == 0
    assert found.values["delta1_aligned"] == 1
    assert found.values["absrel_aligned"] == pytest.approx(0)
    assert found.values["delta1_aligned_drop"] == 0
    worse = measured(DepthMetric(), truth, truth[::-1], list(truth))
    assert worse.values["delta1_drop"] > 0.3
    assert worse.values["delta1_agreement"] < 0.7


def test_unknown_depths_do_not_count():
    truth = depths()
    labels = truth.copy()
    labels[:, :, :4] = 0
    found = measured(DepthMetric(), truth, truth, list(labels))
    assert found.values["absrel"] == 0
    assert found.values["delta1"] == 1
    nothing = measured(DepthMetric(), -truth, -truth)
    assert "not positive" in nothing.missing[0]
    assert "delta1_agreement" not in nothing.values
    with pytest.raises(DataError, match="depths"):
        measured(DepthMetric(), truth, truth, [np.ones((4, 4))] * len(truth))


# ------------------------------------------------------------------------- pictures


def test_pictures_from_minus_one_to_one_have_their_range():
    picture = RNG.uniform(0, 1, (1, 16, 16, 3))
    assert picture_range(picture) == 1
    assert picture_range(picture * 1.1 - 0.05) == 1
    assert picture_range(picture * 2 - 1) == 2
    assert picture_range(picture * 255) == 255
    metric = make_metric(of("image-to-image", (1, 16, 16, 3)), samples=6, span=2.0)
    stack = np.concatenate([RNG.uniform(-1, 1, (1, 16, 16, 3)) for _ in range(8)])
    assert measured(metric, stack, stack).values["ssim_to_reference"] == pytest.approx(1)
