"""From items of the caller's data to samples on the disk, which the pipeline reads."""

from __future__ import annotations

import math
import shutil
import struct
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from edgekit.errors import DataError
from edgekit.objects.loaders import Items, is_array
from edgekit.types import TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

LABELS = ("labels", "label", "target", "targets", "y", "fine_label")
"""Keys of an item that are its label, unless the model has such an input."""
_MARGIN = 1 << 26
"""So many bytes stay free on the disk."""


@dataclass(frozen=True, kw_only=True)
class ObjectSample:
    """One sample: an array for each input, and its label.

    Attributes:
        inputs: without or with a batch axis of 1.
        picture: whether the only input is a picture as it was before any preprocessing.
    """

    inputs: Mapping[str, Array]
    label: Array | str | None
    picture: bool


@dataclass(frozen=True, kw_only=True)
class Written:
    """Samples on the disk; ``notes`` say what was left out."""

    path: Path
    count: int
    notes: tuple[str, ...]


def write(
    items: Items,
    folder: Path,
    *,
    inputs: Sequence[TensorSpec],
    pictures: bool,
    limit: int,
    what: str,
) -> Written:
    """Write at most ``limit`` samples.

    Pictures go into files, in folders named after their labels; all else into one ``.npz`` with
    ``labels``. Memory does not grow with the data.

    Args:
        items: the caller's.
        folder: a new one.
        inputs: of the model, where they are known: names, order and shapes of one sample.
        pictures: 8-bit arrays (height, width, channels) are pictures that the contract
            preprocesses; else they are what the model is given.
        limit: at most so many; endless data ends there.
        what: the data in words, for messages.

    Raises:
        DataError: there is no sample, or samples that fit neither each other nor the model.
    """
    folder.mkdir()
    stacks: _Stacks | None = None
    gallery: _Gallery | None = None
    notes: list[str] = []
    count = 0
    for sample in _some(_samples(items, inputs, pictures, what), limit):
        if sample.picture:
            gallery = gallery or _Gallery(folder)
            gallery.add(sample)
        else:
            stacks = stacks or _Stacks(folder, what)
            stacks.add(sample)
        count += 1
    if gallery and stacks:
        raise DataError(
            f"{what} gives pictures and other arrays in turn.", cure="Give one or the other."
        )
    maker = gallery or stacks
    if maker is None:
        raise DataError(
            f"{what} gives no sample.",
            cure="Is it a generator that was used up, or a loader with drop_last? Make it anew.",
        )
    if not items.chosen and count >= limit:
        notes.append(
            f"{what} cannot be indexed: its first {count} samples were taken. They should be a "
            "fair draw, so shuffle it."
        )
    path = maker.finish()
    return Written(path=path, count=count, notes=(*notes, *maker.notes))


def _some(samples: Iterator[ObjectSample], limit: int) -> Iterator[ObjectSample]:
    for number, sample in enumerate(samples, 1):
        yield sample
        if number >= limit:
            return


def _samples(
    items: Items, inputs: Sequence[TensorSpec], pictures: bool, what: str
) -> Iterator[ObjectSample]:
    for number, item in enumerate(items.values):
        where = f"Item {number} of {what}"
        values, label = _parts(item, inputs, where)
        arrays = {name: _array(value, f"{where}, {name}") for name, value in values.items()}
        ready = {
            name: array if kind == "picture" or pictures else _as_float(array, name, inputs)
            for name, (array, kind) in arrays.items()
        }
        single = len(ready) == 1
        for one, its_label in _apart(ready, label, items.batched, inputs, where):
            raw = next(iter(one.values()))
            is_picture = single and raw.dtype == "uint8" and _has_picture_shape(raw)
            named = next(iter(arrays.values()))[1] == "picture"
            yield ObjectSample(
                inputs=one, label=its_label, picture=is_picture and (named or pictures)
            )


def _has_picture_shape(array: Array) -> bool:
    shape = array.shape[1:] if array.ndim == 4 and array.shape[0] == 1 else array.shape
    return len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4))


def _parts(
    item: object, inputs: Sequence[TensorSpec], where: str
) -> tuple[dict[str, object], object]:
    """An item's inputs by name, and its label."""
    names = [spec.name for spec in inputs]
    if isinstance(item, Mapping):
        return _of_dict(dict(item), names, where)
    if isinstance(item, list | tuple):
        parts = list(item)
        if not parts:
            raise DataError(f"{where} is empty.", cure="Give (inputs, label), or the inputs.")
        if isinstance(parts[0], Mapping):
            values, own = _of_dict(dict(parts[0]), names, where)
            return values, parts[1] if len(parts) > 1 else own
        if isinstance(parts[0], list | tuple) and len(names) > 1:
            return _named(list(parts[0]), names), parts[1] if len(parts) > 1 else None
        count = len(names) or 1
        if len(parts) < count:
            raise DataError(
                f"{where} has {len(parts)} parts; the model has the inputs {', '.join(names)}.",
                cure="Give a tensor for each input, or a dict by their names.",
            )
        return _named(parts[:count], names), parts[count] if len(parts) > count else None
    return _named([item], names), None


def _named(values: list[object], names: list[str]) -> dict[str, object]:
    return dict(zip(names or ["input"], values, strict=False))


def _of_dict(
    item: dict[Any, object], names: list[str], where: str
) -> tuple[dict[str, object], object]:
    given = {str(key): value for key, value in item.items()}
    label = next((given[key] for key in LABELS if key in given and key not in names), None)
    rest = {key: value for key, value in given.items() if key not in LABELS or key in names}
    if not names or all(name in rest for name in names):
        return ({name: rest[name] for name in names} if names else rest), label
    if len(names) == 1 and len(rest) == 1:
        return {names[0]: next(iter(rest.values()))}, label
    if len(names) == 1:  # the usual name of a picture's column
        for key in ("pixel_values", "image", "img", "input", "x"):
            if key in rest:
                return {names[0]: rest[key]}, label
    missing = ", ".join(name for name in names if name not in rest)
    raise DataError(
        f"{where} has no {missing}; it has {', '.join(given)}.",
        cure=f"Give dicts with the model's inputs: {', '.join(names)}",
    )


def _array(value: Any, where: str) -> tuple[Array, str]:
    """A value of some framework as an array; a picture of Pillow's is told apart."""
    import numpy as np

    if hasattr(value, "getbands") and hasattr(value, "convert"):  # PIL.Image
        bands = "L" if value.mode in ("1", "L", "I;16") else "RGB"
        pixels = np.asarray(value.convert(bands))
        return (pixels[:, :, None] if pixels.ndim == 2 else pixels), "picture"
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float() if value.is_floating_point() else value
    if type(value).__name__ == "RaggedTensor":
        raise _ragged(where)
    try:
        array = np.asarray(value.numpy() if hasattr(value, "numpy") else value)
    except ValueError as error:  # lists of different lengths
        raise _ragged(where) from error
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"{where} is a {type(value).__name__} and no array of numbers.",
            cure="Give tensors, arrays or Pillow's pictures.",
        )
    return array, "array"


def _ragged(where: str) -> DataError:
    return DataError(
        f"{where} is ragged: its rows have different lengths.",
        cure="Pad or resize in the data set, so that every sample has the model's shape.",
    )


def _as_float(array: Array, name: str, inputs: Sequence[TensorSpec]) -> Array:
    """8-bit values as the model is given them: by the type of its input, and unchanged."""
    dtype = next((spec.dtype for spec in inputs if spec.name == name), "float32")
    return array.astype("float32") if array.dtype == "uint8" and dtype != "uint8" else array


def _apart(
    arrays: Mapping[str, Array],
    label: Any,
    batched: bool | None,
    inputs: Sequence[TensorSpec],
    where: str,
) -> Iterator[tuple[dict[str, Array], Any]]:
    """The samples of an item: of a batch one after the other."""
    if batched is None:
        batched = _is_batch(arrays, inputs)
    if not batched:
        yield dict(arrays), _label(label, where)
        return
    lengths = {array.shape[0] if array.ndim else 0 for array in arrays.values()}
    if len(lengths) != 1:
        raise DataError(
            f"{where} has arrays of different lengths: "
            f"{', '.join(f'{name} {array.shape}' for name, array in arrays.items())}.",
            cure="Axis 0 of a batch counts its samples, in every array.",
        )
    (count,) = lengths
    has_labels = label is not None and hasattr(label, "__len__") and len(label) == count
    for place in range(count):
        yield (
            {name: array[place] for name, array in arrays.items()},
            _label(label[place], where) if has_labels else None,
        )


def _is_batch(arrays: Mapping[str, Array], inputs: Sequence[TensorSpec]) -> bool:
    """By the number of axes: the model's own inputs count a batch of 1."""
    ranks = {spec.name: len(spec.shape) for spec in inputs if spec.shape[:1] in ((1,), (None,))}
    for name, array in arrays.items():
        if name in ranks:
            return array.ndim >= ranks[name] or (array.dtype == "uint8" and array.ndim == 4)
    return next(iter(arrays.values())).ndim >= 4


def _label(value: Any, where: str) -> Array | str | None:
    """A label as an array or a name; what is neither is not a label that edgekit can use."""
    import numpy as np

    if value is None or isinstance(value, Mapping):
        return None
    if isinstance(value, str | bytes):
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    if not is_array(value) and not isinstance(value, int | float | list | tuple):
        return None
    try:
        array = _array(value, where)[0]
    except DataError:
        return None
    return array if array.dtype.kind in "biuf" else np.array(array)


@dataclass
class _Stacks:
    """One ``.npz`` of stacked arrays, written a sample at a time."""

    folder: Path
    what: str
    notes: list[str] = field(default_factory=list)
    _streams: dict[str, BinaryIO] = field(default_factory=dict)
    _like: dict[str, tuple[tuple[int, ...], Any]] = field(default_factory=dict)
    _labels: list[Array | str | None] = field(default_factory=list)

    def add(self, sample: ObjectSample) -> None:
        import numpy as np

        for name, value in sample.inputs.items():
            array = np.ascontiguousarray(value)
            shape, dtype = self._like.setdefault(name, (array.shape, array.dtype))
            if array.shape != shape:
                raise DataError(
                    f"{self.what} gives samples of different shapes for {name}: {shape} and "
                    f"{array.shape}.",
                    cure="Resize or pad in the data set. For pictures as they are, state how the "
                    "model is fed: preprocess={'resize': 256, 'crop': (224, 224), 'scale': 1/255}",
                )
            if name not in self._streams:
                self._streams[name] = (self.folder / f"{len(self._streams)}.raw").open("w+b")
            if shutil.disk_usage(self.folder).free < array.nbytes + _MARGIN:
                raise DataError(
                    f"The disk of {self.folder} is full.", cure="Set TMPDIR, or give limit=…"
                )
            self._streams[name].write(array.astype(dtype, copy=False).tobytes())
        self._labels.append(sample.label)

    def finish(self) -> Path:
        import numpy as np

        path = self.folder / "samples.npz"
        with zipfile.ZipFile(path, "w") as archive:
            for name, stream in self._streams.items():
                shape, dtype = self._like[name]
                stream.seek(0)
                with archive.open(f"{name}.npy", "w", force_zip64=True) as target:
                    target.write(_header((len(self._labels), *shape), dtype))
                    shutil.copyfileobj(stream, target)
                stream.close()
                Path(stream.name).unlink()
            labels = _stacked(self._labels)
            if labels is None and any(one is not None for one in self._labels):
                self.notes.append(f"The labels of {self.what} have no common shape: left out.")
            if labels is not None and "labels" not in self._streams:
                packed = BytesIO()
                np.save(packed, labels, allow_pickle=False)
                archive.writestr("labels.npy", packed.getvalue())
        return path


def _header(shape: tuple[int, ...], dtype: Any) -> bytes:
    """Of an ``.npy``, version 1.0: https://numpy.org/neps/nep-0001-npy-format.html"""
    text = f"{{'descr': {dtype.str!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    length = 64 * math.ceil((len(text) + 11) / 64)
    padded = text.ljust(length - 11) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded.encode("latin1")


def _stacked(labels: Sequence[Array | str | None]) -> Array | None:
    """All labels in one array, `None` where one is missing or they have no common shape."""
    import numpy as np

    if any(one is None for one in labels):
        return None
    texts = [isinstance(one, str) for one in labels]
    if any(texts):
        return np.array(labels) if all(texts) else None
    arrays = [np.asarray(one) for one in labels]
    if len({one.shape for one in arrays}) > 1:
        return None
    stacked: Array = np.stack(arrays)
    return stacked.reshape(-1) if stacked.size == len(labels) else stacked


@dataclass
class _Gallery:
    """Pictures as files, in folders named after their classes."""

    folder: Path
    notes: list[str] = field(default_factory=list)
    _count: int = 0
    _unused: int = 0

    def add(self, sample: ObjectSample) -> None:
        import cv2

        (pixels,) = sample.inputs.values()
        pixels = pixels[0] if pixels.ndim == 4 else pixels
        pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
        order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[pixels.shape[2]]
        folder = self.folder
        if sample.label is not None:
            name = _class_name(sample.label)
            if name is None:
                self._unused += 1
            else:
                folder /= name
                folder.mkdir(exist_ok=True)
        path = folder / f"{self._count:06}.png"
        done, packed = cv2.imencode(".png", pixels[:, :, order])
        if not done:
            raise DataError(f"Picture {self._count} of shape {pixels.shape} cannot be kept.")
        path.write_bytes(packed.tobytes())
        self._count += 1

    def finish(self) -> Path:
        if self._unused:
            self.notes.append(
                f"{self._unused} labels are not classes, and were left out: of pictures only "
                "classes can be taken from an object. Boxes and masks are read from COCO, VOC or "
                "YOLO."
            )
        return self.folder


def _class_name(label: Array | str) -> str | None:
    """A label as the name of a folder; `None` where it is not a class."""
    import numpy as np

    if isinstance(label, str):
        name = "".join(one if one.isalnum() or one in " _-.," else "_" for one in label).strip(". ")
        return name[:80] or None
    row = np.asarray(label).reshape(-1)
    if row.size == 1 and row[0] == np.rint(row[0]) and row[0] >= 0:
        return str(int(row[0]))
    one_hot = row.size > 1 and np.count_nonzero(row == 1) == 1 == np.count_nonzero(row)
    return str(int(row.argmax())) if one_hot else None
