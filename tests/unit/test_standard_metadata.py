"""The standard metadata by FlatBuffers' own reader, and that nothing else of the file changes."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tflite_builder as tiny
from flatbuffers import encode, number_types
from flatbuffers.table import Table as Reader

from edgekit.contract import (
    Contract,
    Decoder,
    InputContract,
    OutputContract,
    Preprocess,
    Task,
)
from edgekit.standard_metadata.describe import describe
from edgekit.standard_metadata.embed import embed_standard_metadata, remove_standard_metadata
from edgekit.standard_metadata.tables import Table, TableNumber, TableNumbers, to_bytes
from edgekit.tflite.metadata import embed_contract, read_contract
from edgekit.tflite.model import read
from edgekit.tflite.summary import summarize
from edgekit.types import TensorSpec

PICTURE = InputContract(
    tensor=TensorSpec(name="image", shape=tiny.IMAGE, layout="NHWC"),
    preprocess=Preprocess(scale=1 / 255, mean=(0.5,), std=(0.25,)),
)
LABELS = ("Katze", "dög", "鳥", "two\nlines", "last")


def contract(
    task: Task | None = "classification", labels: tuple[str, ...] = LABELS, **output: Any
) -> Contract:
    tensor = TensorSpec(name="scores", shape=(1, tiny.CLASSES))
    return Contract(
        inputs=(PICTURE,),
        outputs=(OutputContract(tensor=tensor, task=task, labels=labels, **output),),
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.tflite"
    path.write_bytes(tiny.tiny_bytes())
    embed_contract(path, path, contract())
    return path


class View:
    """A table of a flatbuffer by slots, with nothing of edgekit's."""

    def __init__(self, data: bytes, position: int | None = None) -> None:
        if position is None:
            position = encode.Get(number_types.UOffsetTFlags.packer_type, data, 0)
        self.data, self.table = data, Reader(data, position)

    def _at(self, slot: int) -> int:
        return int(self.table.Offset(4 + 2 * slot))

    def text(self, slot: int) -> str:
        return bytes(self.table.String(self._at(slot) + self.table.Pos)).decode()

    def child(self, slot: int) -> View:
        return View(self.data, self.table.Indirect(self._at(slot) + self.table.Pos))

    def children(self, slot: int) -> list[View]:
        if not (at := self._at(slot)):
            return []
        start = self.table.Vector(at)
        return [
            View(self.data, self.table.Indirect(start + 4 * n))
            for n in range(self.table.VectorLen(at))
        ]

    def floats(self, slot: int) -> list[float]:
        at = self._at(slot)
        start, count = self.table.Vector(at), self.table.VectorLen(at)
        return np.frombuffer(self.data, "<f4", count, start).tolist()

    def number(self, slot: int, kind: Any = number_types.Int8Flags) -> Any:
        at = self._at(slot)
        return self.table.Get(kind, at + self.table.Pos) if at else 0


def stored(path: Path) -> View:
    return View(read(path).metadata["TFLITE_METADATA"])


def test_a_classifier(file: Path) -> None:
    assert embed_standard_metadata(file, file, contract(), name="tiny")
    model = stored(file)
    assert model.text(0) == "tiny"
    assert model.text(7) == "1.0.0"
    (graph,) = model.children(3)
    (image,), (scores,) = graph.children(2), graph.children(3)
    assert (image.text(0), scores.text(0)) == ("image", "scores")
    assert image.child(3).number(0, number_types.Uint8Flags) == 2  # ImageProperties
    properties = image.child(3).child(1)
    assert properties.number(0) == 1  # RGB
    size = [properties.child(1).number(slot, number_types.Uint32Flags) for slot in (0, 1)]
    assert size == [tiny.IMAGE[2], tiny.IMAGE[1]]
    (unit,) = image.children(4)
    assert unit.number(0, number_types.Uint8Flags) == 1  # NormalizationOptions
    assert unit.child(1).floats(0) == [127.5]  # of pixels 0…255
    assert unit.child(1).floats(1) == [63.75]
    assert image.child(5).floats(0) == [2.0]
    assert image.child(5).floats(1) == [-2.0]
    (labels,) = scores.children(6)
    assert labels.text(0) == "labels.txt"
    assert labels.number(2) == 2  # TENSOR_AXIS_LABELS
    with zipfile.ZipFile(file) as archive:
        lines = archive.read("labels.txt").decode().splitlines()
    assert lines == ["Katze", "dög", "鳥", "two lines", "last"]


def test_nothing_else_changes(file: Path, tmp_path: Path) -> None:
    before, image = read(file), tiny.random_image()
    wanted = tiny.invoke(file, image)
    copy = tmp_path / "copy.tflite"
    embed_standard_metadata(file, copy, contract(), name="tiny")
    np.testing.assert_array_equal(tiny.invoke(copy, image)[0], wanted[0])
    assert read_contract(copy) == contract()
    assert [op.name for op in read(copy).main.operators] == [o.name for o in before.main.operators]
    sizes = summarize(copy).sizes
    assert sizes.weights == summarize(file).sizes.weights
    assert sizes.metadata > summarize(file).sizes.metadata + sum(map(len, LABELS))


def test_the_same_words_make_the_same_bytes_and_replace_others(file: Path) -> None:
    embed_standard_metadata(file, file, contract(), name="tiny")
    first = file.read_bytes()
    embed_standard_metadata(file, file, contract(labels=("a", "b", "c", "d", "e")), name="other")
    assert file.read_bytes() != first
    embed_standard_metadata(file, file, contract(), name="tiny")
    assert file.read_bytes() == first
    assert len(list(read(file).raw.metadata)) == 2


def test_a_contract_embedded_later_leaves_the_archive_readable(file: Path) -> None:
    embed_standard_metadata(file, file, contract(), name="tiny")
    for other in (contract(labels=("x",) * 5), contract(labels=("x" * 999,) * 5)):
        embed_contract(file, file, other)
        with zipfile.ZipFile(file) as archive:
            assert archive.testzip() is None
            assert archive.read("labels.txt").decode().startswith("Katze\n")


def test_removing_leaves_the_file_as_it_was(file: Path) -> None:
    before = read(file).metadata
    remove_standard_metadata(file)
    embed_standard_metadata(file, file, contract(), name="tiny")
    remove_standard_metadata(file)
    assert read(file).metadata == before
    assert read(file).tail == b""
    assert b"Katze\nd" not in file.read_bytes()
    assert tiny.invoke(file, tiny.random_image())[0].shape == (1, tiny.CLASSES)


def test_nothing_to_say(file: Path) -> None:
    before = file.read_bytes()
    silent = Contract(outputs=(OutputContract(tensor=TensorSpec(name="scores", shape=(1, 5))),))
    assert not embed_standard_metadata(file, file, silent, name="tiny")
    assert file.read_bytes() == before


def test_labels_that_do_not_fit_the_output_are_not_written(file: Path) -> None:
    embed_standard_metadata(file, file, contract(labels=("one", "two")), name="tiny")
    (graph,) = stored(file).children(3)
    assert graph.children(3)[0].children(6) == []
    assert read(file).tail == b""


def test_raw_pixels_and_one_value_for_each_channel() -> None:
    raw = Preprocess(color="BGR")
    each = Preprocess(scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.5,))
    for preprocess, mean, std, color in (
        (raw, [0.0], [1.0], 0),  # the schema has no word for BGR
        (each, [123.675, 116.28, 103.53], [127.5] * 3, 1),
    ):
        one = Contract(inputs=(InputContract(tensor=PICTURE.tensor, preprocess=preprocess),))
        found = describe(one, "tiny")
        assert found is not None
        (graph,) = View(to_bytes(found.model, b"M001")).children(3)
        (image,) = graph.children(2)
        options = image.children(4)[0].child(1)
        np.testing.assert_allclose(options.floats(0), mean, rtol=1e-6)
        np.testing.assert_allclose(options.floats(1), std, rtol=1e-6)
        assert image.child(3).child(1).number(0) == color


def detector(decoder: Decoder, *others: str) -> Contract:
    names = {"boxes": (1, 4, 4), "classes": (1, 4), "scores": (1, 4), "count": (1,)}
    first = OutputContract(
        tensor=TensorSpec(name="boxes", shape=(1, 4, 4)), task="detection", labels=("a", "b"),
        decoder=decoder,
    )  # fmt: skip
    rest = [OutputContract(tensor=TensorSpec(name=n, shape=names[n])) for n in others]
    return Contract(inputs=(PICTURE,), outputs=(first, *rest))


def outputs_of(one: Contract) -> tuple[View, dict[str, bytes]]:
    found = describe(one, "tiny")
    assert found is not None
    (graph,) = View(to_bytes(found.model, b"M001")).children(3)
    return graph, found.files


def test_a_detector_that_selects_boxes_itself_in_any_order() -> None:
    decoder = Decoder(
        format="boxes", scores="scores", classes="classes", count="count", normalized=True,
        background=0, score_threshold=0.25,
    )  # fmt: skip
    graph, files = outputs_of(detector(decoder, "scores", "count", "classes"))
    names = [tensor.text(0) for tensor in graph.children(3)]
    assert names == ["location", "score", "number of detections", "category"]
    boxes, scores, _, classes = graph.children(3)
    content = boxes.child(3)
    assert content.number(0, number_types.Uint8Flags) == 3  # BoundingBoxProperties
    assert content.child(1).number(1) == 1  # BOUNDARIES
    assert content.child(1).number(2) == 0  # RATIO
    assert scores.children(4)[0].child(1).number(0, number_types.Float32Flags) == 0.25
    assert classes.children(6)[0].number(2) == 3  # TENSOR_VALUE_LABELS
    assert files == {"labels.txt": b"background\na\nb\n"}  # as the model counts
    assert graph.children(8)[0].text(0) == "detection_result"


def test_a_detector_with_anchors_brings_them_along(tmp_path: Path) -> None:
    anchors = np.array([[4, 4, 2, 2]] * 4, np.float32)  # in pixels of a picture of 8
    np.save(tmp_path / "anchors.npy", anchors)
    decoder = Decoder(format="ssd", scores="scores", anchors=str(tmp_path / "anchors.npy"))
    graph, _ = outputs_of(detector(decoder, "scores"))
    (entry,) = graph.children(9)
    assert entry.text(0) == "DETECTOR_METADATA"
    at = entry._at(1)
    start, count = entry.table.Vector(at), entry.table.VectorLen(at)
    data = entry.data[start : start + count]
    assert data[4:8] == b"V001"
    first = View(data).child(1).child(0).children(0)[0]
    shares = [first.number(slot, number_types.Float32Flags) for slot in range(4)]
    assert shares == [0.5, 0.5, 0.25, 0.25]


@pytest.mark.parametrize(
    "decoder",
    [Decoder(format="yolov8"), Decoder(format="ssd", scores="scores", anchors="gone.npy")],
)
def test_other_detectors_are_described_without_what_only_mediapipe_reads(decoder: Decoder) -> None:
    graph, _ = outputs_of(detector(decoder, *(["scores"] if decoder.scores else [])))
    assert graph.children(3)[0].text(0) == "boxes"
    assert graph.children(9) == []


def test_a_segmenter() -> None:
    mask = TensorSpec(name="mask", shape=(1, 8, 8, 2), layout="NHWC")
    one = Contract(
        inputs=(PICTURE,),
        outputs=(OutputContract(tensor=mask, task="segmentation", labels=("sky", "land")),),
    )
    graph, files = outputs_of(one)
    assert graph.children(9)[0].text(0) == "SEGMENTER_METADATA"
    assert files == {"labels.txt": b"sky\nland\n"}


def test_tables_hold_what_they_are_given() -> None:
    numbers = TableNumbers(kind="float32", values=[1.5, -2.0])
    table = Table(
        {0: "text", 2: numbers, 3: [Table({1: TableNumber(kind="int32", value=7)})], 5: []}
    )
    root = View(to_bytes(table, b"TEST"))
    assert root.text(0) == "text"
    assert root.floats(2) == [1.5, -2.0]
    assert root.children(3)[0].number(1, number_types.Int32Flags) == 7
    assert root._at(1) == root._at(5) == 0
