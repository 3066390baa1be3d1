"""Recognising a MODEL argument by its content; files are made by hand."""

from __future__ import annotations

import contextlib
import hashlib
import io
import pickle
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import ModelError, UsageError
from edgekit.sources import digest, recognise


def archive(*members: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as written:
        for member in members:
            written.writestr(member, b"x")
    return stream.getvalue()


# The members that torch 2.13 and Keras 3 write, shortened.
STATE_DICT = archive("w/data.pkl", "w/byteorder", "w/data/0", "w/version", "w/.data/id")
TORCHSCRIPT = archive("m/data.pkl", "m/code/__torch__/net.py", "m/constants.pkl", "m/version")
PT2 = archive("m/archive_format", "m/models/model.json", "m/data/weights/model.pt", "m/version")
PT2_OLD = archive("serialized_exported_program.json", "version")
KERAS = archive("metadata.json", "config.json", "model.weights.h5")
HDF5 = b"\x89HDF\r\n\x1a\n" + bytes(100)
TFLITE = b"\x1c\x00\x00\x00TFL3" + bytes(100)


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("m.onnx", b"\x08\x07", "onnx"),
        ("M.ONNX", b"\x08\x07", "onnx"),
        ("m.keras", KERAS, "keras"),
        ("m.h5", HDF5, "keras"),
        ("m.hdf5", HDF5, "keras"),
        ("m.tflite", TFLITE, "tflite"),
        ("m.pt2", PT2, "exported_program"),
        ("m.pt2", PT2_OLD, "exported_program"),
        ("m.pt", PT2, "exported_program"),
        ("m.pt", TORCHSCRIPT, "torchscript"),
        ("m.pth", TORCHSCRIPT, "torchscript"),
        ("m.pt", STATE_DICT, "torch_pickle"),
        ("m.ckpt", STATE_DICT, "torch_pickle"),
        ("m.bin", STATE_DICT, "torch_pickle"),
        ("old.pt", pickle.dumps({"a": 1}, protocol=2), "torch_pickle"),
        ("old.pt", pickle.dumps({"a": 1}, protocol=5), "torch_pickle"),
    ],
)
def test_files_by_their_content(tmp_path, name, content, kind):
    path = tmp_path / name
    path.write_bytes(content)
    source = recognise(str(path))
    assert source.kind == kind
    assert source.name == path.stem
    assert source.path == path
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "name", ["m.pt", "m.pth", "m.pt2", "m.keras", "m.h5", "m.tflite", "m.ckpt"]
)
@pytest.mark.parametrize("content", [b"\x00\x01", b"random bytes " * 50, KERAS[:-30], TFLITE[:7]])
def test_content_that_is_not_what_the_name_says(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ModelError, match=f"m{path.suffix}") as caught:
        recognise(str(path))
    assert "damaged" in caught.value.cure


@pytest.mark.parametrize("name", ["m.onnx", "m.pt", "m.keras", "m.tflite", "m.weird"])
def test_empty_files(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ModelError, match="is empty"):
        recognise(str(tmp_path / name))


@given(st.binary(min_size=1, max_size=200) | st.binary(max_size=50).map(lambda b: PT2[:60] + b))
def test_any_bytes_are_a_kind_or_an_error_of_ours(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("any")
    for suffix in (".pt", ".pt2", ".onnx", ".keras", ".h5", ".tflite"):
        path = folder / f"m{suffix}"
        path.write_bytes(content)
        with contextlib.suppress(ModelError):  # and nothing else is raised
            recognise(str(path))


def test_a_zip_file_with_a_broken_directory(tmp_path):
    """It ends as a zip file does, so that ``is_zipfile`` believes it."""
    damaged = bytearray(STATE_DICT)
    start = damaged.index(b"PK\x01\x02")
    damaged[start : start + 4] = b"XXXX"
    (tmp_path / "m.pt").write_bytes(damaged)
    assert zipfile.is_zipfile(tmp_path / "m.pt")
    with pytest.raises(ModelError, match="damaged"):
        recognise(str(tmp_path / "m.pt"))


def test_a_pickle_is_never_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "code ran",))

    (tmp_path / "m.pt").write_bytes(pickle.dumps(Trap(), protocol=2))
    assert recognise(str(tmp_path / "m.pt")).kind == "torch_pickle"
    assert not (tmp_path / "code ran").exists()


def test_folders(tmp_path):
    saved = tmp_path / "my model"
    saved.mkdir()
    with pytest.raises(UsageError, match="not a SavedModel"):
        recognise(str(saved))
    (saved / "saved_model.pb").write_bytes(b"x")
    source = recognise(str(saved))
    assert (source.kind, source.name) == ("saved_model", "my_model")


def test_the_name_of_this_folder(tmp_path, monkeypatch):
    saved = tmp_path / "net"
    saved.mkdir()
    (saved / "saved_model.pb").write_bytes(b"x")
    monkeypatch.chdir(saved)
    assert recognise(".").name == "net"


@pytest.mark.parametrize(
    ("location", "name"),
    [
        ("pkg.nets:EfficientNet", "EfficientNet"),
        ("pkg.nets:build", "nets"),
        ("nets:make", "nets"),
    ],
)
def test_factories_in_packages(location, name):
    source = recognise(location)
    assert (source.kind, source.name, source.path) == ("torch", name, None)


def test_factories_in_files(tmp_path):
    file = tmp_path / "my nets.py"
    file.write_text("raise RuntimeError('recognising must not run this')")
    source = recognise(f"{file}:build")
    assert (source.kind, source.name, source.path) == ("torch", "my_nets", file)
    assert recognise(f"{file}:tiny").name == "tiny"
    with pytest.raises(UsageError, match="There is no file") as caught:
        recognise(f"{tmp_path / 'gone.py'}:build")
    assert caught.value.exit_code == 2


def test_code_without_a_function_says_how_to_name_one(tmp_path):
    (tmp_path / "nets.py").write_text("def build(): ...")
    with pytest.raises(UsageError, match="which function") as caught:
        recognise(str(tmp_path / "nets.py"))
    assert caught.value.cure.endswith("nets.py:factory")


@pytest.mark.parametrize(
    "location",
    ["gone.onnx", "no/such/folder", "a b:c", "pkg.nets:1x", "pkg..nets:f", "x" * 5000, "a\0b"],
)
def test_nothing_is_there(location):
    with pytest.raises(UsageError):
        recognise(location)


def test_unknown_endings(tmp_path):
    (tmp_path / "m.xyz").write_text("x")
    with pytest.raises(UsageError, match="unknown") as caught:
        recognise(str(tmp_path / "m.xyz"))
    assert ".onnx" in caught.value.cure
    (tmp_path / "m.safetensors").write_text("x")
    with pytest.raises(UsageError, match="weights") as caught:
        recognise(str(tmp_path / "m.safetensors"))
    assert "--weights" in caught.value.cure


def test_weights(tmp_path):
    weights = tmp_path / "w.pt"
    with pytest.raises(UsageError, match=r"w\.pt"):
        recognise("pkg:net", weights=weights)
    weights.write_bytes(b"x")
    source = recognise("pkg:net", weights=weights, trust_pickle=True)
    assert source.weights == weights
    assert source.trust_pickle


# ------------------------------------------------------------------------- digest


def test_the_digest_of_a_file_is_its_sha256(tmp_path):
    content = bytes(range(256)) * 10_000
    (tmp_path / "m").write_bytes(content)
    assert digest(tmp_path / "m") == hashlib.sha256(content).hexdigest()


paths = st.sampled_from(["a", "b", "c", "d/a", "d/b"])
trees = st.dictionaries(paths, st.binary(max_size=8), max_size=4)


def build(folder: Path, tree: dict[str, bytes]) -> Path:
    for name, content in tree.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@given(trees, trees)
def test_folders_have_the_same_digest_only_if_they_are_the_same(tmp_path_factory, one, two):
    folders = [build(tmp_path_factory.mktemp("tree"), tree) for tree in (one, two)]
    assert (digest(folders[0]) == digest(folders[1])) == (one == two)


def test_one_file_cannot_look_like_two(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    build(tmp_path / "1", {"a": b"1b\x002"})
    build(tmp_path / "2", {"a": b"1", "b": b"2"})
    assert digest(tmp_path / "1") != digest(tmp_path / "2")
