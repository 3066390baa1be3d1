"""Pascal VOC: boxes in Annotations/*.xml, classes of pixels in SegmentationClass/*.png."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from xml.parsers import expat

from edgekit.calibration.sources import IMAGES
from edgekit.datasets.classes import class_numbers
from edgekit.datasets.files import pictures
from edgekit.datasets.samples import LabelledData, LabelledSample, Mask, picture_sample, to_boxes
from edgekit.errors import DataError
from edgekit.files import shown
from edgekit.preprocess import decode_image, read_bytes
from edgekit.validation.metrics.boxes import Boxes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]

_NAMES = """
    aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person
    pottedplant sheep sofa train tvmonitor
"""
VOC_CLASSES = tuple(_NAMES.split())
_PNG = b"\x89PNG\r\n\x1a\n"
_SIDES = ("xmin", "ymin", "xmax", "ymax")


def open_voc(
    folder: Path, classes: Sequence[str] = (), *, outputs: int | None = None
) -> LabelledData:
    """Objects of ``Annotations/NAME.xml`` for each picture ``JPEGImages/NAME.*``.

    Objects marked as difficult are neither found nor missed, as COCO treats crowds. Without the
    model's class names the twenty of VOC are numbered in their order, any others by the alphabet.
    All annotations are read once for their names, and each again with its sample.

    Raises:
        DataError: pictures without an annotation, damaged ones, unknown classes.
    """
    images, annotations = folder / "JPEGImages", folder / "Annotations"
    files = pictures(images)
    paths = [annotations / f"{Path(file).with_suffix('')}.xml" for file in files]
    _all_there(paths, "annotation")
    names = sorted({name for path in paths for name, _, _ in read_voc(path)})
    order = VOC_CLASSES if set(names) <= set(VOC_CLASSES) else names
    numbers = class_numbers(names if classes else order, classes, outputs=outputs)

    def get(index: int) -> LabelledSample:
        return picture_sample(images, files[index], _label(paths[index], numbers))

    return LabelledData(layout="voc", ids=tuple(files), get=get)


def open_voc_masks(folder: Path) -> LabelledData:
    """Masks ``SegmentationClass/NAME.png`` with their pictures ``JPEGImages/NAME.*``.

    Pixel values are taken as the model's class numbers; 255 is VOC's border, to be ignored.

    Raises:
        DataError: there is no mask, or a mask without a picture.
    """
    masks = [one for one in pictures(folder / "SegmentationClass") if one.endswith(".png")]
    images = {Path(one).stem: one for one in pictures(folder / "JPEGImages")}
    if missing := [mask for mask in masks if Path(mask).stem not in images]:
        raise DataError(
            f"{len(missing)} masks have no picture in JPEGImages, first {missing[0]}.",
            cure=f"Add the pictures ({', '.join(sorted(IMAGES))}), or remove the masks.",
        )

    def get(index: int) -> LabelledSample:
        path = folder / "SegmentationClass" / masks[index]
        label = Mask(path=path, read=partial(read_mask, path))
        return picture_sample(folder / "JPEGImages", images[Path(masks[index]).stem], label)

    ids = tuple(images[Path(mask).stem] for mask in masks)
    return LabelledData(layout="voc-segmentation", ids=ids, get=get)


def read_mask(path: Path) -> Array:
    """The class numbers (H, W) of a gray picture, or of a PNG with a palette its indices.

    Raises:
        DataError: it cannot be read, or is a picture in colours.
    """
    import numpy as np

    gray, depth = _indices_as_gray(read_bytes(path))
    pixels = decode_image(gray, str(path))
    if pixels.shape[2] != 1:
        raise DataError(
            f"{path} is a picture in colours, not a mask of class numbers.",
            cure="Save masks as gray pictures or with a palette, as VOC does.",
        )
    # Gray of fewer than 8 bits is spread over 0…255 by the decoder; indices are meant as they are.
    return np.asarray(pixels[:, :, 0].astype(np.int64) // (255 // (2**depth - 1)))


def read_voc(path: Path) -> list[tuple[str, tuple[float, float, float, float], bool]]:
    """Name, corners and difficulty of each object in an annotation.

    VOC counts pixels from 1 and a box holds its last pixel, so 1, 1, 2, 2 is the square 0, 0, 2, 2.

    Raises:
        DataError: it is no such XML, or has a document type or entities, which are not expanded.
    """
    reader = _VocReader()
    parser = expat.ParserCreate()
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = reader.refuse
    try:
        parser.Parse(read_bytes(path), True)
        return [_object(values) for values in reader.objects]
    except (expat.ExpatError, KeyError, ValueError) as error:
        raise DataError(
            f"{path} is not a Pascal VOC annotation: {shown(repr(error))}",
            cure="Restore or remove it.",
        ) from error


@dataclass
class _VocReader:
    """Collects the texts of each ``annotation/object``, by their path within it."""

    objects: list[dict[str, str]] = field(default_factory=list)
    path: list[str] = field(default_factory=list)

    def start(self, name: str, _attributes: dict[str, str]) -> None:
        self.path.append(name)
        if self.path == ["annotation", "object"]:
            self.objects.append({})

    def end(self, _name: str) -> None:
        self.path.pop()

    def text(self, data: str) -> None:
        if self.path[:2] == ["annotation", "object"]:
            key = "/".join(self.path[2:])
            self.objects[-1][key] = self.objects[-1].get(key, "") + data

    def refuse(self, *_declaration: Any) -> None:
        raise ValueError("it declares a document type")


def _object(values: dict[str, str]) -> tuple[str, tuple[float, float, float, float], bool]:
    x1, y1, x2, y2 = (float(values[f"bndbox/{side}"]) for side in _SIDES)
    if not (x1 <= x2 < math.inf and y1 <= y2 < math.inf and min(x1, y1) > -math.inf):  # NaN too
        raise ValueError(f"the box {x1:g}, {y1:g}, {x2:g}, {y2:g} is inside out")
    difficult = values.get("difficult", "0").strip() == "1"
    return values["name"].strip(), (x1 - 1, y1 - 1, x2, y2), difficult


def _label(path: Path, numbers: dict[str, int]) -> Boxes:
    found = read_voc(path)
    return to_boxes(
        [box for _, box, _ in found],
        [numbers[name] for name, _, _ in found],
        [difficult for _, _, difficult in found],
    )


def _all_there(paths: Sequence[Path], what: str) -> None:
    if missing := [path for path in paths if not path.is_file()]:
        raise DataError(
            f"{len(missing)} of {len(paths)} pictures have no {what}, first {missing[0]}.",
            cure="Add the annotations, or remove the pictures.",
        )


def _indices_as_gray(data: bytes) -> tuple[bytes, int]:
    """A PNG with a palette as a gray one of the same numbers, and its bits per pixel.

    Decoders give a palette's colours, of which two can be equal. The numbers themselves are stored
    just as gray values are (PNG specification, 11.2.1): only the header says what they mean. Any
    other file stays as it is, with 8 bits.
    """
    if data[:8] != _PNG or data[25:26] != b"\x03" or data[24] not in (1, 2, 4, 8):
        return data, 8
    parts, place = [_PNG], 8
    while place + 12 <= len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4], "big")
        kind, content = data[place + 4 : place + 8], data[place + 8 : end - 4]
        if kind == b"IHDR":
            header = kind + content[:9] + b"\0" + content[10:]
            parts.append(data[place : place + 4] + header + zlib.crc32(header).to_bytes(4, "big"))
        elif kind not in (b"PLTE", b"tRNS"):
            parts.append(data[place:end])
        place = end
    return b"".join(parts), data[24]
