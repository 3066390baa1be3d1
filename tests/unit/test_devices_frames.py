"""Frames, arrays and tensors between host and device, also damaged and hostile ones."""

from __future__ import annotations

import ast
import io
import json
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from edgekit.devices.agent import frames
from edgekit.devices.agent.frames import BadFrame, pack_arrays, unpack_arrays
from edgekit.devices.facts import Clock, DeviceFacts, printable
from edgekit.devices.parcel import COMMAND, greeting, parcel
from edgekit.devices.tensors import DeviceTensor, parse_tensors

AGENT = Path(frames.__file__).parent
DTYPES = ("float32", "int8", "uint8", "int64", "bool", "float16")


@given(
    st.lists(
        st.sampled_from(DTYPES).flatmap(
            lambda name: arrays_of.arrays(name, arrays_of.array_shapes(min_dims=0, min_side=0))
        ),
        max_size=3,
    ),
    st.booleans(),
)
def test_arrays_come_back(given_arrays, compress):
    header, payload = pack_arrays(given_arrays, compress)
    header = json.loads(json.dumps(header))
    found = unpack_arrays(header, payload, 1 << 20)
    assert len(found) == len(given_arrays)
    for mine, theirs in zip(given_arrays, found, strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)


def test_a_compressed_bomb_is_not_inflated():
    table = {"dtype": "int8", "shape": [10]}
    bomb = zlib.compress(bytes(50_000_000), 9)
    with pytest.raises(BadFrame, match="11 bytes"):
        unpack_arrays({"arrays": [table], "zlib": True}, bomb, 1 << 20)


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"arrays": 3},
        {"arrays": [3]},
        {"arrays": [{"dtype": "object", "shape": [1]}]},
        {"arrays": [{"dtype": "int8", "shape": [-1]}]},
        {"arrays": [{"dtype": "int8", "shape": ["1"]}]},
        {"arrays": [{"dtype": "int8", "shape": [True]}]},
        {"arrays": [{"dtype": "int8", "shape": [1] * 17}]},
        {"arrays": [{"dtype": "float32", "shape": [1 << 30, 1 << 30]}]},
        {"arrays": [{"dtype": "float32", "shape": [400]}]},
        {"arrays": [{"dtype": "int8", "shape": [2]}]},
        {"arrays": [{"dtype": "int8", "shape": [1]}], "zlib": True},
    ],
)
def test_arrays_that_lie(header):
    with pytest.raises(BadFrame):
        unpack_arrays(header, b"x", 1000)


@pytest.mark.parametrize("data", [b"", b"[1]", b"\xff", b"{", b"[" * 100_000])
def test_headers_that_are_none(data):
    with pytest.raises(BadFrame):
        frames.decode_header(data)


TENSOR = {"name": "x", "shape": [1, 4], "dtype": "int8", "scale": 0.5, "zero_point": -3}


def test_values_are_stored_and_read_as_the_runtime_does():
    tensor = DeviceTensor.parse(TENSOR)
    stored = tensor.store(np.array([[-100, -0.25, 0.74, 100]], np.float32))
    # round(r / 0.5) - 3, to the nearest even, within int8
    np.testing.assert_array_equal(stored, np.array([[-128, -3, -2, 127]], np.int8))
    np.testing.assert_array_equal(tensor.real(stored), [[-62.5, 0, 0.5, 65]])
    assert tensor.real(stored).dtype == np.float32
    assert tensor.real_spec.dtype == "float32"


@pytest.mark.parametrize(
    "change",
    [
        {"shape": "1"}, {"shape": [1.5]}, {"shape": [1 << 40]}, {"dtype": "object"},
        {"dtype": ["int8"]}, {"scale": float("nan")}, {"scale": None}, {"zero_point": 0.5},
    ],
)  # fmt: skip
def test_tensors_that_cannot_be(change):
    with pytest.raises(BadFrame):
        parse_tensors([{**TENSOR, **change}])


def test_what_a_device_says_does_not_steer_the_terminal():
    assert printable("\x1b]0;title\x07 a\nb" + "c" * 1000).startswith("]0;title  a b")
    facts = DeviceFacts.parse(
        {"machine": "\x1b[31mred", "cores": "many", "memory_bytes": -1, "clock": {"mhz": "x"}}
    )
    assert "\x1b" not in facts.words
    assert (facts.cores, facts.memory_bytes, facts.clock) == (None, None, Clock())


def test_the_parcel_is_the_same_every_time_and_complete():
    data, digest = parcel()
    parcel.cache_clear()
    assert parcel() == (data, digest)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = {name.rpartition("/")[2] for name in archive.namelist()}
    assert names == {path.name for path in AGENT.glob("*.py")} | {"__main__.py"}


@pytest.mark.parametrize("path", sorted(AGENT.glob("*.py")), ids=lambda path: path.name)
def test_the_agent_is_written_for_python_3_8_and_needs_nothing_of_edgekit(path):
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert not any(name.name.startswith("edgekit") for name in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level < 2
            assert not (node.module or "").startswith("edgekit")


def test_the_shell_gets_a_constant_without_anything_to_expand():
    code = COMMAND.removeprefix("exec python3 -c ")
    assert code[0] == code[-1] == "'"
    assert not set(code[1:-1]) & set("'!$`\\\n")
    first, second, rest = greeting(python="/a b/$(x)", search=True).partition(b"\n")
    assert bytes.fromhex(first.decode())
    assert json.loads(rest)["python"] == "/a b/$(x)"
    assert second == b"\n"
