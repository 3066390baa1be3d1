"""Damaged files end in a `ModelError`, or are read; never in another exception."""

from __future__ import annotations

from pathlib import Path

import flatbuffers
import pytest
import tflite_builder as tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.errors import ConversionError, ModelError, UsageError
from edgekit.tflite.flatbuffer import pack, unpack
from edgekit.tflite.model import Model, read, read_made, write
from edgekit.tflite.summary import summarize
from edgekit.tflite.verify import MalformedError

FILES = ["float", "int8"]


def bytes_of(name: str) -> bytes:
    return tiny.tiny_bytes() if name == "float" else tiny.quantized_bytes("static_wi8_ai8")


def must_be_read_or_refused(data: bytes, folder: Path) -> None:
    path = folder / "damaged.tflite"
    path.write_bytes(data)
    try:
        model = read(path)
        summarize(path)
        write(model, folder / "again.tflite")
        read(folder / "again.tflite")
        _use(model)
    except ModelError:
        pass


def _use(model: Model) -> None:
    for subgraph in model.subgraphs:
        for tensor in subgraph.tensors:
            if tensor.is_constant:
                tensor.data()
        for operator in subgraph.operators:
            assert operator.name is not None
            assert operator.version is not None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged")


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "empty"),
        (b"TFL3", "cut off"),
        (b"PK\x03\x04 this is an archive", "not a .tflite"),
        (b"\x08\x00\x00\x00TFL3", "cut off"),
        (b"\xff\xff\xff\xffTFL3" + bytes(100), "cut off"),
        (b"\x08\x00\x00\x00TFL3" + bytes(100), "no subgraph"),
    ],
)
def test_the_cause_and_the_cure_are_told(tmp_path: Path, content: bytes, cause: str) -> None:
    path = tmp_path / "x.tflite"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=cause) as caught:
        read(path)
    assert str(path) in caught.value.cause
    assert caught.value.cure


def test_missing_files_and_folders_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no file"):
        read(tmp_path / "missing.tflite")
    with pytest.raises(ModelError, match="cannot be read"):
        read(tmp_path)


@pytest.mark.parametrize("name", FILES)
@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_truncated(name: str, data: st.DataObject) -> None:
    whole = bytes_of(name)
    kept = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(MalformedError):
        unpack(whole[:kept])


@settings(deadline=None, max_examples=150)
@given(body=st.binary(max_size=2000), root=st.integers(0, 64))
def test_a_good_identifier_with_a_random_body(folder: Path, body: bytes, root: int) -> None:
    must_be_read_or_refused(root.to_bytes(4, "little") + b"TFL3" + body, folder)


@pytest.mark.parametrize("name", FILES)
@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_changed_bytes(folder: Path, name: str, data: st.DataObject) -> None:
    damaged = bytearray(bytes_of(name))
    places = st.integers(8, len(damaged) - 1)
    for place, value in data.draw(st.dictionaries(places, st.integers(0, 255), max_size=8)).items():
        damaged[place] = value
    must_be_read_or_refused(bytes(damaged), folder)


@pytest.mark.parametrize("name", FILES)
@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_changed_offsets(folder: Path, name: str, data: st.DataObject) -> None:
    """Whole words near the front, where the tables of this small file are."""
    damaged = bytearray(bytes_of(name))
    word = data.draw(st.integers(0, len(damaged) // 4 - 1)) * 4
    value = data.draw(st.one_of(st.integers(0, len(damaged)), st.integers(0, 2**32 - 1)))
    damaged[word : word + 4] = value.to_bytes(4, "little")
    must_be_read_or_refused(bytes(damaged), folder)


def test_every_single_word_destroyed(folder: Path) -> None:
    """Not sampled: each word of the graph's structure in turn, by three hostile values."""
    model = tiny.tiny_net(tiny.random_weights())
    for buffer in model.raw.buffers:
        buffer.data = None
    whole = pack(model.raw)
    for word in range(0, len(whole) - 3, 4):
        for value in (0, 0x7FFFFFFF, 0xFFFFFFFF):
            damaged = bytearray(whole)
            damaged[word : word + 4] = value.to_bytes(4, "little")
            try:
                raw, _ = unpack(bytes(damaged))
                pack(raw)
            except MalformedError:
                pass


def test_a_small_file_that_unfolds_without_end_is_refused(tmp_path: Path) -> None:
    builder = flatbuffers.Builder(1024)
    builder.StartObject(11)
    tensors = _repeat(builder, builder.EndObject(), 20_000)
    builder.StartObject(6)
    builder.PrependUOffsetTRelativeSlot(0, tensors, 0)
    subgraphs = _repeat(builder, builder.EndObject(), 20_000)
    builder.StartObject(10)
    builder.PrependUOffsetTRelativeSlot(2, subgraphs, 0)
    builder.Finish(builder.EndObject(), file_identifier=b"TFL3")
    path = tmp_path / "bomb.tflite"
    path.write_bytes(bytes(builder.Output()))
    with pytest.raises(ModelError, match="over and over"):
        read(path)


def _repeat(builder: flatbuffers.Builder, table: int, count: int) -> int:
    builder.StartVector(4, count, 4)
    for _ in range(count):
        builder.PrependUOffsetTRelative(table)
    return int(builder.EndVector())


def test_a_program_that_writes_a_broken_file_is_to_blame(tmp_path: Path) -> None:
    """And not the user, who has never seen the file."""
    path = tmp_path / "int8.raw"
    path.write_bytes(tiny.tiny_bytes()[:200])
    with pytest.raises(ConversionError, match="quantizer wrote a file that cannot be read") as told:
        read_made(path, "quantizer")
    assert not isinstance(told.value, ModelError)
    assert "copy the model again" not in f"{told.value.cause} {told.value.cure}"
    assert "int8.raw" not in told.value.cause
