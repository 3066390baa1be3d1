"""Preprocessing against a NumPy-only reimplementation and against pictures drawn here."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgekit.contract import InputContract, Preprocess
from edgekit.errors import DataError, UsageError
from edgekit.preprocess import preprocess_image, read_image
from edgekit.types import TensorSpec

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def contract(shape, layout="NCHW", dtype="float32", **preprocess):
    spec = TensorSpec(name="image", shape=shape, dtype=dtype, layout=layout)
    return InputContract(tensor=spec, preprocess=Preprocess(**preprocess))


def noise(height, width, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def bilinear(image, height, width):
    """Bilinear resizing with pixel centres, in float64."""

    def axis(size, new):
        at = np.clip((np.arange(new) + 0.5) * size / new - 0.5, 0, size - 1)
        low = np.floor(at).astype(int)
        return low, np.minimum(low + 1, size - 1), at - low

    top, bottom, y = axis(image.shape[0], height)
    left, right, x = axis(image.shape[1], width)
    y, x = y[:, None, None], x[None, :, None]
    image = image.astype(np.float64)
    upper = image[top][:, left] * (1 - x) + image[top][:, right] * x
    lower = image[bottom][:, left] * (1 - x) + image[bottom][:, right] * x
    return upper * (1 - y) + lower * y


@pytest.mark.parametrize(("height", "width"), [(40, 60), (60, 40), (33, 33), (29, 87)])
def test_the_usual_imagenet_chain_equals_its_formula(height, width):
    image = noise(height, width)
    ours = preprocess_image(
        image, contract((1, 3, 24, 24), resize=32, crop=(24, 24), scale=1 / 255, **IMAGENET)
    )
    short = min(height, width)
    size = (int(32 * height / short), int(32 * width / short))
    resized = bilinear(image, *size)
    top, left = round((size[0] - 24) / 2), round((size[1] - 24) / 2)
    rgb = resized[top : top + 24, left : left + 24, ::-1] / 255
    expected = ((rgb - IMAGENET["mean"]) / IMAGENET["std"]).transpose(2, 0, 1)[None]
    assert ours.shape == (1, 3, 24, 24)
    assert ours.dtype == np.float32
    assert ours.flags.c_contiguous
    # cv2 rounds the resized picture to 8 bits: at most one step of 255.
    assert np.abs(ours - expected).max() <= 1.01 / 255 / 0.224


def test_an_exact_size_stretches_and_the_layout_is_kept():
    image = noise(10, 20)
    ours = preprocess_image(image, contract((1, 8, 6, 3), "NHWC", resize=(8, 6), color="BGR"))
    assert ours.shape == (1, 8, 6, 3)
    assert np.abs(ours[0] - bilinear(image, 8, 6)).max() <= 1.01


def test_colour_orders():
    blue = np.full((4, 4, 3), (255, 0, 0), np.uint8)  # BGR
    assert preprocess_image(blue, contract((1, 3, 4, 4)))[0, :, 0, 0].tolist() == [0, 0, 255]
    bgr = contract((1, 3, 4, 4), color="BGR")
    assert preprocess_image(blue, bgr)[0, :, 0, 0].tolist() == [255, 0, 0]
    gray = contract((1, 1, 4, 4), color="GRAY")
    assert preprocess_image(blue, gray)[0, :, 0, 0].tolist() == [29]  # 0.114 * 255, BT.601


def test_gray_is_repeated_and_alpha_is_dropped():
    gray = noise(5, 5, 1)
    tensor = preprocess_image(gray, contract((1, 3, 5, 5)))
    assert (tensor == gray[:, :, 0]).all()
    assert (preprocess_image(gray[:, :, 0], contract((1, 3, 5, 5))) == tensor).all()
    bgra = noise(5, 5, 4)
    same = preprocess_image(bgra[:, :, :3].copy(), contract((1, 3, 5, 5)))
    assert (preprocess_image(bgra, contract((1, 3, 5, 5))) == same).all()


def test_four_channels_come_only_from_four_channels():
    bgra = noise(5, 5, 4)
    rgba = preprocess_image(bgra, contract((1, 5, 5, 4), "NHWC"))
    assert (rgba[0] == bgra[:, :, [2, 1, 0, 3]]).all()
    with pytest.raises(DataError, match="3 channels cannot become 4"):
        preprocess_image(noise(5, 5), contract((1, 5, 5, 4), "NHWC"))


def test_uint8_keeps_pixels_exactly_and_integers_round():
    image = noise(6, 6)
    exact = preprocess_image(image, contract((1, 6, 6, 3), "NHWC", "uint8"))
    assert exact.dtype == np.uint8
    assert (exact[0] == image[:, :, ::-1]).all()
    signed = preprocess_image(image, contract((1, 6, 6, 3), "NHWC", "int8", mean=(128.0,)))
    assert (signed[0] == image[:, :, ::-1].astype(int) - 128).all()
    halved = preprocess_image(image, contract((1, 6, 6, 3), "NHWC", "uint8", scale=0.5))
    assert (halved[0] == np.rint(image[:, :, ::-1] / 2)).all()
    clipped = preprocess_image(image, contract((1, 6, 6, 3), "NHWC", "int8"))
    assert (clipped[0] == np.minimum(image[:, :, ::-1], 127)).all()


@given(
    pixel=st.integers(0, 255),
    scale=st.floats(1e-3, 2),
    mean=st.floats(-200, 200),
    std=st.floats(0.01, 100),
)
def test_values_follow_the_formula_and_stay_in_the_stated_range(pixel, scale, mean, std):
    entry = contract((1, 3, 2, 2), scale=scale, mean=(mean,), std=(std,))
    value = preprocess_image(np.full((2, 2, 3), pixel, np.uint8), entry)
    expected = (pixel * scale - mean) / std
    tolerance = 1e-5 * (1 + (510 + abs(mean)) / std)
    assert np.allclose(value, expected, rtol=0, atol=tolerance)
    low, high = entry.preprocess.value_range
    assert low - tolerance <= value.min() <= value.max() <= high + tolerance


@given(height=st.integers(16, 90), width=st.integers(16, 90))
def test_a_resize_of_the_shorter_side_always_leaves_room_for_the_crop(height, width):
    entry = contract((1, 3, 16, 16), resize=16, crop=(16, 16))
    assert preprocess_image(np.zeros((height, width, 3), np.uint8), entry).shape == (1, 3, 16, 16)


def test_interpolations_differ_where_they_should():
    image = noise(64, 64)

    def resized(name):
        return preprocess_image(image, contract((1, 3, 16, 16), resize=16, interpolation=name))

    blocks = image[:, :, ::-1].reshape(16, 4, 16, 4, 3).mean((1, 3)).transpose(2, 0, 1)[None]
    assert np.abs(resized("area") - blocks).max() <= 0.5
    assert np.isin(resized("nearest"), image).all()
    assert not np.array_equal(resized("bilinear"), resized("bicubic"))


@pytest.mark.parametrize(
    ("entry", "error", "words"),
    [
        (contract((1, 3, 9, 9)), DataError, "wants 9x9"),
        (contract((1, 3, 9, 9), crop=(9, 9)), DataError, "too small for a crop of 9x9"),
        (contract((1, 3, 8, 8), mean=(1.0, 2.0)), UsageError, "mean has 2 values"),
        (contract((4, 3, 8, 8)), DataError, "4 pictures at once"),
        (InputContract(tensor=TensorSpec(name="x", shape=(1, 9))), UsageError, "no preprocessing"),
    ],
)
def test_what_cannot_work_says_why_and_what_to_do(entry, error, words):
    with pytest.raises(error, match=words) as caught:
        preprocess_image(noise(8, 8), entry)
    assert caught.value.cure


def test_reading_keeps_lossless_pixels_under_a_unicode_name(tmp_path):
    image = noise(7, 9)
    path = tmp_path / "größe 猫.png"
    path.write_bytes(cv2.imencode(".png", image)[1])
    assert (read_image(path) == image).all()


def test_gray_transparent_and_16_bit_files_become_bgr(tmp_path):
    for image in (noise(7, 9, 1), noise(7, 9, 4), noise(7, 9).astype(np.uint16) * 257):
        path = tmp_path / "a.png"
        path.write_bytes(cv2.imencode(".png", image)[1])
        read = read_image(path)
        assert read.shape == (7, 9, 3)
        assert read.dtype == np.uint8
        assert (read == (image[:, :, :3] // (257 if image.dtype == np.uint16 else 1))).all()


def test_the_exif_orientation_is_applied(tmp_path):
    """6: the camera was turned, the first row of the file is the right column of the picture."""
    image = np.zeros((32, 64, 3), np.uint8)
    image[:16] = 255
    jpeg = cv2.imencode(".jpg", image)[1].tobytes()
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    path = tmp_path / "turned.jpg"
    path.write_bytes(jpeg[:2] + segment + jpeg[2:])
    read = read_image(path)
    assert read.shape == (64, 32, 3)
    assert read[:, 20:].min() > 250
    assert read[:, :12].max() < 5


@pytest.mark.parametrize("content", [b"", b"no picture", b"\xff\xd8\xff\xe0"])
def test_unreadable_files_name_themselves(tmp_path, content):
    path = tmp_path / "broken.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"broken\.jpg") as caught:
        read_image(path)
    assert caught.value.cure
    assert type(caught.value) is DataError
    with pytest.raises(DataError, match="gone"):
        read_image(tmp_path / "gone.jpg")


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_an_antialiased_resize_is_pillows_whatever_the_channels(channels):
    """A fourth channel is not a transparency: a model that takes four takes them as they are."""
    image = noise(50, 70, channels)
    color = {1: "GRAY", 3: "BGR", 4: "BGR"}[channels]
    ours = preprocess_image(
        image,
        contract(
            (1, 20, 30, channels),
            "NHWC",
            resize=(20, 30),
            color=color,
            interpolation="lanczos",
            antialias=True,
        ),
    )
    way = Image.Resampling.LANCZOS
    for channel in range(channels):
        plane = Image.fromarray(image[:, :, channel]).resize((30, 50), way).resize((30, 20), way)
        assert np.array_equal(ours[0, :, :, channel], plane)


def test_an_antialiased_resize_takes_in_what_a_plain_one_leaves_out():
    """Stripes of one pixel are grey from afar; plain bilinear reads between them here."""
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, 1::4] = 255
    seen = {"resize": (8, 8), "color": "BGR"}
    plain = preprocess_image(stripes, contract((1, 8, 8, 3), "NHWC", **seen))
    smooth = preprocess_image(stripes, contract((1, 8, 8, 3), "NHWC", antialias=True, **seen))
    assert smooth[0, 2:-2, 2:-2].min() > 50
    assert smooth[0, 2:-2, 2:-2].max() < 80
    assert plain.min() == plain.max() == 0


def ultralytics_letterbox(image, height, width, *, value, centre=True, scaleup=True):
    """What YOLO models are trained with, in its own arithmetic."""
    r = min(height / image.shape[0], width / image.shape[1])
    r = r if scaleup else min(r, 1.0)
    wide, tall = round(image.shape[1] * r), round(image.shape[0] * r)
    dw, dh = width - wide, height - tall
    if centre:
        dw, dh = dw / 2, dh / 2
    resized = cv2.resize(image, (wide, tall), interpolation=cv2.INTER_LINEAR)
    top, bottom = round(dh - 0.1) if centre else 0, round(dh + 0.1)
    left, right = round(dw - 0.1) if centre else 0, round(dw + 0.1)
    border = cv2.BORDER_CONSTANT
    return cv2.copyMakeBorder(resized, top, bottom, left, right, border, value=value)


@given(
    height=st.integers(8, 90),
    width=st.integers(8, 90),
    tall=st.integers(16, 50),
    wide=st.integers(16, 50),
    centre=st.booleans(),
    enlarge=st.booleans(),
)
def test_a_letterbox_is_the_one_of_yolo(height, width, tall, wide, centre, enlarge):
    image = noise(height, width)
    value = (104, 116, 124)
    ours = preprocess_image(
        image,
        contract(
            (1, tall, wide, 3),
            "NHWC",
            resize=(tall, wide),
            letterbox=True,
            pad_value=value,
            pad_place="centre" if centre else "end",
            enlarge=enlarge,
        ),
    )
    wanted = ultralytics_letterbox(
        image, tall, wide, value=value[::-1], centre=centre, scaleup=enlarge
    )
    assert np.array_equal(ours[0], wanted[..., ::-1])


def test_a_letterbox_to_a_longer_side_is_padded_to_the_inputs_size():
    white = np.full((40, 20, 1), 255, np.uint8)
    seen = contract((1, 1, 12, 16), resize=8, letterbox=True, pad_value=(7,), color="GRAY")
    ours = preprocess_image(white, seen)[0, 0]
    assert (ours[2:10, 6:10] == 255).all()
    assert (ours == 7).sum() == 12 * 16 - 8 * 4


def test_a_letterbox_larger_than_the_input_says_which_size_is_wanted():
    seen = contract((1, 1, 12, 16), resize=20, letterbox=True, color="GRAY")
    with pytest.raises(DataError) as caught:
        preprocess_image(noise(40, 20, 1), seen)
    assert "20x10 after preprocessing" in caught.value.cause
    assert "12x16" in caught.value.cause.replace("12,16", "12x16")


def test_padding_has_as_many_values_as_the_picture_channels():
    with pytest.raises(UsageError, match="pad_value has 2 values"):
        preprocess_image(
            noise(8, 4), contract((1, 3, 8, 8), resize=8, letterbox=True, pad_value=(1, 2))
        )
