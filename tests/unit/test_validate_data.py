"""Which samples there are, whether their labels count, and labels in the input's geometry."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import validate_nets as nets
from hypothesis import given
from hypothesis import strategies as st

from edgekit.contract import Preprocess
from edgekit.datasets import LabelledSample, Mask
from edgekit.datasets.samples import to_boxes
from edgekit.errors import DataError
from edgekit.pipeline.validation.data import (
    Samples,
    identity,
    label_for_input,
    open_samples,
    order,
)


def test_class_folders(tmp_path):
    nets.pictures(tmp_path, 6, ("bee", "ant"))
    (tmp_path / "README.txt").write_text("about the data")
    samples = open_samples(
        tmp_path, task="classification", classes=("ant", "bee", "cat"), outputs=3
    )
    assert samples.labelled
    assert [samples.get(number).label for number in range(6)] == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("task", ["regression", "detection", "segmentation", "image-to-image"])
def test_folders_say_nothing_to_other_tasks(tmp_path, task):
    nets.pictures(tmp_path, 4, ("a", "b"))
    samples = open_samples(tmp_path, task=task)
    assert not samples.labelled
    assert task in samples.why
    assert samples.get(0).label is None
    assert samples.get(0).path == tmp_path / "a" / "000.png"


def test_two_folders_are_not_taken_for_the_first_of_1000_classes(tmp_path):
    nets.pictures(tmp_path, 4, ("calib", "eval"))
    samples = open_samples(tmp_path, task="classification", outputs=1000)
    assert not samples.labelled
    assert "--labels" in samples.why
    numbered = open_samples(tmp_path, task="classification", outputs=2)
    assert numbered.labelled


def test_imagenette_is_known_without_names(tmp_path):
    nets.pictures(tmp_path, 2, ("n01440764", "n03888257"))
    samples = open_samples(tmp_path, task="classification", outputs=1000)
    assert [samples.get(0).label, samples.get(1).label] == [0, 701]


def test_plain_pictures_and_arrays_have_no_labels(tmp_path):
    nets.pictures(tmp_path / "plain", 3)
    plain = open_samples(tmp_path / "plain", task="classification", outputs=5)
    assert (plain.layout, plain.labelled, len(plain.ids)) == ("pictures", False, 3)
    np.savez(tmp_path / "x.npz", x=np.zeros((2, 4)))
    arrays = open_samples(tmp_path / "x.npz", task=None)
    assert (arrays.layout, arrays.labelled) == ("arrays", False)
    assert arrays.get(0).path is None
    np.savez(tmp_path / "y.npz", x=np.zeros((2, 4)), labels=np.array([1, 0]))
    labelled = open_samples(tmp_path / "y.npz", task="classification", outputs=2)
    assert [labelled.get(0).label, labelled.get(1).label] == [1, 0]


def test_nothing_there(tmp_path):
    with pytest.raises(DataError, match="no data"):
        open_samples(tmp_path / "none", task=None)
    with pytest.raises(DataError, match="neither pictures"):
        open_samples(tmp_path, task=None)


def _samples(count: int) -> Samples:
    ids = tuple(f"{number}.png" for number in range(count))
    return Samples(layout="pictures", ids=ids, get=lambda _: None, labelled=False)


@given(st.integers(1, 300), st.integers(0, 5), st.integers(1, 300), st.integers(1, 300))
def test_a_smaller_limit_is_the_beginning_of_a_larger_one(count, seed, small, large):
    small, large = sorted((small, large))
    samples = _samples(count)
    first = order(samples, limit=small, seed=seed)
    second = order(samples, limit=large, seed=seed)
    assert second[: len(first)] == first
    assert sorted(order(samples, limit=None, seed=seed)) == list(range(count))


def test_a_changed_file_is_another_data_set(tmp_path):
    (one, *_) = nets.pictures(tmp_path, 3)
    samples = open_samples(tmp_path, task=None)
    before = identity(tmp_path, samples, [0, 1, 2])
    assert identity(tmp_path, samples, [0, 1, 2]) == before
    assert identity(tmp_path, samples, [0, 1]) != before
    one.write_bytes(one.read_bytes() + b"x")
    assert identity(tmp_path, samples, [0, 1, 2]) != before


def _labelled(label) -> LabelledSample:
    return LabelledSample(id="a", read=dict, label=label)


def test_boxes_and_masks_follow_the_picture(tmp_path):
    contract = nets.contract(preprocess=Preprocess(resize=16, crop=(16, 16)))
    picture = np.zeros((32, 64, 3), np.uint8)  # resized to 16×32, cropped to its middle
    boxes = to_boxes([(16, 0, 48, 32), (0, 0, 8, 8)], [1, 2])
    moved = label_for_input(_labelled(boxes), picture, contract)
    assert moved.boxes.tolist() == [[0, 0, 16, 16]]
    assert moved.classes.tolist() == [1]

    plane = np.zeros((32, 64), np.uint8)
    plane[:, 16:32] = 7
    plane[:, 32:48] = 255
    mask = Mask(path=tmp_path, read=lambda: plane)
    found = label_for_input(_labelled(mask), picture, contract)
    expected = cv2.resize(plane, (32, 16), interpolation=cv2.INTER_NEAREST)[:, 8:24]
    np.testing.assert_array_equal(found, expected)
    assert set(np.unique(found)) == {7, 255}
    letterbox = nets.contract(preprocess=Preprocess(resize=16, letterbox=True))  # 8x16 of 16x16
    moved = label_for_input(_labelled(boxes), picture, letterbox)
    assert moved.boxes.tolist() == [[4, 4, 12, 12], [0, 4, 2, 6]]
    found = label_for_input(_labelled(mask), picture, letterbox)
    assert (found[:4] == 255).all()  # counts in no mask
    assert (found[12:] == 255).all()
    np.testing.assert_array_equal(
        found[4:12], cv2.resize(plane, (16, 8), interpolation=cv2.INTER_NEAREST)
    )
    assert label_for_input(_labelled(3), None, contract) == 3
    with pytest.raises(DataError, match="input is one"):
        label_for_input(_labelled(boxes), None, contract)


def test_texts_need_a_character_set(tmp_path):
    nets.pictures(tmp_path, 2)
    for picture in tmp_path.glob("*.png"):
        picture.with_suffix(".txt").write_text("word")
    without = open_samples(tmp_path, task="sequence")
    assert not without.labelled
    assert "--labels" in without.why
    found = open_samples(tmp_path, task="sequence", classes=("w", "o", "r", "d"))
    assert (found.layout, found.get(0).label) == ("texts", "word")
    for text in tmp_path.glob("*.txt"):
        text.unlink()
    assert "no labels for sequence" in open_samples(tmp_path, task="sequence", classes="ab").why
