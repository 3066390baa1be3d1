"""Recorded references: what was written comes back, and nothing that was tampered with does."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.calibration.sources import read_picture
from edgekit.contract import Contract, InputContract, OutputContract, Preprocess
from edgekit.datasets.digests import sample_digest
from edgekit.errors import DataError, EdgekitError, ModelError, UsageError
from edgekit.runners import bundle_format
from edgekit.runners.bundle import RecordedReference, default_name
from edgekit.runners.bundle_format import BundleWriter, Origin
from edgekit.runners.preprocessing import preprocessing_differences
from edgekit.runners.protocol import Recorded
from edgekit.types import LatencyReport, TensorSpec

OUTPUTS = (
    TensorSpec(name="logits", shape=(1, 3)),
    TensorSpec(name="boxes", shape=(4, 2)),
    TensorSpec(name="class", shape=(), dtype="int64"),
)
PREPROCESS = Preprocess(resize=(8, 8), scale=1 / 255, mean=(0.5,), std=(0.5,))
CONTRACT = Contract(
    inputs=(
        InputContract(
            tensor=TensorSpec(name="image", shape=(1, 3, 8, 8), layout="NCHW"),
            preprocess=PREPROCESS,
        ),
    ),
    outputs=tuple(OutputContract(tensor=spec) for spec in OUTPUTS),
)
ORIGIN = Origin(
    name="net",
    kind="torch",
    digests={"state": "ab"},
    device="NVIDIA H200",
    data="photos",
    created="2026-11-23T00:00:00+00:00",
    edgekit="0.1.0",
)
LATENCY = LatencyReport(samples_ms=(1.0, 2.0, 4.0), threads=2, load_ms=9, first_ms=5, warmup=3)


def rows(count: int, seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [
        random.standard_normal((count, 3)).astype(np.float32),
        random.standard_normal((count, 4, 2)).astype(np.float32),
        random.integers(-(2**60), 2**60, count),
    ]


def names_of(count: int) -> tuple[list[str], list[str]]:
    ids = [f"class/{number}.jpg" for number in range(count)]
    return ids, [hashlib.sha256(one.encode()).hexdigest() for one in ids]


def write(path: Path, count: int = 10, pieces: int = 3, rows_per_chunk: int | None = None) -> Path:
    ids, digests = names_of(count)
    writer = BundleWriter(path, OUTPUTS)
    if rows_per_chunk:
        writer.rows = rows_per_chunk
    for start in range(0, count, pieces):
        part = slice(start, start + pieces)
        writer.append(ids[part], digests[part], [stack[part] for stack in rows(count)])
    writer.finish(
        origin=ORIGIN, contract=CONTRACT, pictures=["image"], latency=LATENCY, peak_memory_mb=12.5
    )
    return path


def seal(content: bytes) -> bytes:
    """What somebody does who changes a bundle and knows the format: a right digest at the end."""
    body = content[: -bundle_format.DIGEST_LENGTH]
    return body + hashlib.sha256(body).hexdigest().encode()


def rewrite(path: Path, change, *, compression: int = zipfile.ZIP_STORED) -> Path:
    """The same bundle with other members: ``change`` gets and gives a list of (name, content)."""
    with zipfile.ZipFile(path) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in change(members):
            archive.writestr(zipfile.ZipInfo(name), content, compression)
        archive.comment = b"0" * bundle_format.DIGEST_LENGTH
    path.write_bytes(seal(stream.getvalue()))
    return path


def change_manifest(path: Path, **changes) -> Path:
    def change(members):
        table = json.loads(dict(members)["manifest.json"]) | changes
        return [
            (name, json.dumps(table).encode() if name == "manifest.json" else content)
            for name, content in members
        ]

    return rewrite(path, change)


def replace_member(path: Path, name: str, content: bytes) -> Path:
    """Another content under a name, with every digest made right again."""

    def change(members):
        members = [(one, content if one == name else old) for one, old in members]
        table = json.loads(dict(members)["manifest.json"])
        table["members"][name] = hashlib.sha256(content).hexdigest()
        return [
            (one, json.dumps(table).encode() if one == "manifest.json" else old)
            for one, old in members
        ]

    return rewrite(path, change)


@given(
    count=st.integers(1, 40),
    pieces=st.integers(1, 17),
    per_chunk=st.integers(1, 9),
    data=st.data(),
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_samples_come_back_in_any_order(tmp_path, count, pieces, per_chunk, data):
    path = write(tmp_path / "ref.edgeref", count, pieces, per_chunk)
    ids, digests = names_of(count)
    wanted = data.draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=20))
    with RecordedReference(path) as bundle:
        assert isinstance(bundle, Recorded)
        assert bundle.samples == list(zip(ids, digests, strict=True))
        given_back = bundle.recall([digests[one] for one in wanted])
        bundle.verify()
    for expected, found in zip(rows(count), given_back, strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected[wanted])


def test_the_manifest_comes_back(tmp_path):
    with RecordedReference(write(tmp_path / "ref.edgeref")) as bundle:
        assert bundle.manifest.origin == ORIGIN
        assert bundle.contract == CONTRACT
        assert bundle.latency == LATENCY
        assert bundle.manifest.peak_memory_mb == 12.5
        described = bundle.describe()
    assert described.outputs == OUTPUTS
    assert described.device == "recorded on NVIDIA H200"


def test_the_same_outputs_give_the_same_file(tmp_path):
    one, two = write(tmp_path / "a.edgeref", pieces=3), write(tmp_path / "b.edgeref", pieces=7)
    assert one.read_bytes() == two.read_bytes()


def test_outputs_are_plain_npy_without_pickle(tmp_path):
    path = write(tmp_path / "ref.edgeref")
    with zipfile.ZipFile(path) as archive, archive.open("outputs/0/00000.npy") as member:
        np.testing.assert_array_equal(np.load(member, allow_pickle=False), rows(10)[0])


def test_any_flipped_byte_is_found(tmp_path):
    path = write(tmp_path / "ref.edgeref", 2)
    whole = path.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="damaged"):
            RecordedReference(path)


def test_any_cut_and_any_byte_more_is_found(tmp_path):
    path = write(tmp_path / "ref.edgeref", 2)
    whole = path.read_bytes()
    for size in [*range(0, len(whole), 7), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match="damaged"):
            RecordedReference(path)
    for more in (b"\0", b"x" * 64, whole):
        path.write_bytes(whole + more)
        with pytest.raises(DataError, match="damaged"):
            RecordedReference(path)


@given(noise=st.binary(max_size=300), keep=st.integers(0, 120))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_sealed_rubbish_is_refused_in_our_words(tmp_path, noise, keep):
    path = write(tmp_path / "ref.edgeref", 1)
    whole = path.read_bytes()
    path.write_bytes(seal(whole[:keep] + noise + b"0" * 64))
    with pytest.raises(DataError):
        RecordedReference(path)


@given(data=st.data())
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_sealed_changes_are_refused_or_change_no_output(tmp_path, data):
    """Whoever makes the whole digest right again still meets the members' digests."""
    path = write(tmp_path / "ref.edgeref", 2)
    whole = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 65))] = data.draw(st.integers(0, 255))
    path.write_bytes(seal(bytes(whole)))
    try:
        with RecordedReference(path) as bundle:
            given_back = bundle.recall([digest for _, digest in bundle.samples])
    except EdgekitError:
        return
    for expected, found in zip(rows(2), given_back, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "outputs/0/00001.npy", "a\\b", "samples"])
def test_a_member_that_does_not_belong_is_refused(tmp_path, name):
    path = rewrite(write(tmp_path / "ref.edgeref"), lambda members: [*members, (name, b"x")])
    with pytest.raises(DataError, match="damaged"):
        RecordedReference(path)
    assert not (tmp_path.parent / "evil").exists()


@pytest.mark.parametrize("gone", ["manifest.json", "samples.json", "outputs/1/00000.npy"])
def test_a_member_that_is_missing_is_refused(tmp_path, gone):
    path = rewrite(
        write(tmp_path / "ref.edgeref"),
        lambda members: [one for one in members if one[0] != gone],
    )
    with pytest.raises(DataError, match="damaged"):
        RecordedReference(path)


def test_a_renamed_member_is_refused(tmp_path):
    def rename(members):
        return [(name.replace("outputs/0", "../0"), content) for name, content in members]

    with pytest.raises(DataError, match="does not belong"):
        RecordedReference(rewrite(write(tmp_path / "ref.edgeref"), rename))


def test_two_members_of_one_name_are_refused(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate"):
        path = rewrite(write(tmp_path / "ref.edgeref"), lambda members: [*members, members[0]])
    with pytest.raises(DataError, match="two members"):
        RecordedReference(path)


def test_compression_is_refused_so_that_nothing_can_unpack_to_more(tmp_path):
    path = write(tmp_path / "ref.edgeref")
    bomb = rewrite(
        path,
        lambda members: [(name, content + bytes(10_000_000)) for name, content in members],
        compression=zipfile.ZIP_DEFLATED,
    )
    assert bomb.stat().st_size < 200_000
    with pytest.raises(DataError, match="compressed"):
        RecordedReference(bomb)


@pytest.mark.parametrize("shape", [(10**15, 3), (2**62, 2**62), (10, 10**12), (9, 3), (-1, 3)])
def test_a_header_that_claims_another_size_makes_no_room_for_it(tmp_path, shape):
    stream = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    path = write(tmp_path / "ref.edgeref")
    replace_member(path, "outputs/0/00000.npy", stream.getvalue() + bytes(120))
    with RecordedReference(path) as bundle, pytest.raises(DataError, match=r"00000\.npy"):
        bundle.verify()


def test_pickled_objects_are_refused(tmp_path):
    stream = io.BytesIO()
    np.save(stream, np.array([{"a": 1}] * 10, dtype=object), allow_pickle=True)
    path = write(tmp_path / "ref.edgeref")
    replace_member(path, "outputs/0/00000.npy", stream.getvalue())
    with RecordedReference(path) as bundle, pytest.raises(DataError, match=r"00000\.npy"):
        bundle.verify()


@pytest.mark.parametrize(
    "changes",
    [
        {"samples": 10**14},
        {"samples": -1},
        {"samples": "10"},
        {"samples": True},
        {"rows": 0},
        {"rows": 1},
        {"outputs": []},
        {"outputs": [{"name": "x", "shape": [10**30], "dtype": "float32", "layout": None}]},
        {"outputs": [{"name": "x", "shape": [1], "dtype": "object", "layout": None}]},
        {"members": {}},
        {"members": []},
        {"origin": {"name": {"a": 1}}},
        {"contract": {"version": 99}},
        {"contract": None},
        {"latency": {"samples_ms": ["x"]}},
        {"data_digest": "0" * 64},
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(tmp_path, changes):
    path = change_manifest(write(tmp_path / "ref.edgeref"), **changes)
    with pytest.raises(DataError, match="damaged"):
        RecordedReference(path)


def test_a_manifest_of_endless_brackets_is_refused(tmp_path):
    path = rewrite(
        write(tmp_path / "ref.edgeref"),
        lambda members: [
            (name, b"[" * 100_000 if name == "manifest.json" else content)
            for name, content in members
        ],
    )
    with pytest.raises(DataError, match="damaged"):
        RecordedReference(path)


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_format_version_is_told_as_such(tmp_path, version):
    path = change_manifest(write(tmp_path / "ref.edgeref"), version=version)
    with pytest.raises(DataError, match="format version") as caught:
        RecordedReference(path)
    assert "damaged" not in caught.value.cause
    assert "Install" in caught.value.cure


def test_another_schema_is_no_bundle(tmp_path):
    path = change_manifest(write(tmp_path / "ref.edgeref"), schema="something")
    with pytest.raises(DataError, match="no recorded reference"):
        RecordedReference(path)


def test_any_other_file_is_no_bundle(tmp_path):
    path = tmp_path / "x.edgeref"
    for content in (b"", b"PK\x03\x04", b"hello" * 100):
        path.write_bytes(content)
        with pytest.raises(DataError, match="damaged or no recorded reference"):
            RecordedReference(path)
    with pytest.raises(DataError, match="cannot be read"):
        RecordedReference(tmp_path / "none.edgeref")
    with pytest.raises(DataError, match="cannot be read"):
        RecordedReference(tmp_path)


def test_other_data_is_refused_and_says_which(tmp_path):
    ids, digests = names_of(10)
    other = hashlib.sha256(b"other").hexdigest()
    with RecordedReference(write(tmp_path / "ref.edgeref")) as bundle:
        with pytest.raises(DataError) as caught:
            bundle.recall([digests[0], other], ["class/0.jpg", "new.jpg"])
        assert "1 of 2 samples were not recorded" in caught.value.cause
        assert "new.jpg" in caught.value.cause
        assert "another content" not in caught.value.cause
        with pytest.raises(DataError, match=r"class/3\.jpg was, but with another content"):
            bundle.recall([other], [ids[3]])
        with pytest.raises(DataError, match=other[:12]):
            bundle.recall([other])


def change_input(**changes) -> Contract:
    entry = CONTRACT.inputs[0]
    assert entry.preprocess is not None
    return replace(
        CONTRACT, inputs=(replace(entry, preprocess=replace(entry.preprocess, **changes)),)
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"mean": (0.4,)}, "mean of input image is 0.4,0.4,0.4 here and was 0.5,0.5,0.5"),
        ({"std": (0.5, 0.5, 0.6)}, "std of input image is 0.5,0.5,0.6 here"),
        ({"scale": 1.0}, "scale of input image is 1.0 here"),
        ({"color": "BGR"}, "color of input image is BGR here and was RGB"),
        ({"resize": 8}, "resize of input image is 8 here and was 8,8"),
        ({"crop": (8, 8)}, "crop of input image is 8,8 here and was not stated"),
        ({"interpolation": "area"}, "interpolation of input image is area"),
    ],
)
def test_another_preprocessing_is_refused_and_says_what(tmp_path, changes, says):
    path = write(tmp_path / "ref.edgeref")
    with RecordedReference(path) as bundle, pytest.raises(DataError) as caught:
        bundle.check(change_input(**changes))
    assert says in caught.value.cause
    assert "edgekit reference show" in caught.value.cure


def test_the_same_preprocessing_in_other_words_is_accepted(tmp_path):
    same = change_input(mean=(0.5, 0.5, 0.5))
    nhwc = replace(same.inputs[0], tensor=TensorSpec(name="x", shape=(1, 8, 8, 3), layout="NHWC"))
    with RecordedReference(write(tmp_path / "ref.edgeref")) as bundle:
        bundle.check(same)
        bundle.check(replace(same, inputs=(nhwc,)))


def test_another_size_or_number_of_inputs_is_refused():
    entry = CONTRACT.inputs[0]
    wide = replace(entry, tensor=replace(entry.tensor, shape=(1, 3, 8, 9)))
    assert "size of input image is 8,9,3 here and was 8,8,3" in preprocessing_differences(
        CONTRACT, replace(CONTRACT, inputs=(wide,)), ["image"]
    )
    assert preprocessing_differences(CONTRACT, replace(CONTRACT, inputs=()), ["image"])


def test_arrays_that_were_ready_need_no_preprocessing():
    assert not preprocessing_differences(CONTRACT, change_input(mean=(0.1,)), [])
    plain = replace(CONTRACT, inputs=(replace(CONTRACT.inputs[0], preprocess=None),))
    assert not preprocessing_differences(CONTRACT, plain, [])
    assert preprocessing_differences(CONTRACT, plain, ["image"])


def test_a_recording_runs_nothing(tmp_path):
    path = write(tmp_path / "ref.edgeref")
    with RecordedReference(path) as bundle, pytest.raises(UsageError, match="no model"):
        bundle.run([np.zeros((1, 3, 8, 8), np.float32)])


def test_outputs_that_change_their_shape_are_refused(tmp_path):
    writer = BundleWriter(tmp_path / "ref.edgeref", OUTPUTS[:1])
    writer.append(["a"], ["0"], [np.zeros((1, 3), np.float32)])
    for wrong in (np.zeros((1, 4), np.float32), np.zeros((1, 3))):
        with pytest.raises(ModelError, match="Output logits"):
            writer.append(["b"], ["1"], [wrong])
    writer.close()


def test_not_a_number_is_kept(tmp_path):
    values = np.array([[np.nan, np.inf, -np.inf]], np.float32)
    writer = BundleWriter(tmp_path / "ref.edgeref", OUTPUTS[:1])
    writer.append(["a"], ["0"], [values])
    contract = replace(CONTRACT, outputs=CONTRACT.outputs[:1])
    writer.finish(origin=ORIGIN, contract=contract, pictures=[], latency=None, peak_memory_mb=None)
    with RecordedReference(tmp_path / "ref.edgeref") as bundle:
        np.testing.assert_array_equal(bundle.recall(["0"])[0], values)
        assert bundle.latency is None


def test_chunks_of_large_outputs_are_small(tmp_path):
    big = TensorSpec(name="mask", shape=(1, 21, 512, 512))  # 22 MB a sample
    assert BundleWriter(tmp_path / "a", (big,)).rows == 1
    assert BundleWriter(tmp_path / "b", (TensorSpec(name="y", shape=(1, 1000)),)).rows == 1024


def test_a_picture_is_known_by_the_bytes_of_its_file(tmp_path):
    path, same = tmp_path / "a.png", tmp_path / "same.bmp"
    pixels = np.random.default_rng(0).integers(0, 255, (5, 7, 3), np.uint8)
    cv2.imwrite(str(path), pixels)
    cv2.imwrite(str(same), pixels)
    known = sample_digest(read_picture(path))
    assert known == hashlib.sha256(path.read_bytes()).hexdigest()
    assert known != sample_digest(read_picture(same))


def test_arrays_are_known_by_names_types_shapes_and_values():
    base = {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}
    known = sample_digest(base)
    assert known == sample_digest({"x": np.asfortranarray(base["x"])})
    others = [
        {"y": base["x"]},
        {"x": base["x"].reshape(3, 2)},
        {"x": base["x"].view(np.int32)},
        {"x": base["x"] + 1},
        {**base, "y": base["x"]},
    ]
    assert len({known, *map(sample_digest, others)}) == 6
    assert sample_digest({"a": base["x"], "b": base["x"]}) == sample_digest(
        {"b": base["x"], "a": base["x"]}
    )


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("models/net.onnx", "net.edgeref"),
        ("package.nets:build", "build.edgeref"),
        ("http://host:8000/v2/models/net", "net.edgeref"),
        ("http://host:8501/v1/models/net:predict", "net.edgeref"),
        ("saved/", "saved.edgeref"),
    ],
)
def test_a_recording_is_called_after_its_model(model, name):
    assert default_name(model) == name
