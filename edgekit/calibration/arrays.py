"""Samples in NumPy files, mapped into memory and never unpickled."""

from __future__ import annotations

import shutil
import zipfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from edgekit.archives import ARCHIVE_ERRORS
from edgekit.calibration.samples import Label, Sample, Source
from edgekit.calibration.tensors import LABELS
from edgekit.errors import DataError
from edgekit.files import kind_of, temporary_folder
from edgekit.npy import CURE, map_npy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]


def open_npy(path: Path) -> Source:
    """The samples of one ``.npy``, stacked on axis 0.

    Raises:
        DataError: it is damaged, holds Python objects, or no sample.
    """
    array = map_npy(path, DataError, name=path.name)
    return Source(name=path.name, samples=_stacked(path.name, {path.stem: array}))


def open_npz(path: Path) -> Source:
    """The samples of one ``.npz``: an array per input, each stacked on axis 0.

    The arrays are unpacked into a temporary folder first and mapped from there, so that memory
    does not grow with the file. The folder is removed at once: what is mapped stays on the disk
    until the last sample is gone, and no end of the process, however sudden, leaves it behind.

    Raises:
        DataError: it is damaged, its arrays disagree in length, or the disk is too small.
    """
    with temporary_folder("npz") as folder:
        return Source(name=path.name, samples=_stacked(path.name, _unpack(path, folder)))


def open_npz_folder(folder: Path, files: Sequence[tuple[Path, Label]]) -> tuple[Sample, ...]:
    """A sample per ``.npz`` file (relative to ``folder``), each with an array per input."""
    return tuple(
        Sample(
            id=file.as_posix(),
            read=partial(_read_npz, folder / file),
            label=label if label is not None else _own_label(folder / file),
        )
        for file, label in files
    )


def _unpack(path: Path, folder: Path) -> dict[str, Array]:
    if kind_of(path) != "file":
        raise DataError(f"{path.name} is not a regular file.", cure=CURE)
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            size = sum(info.file_size for info in members)
            if size > shutil.disk_usage(folder).free:
                raise DataError(
                    f"{path} unpacks to {size / 1e9:.1f} GB, more than is free in {folder}.",
                    cure="Free some disk space, set TMPDIR, or give fewer samples.",
                )
            arrays = {}
            for index, info in enumerate(members):
                target = folder / f"{index}.npy"  # names inside of an archive are not trusted
                with archive.open(info) as packed, target.open("wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked)
                arrays[info.filename.removesuffix(".npy")] = map_npy(
                    target, DataError, name=f"{path.name}: {info.filename}"
                )
    except ARCHIVE_ERRORS as error:
        raise _damaged(path.name, error) from error
    return arrays


def _stacked(name: str, arrays: Mapping[str, Array]) -> tuple[Sample, ...]:
    lengths = {key: array.shape[0] if array.ndim else 0 for key, array in arrays.items()}
    if not lengths or 0 in lengths.values():
        raise DataError(
            f"{name} holds no samples: {_shapes(arrays) or 'no array'}.",
            cure="Stack the samples on axis 0 of every array.",
        )
    if len(set(lengths.values())) > 1:
        raise DataError(
            f"The arrays of {name} have different numbers of samples: {_shapes(arrays)}.",
            cure="Axis 0 is the sample; give every array the same length there.",
        )
    labels = _labels(arrays)
    return tuple(
        Sample(
            id=f"{name}[{index}]",
            read=partial(_at, arrays, index),
            label=None if labels is None else _plain(labels[index]),
        )
        for index in range(next(iter(lengths.values())))
    )


def _at(arrays: Mapping[str, Array], index: int) -> dict[str, Array]:
    return {key: array[index] for key, array in arrays.items()}


def _labels(arrays: Mapping[str, Array]) -> Array | None:
    """The array of labels, where there is one beside other arrays."""
    key = next((key for key in LABELS if key in arrays), None)
    return None if key is None or len(arrays) == 1 else arrays[key]


def _plain(label: Array) -> Label:
    """A label's row of an array, as a name or a number where it is one."""
    if label.size == 1 and label.dtype.kind in "SUiu":
        value = label.reshape(-1)[0].item()
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return label


def _read_npz(path: Path) -> dict[str, Array]:
    with temporary_folder("npz") as folder:
        return _unpack(path, folder)


def _own_label(path: Path) -> Label:
    """The array ``label`` or ``labels`` of a sample's own file, beside other arrays."""
    try:
        arrays = _read_npz(path)
    except DataError:
        return None  # told, by name, when the sample itself is read
    key = next((key for key in LABELS if key in arrays), None)
    return _plain(arrays[key]) if key and len(arrays) > 1 else None


def _shapes(arrays: Mapping[str, Array]) -> str:
    return ", ".join(f"{key} {array.shape}" for key, array in arrays.items())


def _damaged(name: str, error: Exception) -> DataError:
    return DataError(
        f"{name} cannot be read as NumPy data: {error}",
        cure=CURE,
    )
