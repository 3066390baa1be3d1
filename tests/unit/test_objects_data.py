"""Data of the caller's as samples on the disk, in every way that people hold it."""

from __future__ import annotations

import random
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    SubsetRandomSampler,
    TensorDataset,
)

from edgekit.calibration import open_source
from edgekit.errors import DataError
from edgekit.objects.loaders import items_of
from edgekit.objects.origin import same_random_numbers
from edgekit.objects.samples import write
from edgekit.types import TensorSpec

X = np.arange(40 * 3 * 4 * 4, dtype=np.float32).reshape(40, 3, 4, 4)
Y = np.arange(40) % 5
IMAGE = (TensorSpec(name="image", shape=(1, 3, 4, 4)),)
TWO = (TensorSpec(name="a", shape=(1, 2)), TensorSpec(name="b", shape=(1, 3)))


def written(data, folder: Path, inputs=IMAGE, *, limit=16, pictures=False, seed=0):
    return write(
        items_of(data, limit=limit, seed=seed),
        folder / "data",
        inputs=inputs,
        pictures=pictures,
        limit=limit,
        what="The data",
    )


def rows(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)


def indices(images: np.ndarray) -> list[int]:
    """Which of `X` they are, each bit for bit."""
    found = [int(image.reshape(-1)[0]) // 48 for image in images]
    assert all(np.array_equal(X[place], image) for place, image in zip(found, images, strict=True))
    return found


class _Endless(IterableDataset):
    def __iter__(self):
        for place in count():
            yield X[place % 40], int(Y[place % 40])


class _Dicts(Dataset):
    def __len__(self) -> int:
        return 40

    def __getitem__(self, place: int):
        return {"image": X[place], "label": int(Y[place])}


class _Columns:
    """What a Hugging Face data set looks like: rows are dicts of lists."""

    column_names = ("pixel_values", "label")

    def __len__(self) -> int:
        return 40

    def __getitem__(self, place: int):
        return {"pixel_values": X[place].tolist(), "label": int(Y[place])}


TENSORS = TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
FORMS = {
    "DataLoader": lambda: DataLoader(TENSORS, batch_size=8, shuffle=True),
    "DataLoader, last batch left out": lambda: DataLoader(TENSORS, batch_size=32, drop_last=True),
    "DataLoader of dicts": lambda: DataLoader(_Dicts(), batch_size=8),
    "DataLoader without batches": lambda: DataLoader(TENSORS, batch_size=None),
    "endless DataLoader": lambda: DataLoader(_Endless(), batch_size=8),
    "Dataset": lambda: TENSORS,
    "endless IterableDataset": _Endless,
    "Hugging Face": _Columns,
    "pair of arrays": lambda: (X, Y),
    "pair of tensors": lambda: (torch.from_numpy(X), torch.from_numpy(Y)),
    "dict of arrays": lambda: {"image": X, "labels": Y},
    "list of pairs": lambda: list(zip(X, Y, strict=True)),
    "list of batches": lambda: [(X[i : i + 8], Y[i : i + 8]) for i in range(0, 40, 8)],
    "generator": lambda: ((image, label) for image, label in zip(X, Y, strict=True)),
    "generator function of batches": lambda: lambda: ((X[i : i + 8], Y[i : i + 8]) for i in (0, 8)),
}


@pytest.mark.parametrize("form", FORMS)
def test_samples_and_their_labels_stay_together(form, tmp_path):
    done = written(FORMS[form](), tmp_path)
    found = rows(done.path)
    places = indices(found["image"])
    assert len(places) == done.count == 16
    assert len(set(places)) == 16
    assert found["labels"].tolist() == [int(Y[place]) for place in places]
    assert len(open_source(done.path).samples) == 16


@pytest.mark.parametrize("data", [X, torch.from_numpy(X), list(X), [one[None] for one in X]])
def test_without_labels(data, tmp_path):
    found = rows(written(data, tmp_path).path)
    assert set(found) == {"image"}
    assert len(set(indices(found["image"]))) == 16


def test_what_can_be_indexed_is_drawn_and_the_seed_decides(tmp_path):
    places = [
        indices(rows(written(TENSORS, tmp_path / str(n), seed=n % 2).path)["image"])
        for n in range(3)
        if not (tmp_path / str(n)).mkdir()
    ]
    assert places[0] == places[2] != places[1]
    assert places[0] != list(range(16))


def test_a_sampler_says_what_there_is(tmp_path):
    loader = DataLoader(TENSORS, batch_size=4, sampler=SubsetRandomSampler(range(10, 20)))
    found = indices(rows(written(loader, tmp_path).path)["image"])
    assert set(found) == set(range(10, 20))


def test_a_stream_ends_and_says_that_it_was_not_drawn(tmp_path):
    done = written(_Endless(), tmp_path, limit=5)
    assert done.count == 5
    assert "shuffle" in done.notes[0]


def test_no_generator_moves_and_no_iterator_is_lost(tmp_path):
    own = torch.Generator().manual_seed(3)
    loader = DataLoader(TENSORS, batch_size=8, shuffle=True, generator=own)
    epoch = iter(loader)
    next(epoch)
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state())
    generator = own.get_state()
    with same_random_numbers():
        written(loader, tmp_path)
        torch.rand(3), np.random.rand(3), random.random()
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])
    assert torch.equal(own.get_state(), generator)
    assert len(list(epoch)) == 4  # the caller's own epoch goes on


def test_several_inputs(tmp_path):
    a, b = np.random.rand(20, 2).astype("f"), np.random.rand(20, 3).astype("f")
    y = np.arange(20)
    forms = [
        TensorDataset(*map(torch.from_numpy, (a, b, y))),
        [((one, two), label) for one, two, label in zip(a, b, y, strict=True)],
        {"b": b, "a": a, "y": y},
        [{"a": one, "b": two, "label": label} for one, two, label in zip(a, b, y, strict=True)],
    ]
    for place, data in enumerate(forms):
        (tmp_path / str(place)).mkdir()
        found = rows(written(data, tmp_path / str(place), TWO, limit=20).path)
        order = found["labels"]
        assert np.array_equal(found["a"], a[order])
        assert np.array_equal(found["b"], b[order])


def test_eight_bit_values_are_what_the_model_is_given_unless_pictures_are_stated(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 6, 5, 3), np.uint8)
    inputs = (TensorSpec(name="image", shape=(1, 6, 5, 3)),)
    (tmp_path / "a").mkdir()
    found = rows(written((pixels, np.arange(8)), tmp_path / "a", inputs).path)
    assert found["image"].dtype == np.float32
    assert np.array_equal(found["image"], pixels[found["labels"]])
    folder = written((pixels, np.arange(8)), tmp_path, inputs, pictures=True).path
    files = sorted(folder.rglob("*.png"))
    assert {file.parent.name for file in files} == set("01234567")
    for file in files:
        assert np.array_equal(np.asarray(Image.open(file)), pixels[int(file.parent.name)])


def test_pillows_pictures_of_any_size_become_files(tmp_path):
    sizes = [(8, 6), (5, 9), (7, 7)]
    colours = [(0, 0, 255), (10, 0, 255), (20, 0, 255)]
    pictures = map(Image.new, ["RGB"] * 3, sizes, colours)
    data = [(picture, f"class {n}") for n, picture in enumerate(pictures)]
    folder = written(data, tmp_path).path
    assert {file.parent.name for file in folder.rglob("*.png")} == {"class 0", "class 1", "class 2"}
    for n, size in enumerate(sizes):
        (file,) = (folder / f"class {n}").iterdir()
        assert Image.open(file).size == size
        assert Image.open(file).getpixel((0, 0)) == colours[n]


def test_one_hot_rows_boxes_and_masks(tmp_path):
    (tmp_path / "a").mkdir()
    found = rows(written((X, np.eye(5, dtype="f")[Y]), tmp_path / "a").path)
    assert found["labels"].shape == (16, 5)
    boxes = [(image, {"boxes": np.zeros((n, 4))}) for n, image in enumerate(X)]
    (tmp_path / "b").mkdir()
    assert "labels" not in rows(written(boxes, tmp_path / "b").path)
    ragged = [(image, np.zeros(n % 3 + 1)) for n, image in enumerate(X)]
    done = written(ragged, tmp_path)
    assert "labels" not in rows(done.path)
    assert "no common shape" in done.notes[-1]


@pytest.mark.parametrize(
    ("data", "inputs", "words"),
    [
        ([], IMAGE, "gives no sample"),
        (iter(()), IMAGE, "gives no sample"),
        (3.5, IMAGE, "float gives no samples"),
        ([np.zeros((3, 4, 4)), np.zeros((3, 5, 4))], IMAGE, "different shapes for image"),
        ([{"x": [[1.0], [2.0, 3.0]]}], (TensorSpec(name="x", shape=(1, 2)),), "ragged"),
        ([("words", 1)], IMAGE, "no array of numbers"),
        ([{"other": X[0], "more": X[0]}], IMAGE, "has no image"),
        ([(X[0],)], TWO, "the model has the inputs a, b"),
        ({"a": np.zeros((3, 2)), "b": np.zeros((2, 3))}, TWO, "different numbers of samples"),
    ],
)
def test_what_gives_no_samples_is_told_with_a_cure(data, inputs, words, tmp_path):
    with pytest.raises(DataError, match=words) as caught:
        written(data, tmp_path, inputs)
    assert caught.value.cure


def test_values_without_a_batch_axis_and_scalars(tmp_path):
    inputs = (TensorSpec(name="x", shape=(1, 4)),)
    table = np.arange(80, dtype=np.float64).reshape(20, 4)
    found = rows(written(table, tmp_path, inputs).path)
    assert sorted(found["x"][:, 0].tolist())[0] % 4 == 0
    assert found["x"].shape == (16, 4)


def test_bfloat16_and_gradients(tmp_path):
    tensor = torch.ones(8, 3, 4, 4, dtype=torch.bfloat16, requires_grad=True)
    assert rows(written(tensor, tmp_path, limit=8).path)["image"].dtype == np.float32
