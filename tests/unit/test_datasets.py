"""Labelled data sets: each layout as its tools write it, and what can be wrong with it."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.datasets import class_numbers, find_layout, open_labelled
from edgekit.datasets.classes import to_classes
from edgekit.datasets.voc import read_mask
from edgekit.errors import DataError


def picture(path: Path, height=20, width=40) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    cv2.imwrite(str(path), pixels)
    return path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def labels(data):
    return {sample.id: sample.label for sample in data}


# ------------------------------------------------------------------------- classes


def test_names_are_matched_exactly_then_loosely():
    model = ["Tench, Tinca tinca", "golf ball", "cat", "Cat"]
    assert class_numbers(["cat", "Cat"], model) == {"cat": 2, "Cat": 3}
    assert class_numbers(["golf_ball", "TENCH"], model) == {"golf_ball": 1, "TENCH": 0}
    assert class_numbers(["n03445777", "n01440764"], model) == {"n03445777": 1, "n01440764": 0}
    assert class_numbers(["3", "0"], model) == {"3": 3, "0": 0}


def test_a_name_that_two_classes_could_mean_is_not_guessed():
    with pytest.raises(DataError, match="'CAT'"):
        class_numbers(["CAT"], ["cat", "Cat"])


def test_foreign_classes_are_named():
    foreign = [f"x{n}" for n in range(9)]
    with pytest.raises(
        DataError, match=r"9 of 10 classes.*'x0', 'x1', 'x2', 'x3', 'x4' …"
    ) as caught:
        class_numbers(["dog", *foreign], ["cat", "dog"])
    assert "--labels" in caught.value.cure


def test_a_misspelt_class_is_met_with_the_nearest_one():
    with pytest.raises(DataError) as caught:
        class_numbers(["dog", "elehpant"], ["dog", "elephant"])
    assert caught.value.cure.startswith("Did you mean 'elephant' by 'elehpant'?")
    found = to_classes(["dog", "elehpant"], ["a", "b"], ["dog", "elephant"])
    assert found.note.endswith("'elehpant' (did you mean 'elephant' by 'elehpant'?)")


def test_without_names_numbers_and_order_decide():
    assert class_numbers(["10", "2"], ()) == {"10": 10, "2": 2}
    assert class_numbers(["b", "a"], ()) == {"b": 0, "a": 1}
    assert class_numbers(["n02102040"], (), outputs=1000) == {"n02102040": 217}
    assert class_numbers(["n02102040"], (), outputs=10) == {"n02102040": 0}
    with pytest.raises(DataError, match="the model has 2"):
        class_numbers(["a", "b", "c"], (), outputs=2)


@given(st.lists(st.text("abcdef_", min_size=1), min_size=1, max_size=8, unique=True), st.randoms())
def test_the_models_own_names_are_always_found(names, random):
    asked = random.sample(names, len(names))
    assert class_numbers(asked, names) == {name: names.index(name) for name in asked}


# ------------------------------------------------------------------------- class folders


def test_class_folders(tmp_path):
    for name in ("dog/1.jpg", "cat/deep/2.png", "cat/1.jpg", "cat/.hidden.jpg"):
        picture(tmp_path / name)
    data = open_labelled(tmp_path, classes=["dog", "cat"])
    assert data.layout == "folders"
    assert labels(data) == {"cat/1.jpg": 1, "cat/deep/2.png": 1, "dog/1.jpg": 0}
    assert data[2].id == "dog/1.jpg"
    assert [one.id for one in data[1:]] == ["cat/deep/2.png", "dog/1.jpg"]
    assert data[0].read().pixels.shape == (20, 40, 3)
    assert labels(open_labelled(tmp_path))["cat/1.jpg"] == 0  # the alphabet


def test_opening_reads_no_picture(tmp_path):
    picture(tmp_path / "a/good.png")
    write(tmp_path / "a/bad.png", "no picture")
    data = open_labelled(tmp_path)
    assert [one.id for one in data] == ["a/bad.png", "a/good.png"]
    with pytest.raises(DataError, match=r"bad\.png"):
        data[0].read()


def test_folders_that_cannot_be_used(tmp_path):
    with pytest.raises(DataError, match="no data"):
        open_labelled(tmp_path / "gone")
    with pytest.raises(DataError, match="no picture"):
        open_labelled(tmp_path)
    picture(tmp_path / "a/1.jpg")
    picture(tmp_path / "2.jpg")
    with pytest.raises(DataError, match=r"2\.jpg.*no class folder"):
        open_labelled(tmp_path)


def test_links_out_of_the_folder_are_left_out(tmp_path):
    outside = picture(tmp_path / "outside.jpg")
    picture(tmp_path / "data/a/1.jpg")
    (tmp_path / "data/a/2.jpg").symlink_to(outside)
    assert open_labelled(tmp_path / "data").ids == ("a/1.jpg",)


# ------------------------------------------------------------------------- COCO


def coco(folder, **changes):
    picture(folder / "images/b.jpg")
    picture(folder / "images/a.jpg")
    data = {
        "images": [{"id": 7, "file_name": "b.jpg"}, {"id": 3, "file_name": "a.jpg"}],
        "categories": [{"id": 18, "name": "dog"}, {"id": 2, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 18, "bbox": [1, 2, 10, 5]},
            {"id": 2, "image_id": 7, "category_id": 2, "bbox": [0, 0, 4, 4], "iscrowd": 1},
        ],
    }
    return write(folder / "annotations/instances_val.json", json.dumps({**data, **changes}))


def test_coco(tmp_path):
    coco(tmp_path)
    data = open_labelled(tmp_path, classes=["bird", "cat", "dog"])
    assert (data.layout, data.ids) == ("coco", ("a.jpg", "b.jpg"))
    assert len(data[0].label.boxes) == 0
    label = data[1].label
    assert label.boxes.tolist() == [[1, 2, 11, 7], [0, 0, 4, 4]]
    assert label.classes.tolist() == [2, 1]
    assert label.crowd.tolist() == [False, True]
    plain = open_labelled(tmp_path / "annotations/instances_val.json")
    assert plain[1].label.classes.tolist() == [1, 0]  # in the order of the ids


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"categories": [{"id": 1}]}, "not a COCO json"),
        ({"images": [{"id": 1, "file_name": "a.jpg"}] * 2}, "twice"),
        ({"annotations": [{"image_id": 99, "category_id": 2, "bbox": [0, 0, 1, 1]}]}, "not a COCO"),
        ({"annotations": [{"image_id": 7, "category_id": 5, "bbox": [0, 0, 1, 1]}]}, "category 5"),
        ({"annotations": [{"image_id": 7, "category_id": 2, "bbox": [0, 0, 1]}]}, "not a COCO"),
        ({"images": [], "annotations": []}, "no sample"),
        (
            {
                "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "a.jpg"}],
                "annotations": [],
            },
            "more than once",
        ),
    ],
)
def test_a_damaged_coco_json(tmp_path, changes, words):
    coco(tmp_path, **changes)
    with pytest.raises(DataError, match=words):
        open_labelled(tmp_path)


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/passwd", "gone.jpg"])
def test_coco_names_pictures_in_its_folder_only(tmp_path, name):
    picture(tmp_path / "secret.jpg")
    coco(tmp_path / "data", images=[{"id": 7, "file_name": name}])
    data = open_labelled(tmp_path / "data")
    with pytest.raises(DataError, match=r"outside|not in"):
        data[0]


# ------------------------------------------------------------------------- Pascal VOC

VOC = """<annotation><filename>x.jpg</filename>
<object><name>dog</name><difficult>1</difficult>
  <bndbox><xmin>1</xmin><ymin>2</ymin><xmax>11</xmax><ymax>12</ymax></bndbox>
  <part><name>head</name><bndbox><xmin>9</xmin></bndbox></part></object>
<object><name>cat</name>
  <bndbox><xmin>5.5</xmin><ymin>1</ymin><xmax>8</xmax><ymax>3</ymax></bndbox></object>
</annotation>"""


def voc(folder, text=VOC):
    picture(folder / "JPEGImages/x.jpg")
    return write(folder / "Annotations/x.xml", text)


def test_voc(tmp_path):
    voc(tmp_path)
    data = open_labelled(tmp_path)
    assert data.layout == "voc"
    label = data[0].label
    assert label.boxes.tolist() == [[0, 1, 11, 12], [4.5, 0, 8, 3]]
    assert label.classes.tolist() == [11, 7]  # of VOC's twenty
    assert label.crowd.tolist() == [True, False]
    assert open_labelled(tmp_path, classes=["cat", "dog"])[0].label.classes.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "document type"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>', "document type"),
        ("<annotation>", "not a Pascal VOC"),
        ("", "not a Pascal VOC"),
        ("<annotation><object><name>cat</name></object></annotation>", "not a Pascal VOC"),
        (VOC.replace("<xmax>8<", "<xmax>2<"), "inside out"),
        (VOC.replace(">5.5<", ">five<"), "not a Pascal VOC"),
    ],
)
def test_a_damaged_or_dangerous_voc_annotation(tmp_path, text, words):
    voc(tmp_path, text)
    with pytest.raises(DataError, match=words):
        open_labelled(tmp_path)


def test_voc_pictures_without_annotation(tmp_path):
    voc(tmp_path)
    picture(tmp_path / "JPEGImages/y.jpg")
    with pytest.raises(DataError, match=r"1 of 2 pictures.*y\.xml"):
        open_labelled(tmp_path)


def palette_png(indices: np.ndarray, colours: list[tuple[int, int, int]], depth=8) -> bytes:
    """A PNG of indices into a palette, as the specification has it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    height, width = indices.shape
    bits = np.unpackbits(indices.astype(np.uint8)[..., None], axis=2)[:, :, 8 - depth :]
    rows = b"".join(b"\0" + np.packbits(row.ravel()).tobytes() for row in bits)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 3, 0, 0, 0))
        + chunk(b"PLTE", bytes(value for colour in colours for value in colour))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_voc_masks_with_a_palette_and_in_gray(tmp_path):
    picture(tmp_path / "JPEGImages/x.jpg")
    picture(tmp_path / "JPEGImages/y.jpg")
    picture(tmp_path / "JPEGImages/unlabelled.jpg")
    mask = np.array([[0, 1, 2], [255, 2, 0]])
    colours = [(0, 0, 0), (128, 0, 0), (128, 0, 0)] + [(0, 0, 0)] * 253  # with equal ones
    folder = tmp_path / "SegmentationClass"
    folder.mkdir()
    (folder / "x.png").write_bytes(palette_png(mask, colours))
    cv2.imwrite(str(folder / "y.png"), mask.astype(np.uint8))
    data = open_labelled(tmp_path)
    assert (data.layout, data.ids) == ("voc-segmentation", ("x.jpg", "y.jpg"))
    for sample in data:
        assert sample.label.read().tolist() == mask.tolist()
    cv2.imwrite(str(folder / "y.png"), np.full((2, 3, 3), [1, 2, 3], np.uint8))
    with pytest.raises(DataError, match="in colours"):
        data[1].label.read()


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_a_palette_of_few_bits(tmp_path, depth):
    indices = np.arange(22).reshape(2, 11) % 2**depth
    path = tmp_path / "mask.png"
    path.write_bytes(palette_png(indices, [(9, 9, 9)] * 2**depth, depth))
    assert read_mask(path).tolist() == indices.tolist()


def test_a_mask_without_a_picture(tmp_path):
    picture(tmp_path / "JPEGImages/x.jpg")
    picture(tmp_path / "SegmentationClass/z.png")
    with pytest.raises(DataError, match=r"z\.png"):
        open_labelled(tmp_path, task="segmentation")


# ------------------------------------------------------------------------- YOLO


def yolo(folder, text="1 0.5 0.5 0.5 0.2\n0 0.25 0.5 0.1 1\n"):
    picture(folder / "images/val/x.jpg")
    picture(folder / "images/val/empty.jpg")
    return write(folder / "labels/val/x.txt", text)


def test_yolo(tmp_path):
    yolo(tmp_path)
    data = open_labelled(tmp_path)
    assert (data.layout, data.ids) == ("yolo", ("val/empty.jpg", "val/x.jpg"))
    assert "1 of 2 pictures" in data.notes[0]
    assert len(data[0].label.boxes) == 0
    assert data[1].label.boxes == pytest.approx(np.array([[10, 8, 30, 12], [8, 0, 12, 20]]))
    assert data[1].label.classes.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("classes.txt", "cat\ndog\n"),
        ("data.yaml", "path: .\nnames: ['cat', dog]\nnc: 2\n"),
        ("data.yaml", "names:\n  0: cat\n  1: dog\nval: images\n"),
        ("data.yaml", "names:\n- cat\n- 'dog'\n"),
    ],
)
def test_yolo_names_are_mapped(tmp_path, file, text):
    yolo(tmp_path)
    write(tmp_path / file, text)
    data = open_labelled(tmp_path, classes=["dog", "bird", "cat"])
    assert data[1].label.classes.tolist() == [0, 2]
    with pytest.raises(DataError, match="'dog'"):
        open_labelled(tmp_path, classes=["bird", "cat"])


@pytest.mark.parametrize("line", ["0 0.5 0.5", "x 0 0 0 0", "5 0.5 0.5 0.1 0.1", "0 20 30 5 5"])
def test_a_damaged_yolo_line(tmp_path, line):
    yolo(tmp_path, line)
    data = open_labelled(tmp_path, outputs=3)
    with pytest.raises(DataError, match=r"x\.txt"):
        data[1]


def test_yolo_without_any_annotation(tmp_path):
    picture(tmp_path / "images/x.jpg")
    (tmp_path / "labels").mkdir()
    with pytest.raises(DataError, match="None of the pictures"):
        open_labelled(tmp_path)
    yolo(tmp_path)
    write(tmp_path / "data.yaml", "names: {0: cat}\n")
    with pytest.raises(DataError, match="no list of names"):
        open_labelled(tmp_path)


# ------------------------------------------------------------------------- CSV and npz


@pytest.mark.parametrize("heading", ["", "path,label\n"])
def test_csv(tmp_path, heading):
    picture(tmp_path / "p/a.jpg")
    picture(tmp_path / "p/b.jpg")
    path = write(tmp_path / "list.csv", f"{heading}p/b.jpg,cat\np/a.jpg, dog\n\n")
    data = open_labelled(path, classes=["dog", "cat"])
    assert labels(data) == {"p/b.jpg": 1, "p/a.jpg": 0}
    assert data[0].read().pixels.shape == (20, 40, 3)


def test_csv_of_values(tmp_path):
    picture(tmp_path / "a.jpg")
    path = write(tmp_path / "list.csv", "a.jpg,1.5,-2\n")
    assert open_labelled(path, task="regression")[0].label.tolist() == [1.5, -2]
    write(path, "a.jpg,much\n")
    with pytest.raises(DataError, match="not a number"):
        open_labelled(path, task="regression")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no sample"),
        ("a.jpg,0\nb.jpg,1\n", "b.jpg, which is not in"),
        ("a.jpg,0\n../out.jpg,1\n", "outside"),
        ("a.jpg,0\na.jpg,1\n", "more than once"),
        ("a.jpg\n", "has no label"),
    ],
)
def test_a_csv_that_cannot_be_used(tmp_path, text, words):
    picture(tmp_path / "out.jpg")
    picture(tmp_path / "data/a.jpg")
    with pytest.raises(DataError, match=words):
        open_labelled(write(tmp_path / "data/list.csv", text))


def test_npz(tmp_path):
    path = tmp_path / "set.npz"
    np.savez(path, x=np.arange(12).reshape(3, 4), labels=np.array([2, 0, 1]))
    data = open_labelled(path)
    assert [one.label for one in data] == [2, 0, 1]
    assert data[1].read()["x"].tolist() == [4, 5, 6, 7]
    np.savez(path, x=np.zeros((2, 4)), labels=np.array([[0.5, 1], [2, 3]]))
    assert open_labelled(path)[1].label.tolist() == [2, 3]


def test_npz_that_cannot_be_used(tmp_path):
    path = tmp_path / "set.npz"
    np.savez(path, x=np.zeros((2, 4)))
    with pytest.raises(DataError, match="no array named labels"):
        open_labelled(path)
    np.savez(path, x=np.zeros((2, 4)), labels=np.array([0, 12]))
    with pytest.raises(DataError, match="label 12"):
        open_labelled(path, task="classification", outputs=10)
    path.write_bytes(b"PK nothing")
    with pytest.raises(DataError, match="NumPy"):
        open_labelled(path)


def test_the_layout_that_is_stated_wins(tmp_path):
    for name in ("images/1.jpg", "labels/2.jpg"):
        picture(tmp_path / name)
    assert find_layout(tmp_path) == "yolo"
    assert labels(open_labelled(tmp_path, layout="folders")) == {
        "images/1.jpg": 0,
        "labels/2.jpg": 1,
    }


# ------------------------------------------------------------------------- texts


def test_texts_beside_pictures(tmp_path):
    for name, text in (("a", "hello\n"), ("b", " two words "), ("c", None)):
        nets_picture(tmp_path / f"{name}.png")
        if text is not None:
            (tmp_path / f"{name}.txt").write_text(text)
    data = open_labelled(tmp_path, task="sequence")
    assert data.layout == "texts"
    assert [(one.id, one.label) for one in data] == [("a.png", "hello"), ("b.png", " two words ")]
    assert "1 pictures without a text" in data.notes[0]


def test_texts_in_a_csv_keep_their_commas_and_digits(tmp_path):
    nets_picture(tmp_path / "a.png")
    nets_picture(tmp_path / "b.png")
    (tmp_path / "truth.csv").write_text('path,text\na.png,"1,5 kg"\nb.png,007\n')
    data = open_labelled(tmp_path / "truth.csv", task="sequence", classes=("0", "7"))
    assert [one.label for one in data] == ["1,5 kg", "007"]


def test_texts_in_an_npz(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.zeros((2, 4)), labels=np.array(["one", "two"]))
    assert [one.label for one in open_labelled(tmp_path / "x.npz", task="sequence")] == [
        "one",
        "two",
    ]
    np.savez(tmp_path / "y.npz", x=np.zeros((2, 4)), labels=np.array([1, 2]))
    with pytest.raises(DataError, match="not text"):
        open_labelled(tmp_path / "y.npz", task="sequence")


def nets_picture(path):
    cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))
