"""From a sample's content to the tensors of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from edgekit.contract import Contract, InputContract, image_axes
from edgekit.errors import DataError
from edgekit.preprocess import preprocess_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]

LABELS = ("labels", "label")
"""Arrays of these names in an ``.npz`` are classes, unless the model has such an input."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A decoded picture: uint8, BGR or gray, (height, width, channels).

    ``encoded`` are the bytes of its file, empty where it comes from no file of its own.
    """

    pixels: Array
    had_alpha: bool = False
    encoded: bytes = field(default=b"", repr=False)


Content: TypeAlias = Picture | Mapping[str, "Array"]
"""What a sample holds: one picture, or arrays by name."""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A sample as the model takes it.

    Attributes:
        tensors: input name -> array with the input's full shape and dtype.
        pictures: the pictures among them before preprocessing, for the checks.
        remarks: what was done on the way that the user should know.
    """

    tensors: dict[str, Array]
    pictures: dict[str, Array] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def to_tensors(content: Content, contract: Contract, name: str) -> Loaded:
    """Make the tensors of one sample.

    uint8 arrays (height, width, 1 | 3 | 4) for an input with preprocessing are RGB pictures and
    are preprocessed; every other array is taken as ready for the model. A missing batch axis of 1
    is added.

    Raises:
        DataError: the content does not fit the model; the message names the sample.
    """
    try:
        if isinstance(content, Picture):
            return _from_picture(content, contract)
        return _from_arrays(content, contract)
    except DataError as error:
        raise DataError(f"{name}: {error.cause}", cure=error.cure) from error


def _from_picture(picture: Picture, contract: Contract) -> Loaded:
    if len(contract.inputs) != 1:
        names = ", ".join(entry.tensor.name for entry in contract.inputs)
        raise DataError(
            f"The model has {len(contract.inputs)} inputs ({names}), a picture gives one.",
            cure="Give an .npz with one array per input, samples on axis 0.",
        )
    entry = contract.inputs[0]
    if entry.preprocess is None:
        raise DataError(
            f"Input {entry.tensor.name} with shape {entry.tensor.shape} takes no pictures.",
            cure="Give an .npy or .npz with arrays of that shape, samples on axis 0.",
        )
    return Loaded(
        tensors={entry.tensor.name: preprocess_image(picture.pixels, entry)},
        pictures={entry.tensor.name: picture.pixels},
        remarks=_remarks(picture, entry),
    )


def _remarks(picture: Picture, entry: InputContract) -> tuple[str, ...]:
    """What preprocessing does to a picture that the user may not expect."""
    axes = image_axes(entry.tensor)
    wanted = entry.tensor.shape[axes[2]] if axes else None
    given = picture.pixels.shape[2]
    remarks = []
    if given == 1 and wanted != 1:
        remarks.append("gray: the channel was repeated")
    if given > 1 and wanted == 1:
        remarks.append("in colour: turned gray")
    if picture.had_alpha or (given == 4 and wanted != 4):
        remarks.append("with transparency: it was dropped")
    return tuple(remarks)


def _from_arrays(arrays: Mapping[str, Array], contract: Contract) -> Loaded:
    tensors: dict[str, Array] = {}
    pictures: dict[str, Array] = {}
    remarks: tuple[str, ...] = ()
    for entry, array in _match(arrays, contract):
        name = entry.tensor.name
        if entry.preprocess is not None and array.dtype == "uint8":
            pictures[name] = _as_bgr(array, name)
            tensors[name] = preprocess_image(pictures[name], entry)
            remarks += _remarks(Picture(pixels=pictures[name]), entry)
        else:
            tensors[name] = _cast(_fit(array, entry), entry)
    return Loaded(tensors=tensors, pictures=pictures, remarks=remarks)


def _match(arrays: Mapping[str, Array], contract: Contract) -> list[tuple[InputContract, Array]]:
    wanted = [entry.tensor.name for entry in contract.inputs]
    given = [key for key in arrays if key not in LABELS]
    if len(wanted) == 1 and wanted[0] not in arrays and len(given) == 1:
        return [(contract.inputs[0], arrays[given[0]])]
    if missing := [name for name in wanted if name not in arrays]:
        raise DataError(
            f"There is no array for input {', '.join(missing)}; there are: "
            f"{', '.join(given) or 'none'}.",
            cure="Name the arrays in the .npz after the model's inputs: "
            f"np.savez(path, **{{{', '.join(f'{name!r}: …' for name in wanted)}}})",
        )
    return [(entry, arrays[entry.tensor.name]) for entry in contract.inputs]


def _as_bgr(array: Array, name: str) -> Array:
    import numpy as np

    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 2:
        return array[:, :, np.newaxis]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise DataError(
            f"Input {name} takes pictures; uint8 pictures have the shape (height, width, 3), "
            f"this array has {array.shape}.",
            cure="Transpose the array to (N, height, width, 3), or save model-ready floats.",
        )
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[array.shape[2]]
    return np.ascontiguousarray(array[:, :, order])


def _fit(array: Array, entry: InputContract) -> Array:
    """Add the batch axis if that is all that is missing."""
    shape = entry.tensor.shape
    if array.shape == shape:
        return array
    if shape[:1] == (1,) and array.shape == shape[1:]:
        return array[None]
    raise DataError(
        f"Input {entry.tensor.name} wants {shape}, a sample of the array has {array.shape}.",
        cure=_layout_cure(array, entry)
        or "Samples are stacked on axis 0; save them with the shape that the model takes.",
    )


def _layout_cure(array: Array, entry: InputContract) -> str:
    axes = image_axes(entry.tensor)
    sample = array.shape[1:] if array.ndim == 4 and array.shape[0] == 1 else array.shape
    if axes is None or len(sample) != 3:
        return ""
    height, width, channels = (entry.tensor.shape[axis] for axis in axes)
    other = (height, width, channels) if axes[2] == 1 else (channels, height, width)
    if sample != other:
        return ""
    theirs, mine, order = (
        ("NHWC", "NCHW", (0, 3, 1, 2)) if axes[2] == 1 else ("NCHW", "NHWC", (0, 2, 3, 1))
    )
    return f"The array is {theirs}, the model {mine}: save array.transpose{order}."


def _cast(array: Array, entry: InputContract) -> Array:
    import numpy as np

    name, dtype = entry.tensor.name, np.dtype(entry.tensor.dtype)
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"Input {name} wants {dtype}, the array holds {array.dtype}.",
            cure="Save an array of numbers.",
        )
    # Casting silently wraps and truncates; floats keep what is not finite for the checks.
    if dtype.kind in "biu" and array.size:
        low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        whole = array.dtype.kind in "biu" or bool(np.all(array == np.rint(array)))
        if not whole or array.min() < low or array.max() > high:
            raise DataError(
                f"Input {name} wants whole numbers of type {dtype}; the array holds values from "
                f"{array.min():g} to {array.max():g}.",
                cure="Save the array with the integer type that the model takes.",
            )
    return np.asarray(array, dtype=dtype, order="C")
