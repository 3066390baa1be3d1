"""The words of labelled data: a sample, its label, and the whole, of which nothing is read yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from edgekit import files
from edgekit.calibration.sources import read_picture
from edgekit.calibration.tensors import Content
from edgekit.errors import DataError
from edgekit.files import is_inside, kind_of, shown
from edgekit.validation.metrics.boxes import Boxes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]

Layout: TypeAlias = Literal[
    "folders",  # a folder per class: ImageNet, Imagenette, CIFAR exported as folders
    "coco",  # a json of COCO with boxes
    "voc",  # Annotations/*.xml beside JPEGImages/
    "voc-segmentation",  # SegmentationClass/*.png beside JPEGImages/
    "yolo",  # labels/*.txt beside images/
    "csv",  # path and label, a sample a line
    "npz",  # stacked arrays, one of them `labels`
    "texts",  # word.txt beside word.png: what is written on it
]


@dataclass(frozen=True, kw_only=True)
class Mask:
    """A picture whose pixels are class numbers; read when asked."""

    path: Path
    read: Callable[[], Array]


Label: TypeAlias = "int | float | str | Array | Boxes | Mask | None"
"""A class number of the model, a number, array or text to be met, objects, a plane of classes."""


@dataclass(frozen=True, kw_only=True)
class LabelledSample:
    """One sample with its label.

    Attributes:
        id: its path relative to the data folder, or ``name[index]``.
        read: gives the picture or the arrays; raises `DataError` if it cannot.
        label: in the model's own class numbers.
        path: the picture's file, where it is one.
    """

    id: str
    read: Callable[[], Content]
    label: Label
    path: Path | None = None


@dataclass(frozen=True, kw_only=True)
class LabelledData(Sequence[LabelledSample]):
    """A labelled data set in a fixed order. An annotation is read when its sample is asked for.

    Attributes:
        layout: how it lies on the disk.
        ids: of all samples; unique.
        get: the sample at an index.
        notes: what the user should know.
    """

    layout: Layout
    ids: tuple[str, ...]
    get: Callable[[int], LabelledSample]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.ids:
            raise DataError(
                "The data set holds no sample.", cure="Check the path and the layout of the data."
            )
        twice = [name for name, often in Counter(self.ids).items() if often > 1]
        if twice:
            raise DataError(
                f"The data set names {len(twice)} samples more than once, first {twice[0]}.",
                cure="Keep one entry for each sample.",
            )

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self.get(place) for place in range(len(self))[index]]
        return self.get(range(len(self))[index])

    def __iter__(self) -> Iterator[LabelledSample]:
        return map(self.get, range(len(self)))


def picture_sample(folder: Path, name: str, label: Label) -> LabelledSample:
    """The sample of a picture in a folder."""
    path = folder / name
    return LabelledSample(id=name, read=partial(read_picture, path), label=label, path=path)


def inside(folder: Path, name: str, source: Path) -> Path:
    """A path that an annotation names, which must exist and lie in the data folder.

    Raises:
        DataError: it leads out of the folder, or nothing is there.
    """
    path = folder / name
    if not is_inside(path, folder):
        raise DataError(
            f"{source} names {shown(name)}, which is outside of {folder}.",
            cure="Copy the file into the data folder.",
        )
    if kind_of(path) != "file":
        raise DataError(
            f"{source} names {shown(name)}, which is not in {folder}.",
            cure="Add the file, or remove its entry.",
        )
    return path


def read_text(path: Path) -> str:
    """The text of an annotation.

    Raises:
        DataError: it is missing or no UTF-8 text.
    """
    return files.read_text(path, DataError, cure="Restore or remove it.", most=files.MOST_BYTES)


def to_boxes(
    entries: Sequence[tuple[float, float, float, float]],
    classes: Sequence[int],
    crowd: Sequence[bool] | None = None,
) -> Boxes:
    """Lists as `Boxes`, which may be empty."""
    import numpy as np

    return Boxes(
        boxes=np.array(entries, np.float64).reshape(-1, 4),
        classes=np.array(classes, np.int64),
        crowd=np.array(crowd if crowd is not None else [False] * len(classes), bool),
    )
