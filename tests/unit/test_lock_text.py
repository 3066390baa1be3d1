"""A lock comes back as it was written, and one that is damaged says how."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import UsageError
from edgekit.provenance import toml
from edgekit.provenance.lock import Lock, LockedData, LockedFile, LockedInput, LockedSample
from edgekit.provenance.text import from_text, read_lock, to_text

A, B = "a" * 64, "b" * 64


def make_lock() -> Lock:
    return Lock(
        edgekit="0.1.0",
        command="edgekit convert net.onnx --calibration photos",
        request={"seed": 0, "schemes": ["int8"], "preprocess": {"scale": 1 / 255}},
        settled={"route": "onnx2tf"},
        inputs=(LockedInput(role="model", path="net.onnx", sha256=A),),
        data=(
            LockedData(
                role="calibration",
                path="photos",
                listing=B,
                available=2,
                tensors=A,
                samples=(
                    LockedSample(id="cat/1.jpg", sha256=A),
                    LockedSample(id="2.jpg", sha256=B),
                ),
            ),
        ),
        tools={"host": {"numpy": "2.4.6"}},
        environments={"onnx2tf": A},
        machine={"processor": "AMD EPYC"},
        files=(
            LockedFile(name="net_int8.tflite", scheme="int8", sha256=A, size_bytes=9, contract=B),
        ),
    )


def sealed(body: str) -> str:
    """The text with a right last line, as somebody would write who knows the format."""
    digest = hashlib.sha256(body.encode()).hexdigest()
    return f"{body}# sha256 of all lines above: {digest}\n"


def changed(old: str, new: str) -> str:
    """The text of a lock with one thing changed and the last line made right again."""
    body = to_text(make_lock()).rpartition("# sha256")[0]
    assert body.count(old) == 1, old
    return sealed(body.replace(old, new))


def refusal(tmp_path: Path, content: str | bytes) -> str:
    path = tmp_path / "edgekit.lock"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(UsageError) as caught:
        read_lock(path)
    assert caught.value.cure
    return caught.value.cause


def test_it_comes_back_and_is_the_same_each_time(tmp_path):
    path = tmp_path / "edgekit.lock"
    path.write_text(to_text(make_lock()), encoding="utf-8")
    assert read_lock(path) == make_lock()
    assert to_text(read_lock(path)) == to_text(make_lock())


def test_line_ends_of_another_system_are_no_damage():
    assert from_text(to_text(make_lock()).replace("\n", "\r\n")) == make_lock()


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
NAMES = st.from_regex(r"[\w.-]{1,20}", fullmatch=True).filter(lambda name: name not in (".", ".."))
DIGESTS = st.binary(max_size=4).map(lambda data: hashlib.sha256(data).hexdigest())
SCALARS = TEXTS | st.integers() | st.booleans() | st.floats(allow_nan=False)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
LOCKS = st.builds(
    Lock,
    edgekit=TEXTS,
    command=TEXTS,
    request=st.dictionaries(TEXTS, VALUES, max_size=4),
    settled=st.dictionaries(TEXTS, VALUES, max_size=3),
    tools=st.dictionaries(TEXTS, st.dictionaries(TEXTS, TEXTS, max_size=3), max_size=3),
    environments=st.dictionaries(TEXTS, TEXTS, max_size=3),
    machine=st.dictionaries(TEXTS, TEXTS, max_size=3),
    inputs=st.lists(
        st.builds(LockedInput, role=TEXTS, path=NAMES, sha256=DIGESTS),
        max_size=3,
        unique_by=lambda one: one.role,
    ).map(tuple),
    data=st.lists(
        st.builds(
            LockedData,
            role=st.sampled_from(["calibration", "parity"]),
            path=NAMES,
            sha256=st.just("") | DIGESTS,
            listing=DIGESTS,
            available=st.integers(0, 10**9),
            tensors=TEXTS,
            samples=st.lists(
                st.builds(LockedSample, id=NAMES, sha256=st.just("") | DIGESTS), max_size=4
            ).map(tuple),
        ),
        max_size=2,
        unique_by=lambda one: one.role,
    ).map(tuple),
    files=st.lists(
        st.builds(
            LockedFile,
            name=NAMES,
            scheme=TEXTS,
            sha256=DIGESTS,
            size_bytes=st.integers(0, 2**40),
            contract=st.just("") | DIGESTS,
        ),
        max_size=3,
        unique_by=lambda one: one.name,
    ).map(tuple),
)


@given(LOCKS)
def test_any_lock_comes_back(lock):
    assert from_text(to_text(lock)) == lock


@given(st.dictionaries(TEXTS, VALUES, max_size=6))
def test_any_document_is_toml(document):
    assert tomllib.loads(toml.dump(document)) == document


def test_what_toml_cannot_hold():
    assert tomllib.loads(toml.dump({"name": "a\udce9b"})) == {"name": "a?b"}
    with pytest.raises(TypeError, match="NoneType"):
        toml.dump({"key": None})


# ------------------------------------------------------------------------- damage


@pytest.mark.parametrize("kept", [0, 1, 100, 500, -2, -70])
def test_cut_off(tmp_path, kept):
    text = to_text(make_lock())
    assert "lock" in refusal(tmp_path, text[:kept])


@given(st.data())
def test_any_changed_byte_is_noticed(data):
    text = to_text(make_lock())
    place = data.draw(st.integers(0, len(text) - 2))
    other = data.draw(st.sampled_from([c for c in "0aZ]\n" if c != text[place]]))
    with pytest.raises(Exception, match=r"changed|missing"):
        from_text(text[:place] + other + text[place + 1 :])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfe\x00", "is not text"),
        ("{}", "not a lock"),
        (sealed("not toml ="), "is not TOML"),
        (sealed("a = " + "[" * 5000), "is not TOML"),
        (sealed("a = " + "9" * 5000), "is not TOML"),
        (sealed("a = 1"), "lacks schema"),
        (sealed('schema = "poetry"'), "none of edgekit's"),
        (changed("schema_version = 1", "schema_version = 2"), "version 2"),
        (changed("schema_version = 1", 'schema_version = "1"'), "schema_version"),
        (changed("schema_version = 1", "schema_version = true"), "schema_version"),
        (changed('edgekit = "0.1.0"', ""), "lacks edgekit"),
        (changed('edgekit = "0.1.0"', 'edgekit = "0.1.0"\nextra = 1'), "unknown key 'extra'"),
        (changed('scheme = "int8"', 'scheme = "int8"\nextra = 1'), "unknown key 'extra'"),
        (changed("[request]", "[[request]]"), "request"),
        (changed("[tools.host]\nnumpy = ", "[tools.host]\nnumpy = 1 # "), "texts in host"),
        (changed("[tools.host]\nnumpy", "[tools]\nnumpy"), "texts in numpy"),
        (changed('processor = "AMD EPYC"', "processor = 1"), "texts in machine"),
        (changed("size_bytes = 9", "size_bytes = -9"), "size_bytes"),
        (changed("size_bytes = 9", "size_bytes = 9.5"), "size_bytes"),
        (changed(f'sha256 = "{A}"\nsize', f'sha256 = "{A[1:]}"\nsize'), "not a SHA-256"),
        (changed(f'sha256 = "{A}"\nsize', f'sha256 = "{A[1:]}A"\nsize'), "not a SHA-256"),
        (changed(f'contract = "{B}"', 'contract = "x"'), "not a SHA-256"),
        (changed('role = "calibration"', 'role = "training"'), "neither"),
        (changed('["2.jpg", ', '["2.jpg", "", '), "not a pair"),
        (changed('["2.jpg", ', "[2, "), "not a pair"),
    ],
)
def test_damage_by_its_words(tmp_path, content, words):
    assert words in refusal(tmp_path, content)


def test_the_same_name_twice(tmp_path):
    body = to_text(make_lock()).rpartition("# sha256")[0]
    for part in ("files", "inputs", "data"):
        block = f"[[{part}]]" + body.partition(f"[[{part}]]")[2].partition("\n[[")[0]
        assert "twice" in refusal(tmp_path, sealed(f"{body}\n{block}\n"))


@pytest.mark.parametrize(
    "name", ["../x.tflite", "/x.tflite", "a/x.tflite", "..", "", "a\\\\b", "a\\u0000"]
)
def test_a_file_cannot_escape(tmp_path, name):
    assert "not a plain file name" in refusal(tmp_path, changed('"net_int8.tflite"', f'"{name}"'))


@pytest.mark.parametrize("path", ["../x", "a/../../x", "..", "", "x\\u0000"])
def test_an_input_cannot_escape(tmp_path, path):
    for known in ('path = "net.onnx"', 'path = "photos"'):
        assert "leaves its folder" in refusal(tmp_path, changed(known, f'path = "{path}"'))


@pytest.mark.parametrize("name", ["../x.jpg", "/etc/passwd", "a/../../x.jpg", "x\\u0000"])
def test_a_sample_cannot_escape(tmp_path, name):
    assert "outside" in refusal(tmp_path, changed('"2.jpg"', f'"{name}"'))


def test_a_lock_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="cannot be read") as caught:
        read_lock(tmp_path / "edgekit.lock")
    assert caught.value.cure
    with pytest.raises(UsageError, match="cannot be read"):
        read_lock(tmp_path)
