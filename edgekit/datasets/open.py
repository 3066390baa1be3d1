"""Which layout a data set has, and opening it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekit.contract import Task
from edgekit.datasets.coco import open_coco
from edgekit.datasets.folders import open_folders
from edgekit.datasets.samples import LabelledData, Layout
from edgekit.datasets.tables import open_csv, open_labelled_npz
from edgekit.datasets.texts import has_texts, open_texts
from edgekit.datasets.voc import open_voc, open_voc_masks
from edgekit.datasets.yolo import open_yolo
from edgekit.errors import DataError
from edgekit.files import kind_of, shown


def open_labelled(
    path: Path,
    *,
    classes: Sequence[str] = (),
    outputs: int | None = None,
    task: Task | None = None,
    layout: Layout | None = None,
) -> LabelledData:
    """List the samples of a labelled data set; pictures and their annotations are read later.

    Args:
        path: a folder, a COCO json, a CSV or an ``.npz``.
        classes: the model's class names in the order of its scores; the labels are mapped to it.
        outputs: how many classes the model has, where known.
        task: tells masks from boxes in VOC, and values from classes in a CSV.
        layout: where `find_layout` would not see it.

    Raises:
        DataError: there is no such data, or its labels do not fit the model.
    """
    if kind_of(path) not in ("file", "folder"):
        raise DataError(f"There is no data at {shown(path)}.", cure="Check the path.")
    match layout or find_layout(path, task=task):
        case "folders":
            return open_folders(path, classes, outputs=outputs)
        case "coco":
            json = path if path.is_file() else _coco_json(path)
            return open_coco(json, _coco_folder(json), classes, outputs=outputs)
        case "voc":
            return open_voc(path, classes, outputs=outputs)
        case "voc-segmentation":
            return open_voc_masks(path)
        case "yolo":
            return open_yolo(path, classes, outputs=outputs)
        case "csv":
            return open_csv(path, classes, outputs=outputs, task=task)
        case "npz":
            return open_labelled_npz(path, classes, outputs=outputs, task=task)
        case "texts":
            return open_texts(path)


def find_layout(path: Path, *, task: Task | None = None) -> Layout:
    """The layout by what is there; a folder that shows no other has a folder per class."""
    match path.suffix.lower() if path.is_file() else "":
        case ".csv":
            return "csv"
        case ".npz":
            return "npz"
        case ".json":
            return "coco"
    if task == "sequence" and path.is_dir() and has_texts(path):
        return "texts"
    if (path / "JPEGImages").is_dir():
        masks = (path / "SegmentationClass").is_dir()
        if masks and (task == "segmentation" or not (path / "Annotations").is_dir()):
            return "voc-segmentation"
        return "voc"
    if (path / "images").is_dir() and (path / "labels").is_dir():
        return "yolo"
    if path.is_dir() and _jsons(path):
        return "coco"
    return "folders"


def _jsons(folder: Path) -> list[Path]:
    return sorted([*folder.glob("*.json"), *folder.glob("annotations/*.json")])


def _coco_json(folder: Path) -> Path:
    found = _jsons(folder)
    if len(found) != 1:
        names = ", ".join(one.name for one in found[:5]) or "none"
        raise DataError(
            f"{folder} does not have one COCO json; there are: {names}.",
            cure="Give the path of the json itself.",
        )
    return found[0]


def _coco_folder(json: Path) -> Path:
    """The data folder of a json: the one that it is in, or the one above annotations/."""
    return json.parent.parent if json.parent.name == "annotations" else json.parent
