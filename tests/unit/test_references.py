"""Which runner a reference's name gets, and the stacks that runners take; nothing is started."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgekit.calibration.samples import stack_shape
from edgekit.errors import DataError, UsageError
from edgekit.pipeline.references import open_reference
from edgekit.runners.http_reference import HttpReference
from edgekit.runners.litert_runner import LitertRunner
from edgekit.runners.protocol import Recorded, Timed
from edgekit.runners.reference import ConverterRunner
from edgekit.runners.stacks import reals, sample_shapes, samples_of, stacked
from edgekit.toolchain.workshop import Workshop
from edgekit.types import SilentProgress, TensorSpec


@pytest.fixture
def workshop() -> Workshop:
    return Workshop(name="test", progress=SilentProgress())


def test_each_kind_of_reference_gets_its_runner(workshop, tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"x")
    (tmp_path / "net.tflite").write_bytes(b"\0\0\0\0TFL3")
    kinds = {
        str(tmp_path / "net.onnx"): ConverterRunner,
        str(tmp_path / "net.tflite"): LitertRunner,
        "package.nets:build": ConverterRunner,
        "http://localhost:1/v2/models/net": HttpReference,
        "https://localhost:1/v1/models/net:predict": HttpReference,
    }
    for location, kind in kinds.items():
        runner = open_reference(location, workshop=workshop, work=tmp_path)
        assert type(runner) is kind
        assert isinstance(runner, Timed)
        assert not isinstance(runner, Recorded)
        assert runner.name in ("net", "nets")


@pytest.mark.parametrize(
    ("location", "options", "says"),
    [
        ("none.onnx", {}, "no file"),
        ("http://localhost/v2/models/net", {"weights": Path("w.pt")}, "--weights"),
        ("http://localhost/v2/models/net", {"device": "cuda"}, "cuda"),
        ("ref.edgeref", {"trust_pickle": True}, "--trust-pickle"),
        ("package.nets:build", {"device": "tpu"}, "no device"),
        ("http://localhost/nothing", {}, "no protocol"),
    ],
)
def test_what_does_not_go_together_is_refused(workshop, tmp_path, location, options, says):
    with pytest.raises(UsageError, match=says):
        open_reference(location, workshop=workshop, work=tmp_path, **options)


def test_cuda_is_for_pytorch(workshop, tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"x")
    with pytest.raises(UsageError, match="PyTorch"):
        open_reference(str(tmp_path / "net.onnx"), workshop=workshop, work=tmp_path, device="cuda")


def test_a_damaged_recording_is_refused_when_it_is_opened(workshop, tmp_path):
    (tmp_path / "ref.edgeref").write_bytes(b"nothing")
    with pytest.raises(DataError, match="damaged"):
        open_reference(str(tmp_path / "ref.edgeref"), workshop=workshop, work=tmp_path)


SHAPES = st.lists(st.integers(1, 4), max_size=4).map(tuple)


@given(shape=SHAPES, count=st.integers(1, 5), opened=st.sets(st.integers(0, 3)), data=st.data())
def test_open_dimensions_are_closed_by_the_stack(shape, count, opened, data):
    """However many dimensions are open; only the first, open, means a batch of one."""
    given_spec = TensorSpec(
        name="x",
        shape=tuple(
            None if place in opened and (place or size == 1) else size
            for place, size in enumerate(shape)
        ),
    )
    stack = data.draw(
        arrays.arrays(np.float32, stack_shape(TensorSpec(name="x", shape=shape), count))
    )
    (closed,) = sample_shapes([given_spec], [stack])
    assert closed.shape == shape
    samples = samples_of(closed, stack)
    assert [one.shape for one in samples] == [shape] * count
    np.testing.assert_array_equal(stacked(samples), stack)


@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 4), (2, 3, 4, 5), (2,)])
def test_stacks_of_another_shape_are_refused(shape):
    with pytest.raises(DataError, match="Input x"):
        sample_shapes([TensorSpec(name="x", shape=(1, 3, 4))], [np.zeros(shape)])


def test_inputs_must_agree_on_the_number_of_samples():
    specs = [TensorSpec(name=name, shape=(1, 2)) for name in "ab"]
    for stacks in ([np.zeros((3, 2)), np.zeros((2, 2))], [np.zeros((0, 2))] * 2):
        with pytest.raises(DataError, match="samples"):
            sample_shapes(specs, stacks)
    with pytest.raises(DataError, match="2 inputs, 1 arrays"):
        sample_shapes(specs, [np.zeros((3, 2))])


def test_whole_numbers_stay_exact():
    big = np.array([2**53 + 1])
    assert reals(big)[0] == 2**53 + 1
    assert reals(np.array([1.5], np.float16)).dtype == np.float32
    assert reals(np.array([1.5])).dtype == np.float32
