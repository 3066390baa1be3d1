"""The samples of a validation: with labels where the data has them and the task can use them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.archives import ARCHIVE_ERRORS
from edgekit.calibration.sources import IMAGES, open_source
from edgekit.calibration.tensors import LABELS
from edgekit.contract import Contract, InputContract, Task
from edgekit.datasets import LabelledSample, Layout, Mask, find_layout, open_labelled
from edgekit.datasets.classes import to_classes
from edgekit.errors import DataError
from edgekit.files import kind_of, shown
from edgekit.measure.tasks import input_size
from edgekit.preprocess import preprocess_image
from edgekit.types import TensorSpec
from edgekit.validation.metrics.boxes import Boxes
from edgekit.validation.metrics.decode import boxes_to_input

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_LAYOUTS: dict[Task, frozenset[Layout]] = {
    "classification": frozenset({"folders", "csv", "npz"}),
    "embedding": frozenset({"folders", "csv", "npz"}),
    "regression": frozenset({"csv", "npz"}),
    "image-to-image": frozenset({"npz"}),
    "detection": frozenset({"coco", "voc", "yolo"}),
    "segmentation": frozenset({"voc-segmentation", "npz"}),
    "sequence": frozenset({"csv", "npz", "texts"}),
    "keypoints": frozenset({"npz"}),
    "depth": frozenset({"npz"}),
}
"""Which layouts hold labels that a task can be measured with."""


@dataclass(frozen=True, kw_only=True)
class Samples:
    """What is measured on, in a fixed order; nothing is read yet.

    Attributes:
        layout: of the data, ``pictures`` or ``arrays`` where it has no labels.
        ids: of all samples of the data.
        get: the sample at an index.
        labelled: whether the samples have labels.
        why: the data has no labels because …
    """

    layout: str
    ids: tuple[str, ...]
    get: Callable[[int], LabelledSample]
    labelled: bool
    why: str = ""
    notes: tuple[str, ...] = ()


def open_samples(
    path: Path,
    *,
    task: Task | None,
    classes: Sequence[str] = (),
    outputs: int | None = None,
    layout: Layout | None = None,
    unlabelled: bool = False,
) -> Samples:
    """List the samples at ``path``.

    Labels that the data has not, or that the task has no use for, are no error: then candidates
    are compared with the reference only, and ``why`` says so. Labels that do not fit the model are.

    Args:
        path: what `edgekit.datasets.open_labelled` or `edgekit.calibration.open_source` takes.
        task: decides which labels are of use.
        classes: the model's class names.
        outputs: how many classes the model has, where known.
        layout: where it cannot be seen.
        unlabelled: take no labels whatever there is.

    Raises:
        DataError: there is no sample, or labels that do not fit the model.
    """
    if kind_of(path) not in ("file", "folder"):
        raise DataError(f"There is no data at {shown(path)}.", cure="Check --data.")
    if unlabelled:
        return _unlabelled(path, "none are asked for")
    found = layout or find_layout(path, task=task)
    why = "" if layout else _no_labels(path, found, task, classes, outputs)
    if why:
        return _unlabelled(path, why)
    data = open_labelled(path, classes=classes, outputs=outputs, task=task, layout=found)
    return Samples(layout=data.layout, ids=data.ids, get=data.get, labelled=True, notes=data.notes)


def order(samples: Samples, *, limit: int | None, seed: int) -> list[int]:
    """Which samples are measured, in which order.

    A smaller limit takes the beginning of what a larger one takes, so that both share what is kept
    of the reference.
    """
    import numpy as np

    drawn = np.random.default_rng(seed).permutation(len(samples.ids))
    return [int(index) for index in drawn[:limit]]


def identity(path: Path, samples: Samples, chosen: Sequence[int]) -> str:
    """A digest of what is measured on, by names, sizes and times of the files: it reads none."""
    result = hashlib.sha256(str(path.resolve()).encode())
    folder = path.is_dir()
    for index in chosen:
        name = samples.ids[index]
        result.update(f"\0{name}".encode())
        with contextlib.suppress(OSError, ValueError):  # a sample need not be a file of this name
            status = os.stat(f"{path}/{name}" if folder else path)  # noqa: PTH116  faster on many
            result.update(f"\0{status.st_size}\0{status.st_mtime_ns}".encode())
    return result.hexdigest()


def label_for_input(sample: LabelledSample, picture: Array | None, contract: Contract) -> Any:
    """The label in the geometry of the model's input, as metrics take it.

    Args:
        sample: the sample.
        picture: its pixels before preprocessing, (height, width, channels).
        contract: the model's.

    Raises:
        DataError: a mask that cannot be read.
    """
    label = sample.label
    if not isinstance(label, Boxes | Mask):
        return label
    entry = contract.inputs[0]
    size = input_size(entry.tensor)
    if picture is None or entry.preprocess is None or size is None:
        raise DataError(
            f"{sample.id}: labels on a picture need a model whose input is one.",
            cure="State the input's preprocessing.",
        )
    if isinstance(label, Boxes):
        height, width = picture.shape[:2]
        return boxes_to_input(label, (height, width), entry.preprocess, size)
    return _mask_to_input(label.read(), entry, size)


def _mask_to_input(mask: Array, entry: InputContract, size: tuple[int, int]) -> Array:
    """A plane of classes, resized and cropped as its picture is, without mixing classes."""
    import numpy as np

    assert entry.preprocess is not None
    plane = InputContract(
        tensor=TensorSpec(name="mask", shape=(1, *size, 1), dtype="uint8", layout="NHWC"),
        preprocess=replace(
            entry.preprocess,
            color="GRAY",
            scale=1.0,
            mean=(0.0,),
            std=(1.0,),
            interpolation="nearest",
            antialias=False,
            pad_value=(255,),
        ),
    )
    result: Array = preprocess_image(mask.clip(0, 255).astype(np.uint8), plane)[0, :, :, 0]
    return result


def _no_labels(
    path: Path, layout: Layout, task: Task | None, classes: Sequence[str], outputs: int | None
) -> str:
    """Why the data is taken without labels; empty where it has some that can be used."""
    if task is not None and layout not in _LAYOUTS[task]:
        return f"the data has no labels for {task}"
    if task == "sequence" and not classes:
        return "the character set is not known without --labels"
    match layout:
        case "folders":
            return _folders_say_nothing(path, classes, outputs)
        case "npz" if path.suffix.lower() == ".npz":
            return "" if _has_labels(path) else "the arrays have no labels"
        case "csv" if path.suffix.lower() != ".csv":
            return "the data has no labels"
        case _:
            return ""


def _folders_say_nothing(path: Path, classes: Sequence[str], outputs: int | None) -> str:
    if not path.is_dir():
        return "the data has no labels"
    visible = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    folders = sorted(entry.name for entry in visible if entry.is_dir())
    if not folders or any(entry.is_file() and _is_picture(entry) for entry in visible):
        return "the pictures lie in no class folders"
    if classes or outputs is None or len(folders) > outputs:
        return ""  # what is wrong is told when it is opened
    if to_classes(folders, folders, (), outputs=outputs).known:
        return ""
    return (
        f"the model has {outputs} classes and the data {len(folders)} folders; which is which is "
        "not known without --labels"
    )


def _has_labels(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.removesuffix(".npy") in LABELS for name in archive.namelist())
    except ARCHIVE_ERRORS:
        return False  # told when it is opened


def _unlabelled(path: Path, why: str) -> Samples:
    source = open_source(path)
    if not source.samples:
        raise DataError(f"There is no sample in {path}.", cure="Check --data.")
    pictures = path.is_dir()

    def get(index: int) -> LabelledSample:
        sample = source.samples[index]
        file = path / sample.id if pictures else None
        return LabelledSample(
            id=sample.id,
            read=sample.read,
            label=None,
            path=file if file is not None and _is_picture(file) else None,
        )

    return Samples(
        layout="pictures" if pictures else "arrays",
        ids=tuple(sample.id for sample in source.samples),
        get=get,
        labelled=False,
        why=why,
        notes=(*source.notes, f"No labels: {why}. Candidates are compared with the reference."),
    )


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in IMAGES
