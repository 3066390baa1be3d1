"""Bytes ↔ arrays, with litert-quantizer's 4-bit weights as the outside witness."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tflite_builder as tiny
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgekit.tflite import dtypes
from edgekit.tflite.model import read

RANGES = {"int4": (-8, 7), "int2": (-2, 1), "uint4": (0, 15)}


@pytest.mark.parametrize("dtype", list(RANGES))
@given(data=st.data())
def test_packed_values_come_back(dtype: str, data: st.DataObject) -> None:
    low, high = RANGES[dtype]
    shape = data.draw(hnp.array_shapes(min_dims=0, min_side=0))
    kind = np.uint8 if dtype.startswith("u") else np.int8
    values = data.draw(hnp.arrays(kind, shape, elements=st.integers(low, high)))
    stored = dtypes.encode(values, dtype)
    assert len(stored) == dtypes.byte_size(dtype, shape)
    np.testing.assert_array_equal(dtypes.decode(stored, dtype, shape), values)


@pytest.mark.parametrize("dtype", list(RANGES))
def test_values_beyond_their_bits_are_refused(dtype: str) -> None:
    kind = np.uint8 if dtype.startswith("u") else np.int8
    with pytest.raises(ValueError, match="must lie in"):
        dtypes.encode(np.array([RANGES[dtype][1] + 1], kind), dtype)


def test_the_first_value_has_the_lowest_bits() -> None:
    assert dtypes.encode(np.array([1, -2], np.int8), "int4") == b"\xe1"
    assert dtypes.encode(np.array([1, -2, 0, -1], np.int8), "int2") == b"\xc9"


@given(hnp.arrays(np.float32, 20, elements=st.floats(width=32, allow_nan=False)))
def test_bfloat16_is_rounded_to_nearest(values: np.ndarray) -> None:
    got = dtypes.decode(dtypes.encode(values, "bfloat16"), "bfloat16", values.shape)
    representable = np.abs(values) < 3.3e38  # above, the nearest value is infinity
    error = np.abs(got[representable] - values[representable])
    assert np.all(error <= np.maximum(np.abs(values[representable]) * 2.0**-8, 1e-40))
    np.testing.assert_array_equal(
        dtypes.decode(dtypes.encode(got, "bfloat16"), "bfloat16", got.shape), got
    )


def test_bfloat16_keeps_what_is_no_number() -> None:
    values = np.array([np.nan, np.inf, -np.inf], np.float32)
    got = dtypes.decode(dtypes.encode(values, "bfloat16"), "bfloat16", (3,))
    np.testing.assert_array_equal(got, values)


@pytest.mark.parametrize("dtype", ["float16", "float64", "int16", "int64", "bool", "complex64"])
def test_plain_types_come_back(dtype: str) -> None:
    values = np.arange(6).reshape(2, 3).astype(dtype)
    stored = dtypes.encode(values, dtype)
    np.testing.assert_array_equal(dtypes.decode(stored, dtype, (2, 3)), values)
    assert dtypes.name_of(dtypes.code_of(dtype)) == dtype


@pytest.mark.parametrize("dtype", ["string", "float8_e5m2", "type_99"])
def test_types_without_an_array_are_refused(dtype: str) -> None:
    with pytest.raises(ValueError, match=dtype):
        dtypes.decode(b"", dtype, (0,))


def test_unknown_types_are_named_or_refused() -> None:
    assert dtypes.name_of(99) == "type_99"
    with pytest.raises(ValueError, match="not a tensor type"):
        dtypes.code_of("float12")


def test_four_bit_weights_of_a_real_quantizer_are_the_float_weights(tmp_path: Path) -> None:
    path = tmp_path / "int4.tflite"
    path.write_bytes(tiny.quantized_bytes("dynamic_wi4_afp32"))
    packed = [tensor for tensor in read(path).main.tensors if tensor.dtype == "int4"]
    original = {"kernel": tiny.random_weights().kernel, "dense": tiny.random_weights().dense}
    assert packed
    for tensor in packed:
        quantization = tensor.quantization
        assert quantization is not None
        scales = np.array(quantization.scales).reshape(-1, *[1] * (len(tensor.shape) - 1))
        error = np.abs(tensor.data() * scales - original[tensor.name])
        assert np.all(error <= scales / 2 + 1e-6)
