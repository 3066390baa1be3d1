"""Reading ``converter.toml`` and finding converters."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from edgekit.errors import SetupError
from edgekit.toolchain.converters import (
    Conversion,
    builtin_folder,
    discover,
    launcher,
    read_manifest,
)
from edgekit.toolchain.interpreters import satisfies

GOOD = """
name = "my_tool"
summary = "what it does"
environment = "host"
modules = ["one", "two"]
install = "pip install one two"
versions = ["one"]
runs = ["onnx"]
choose = "fastest"
processes = true
reads = ["/opt/tool", "data"]

[[converts]]
from = ["onnx", "keras"]
to = "tflite"
priority = 5

[[converts]]
from = ["tflite"]
to = "onnx"

[limits]
seconds = 60
memory_gb = 0.5
"""


def write(folder: Path, text: str = GOOD) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "worker.py").write_text("")
    path = folder / "converter.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_everything_is_read(tmp_path):
    converter = read_manifest(write(tmp_path / "folder"))
    assert converter.name == "my_tool"
    assert converter.program == tmp_path / "folder" / "worker.py"
    assert converter.modules == ("one", "two")
    assert converter.install == "pip install one two"
    assert converter.runs == ("onnx",)
    assert converter.choose == "fastest"
    assert converter.processes
    assert converter.reads == (Path("/opt/tool"), tmp_path / "folder" / "data")
    assert converter.converts == (
        Conversion(source="onnx", target="tflite", priority=5),
        Conversion(source="keras", target="tflite", priority=5),
        Conversion(source="tflite", target="onnx", priority=50),
    )
    assert (converter.limit_seconds, converter.limit_memory_gb) == (60, 0.5)


def test_the_least_manifest(tmp_path):
    converter = read_manifest(write(tmp_path, 'name = "x"\nsummary = "y"\nenvironment = "host"\n'))
    assert converter.choose == "first"
    assert not converter.processes
    assert converter.reads == ()
    assert converter.converts == ()
    assert converter.limit_seconds > 0


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (GOOD, "name = ", "Invalid value"),
        (GOOD, "", "'name' is missing"),
        ('summary = "what it does"', "", "'summary' is missing"),
        ('environment = "host"', "", "'environment' is missing"),
        ('environment = "host"', 'environment = "hosted"', "hosted"),
        ('environment = "host"', 'environment = "isolated"', "needs requirements"),
        ('environment = "host"', 'environment = "host"\npython = "three"', "version specifier"),
        ('choose = "fastest"', 'choose = "best"', "best"),
        ("processes = true", 'processes = "yes"', "true or false"),
        ('reads = ["/opt/tool", "data"]', 'reads = "/opt"', "list of texts"),
        ('name = "my_tool"', 'name = "my tool"', "not a name"),
        ('name = "my_tool"', 'name = "../tool"', "not a name"),
        ('from = ["onnx", "keras"]', 'from = ["onnxx"]', "onnxx"),
        ('from = ["onnx", "keras"]', 'from = "onnx"', "list of texts"),
        ('to = "tflite"', 'to = "tflight"', "tflight"),
        ('to = "tflite"', "", "'to' is missing"),
        ('modules = ["one", "two"]', 'modules = "one"', "list of texts"),
        ('runs = ["onnx"]', 'runs = ["pytorch"]', "pytorch"),
        ("seconds = 60", 'seconds = "many"', "many"),
        ("seconds = 60", "minutes = 1", "minutes"),
        ('name = "my_tool"', 'name = "my_tool"\nsumary = "typo"', "sumary"),
        (GOOD, 'name = "x"\nsummary = ""\nenvironment = "host"\nlimits = 5', "not iterable"),
        (GOOD, 'name = "x"\nsummary = ""\nenvironment = "host"\nconverts = ["a"]', "indices"),
    ],
)
def test_mistakes_are_named(tmp_path, old, new, words):
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(SetupError) as caught:
        read_manifest(path)
    assert words in caught.value.cause
    assert str(path) in caught.value.cause
    assert "README" in caught.value.cure


def test_a_missing_worker_and_bytes_that_are_no_text(tmp_path):
    path = write(tmp_path)
    (tmp_path / "worker.py").unlink()
    with pytest.raises(SetupError, match=r"there is no .*worker\.py"):
        read_manifest(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SetupError):
        read_manifest(path)
    with pytest.raises(SetupError):
        read_manifest(tmp_path / "gone" / "converter.toml")


# ------------------------------------------------------------------------- finding them


def test_others_are_found_and_replace_their_namesakes(tmp_path, monkeypatch):
    builtin = discover()
    write(tmp_path / "one" / "mine")
    write(tmp_path / "two" / "theirs", GOOD.replace("my_tool", "onnx2tf"))
    (tmp_path / "two" / "no_converter").mkdir()
    monkeypatch.setenv(
        "EDGEKIT_CONVERTERS", os.pathsep.join([str(tmp_path / "one"), "", str(tmp_path / "two")])
    )
    found = discover()
    assert set(found) == {*builtin, "my_tool"}
    assert found["onnx2tf"].program == tmp_path / "two" / "theirs" / "worker.py"
    assert found["torch"] == builtin["torch"]


def test_wrong_folders_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_CONVERTERS", str(tmp_path / "gone"))
    with pytest.raises(SetupError, match="is not a folder"):
        discover()
    write(tmp_path / "mine")
    monkeypatch.setenv("EDGEKIT_CONVERTERS", str(tmp_path / "mine"))
    with pytest.raises(SetupError, match="the converter") as caught:
        discover()
    assert caught.value.cure.endswith(str(tmp_path))


# ------------------------------------------------------------------------- the built-in ones


def test_the_built_in_converters():
    found = discover()
    assert set(found) == {"torch", "keras", "onnx", "onnx2tf", "litert_torch"}
    assert launcher().is_file()
    for name, converter in found.items():
        assert converter.program == builtin_folder() / name / "worker.py"
        assert converter.program.is_file()
        assert converter.summary
        if converter.environment == "host":
            assert converter.modules
            assert converter.install.startswith("pip install")
        else:
            assert converter.requirements is not None
            assert converter.requirements.is_file()
            assert satisfies((3, 12, 0), converter.python) or satisfies(
                (3, 11, 0), converter.python
            )


def test_every_kind_of_model_has_someone_who_runs_it():
    runs = [kind for converter in discover().values() for kind in converter.runs]
    assert sorted(runs) == sorted(
        ["torch", "torch_pickle", "torchscript", "exported_program", "keras", "saved_model", "onnx"]
    )


def test_every_verb_that_a_manifest_promises_is_in_its_worker():
    for converter in discover().values():
        text = converter.program.read_text(encoding="utf-8")
        assert ("\ndef convert(" in text) == bool(converter.converts), converter.name
        assert ("\ndef describe(" in text) == bool(converter.runs), converter.name
        assert ("\ndef reference(" in text) == bool(converter.runs), converter.name


@pytest.mark.parametrize("name", ["onnx2tf", "litert_torch"])
def test_every_line_of_a_lock_is_pinned_and_hashed(name):
    requirements = discover()[name].requirements
    assert requirements is not None
    text = requirements.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [
        line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")
    ]
    assert len(lines) > 10
    for line in lines:
        assert "==" in line or " @ " in line, line
        digests = [word.split(":")[1] for word in line.split() if word.startswith("--hash=sha256:")]
        assert digests, line
        assert all(len(digest) == len(hashlib.sha256().hexdigest()) for digest in digests)
