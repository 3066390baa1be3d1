"""What labels of data mean, read by one function for `convert` and `validate`."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit import calibration
from edgekit.calibration import open_source
from edgekit.config import Config
from edgekit.contract import Contract, InputContract, OutputContract
from edgekit.datasets.classes import names_as_labels, to_classes
from edgekit.errors import DataError, UsageError
from edgekit.pipeline.labels import settle_labels
from edgekit.pipeline.validation.data import open_samples
from edgekit.resolve import resolve
from edgekit.types import SilentProgress, TensorSpec

X = TensorSpec(name="x", shape=(1, 4))


def scores(width: int) -> TensorSpec:
    return TensorSpec(name="scores", shape=(1, width))


def read(labels, model=(), outputs=None):
    return to_classes(labels, [f"s{n}" for n in range(len(labels))], model, outputs=outputs)


# ------------------------------------------------------------------------- one reading


@pytest.mark.parametrize(
    ("labels", "numbers"),
    [
        ([3, 0, 1], (3, 0, 1)),
        ([3.0, 0.0], (3, 0)),
        (np.array([[2.0], [1.0]]), (2, 1)),
        (np.array([True, False]), (1, 0)),
        (["3", "0"], (3, 0)),
        (np.array(["ant", "dog"]), (0, 3)),
        (np.eye(4)[[2, 0]], (2, 0)),
        (np.eye(4, dtype=np.uint8)[[3, 1]][:, None], (3, 1)),
        ([None, "cat"], (None, 2)),
    ],
)
def test_labels_are_read_where_they_can_mean_one_thing(labels, numbers):
    assert read(list(labels), ("ant", "bee", "cat", "dog"), 4).numbers == numbers


@pytest.mark.parametrize(
    "label",
    [
        0.5,
        np.nan,
        np.inf,
        -1,
        4,
        np.array([0.2, 0.8, 0, 0]),
        np.array([1, 1, 0, 0]),
        np.array([0, 0, 0, 0]),
        np.array([0, 1, 0]),  # one-hot, but not of these scores
        np.array([[1, 0], [0, 0]]),
        np.array([1, np.nan, 0, 0]),
        np.array(3 + 0j),
    ],
)
def test_what_could_mean_several_things_is_refused_by_name(label):
    with pytest.raises(DataError, match="s1 has the label") as caught:
        read([1, label], ("ant", "bee", "cat", "dog"), 4)
    assert caught.value.cure


@given(st.integers(2, 12).flatmap(lambda n: st.lists(st.integers(0, n - 1)).map(lambda x: (n, x))))
def test_every_form_of_the_same_classes_reads_alike(drawn):
    width, numbers = drawn
    expected = tuple(numbers)
    forms = [
        numbers,
        [float(number) for number in numbers],
        [str(number) for number in numbers],
        list(np.eye(width)[numbers]) if numbers else [],
        [f"name {number}" for number in numbers],
    ]
    names = [f"name {number}" for number in range(width)]
    for form in forms:
        assert read(form, names, width).numbers == expected


def test_what_the_labels_do_not_name_is_told():
    found = read(["zero", "one", "cat", "cat"], ("cat", "dog"), 2)
    assert found.numbers == (None, None, 0, 0)
    assert found.note == ("Accuracy is over 2 of 4 samples: the labels do not name 'one', 'zero'")
    assert not read(["cat", "dog"], ("cat", "dog"), 2).note
    assert "no label" in read(["cat", None], ("cat", "dog"), 2).note


def test_without_names_order_counts_only_where_it_can_be_meant():
    assert read(["b", "a"], (), 2).numbers == (1, 0)
    assert not read(["b", "a"], (), 3).known
    assert names_as_labels(["b", "a"], 2) == ("a", "b")
    assert names_as_labels(["b", "a"], 3) == ()
    assert names_as_labels(["0", "1"], 2) == ()  # numbers stand for themselves


# ------------------------------------------------------------------------- as many as scores


@pytest.mark.parametrize("task", [None, "classification"])
def test_class_names_are_as_many_as_scores(task):
    with pytest.raises(UsageError, match="10 scores, and there are 3 class names"):
        resolve((X,), (scores(10),), config=Config(), task=task, labels=("a", "b", "c"))
    resolve((X,), (scores(3),), config=Config(), task=task, labels=("a", "b", "c"))


@pytest.mark.parametrize(
    ("shape", "task"),
    [((1, 1), "classification"), ((1, 84, 8400), "detection"), ((1, 8, 8, 2), "segmentation")],
)
def test_two_names_for_what_is_no_vector_of_scores_are_left_alone(shape, task):
    output = TensorSpec(name="y", shape=shape)
    resolve((X,), (output,), config=Config(), task=task, labels=("no", "yes"))


# ------------------------------------------------------------------------- convert


def dataset(folder: Path, names: list[str], each: int = 4) -> calibration.Dataset:
    rng = np.random.default_rng(0)
    for name in names:
        (folder / "data" / name).mkdir(parents=True)
        for index in range(each):
            picture = rng.integers(0, 255, (8, 8, 3), np.uint8)
            cv2.imwrite(str(folder / "data" / name / f"{index}.png"), picture)
    contract = resolve((TensorSpec(name="x", shape=(1, 8, 8, 3)),), (scores(3),), config=Config())
    return calibration.load(
        folder / "data", contract, folder=folder / "out", progress=SilentProgress()
    )


def settled(data, *, width=3, labels=(), task="classification", name="x"):
    contract = Contract(
        inputs=(InputContract(tensor=TensorSpec(name=name, shape=(1, 8, 8, 3))),),
        outputs=(OutputContract(tensor=scores(width), labels=labels, task=task),),
    )
    progress = SilentProgress()
    done, found = settle_labels(contract, [scores(width)], data, progress)
    return done.outputs[0].labels, found, progress.notes


def test_class_folders_are_the_labels_of_convert(tmp_path):
    data = dataset(tmp_path, ["dog", "ant", "cat"])
    labels, found, notes = settled(data)
    assert labels == ("ant", "cat", "dog")
    assert found == tuple(labels.index(Path(name).parts[0]) for name in data.parity.ids)
    assert notes == ["The class folders are the labels, sorted: ant, cat, dog"]
    assert settled(data, task=None)[0] == ("ant", "cat", "dog")
    assert settled(data, task="regression")[:2] == ((), ())


def test_too_few_folders_are_told_and_give_no_accuracy(tmp_path):
    data = dataset(tmp_path, ["dog", "ant"])
    labels, found, notes = settled(data, width=5)
    assert (labels, found) == ((), ())
    assert "not known without --labels" in notes[0]
    assert "none of the folders" in settled(data, labels=("a", "b", "c"))[2][0]
    data = dataset(tmp_path / "more", ["dog", "ant"], each=2)  # so few that all are compared on
    _, found, notes = settled(data, labels=("ant", "bee", "cat"))
    assert found == (0, 0, None, None)
    assert notes == ["Accuracy is over 2 of 4 samples: the labels do not name 'dog'."]


def test_what_is_no_class_is_refused_of_a_classifier_only(tmp_path):
    path = tmp_path / "d.npz"
    np.savez(path, x=np.zeros((8, 8, 8, 3)) + np.arange(8)[:, None, None, None], labels=[0.5] * 8)
    contract = Contract(inputs=(InputContract(tensor=TensorSpec(name="x", shape=(1, 8, 8, 3))),))
    data = calibration.load(path, contract, folder=tmp_path / "o", progress=SilentProgress())
    with pytest.raises(DataError, match=r"label 0\.5"):
        settled(data)
    assert settled(data, task=None)[1:] == ((), [])
    assert settled(data, name="labels")[1:] == ((), [])  # then it is an input


# ------------------------------------------------------------------------- both alike


@pytest.mark.parametrize(
    "labels",
    [
        np.array([2, 0, 1, 2]),
        np.array([2.0, 0.0, 1.0, 2.0]),
        np.eye(3)[[2, 0, 1, 2]],
        np.array(["cat", "ant", "bee", "cat"]),
        np.array([b"cat", b"ant", b"bee", b"cat"]),
        np.array(["2", "0", "1", "2"]),
    ],
)
def test_validate_reads_labels_as_convert_does(tmp_path, labels):
    path = tmp_path / "d.npz"
    np.savez(path, x=np.zeros((4, 2)), labels=labels)
    names = ("ant", "bee", "cat")
    samples = open_source(path).samples
    converted = to_classes([s.label for s in samples], [s.id for s in samples], names, outputs=3)
    validated = open_samples(path, task="classification", classes=names, outputs=3)
    assert converted.numbers == (2, 0, 1, 2)
    assert tuple(validated.get(n).label for n in range(4)) == (2, 0, 1, 2)


@pytest.mark.parametrize("labels", [np.array([0.5, 1.5]), np.array([np.nan, 1]), np.ones((2, 3))])
def test_validate_refuses_what_is_no_class(tmp_path, labels):
    np.savez(tmp_path / "d.npz", x=np.zeros((2, 4)), labels=labels)
    with pytest.raises(DataError, match="has the label"):
        open_samples(tmp_path / "d.npz", task="classification", outputs=3)


def test_objects_are_never_labels(tmp_path):
    labels = np.array(["a", 1], object)
    np.savez(tmp_path / "d.npz", x=np.zeros((2, 4)), labels=labels, allow_pickle=True)
    with pytest.raises(DataError, match="NumPy data"):
        open_samples(tmp_path / "d.npz", task="classification", outputs=3)


@pytest.mark.parametrize(
    ("text", "label"), [("3.0", 3), ("3", 3), ("dog", 3)], ids=["float", "digits", "name"]
)
def test_a_csv_reads_the_same(tmp_path, text, label):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "d.csv").write_text(f"a.png,{text}\n")
    names = ("ant", "bee", "cat", "dog")
    samples = open_samples(tmp_path / "d.csv", task="classification", classes=names, outputs=4)
    assert samples.get(0).label == label


@pytest.mark.parametrize("text", ["0.5", "nan", "-1", "4", "eel"])
def test_a_csv_refuses_the_same(tmp_path, text):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "d.csv").write_text(f"a.png,{text}\n")
    with pytest.raises(DataError):
        open_samples(
            tmp_path / "d.csv",
            task="classification",
            classes=("ant", "bee", "cat", "dog"),
            outputs=4,
        )


def test_a_part_of_the_samples_is_named_in_validate_too(tmp_path):
    for name in ("ant", "zero"):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "1.png"), np.zeros((4, 4, 3), np.uint8))
    samples = open_samples(tmp_path, task="classification", classes=("ant", "bee"), outputs=2)
    assert [samples.get(n).label for n in range(2)] == [0, None]
    assert "over 1 of 2 samples: the labels do not name 'zero'" in samples.notes[0]
