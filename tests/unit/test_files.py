"""Reading what strangers wrote: bounded, regular files only, and in words."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import edgekit
from edgekit.contract import Contract
from edgekit.errors import DataError, EdgekitError, UsageError
from edgekit.files import (
    is_inside,
    is_name,
    kind_of,
    lines_of,
    read_bytes,
    read_text,
    read_toml,
    temporary_folder,
)
from edgekit.npy import map_npy
from edgekit.text import escaped, is_unsafe
from edgekit.tflite.model import read


def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path, tmp_path / "gone"):
        with pytest.raises(DataError) as caught:
            read_bytes(path, DataError)  # and none is waited for
        assert caught.value.cure
        with pytest.raises(EdgekitError):
            read(path)
    assert kind_of(tmp_path / "pipe") == kind_of(Path("/dev/zero")) == "other"
    assert (kind_of(tmp_path), kind_of(tmp_path / "gone")) == ("folder", "none")


@pytest.mark.parametrize("name", ["a" * 300, "a\0b", "\ud800", "a/" * 3000])
def test_names_that_no_file_can_have(tmp_path, name):
    assert not is_name(name)
    assert kind_of(tmp_path / name) == "none"
    is_inside(tmp_path / name, tmp_path)
    with pytest.raises(UsageError):
        read_bytes(tmp_path / name, UsageError)
    assert is_name("é" * 127)
    assert not is_name("é" * 128)  # bytes count, not letters


def test_a_file_has_so_many_bytes_at_most(tmp_path):
    (tmp_path / "x").write_bytes(b"12345")
    assert read_bytes(tmp_path / "x", DataError, most=5) == b"12345"
    with pytest.raises(DataError, match="more than"):
        read_bytes(tmp_path / "x", DataError, most=4)


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 990, "a = " + "9" * 5000, "a = 1e", "\0", "a.b = 1\na = 2"]
)
def test_toml_that_python_cannot_take_is_no_bug(tmp_path, text):
    (tmp_path / "x.toml").write_text(text)
    with pytest.raises(UsageError):
        read_toml(tmp_path / "x.toml", UsageError)


def test_lines_end_where_files_say_so():
    assert lines_of("a\u2028b\nc\x0bd\r\ne\rf\n") == ["a\u2028b", "c\x0bd", "e", "f"]
    assert lines_of("") == []
    assert lines_of("a\n\n") == ["a", ""]


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]))))
def test_lines_are_those_that_were_written(lines):
    assert lines_of("".join(f"{line}\n" for line in lines)) == lines


def test_a_byte_order_mark_is_no_letter(tmp_path):
    (tmp_path / "x").write_bytes(b"\xef\xbb\xbfcat")
    assert read_text(tmp_path / "x", DataError) == "cat"
    (tmp_path / "x").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="UTF-8"):
        read_text(tmp_path / "x", DataError)


# ------------------------------------------------------------------------- NumPy headers


def npy(header: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header.encode("latin1") + data


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 4), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3L,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': ('a',), }",
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }",
        "{'descr': 3, 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<f4\\x00', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, }",
        "{" * 5000,
        "__import__('os').system('touch canary')",
        "",
    ],
)
def test_a_damaged_header_is_told(tmp_path, header):
    (tmp_path / "x.npy").write_bytes(npy(header, bytes(64)))
    with pytest.raises(DataError, match=r"x\.npy") as caught:
        map_npy(tmp_path / "x.npy", DataError)
    assert caught.value.cure


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.int64).reshape(3, 4),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array(2.5, np.float16),
        np.zeros((0, 3), np.uint8),
        np.array(["ä", "bc"]),
        np.arange(4, dtype=">i2"),
    ],
)
def test_what_numpy_writes_is_read(tmp_path, array):
    np.save(tmp_path / "x.npy", array)
    found = map_npy(tmp_path / "x.npy", DataError)
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(found, np.load(tmp_path / "x.npy"))


@given(st.integers(0, 127), st.integers(0, 7))
def test_one_flipped_bit_is_read_or_told(bit, place):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.npy")
        np.save(path, np.zeros((4, 4), np.float32))
        data = bytearray(path.read_bytes())
        data[bit] ^= 1 << place
        path.write_bytes(data)
        try:
            array = map_npy(path, DataError)
        except DataError:
            return
        assert array.size * array.dtype.itemsize <= 64 + 128


# ------------------------------------------------------------------------- nothing left behind


def test_a_temporary_folder_goes_with_its_run_and_after_a_kill_with_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with temporary_folder("x") as folder:
        assert list(tmp_path.iterdir()) == [folder]
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    old = tmp_path / f"edgekit-x-{int(dead.stdout)}-abc"
    other = tmp_path / f"edgekit-x-{os.getppid()}-abc"
    mine = tmp_path / "edgekit-x-notes"
    for path in (old, other, mine):
        path.mkdir()
    with temporary_folder("x"):
        assert not old.exists()
    assert other.is_dir()
    assert mine.is_dir()


# ------------------------------------------------------------------------- shown


def test_what_steers_a_terminal_is_shown_escaped():
    assert escaped("a\x1b[2J\u202eb\u2028\x85\ud800") == r"a\u001b[2J\u202eb\u2028\u0085\ud800"
    assert escaped("Straßenbahn 猫 👩\u200d🚀\tx") == "Straßenbahn 猫 👩\u200d🚀\\u0009x"
    assert escaped("a\nb", keep="\n") == "a\nb"


@given(st.text(st.characters(exclude_categories=[])))
def test_nothing_that_steers_is_left_and_nothing_else_changes(text):
    shown = escaped(text)
    assert not any(map(is_unsafe, shown))
    assert escaped(shown) == shown
    if not any(map(is_unsafe, text)):
        assert shown == text
    shown.encode()


# ------------------------------------------------------------------------- contracts


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"layout": "NHWC"', '"layout": 3'),
        ('"layout": "NHWC"', '"layout": ["NHWC"]'),
        ('"shape": [1, 4]', '"shape": [1, "4"]'),
        ('"shape": [1, 4]', '"shape": [1, -4]'),
        ('"shape": [1, 4]', '"shape": 7'),
        ('"name": "y"', '"name": null'),
        ('"labels": ["a"]', '"labels": "ab"'),
        ('"labels": ["a"]', '"labels": [1]'),
        ('"task": null', '"task": "ship"'),
        ('"assumed": []', '"assumed": {"a": 1}'),
    ],
)
def test_a_contract_of_other_types_is_refused(old, new):
    text = (
        '{"version": 1, "inputs": [{"tensor": {"name": "x", "shape": [1, 4, 4, 3], "dtype": '
        '"float32", "layout": "NHWC"}, "preprocess": null, "assumed": []}], "outputs": '
        '[{"tensor": {"name": "y", "shape": [1, 4], "dtype": "float32", "layout": null}, '
        '"task": null, "labels": ["a"]}]}'
    )
    Contract.from_json(text)
    assert old in text
    with pytest.raises(UsageError):
        Contract.from_json(text.replace(old, new))


# ------------------------------------------------------------------------- one place each


@pytest.mark.parametrize(
    ("pattern", "home"),
    [
        (r"\bclick\.echo\(", "terminal.py"),
        (r"(?<![\w.])Console\(", "terminal.py"),
        (r"click\.(Path|FloatRange)\(|type=(int|float)\b", "parameters.py"),
    ],
)
def test_commands_print_and_read_options_in_one_place(pattern, home):
    """Elsewhere a name could steer the terminal, or a NaN get in."""
    folder = Path(edgekit.__file__).parent / "cli"
    found = [one.name for one in folder.glob("*.py") if re.search(pattern, one.read_text("utf-8"))]
    assert set(found) <= {home}
