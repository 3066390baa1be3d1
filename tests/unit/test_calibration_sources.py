"""Folders, NumPy files and videos as sources."""

from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgekit.calibration import open_source
from edgekit.contract import Contract, InputContract, Preprocess
from edgekit.errors import DataError
from edgekit.types import TensorSpec

RNG = np.random.default_rng(0)


def picture(path: Path, value: int | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, (8, 8, 3), np.uint8)
    if value is not None:
        pixels[:] = value
    path.write_bytes(cv2.imencode(path.suffix.lower(), pixels)[1])
    return path


def model(*specs: TensorSpec) -> Contract:
    return Contract(inputs=tuple(InputContract(tensor=spec) for spec in specs))


def image_model(shape=(1, 3, 8, 8), layout="NCHW", dtype="float32", **preprocess) -> Contract:
    spec = TensorSpec(name="image", shape=shape, layout=layout, dtype=dtype)
    return Contract(inputs=(InputContract(tensor=spec, preprocess=Preprocess(**preprocess)),))


def ids(path: Path) -> list[str]:
    return [sample.id for sample in open_source(path).samples]


def test_a_folder_lists_visible_pictures_of_any_case_with_their_class(tmp_path):
    for name in ("cat/1.jpg", "cat/2.JPEG", "dog/a.WebP", "b.bmp", ".hidden.png", ".git/c.png"):
        picture(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    source = open_source(tmp_path)
    assert [(one.id, one.label) for one in source.samples] == [
        ("b.bmp", None), ("cat/1.jpg", "cat"), ("cat/2.JPEG", "cat"), ("dog/a.WebP", "dog"),
    ]  # fmt: skip


def test_links_out_of_the_folder_are_left_out_and_told(tmp_path):
    outside = picture(tmp_path / "outside" / "secret.png")
    data = tmp_path / "data"
    inside = picture(data / "a.png")
    (data / "out.png").symlink_to(outside)
    (data / "folder").symlink_to(outside.parent)
    (data / "in.png").symlink_to(inside)
    assert ids(data) == ["a.png", "in.png"]
    assert "1 links" in open_source(data).notes[0]


def test_a_manifest_chooses_files_splits_and_labels(tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        picture(tmp_path / name)
    (tmp_path / "manifest.toml").write_text(
        '[[images]]\nfile = "b.png"\nsplit = "parity"\nlabel = 3\n[[images]]\nfile = "a.png"\n'
    )
    samples = open_source(tmp_path).samples
    assert [(one.id, one.split, one.label) for one in samples] == [
        ("a.png", None, None),
        ("b.png", "parity", 3),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[images]]\nfile = "../x.png"', "outside"),
        ('[[images]]\nfile = "gone.png"', "not there"),
        ('[[images]]\nfile = "a.png"\nsplit = "train"', "'train'"),
        ("images = 3", "cannot be used"),
        ("[[images]", "cannot be read"),
        ("other = 1", "cannot be used"),
    ],
)
def test_a_wrong_manifest_is_refused(tmp_path, text, words):
    picture(tmp_path.parent / "x.png")
    picture(tmp_path / "a.png")
    (tmp_path / "manifest.toml").write_text(text)
    with pytest.raises(DataError, match=words) as caught:
        open_source(tmp_path)
    assert caught.value.cure


def test_missing_empty_and_foreign_paths_have_a_cure(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "data.csv").write_text("1,2")
    (tmp_path / "no.mp4").write_bytes(b"no video")
    for name in ("gone", "empty", "data.csv", "no.mp4"):
        with pytest.raises(DataError, match=name) as caught:
            open_source(tmp_path / name)
        assert caught.value.cure
        assert caught.value.exit_code == 6


def test_npz_arrays_belong_to_the_inputs_of_their_name_and_labels_are_classes(tmp_path):
    tokens, mask = RNG.integers(0, 9, (4, 6)), RNG.random((4, 6))
    np.savez(tmp_path / "d.npz", mask=mask, tokens=tokens, labels=np.array([3, 1, 2, 0]))
    samples = open_source(tmp_path / "d.npz").samples
    contract = model(
        TensorSpec(name="tokens", shape=(1, 6), dtype="int64"),
        TensorSpec(name="mask", shape=(1, 6)),
    )
    loaded = samples[2].load(contract).tensors
    assert (samples[2].id, samples[2].label) == ("d.npz[2]", 2)
    assert loaded["tokens"].shape == (1, 6)
    assert loaded["tokens"].dtype == np.int64
    assert (loaded["tokens"][0] == tokens[2]).all()
    assert loaded["mask"].dtype == np.float32
    assert np.allclose(loaded["mask"][0], mask[2])


def test_the_unpacked_npz_is_gone_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "t"))
    (tmp_path / "t").mkdir()
    np.savez_compressed(tmp_path / "d.npz", x=np.zeros((3, 2), np.float32))
    source = open_source(tmp_path / "d.npz")
    assert not list((tmp_path / "t").iterdir())  # what is mapped stays, whatever becomes of us
    assert source.samples[0].read()["x"].tolist() == [0, 0]


def test_a_single_array_serves_the_only_input_whatever_its_name(tmp_path):
    data = RNG.random((3, 5)).astype(np.float32)
    np.savez(tmp_path / "d.npz", whatever=data)
    np.save(tmp_path / "d.npy", data)
    contract = model(TensorSpec(name="serving_default_x:0", shape=(1, 5)))
    for name in ("d.npz", "d.npy"):
        sample = open_source(tmp_path / name).samples[1]
        assert (sample.load(contract).tensors["serving_default_x:0"] == data[1:2]).all()


@pytest.mark.parametrize("shape", [(3, 4, 5), (3, 1, 4, 5)])
def test_a_missing_batch_axis_is_added_and_a_present_one_kept(tmp_path, shape):
    np.save(tmp_path / "d.npy", np.zeros(shape, np.float32))
    contract = model(TensorSpec(name="x", shape=(1, 4, 5)))
    loaded = open_source(tmp_path / "d.npy").samples[0].load(contract)
    assert loaded.tensors["x"].shape == (1, 4, 5)


def test_a_folder_of_npz_has_a_sample_per_file(tmp_path):
    for index, folder in enumerate(("", "cat/")):
        (tmp_path / folder).mkdir(exist_ok=True)
        np.savez(tmp_path / f"{folder}{index}.npz", x=np.full(4, index), label=7)
    samples = open_source(tmp_path).samples
    assert [(one.id, one.label) for one in samples] == [("0.npz", 7), ("cat/1.npz", "cat")]
    loaded = samples[1].load(model(TensorSpec(name="x", shape=(1, 4))))
    assert loaded.tensors["x"].tolist() == [[1, 1, 1, 1]]


class Bomb:
    def __reduce__(self):
        return Path.touch, (Path("exploded"),)


def test_nothing_is_ever_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    objects = np.array([Bomb()], dtype=object)
    np.save("o.npy", objects)
    np.savez("o.npz", x=objects)
    Path("raw.npy").write_bytes(pickle.dumps(Bomb()))
    Path("raw.npz").write_bytes(pickle.dumps(Bomb()))
    for name in ("o.npy", "o.npz", "raw.npy", "raw.npz"):
        with pytest.raises(DataError, match=name):
            open_source(tmp_path / name)
    (tmp_path / "folder").mkdir()
    Path("o.npz").rename("folder/o.npz")
    with pytest.raises(DataError, match=r"o\.npz"):
        open_source(tmp_path / "folder").samples[0].read()
    assert not Path("exploded").exists()


def test_arrays_of_different_lengths_and_empty_ones_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 2)), y=np.zeros((4, 2)))
    np.save(tmp_path / "b.npy", np.zeros(()))
    with pytest.raises(DataError, match="different numbers"):
        open_source(tmp_path / "a.npz")
    with pytest.raises(DataError, match="no samples"):
        open_source(tmp_path / "b.npy")


def test_uint8_arrays_are_rgb_pictures_and_floats_are_model_ready(tmp_path):
    rgb = RNG.integers(0, 256, (2, 8, 8, 3), np.uint8)
    contract = image_model(scale=1 / 255, mean=(0.5,), std=(0.5,))
    np.save(tmp_path / "u.npy", rgb)
    expected = (rgb[1].transpose(2, 0, 1)[None] / 255 - 0.5) / 0.5
    loaded = open_source(tmp_path / "u.npy").samples[1].load(contract)
    assert np.allclose(loaded.tensors["image"], expected, atol=1e-6)
    assert (loaded.pictures["image"] == rgb[1][:, :, ::-1]).all()
    ready = RNG.random((2, 3, 8, 8)).astype(np.float32)
    np.save(tmp_path / "f.npy", ready)
    loaded = open_source(tmp_path / "f.npy").samples[1].load(contract)
    assert (loaded.tensors["image"] == ready[1:]).all()


def test_the_other_layout_is_an_error_with_the_right_transpose(tmp_path):
    array = np.zeros((2, 8, 9, 3), np.float32)
    np.save(tmp_path / "d.npy", array)
    contract = image_model((1, 3, 8, 9))
    with pytest.raises(DataError, match=r"d\.npy\[0\]") as caught:
        open_source(tmp_path / "d.npy").samples[0].load(contract)
    assert "array.transpose(0, 3, 1, 2)" in caught.value.cure
    np.save(tmp_path / "e.npy", array.transpose(0, 3, 1, 2))
    assert open_source(tmp_path / "e.npy").samples[0].load(contract)
    with pytest.raises(DataError) as caught:
        open_source(tmp_path / "e.npy").samples[0].load(image_model((1, 8, 9, 3), "NHWC"))
    assert "array.transpose(0, 2, 3, 1)" in caught.value.cure


@pytest.mark.parametrize("bad", [0.5, 300.0, -1.0, float("nan")])
def test_integer_inputs_take_only_whole_numbers_that_fit(tmp_path, bad):
    contract = model(TensorSpec(name="x", shape=(1, 2), dtype="uint8"))
    np.save(tmp_path / "d.npy", np.array([[3.0, 7.0], [3.0, bad]]))
    samples = open_source(tmp_path / "d.npy").samples
    assert samples[0].load(contract).tensors["x"].tolist() == [[3, 7]]
    with pytest.raises(DataError, match=r"d\.npy\[1\].*whole numbers"):
        samples[1].load(contract)


def test_pictures_for_a_model_that_takes_none(tmp_path):
    sample = open_source(picture(tmp_path / "a.png").parent).samples[0]
    with pytest.raises(DataError, match="takes no pictures"):
        sample.load(model(TensorSpec(name="x", shape=(1, 128))))
    two = (TensorSpec(name="x", shape=(1, 4)), TensorSpec(name="y", shape=(1, 4)))
    with pytest.raises(DataError, match=r"2 inputs \(x, y\)") as caught:
        sample.load(model(*two))
    assert ".npz" in caught.value.cure


def test_a_missing_input_names_what_there_is(tmp_path):
    np.savez(tmp_path / "d.npz", a=np.zeros((2, 4)), b=np.zeros((2, 4)))
    with pytest.raises(DataError, match="input x; there are: a, b"):
        open_source(tmp_path / "d.npz").samples[0].load(model(TensorSpec(name="x", shape=(1, 4))))


def video(path: Path, frames: int) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    if not writer.isOpened():
        pytest.skip("this OpenCV cannot write a video")
    for index in range(frames):
        writer.write(np.full((48, 64, 3), index * 6, np.uint8))
    writer.release()
    return path


def test_frames_of_a_video_come_in_any_order(tmp_path):
    source = open_source(video(tmp_path / "v.avi", 40))
    assert not source.parallel
    assert len(source.samples) == 40
    assert [one.split for one in source.samples] == ["calibration"] * 30 + ["parity"] * 10
    for index in (0, 7, 3, 39, 39):
        assert source.samples[index].id == f"v.avi[{index}]"
        assert abs(source.samples[index].read().pixels.mean() - index * 6) < 2


def test_frames_are_spread_evenly(tmp_path, monkeypatch):
    monkeypatch.setattr("edgekit.calibration.video.MAX_FRAMES", 4)
    assert ids(video(tmp_path / "v.avi", 40)) == [f"v.avi[{frame}]" for frame in (0, 10, 20, 30)]
