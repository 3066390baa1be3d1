"""The files of a `Dataset`: shapes, digests, determinism, memory."""

from __future__ import annotations

import hashlib
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.calibration import load, stack_shape, synthetic, take
from edgekit.contract import Contract, InputContract, Preprocess
from edgekit.errors import DataError
from edgekit.preprocess import preprocess_image, read_image
from edgekit.types import SilentProgress, TensorSpec


def image_contract(size=24, **preprocess):
    spec = TensorSpec(name="serving/image:0", shape=(1, 3, size, size), layout="NCHW")
    chain = Preprocess(resize=size, crop=(size, size), **preprocess)
    return Contract(inputs=(InputContract(tensor=spec, preprocess=chain),))


@pytest.fixture
def folder(tmp_path):
    data = tmp_path / "data"
    for index in range(20):
        path = data / ("cat" if index % 2 else "dog") / f"{index:02}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(index).integers(0, 256, (30, 40, 3), np.uint8)
        path.write_bytes(cv2.imencode(".jpg", pixels)[1])
    return data


def run(data, folder, contract=None, **options):
    options.setdefault("progress", SilentProgress())
    return load(data, contract or image_contract(), folder=folder, **options)


shapes = st.lists(st.integers(1, 4), max_size=4).map(tuple)


@given(shape=shapes, n=st.integers(1, 5), data=st.data())
def test_take_undoes_stacking(shape, n, data):
    spec = TensorSpec(name="x", shape=shape)
    samples = np.arange(n * int(np.prod(shape)), dtype=np.float32).reshape(n, *shape)
    stack = samples.reshape(stack_shape(spec, n))
    assert len(stack) == n
    index = data.draw(st.integers(0, n - 1))
    assert take(stack, spec, index).shape == shape
    assert (take(stack, spec, index) == samples[index]).all()


@pytest.mark.parametrize(
    ("shape", "stacked"),
    [((1, 3, 8, 8), (5, 3, 8, 8)), ((2, 3), (5, 2, 3)), ((), (5,)), ((1,), (5,))],
)
def test_stacked_shapes(shape, stacked):
    assert stack_shape(TensorSpec(name="x", shape=shape), 5) == stacked


def test_files_hold_the_preprocessed_pictures_in_the_order_of_the_ids(folder, tmp_path):
    contract = image_contract(scale=1 / 255)
    dataset = run(folder, tmp_path / "out", contract, calibration_samples=9, parity_samples=3)
    for role, count in ((dataset.calibration, 9), (dataset.parity, 3)):
        (name,) = role.files
        stack = np.load(role.files[name])
        assert stack.shape == (count, 3, 24, 24)
        assert stack.dtype == np.float32
        assert (role.count, len(role.labels)) == (count, count)
        for tensor, sample, label in zip(stack, role.ids, role.labels, strict=True):
            expected = preprocess_image(read_image(folder / sample), contract.inputs[0])
            assert (tensor == expected[0]).all()
            assert label == Path(sample).parent.name
    assert not set(dataset.calibration.ids) & set(dataset.parity.ids)
    assert not dataset.calibration.synthetic


def test_the_same_seed_gives_the_same_files_and_another_seed_others(folder, tmp_path):
    first, again, other = (
        run(folder, tmp_path / name, calibration_samples=8, seed=seed)
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    assert first.calibration.ids == again.calibration.ids != other.calibration.ids
    assert first.calibration.digest == again.calibration.digest != other.calibration.digest
    assert first.parity.digest == again.parity.digest != first.calibration.digest
    (name,) = first.calibration.files
    files = [one.calibration.files[name].read_bytes() for one in (first, again)]
    assert files[0] == files[1]


def test_the_digest_sees_every_byte(tmp_path):
    contract = Contract(inputs=(InputContract(tensor=TensorSpec(name="x", shape=(1, 4))),))
    array = np.random.default_rng(0).random((9, 4)).astype(np.float32)
    digests = set()
    for change in (0, 1):
        array[:, 3] += change
        np.save(tmp_path / "d.npy", array)
        digests.add(run(tmp_path / "d.npy", tmp_path / "out", contract).calibration.digest)
    assert len(digests) == 2
    assert all(len(digest) == len(hashlib.sha256().hexdigest()) for digest in digests)


def test_several_inputs_of_any_shape_and_type(tmp_path):
    specs = (
        TensorSpec(name="tokens", shape=(1, 6), dtype="int64"),
        TensorSpec(name="boxes", shape=(5, 2)),
        TensorSpec(name="threshold", shape=()),
    )
    contract = Contract(inputs=tuple(InputContract(tensor=spec) for spec in specs))
    rng = np.random.default_rng(0)
    arrays = {
        "tokens": rng.integers(0, 99, (8, 6)),
        "boxes": rng.random((8, 5, 2)).astype(np.float32),
        "threshold": rng.random(8).astype(np.float32),
    }
    np.savez(tmp_path / "d.npz", **arrays, labels=np.arange(8))
    dataset = run(tmp_path / "d.npz", tmp_path / "out", contract)
    for role in (dataset.calibration, dataset.parity):
        rows = [int(name[6:-1]) for name in role.ids]
        assert list(role.labels) == rows
        for name, path in role.files.items():
            stack = np.load(path)
            assert stack.dtype == arrays[name].dtype
            assert (stack == arrays[name][rows]).all()


def test_parity_data_of_its_own_and_its_faults(folder, tmp_path):
    parity = tmp_path / "parity"
    parity.mkdir()
    (parity / "p.png").write_bytes(
        cv2.imencode(".png", np.random.default_rng(99).integers(0, 256, (30, 30, 3), np.uint8))[1]
    )
    dataset = run(folder, tmp_path / "out", parity_path=parity)
    assert dataset.calibration.count == 20
    assert dataset.parity.ids == ("p.png",)
    (parity / "p.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"No parity sample is left.*p\.png"):
        run(folder, tmp_path / "out", parity_path=parity)


def test_a_picture_that_does_not_fit_is_an_error_and_not_skipped(folder, tmp_path):
    spec = TensorSpec(name="x", shape=(1, 3, 99, 99), layout="NCHW")
    contract = Contract(inputs=(InputContract(tensor=spec, preprocess=Preprocess(resize=24)),))
    with pytest.raises(DataError, match=r"\.jpg: .*wants 99x99") as caught:
        run(folder, tmp_path / "out", contract)
    assert "--resize 99,99" in caught.value.cure


def test_progress_only_grows_and_ends(folder, tmp_path):
    class Recorder(SilentProgress):
        def __init__(self):
            super().__init__()
            self.fractions = []

        def update(self, fraction, message=""):
            self.fractions.append(fraction)

    progress = Recorder()
    run(folder, tmp_path / "out", progress=progress)
    assert progress.fractions == sorted(progress.fractions)
    assert (progress.fractions[0], progress.fractions[-1]) == (0, 1)
    assert len(progress.fractions) == 21


def test_memory_does_not_grow_with_the_data(tmp_path):
    contract = Contract(inputs=(InputContract(tensor=TensorSpec(name="x", shape=(1, 200_000))),))
    # float64, so that every sample becomes an array of its own: 0.8 MB, 32 MB together.
    array = np.lib.format.open_memmap(
        tmp_path / "d.npy", mode="w+", dtype=np.float64, shape=(40, 200_000)
    )
    array[:] = np.arange(40)[:, None]
    array.flush()
    tracemalloc.start()
    dataset = run(tmp_path / "d.npy", tmp_path / "out", contract)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert dataset.calibration.count == 24
    assert dataset.calibration.files["x"].stat().st_size > 19_000_000
    assert peak < 16_000_000


def test_synthetic_inputs_are_seeded_smooth_and_marked(tmp_path):
    image = image_contract(64, scale=1 / 255).inputs[0]
    others = (
        TensorSpec(name="noise", shape=(1, 500)),
        TensorSpec(name="ids", shape=(1, 500), dtype="int32"),
        TensorSpec(name="flag", shape=(), dtype="bool"),
    )
    contract = Contract(inputs=(image, *(InputContract(tensor=spec) for spec in others)))
    first, again, other = (
        synthetic(contract, folder=tmp_path / name, samples=40, seed=seed)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    stacks = [
        {name: np.load(path) for name, path in one.calibration.files.items()}
        for one in (first, again, other)
    ]
    for name, stack in stacks[0].items():
        assert (stack == stacks[1][name]).all()
        assert (stack != stacks[2][name]).any()
    assert first.calibration.digest == first.parity.digest == "synthetic"
    assert first.calibration.synthetic
    assert (first.calibration.count, first.parity.count) == (40, 32)
    assert first.notes
    pictures = stacks[0]["serving/image:0"]
    assert 0 <= pictures.min() < pictures.max() <= 1
    neighbours = np.abs(np.diff(pictures, axis=3)).mean()
    assert neighbours < 0.2 * pictures.std()  # white noise: 1.15 standard deviations
    assert abs(stacks[0]["noise"].mean()) < 0.05
    assert abs(stacks[0]["noise"].std() - 1) < 0.05
    assert set(np.unique(stacks[0]["ids"])) == set(range(10))
    assert stacks[0]["flag"].shape == (40,)
    parity = np.load(first.parity.files["noise"])
    assert not (parity[0] == stacks[0]["noise"][0]).any()
