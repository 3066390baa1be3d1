"""What is wrong with the data is said, dropped or refused."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edgekit.calibration.checks import check_range, dhash, listing, near_copies
from edgekit.calibration.load import load
from edgekit.contract import Contract, InputContract, Preprocess
from edgekit.errors import DataError
from edgekit.types import SilentProgress, TensorSpec

NORMAL = Preprocess(scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def contract(shape=(1, 3, 16, 16), preprocess=NORMAL, **entry):
    spec = TensorSpec(name="image", shape=shape, layout="NCHW")
    return Contract(inputs=(InputContract(tensor=spec, preprocess=preprocess, **entry),))


def noise(seed, channels=3):
    return np.random.default_rng(seed).integers(0, 256, (16, 16, channels), np.uint8)


def save(folder, name, pixels):
    (folder / name).write_bytes(cv2.imencode(".png", pixels)[1])


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for index in range(32):
        save(folder, f"{index:02}.png", noise(index))
    return folder


def run(data, tmp_path, model=None):
    return load(data, model or contract(), folder=tmp_path / "out", progress=SilentProgress())


def note(dataset, words):
    return next((one for one in dataset.notes if words in one), None)


def test_good_data_brings_no_notes(data, tmp_path):
    dataset = run(data, tmp_path)
    assert dataset.notes == dataset.skipped == ()
    assert (dataset.calibration.count, dataset.parity.count) == (16, 16)


def test_unreadable_files_are_skipped_by_name(data, tmp_path):
    (data / "05.png").write_bytes(b"broken")
    dataset = run(data, tmp_path)
    assert dataset.skipped == ("05.png",)
    assert note(dataset, "unreadable, skipped: 05.png")
    assert dataset.calibration.count + dataset.parity.count == 31


def test_more_than_a_tenth_unreadable_is_refused(data, tmp_path):
    for index in range(4):
        (data / f"{index:02}.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"4 of 32 samples .*0[0-3]\.png") as caught:
        run(data, tmp_path)
    assert caught.value.cure


def test_exact_copies_are_dropped_even_between_the_roles(data, tmp_path):
    for index in range(32):
        save(data, f"copy{index:02}.png", noise(index))
    dataset = run(data, tmp_path)
    used = dataset.calibration.ids + dataset.parity.ids
    assert len({name[-6:] for name in used}) == len(used) <= 32
    assert note(dataset, "dropped as exact copies")
    assert note(dataset, "dropped as copies of calibration samples")


def test_a_few_samples_overlap_and_say_so(tmp_path):
    data = tmp_path / "few"
    data.mkdir()
    for index in range(3):
        save(data, f"{index}.png", noise(index))
    dataset = run(data, tmp_path)
    assert dataset.calibration.ids == dataset.parity.ids == ("0.png", "1.png", "2.png")
    assert dataset.calibration.digest == dataset.parity.digest
    assert note(dataset, "the same ones calibrate and measure parity")
    assert note(dataset, "calibration: only 3 samples")


def test_constant_gray_and_transparent_pictures_are_told(data, tmp_path):
    (data / "manifest.toml").write_text(
        "\n".join(
            f'[[images]]\nfile = "{index:02}.png"\nsplit = "calibration"' for index in range(30)
        )
        + '\n[[images]]\nfile = "31.png"\nsplit = "parity"'
    )
    save(data, "00.png", np.full((16, 16, 3), 9, np.uint8))
    save(data, "01.png", noise(1, 1))
    save(data, "02.png", noise(2, 4))
    dataset = run(data, tmp_path)
    assert note(dataset, "1 of one single colour: 00.png")
    assert note(dataset, "1 gray: the channel was repeated: 01.png")
    assert note(dataset, "1 with transparency: it was dropped: 02.png")


def picture(seed):
    """A smooth picture, like a photograph and unlike noise."""
    small = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
    return cv2.resize(small, (160, 160), interpolation=cv2.INTER_CUBIC)


def test_the_hash_survives_jpeg_and_scaling_and_tells_others_apart():
    hashes = []
    for seed in range(20):
        original = dhash(picture(seed))
        jpeg = cv2.imencode(".jpg", picture(seed), [cv2.IMWRITE_JPEG_QUALITY, 70])[1]
        again = cv2.resize(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), (97, 97))
        assert (original ^ dhash(again)).bit_count() <= 2
        hashes.append((original, str(seed)))
    assert near_copies(hashes) == []
    assert near_copies([*hashes, (hashes[4][0] ^ 0b101, "x")]) == ["x ~ 4"]
    assert near_copies([*hashes, (hashes[4][0] ^ 0b111, "x")]) == []
    assert near_copies([]) == []


def test_what_shows_nothing_has_no_hash():
    gradient = np.repeat(np.arange(64, dtype=np.uint8)[None], 64, 0)[:, :, None]
    assert dhash(np.full((20, 20, 3), 7, np.uint8)) is None
    assert dhash(gradient) is None
    assert dhash(gradient[:, ::-1].copy()) is None


def test_near_copies_reach_the_notes(data, tmp_path):
    for index in range(32):
        save(data, f"{index:02}.png", cv2.resize(picture(index), (16, 16)))
    save(data, "32.png", np.clip(cv2.resize(picture(0), (16, 16)).astype(int) + 1, 0, 255))
    parity = data.parent / "parity"
    parity.mkdir()
    save(parity, "p.png", noise(1))
    dataset = load(
        data, contract(), folder=tmp_path / "o", parity_path=parity, progress=SilentProgress()
    )
    assert note(dataset, "1 nearly the same pictures: 32.png ~ 00.png")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_name_the_sample(tmp_path, bad):
    array = np.random.default_rng(0).standard_normal((9, 3, 16, 16)).astype(np.float32)
    array[5, 1, 2, 3] = bad
    np.save(tmp_path / "d.npy", array)
    with pytest.raises(DataError, match=r"d\.npy\[5\].*NaN or infinite"):
        run(tmp_path / "d.npy", tmp_path)


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [
        (-2.1, 2.6, "fine"),
        (-1.5, 2.0, "fine"),
        (0.0, 255.0, "error"),
        (0.0, 1.0, "warning"),
        (-5.0, 5.0, "warning"),
        (0.1, 0.15, "warning"),
    ],
)
def test_values_are_compared_with_the_contract(low, high, outcome):
    entry = contract().inputs[0]
    if outcome == "error":
        with pytest.raises(DataError, match=r"0 to 255, the contract expects -2\.12 to 2\.64"):
            check_range(entry, low, high)
    else:
        assert bool(check_range(entry, low, high)) == (outcome == "warning")


def test_an_assumed_contract_only_warns():
    entry = contract(preprocess=Preprocess(scale=1 / 255), assumed=("scaled to 0…1",)).inputs[0]
    assert check_range(entry, -2.1, 2.7)
    assert check_range(entry, 0, 255)
    assert not check_range(entry, 0, 1)


def test_the_range_of_all_samples_counts_not_that_of_one(tmp_path):
    array = np.random.default_rng(0).uniform(0, 1, (20, 3, 16, 16)).astype(np.float32)
    array[::2] -= 1.5
    np.save(tmp_path / "d.npy", array)
    assert not note(run(tmp_path / "d.npy", tmp_path), "normalised")
    np.save(tmp_path / "e.npy", np.abs(array) % 1)
    assert note(run(tmp_path / "e.npy", tmp_path), "were they normalised?")


def test_long_lists_are_cut():
    assert listing([str(index) for index in range(7)]) == "0, 1, 2, 3, 4 and 2 more"
