"""The resize that wrappers are written from, against OpenCV and the contract's preprocessing."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgekit.contract import ANTIALIASED, InputContract, Preprocess
from edgekit.embed.resize import resize
from edgekit.geometry import geometry
from edgekit.preprocess import preprocess_image
from edgekit.types import TensorSpec

FLAGS = {
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
    "nearest": cv2.INTER_NEAREST,
}
sides = st.integers(1, 150)


@pytest.mark.parametrize("interpolation", FLAGS)
@settings(max_examples=60)
@given(height=sides, width=sides, tall=sides, wide=sides, seed=st.integers(0, 9))
def test_every_size_is_resized_as_opencv_does(interpolation, height, width, tall, wide, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    wanted = cv2.resize(image, (wide, tall), interpolation=FLAGS[interpolation])
    found = resize(image, (tall, wide), interpolation)
    furthest = abs(found.astype(int) - wanted.reshape(tall, wide, 3)).max()
    assert furthest <= (0 if interpolation in ("bilinear", "nearest") else 1)


@pytest.mark.parametrize(
    ("given_size", "wanted"),
    [((480, 640), (224, 224)), ((448, 448), (224, 224)), ((1080, 1920), (320, 320))],
)
def test_sizes_that_apps_have_are_exact_but_for_bicubic(given_size, wanted):
    image = np.random.default_rng(1).integers(0, 256, (*given_size, 3), dtype=np.uint8)
    for interpolation, flag in FLAGS.items():
        real = cv2.resize(image, wanted[::-1], interpolation=flag).astype(int)
        off = abs(resize(image, wanted, interpolation) - real)
        assert off.max() <= (1 if interpolation == "bicubic" else 0), interpolation


@pytest.mark.parametrize("interpolation", ANTIALIASED)
@settings(max_examples=60)
@given(height=sides, width=sides, tall=sides, wide=sides, seed=st.integers(0, 9))
def test_every_size_is_antialiased_as_pillow_does(interpolation, height, width, tall, wide, seed):
    """Each side by itself: which one Pillow takes first depends on its version."""
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    way = Image.Resampling[interpolation.upper()]
    wanted = Image.fromarray(image).resize((wide, height), way).resize((wide, tall), way)
    assert np.array_equal(resize(image, (tall, wide), interpolation, antialias=True), wanted)
    size = InputContract(
        tensor=TensorSpec(name="image", shape=(1, tall, wide, 3), dtype="uint8", layout="NHWC"),
        preprocess=Preprocess(resize=(tall, wide), interpolation=interpolation, antialias=True),
    )
    assert np.array_equal(preprocess_image(image[..., ::-1], size)[0], wanted)


@settings(max_examples=40)
@given(height=st.integers(20, 90), width=st.integers(20, 90), crop=st.integers(8, 20))
def test_size_and_crop_are_those_of_the_contract(height, width, crop):
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    contract = InputContract(
        tensor=TensorSpec(name="image", shape=(1, crop, crop, 3), dtype="uint8", layout="NHWC"),
        preprocess=Preprocess(resize=20, crop=(crop, crop), color="BGR"),
    )
    place = geometry((height, width), contract.preprocess, (crop, crop))
    resized = resize(picture, (place.height, place.width), "bilinear")
    found = resized[place.top : place.top + crop, place.left : place.left + crop]
    assert np.array_equal(found, preprocess_image(picture, contract)[0])
