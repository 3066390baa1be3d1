"""What a measuring process is told, and turning tensors there and back."""

from __future__ import annotations

import numpy as np
import pytest
import validate_nets as nets
from hypothesis import given
from hypothesis import strategies as st

from edgekit.contract import Preprocess
from edgekit.errors import UsageError
from edgekit.measure.job import (
    CandidateJob,
    Feed,
    MeasuringJob,
    Span,
    Taken,
    turn,
    turn_back,
)
from edgekit.raw_pixels.normalization import Normalization


def test_a_job_survives_the_disk(tmp_path):
    job = MeasuringJob(
        data="d",
        layout="folders",
        labelled=True,
        contract=nets.contract(labels=("a",)).to_json(),
        candidates=[
            CandidateJob(
                path="c.tflite",
                feeds=[
                    Feed(source=0, permutation=[0, 2, 3, 1], shape=[1, 4, 4, 3]),
                    Feed(
                        source=0,
                        permutation=[0, 2, 3, 1],
                        shape=[1, 4, 4, 3],
                        pixels=Normalization.of(Preprocess(scale=1 / 255, mean=(0.5,)), 3, "BGR"),
                        channels=-3,
                    ),
                    Feed(
                        source=0,
                        permutation=[0, 1, 2, 3],
                        shape=[1, 4, 4, 3],
                        values=Normalization.of(Preprocess(scale=1 / 255, std=(0.5,)), 3, "RGB"),
                    ),
                ],
                outputs=[Taken(places=[1, 0], axis=-2, permutation=[0, 1])],
                spans=[Span(role="input", index=0, name="image", low=-1.0, high=1.0)],
            )
        ],
        parts={"0": [[1, 0, 4]]},
        metric=None,
        span=1.5,
        recorded=False,
        references="r",
        scratch="s",
    )
    job.write(tmp_path / "job.json")
    assert MeasuringJob.read(tmp_path / "job.json") == job
    assert job.stated == nets.contract(labels=("a",))


def test_a_file_that_normalises_by_itself_is_fed_the_pixels():
    """RGB values with channels first in the reference, BGR pixels with channels last here."""
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3)).astype(np.float32)
    values = (pixels[..., ::-1] / 255 - [0.4, 0.5, 0.6]) / [0.2, 0.3, 0.4]
    preprocess = Preprocess(scale=1 / 255, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    feed = Feed(
        source=0,
        permutation=[0, 2, 3, 1],
        shape=[1, 4, 4, 3],
        pixels=Normalization.of(preprocess, 3, "BGR"),
        channels=-3,
    )
    stack = values.transpose(0, 3, 1, 2).astype(np.float32)
    np.testing.assert_array_equal(feed.of(stack), pixels)


@given(
    st.sampled_from([(0, 1, 2, 3), (0, 2, 3, 1), (0, 3, 1, 2)]),
    st.lists(st.integers(1, 4), min_size=3, max_size=3),
    st.integers(1, 3),
)
def test_turning_back_undoes_turning(permutation, rest, count):
    stack = np.random.default_rng(0).normal(size=(count, *rest))
    shape = [1, *rest]
    turned = turn(stack, permutation, [shape[axis] for axis in permutation])
    assert turned.shape == (count, *(shape[axis] for axis in permutation[1:]))
    np.testing.assert_array_equal(turn_back(turned, permutation, stack), stack)
    sample = np.transpose(stack[:1], permutation)
    np.testing.assert_array_equal(turned[:1], sample)


def test_samples_without_a_batch_axis():
    stack = np.arange(24.0).reshape(4, 2, 3)  # four samples (2, 3)
    turned = turn(stack, (1, 0), (3, 2))
    np.testing.assert_array_equal(turned[1], stack[1].T)
    np.testing.assert_array_equal(turn_back(turned, (1, 0), stack), stack)


def test_a_number_with_and_without_an_axis_is_the_same():
    like = np.zeros((5,))
    np.testing.assert_array_equal(turn_back(np.ones((5, 1)), (), like), np.ones(5))


def test_outputs_of_another_size_are_refused():
    with pytest.raises(UsageError, match=r"\(4,\).*\(5,\)"):
        turn_back(np.zeros((2, 5)), (0, 1), np.zeros((2, 4)))


def test_a_file_that_takes_values_beside_a_reference_that_takes_pixels():
    how = Preprocess(scale=1 / 255, mean=(0.5, 0.4, 0.3), std=(0.2,), color="BGR")
    normalization = Normalization.of(how, 3, "RGB")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3)).astype(np.float32)
    feed = Feed(source=0, permutation=[0, 3, 1, 2], shape=[1, 3, 4, 4], values=normalization)
    wanted = (pixels[..., ::-1] / 255 - [0.5, 0.4, 0.3]) / 0.2
    np.testing.assert_allclose(feed.of(pixels), wanted.transpose(0, 3, 1, 2), rtol=1e-5, atol=1e-5)
    back = Feed(source=0, permutation=[0, 1, 2, 3], shape=[1, 4, 4, 3], pixels=normalization)
    np.testing.assert_array_equal(back.of(normalization.values(pixels, 3)), pixels)
