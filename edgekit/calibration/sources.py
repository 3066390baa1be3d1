"""Where samples come from: a folder of pictures, arrays, or a video.

Opening a source lists its samples and reads none of them, so a folder of a million pictures costs
no memory. Nothing is ever unpickled, and nothing outside of the given folder is read.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any, cast, get_args

from edgekit.calibration.arrays import open_npy, open_npz, open_npz_folder
from edgekit.calibration.samples import Label, Sample, Source, Split
from edgekit.calibration.tensors import Picture
from edgekit.calibration.video import open_video
from edgekit.errors import DataError
from edgekit.files import is_inside, kind_of, read_toml, shown
from edgekit.preprocess import decode_image, read_bytes

IMAGES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
VIDEOS = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm"})
MANIFEST = "manifest.toml"
_CURE = (
    "Give a folder of pictures (jpg, png, webp, bmp) or of .npz files, one .npy or .npz, "
    "or a video."
)


def open_source(path: Path) -> Source:
    """List the samples at ``path`` without reading them.

    Takes a folder of pictures (a subfolder's name is the label of what is in it; hidden files and
    links out of the folder are left out; ``manifest.toml`` may choose files and splits), a folder
    of ``.npz`` files with one sample each, an ``.npy``, an ``.npz``, or a video.

    Raises:
        DataError: there is nothing at ``path``, or nothing in it that edgekit can use.
    """
    match kind_of(path):
        case "none":
            raise DataError(f"There is no data at {shown(path)}.", cure=_CURE)
        case "folder":
            return _open_folder(path)
        case "other":
            raise DataError(f"{path} is not a regular file.", cure=_CURE)
    match path.suffix.lower():
        case ".npy":
            return open_npy(path)
        case ".npz":
            return open_npz(path)
        case suffix if suffix in VIDEOS:
            return open_video(path)
        case suffix if suffix in IMAGES:
            return Source(name=path.name, samples=(_image_sample(path, path.name),))
        case _:
            raise DataError(f"{path} is of no kind that edgekit can read.", cure=_CURE)


def read_picture(path: Path) -> Picture:
    """Read and decode one picture file.

    Raises:
        DataError: it cannot be read or decoded.
    """
    data = read_bytes(path)
    pixels = decode_image(data, str(path))
    return Picture(pixels=pixels, had_alpha=_has_alpha(data), encoded=data)


def _open_folder(folder: Path) -> Source:
    if (folder / MANIFEST).is_file():
        return _open_manifest(folder)
    files, notes = _list_files(folder)
    images = [file for file in files if file.suffix.lower() in IMAGES]
    arrays = [file for file in files if file.suffix.lower() == ".npz"]
    if images and arrays:
        notes.append(f"{len(arrays)} .npz files beside the pictures in {folder} were left out")
    if images:
        samples = tuple(
            _image_sample(folder / file, file.as_posix(), label=_folder_label(file))
            for file in images
        )
        return Source(name=folder.name, samples=samples, notes=tuple(notes))
    if arrays:
        samples = open_npz_folder(folder, [(file, _folder_label(file)) for file in arrays])
        return Source(name=folder.name, samples=samples, notes=tuple(notes))
    raise DataError(f"{folder} holds neither pictures nor .npz files.", cure=_CURE)


def _list_files(folder: Path) -> tuple[list[Path], list[str]]:
    """The visible files below ``folder``, relative and sorted, and notes on what was left out."""
    root = folder.resolve()
    found: list[Path] = []
    outside: list[str] = []
    for base, folders, names in os.walk(folder, followlinks=False):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            file = Path(base, name)
            if name.startswith(".") or not file.is_file():
                continue
            relative = file.relative_to(folder)
            if file.is_symlink() and not file.resolve().is_relative_to(root):
                outside.append(relative.as_posix())
            else:
                found.append(relative)
    notes = [f"{len(outside)} links that leave {folder} were left out"] if outside else []
    return sorted(found, key=lambda file: file.as_posix()), notes


def _open_manifest(folder: Path) -> Source:
    path = folder / MANIFEST
    try:
        entries = read_toml(path, DataError)["images"]
        samples = tuple(_manifest_sample(folder, entry) for entry in entries)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} cannot be used: {error!r}.",
            cure='It needs [[images]] tables with file = "…" and perhaps '
            'split = "calibration" or "parity".',
        ) from error
    if not samples:
        raise DataError(f"{path} lists no picture.", cure=_CURE)
    return Source(name=folder.name, samples=tuple(sorted(samples, key=lambda one: one.id)))


def _manifest_sample(folder: Path, entry: dict[str, Any]) -> Sample:
    file, split = entry["file"], entry.get("split")
    path = folder / file
    if not is_inside(path, folder):
        raise DataError(
            f"{folder / MANIFEST} names {shown(file)}, which is outside of the folder.",
            cure="Copy the picture into the folder.",
        )
    if kind_of(path) != "file":
        raise DataError(
            f"{folder / MANIFEST} names {shown(file)}, which is not there.",
            cure="Add the file, or remove its [[images]] table.",
        )
    if split is not None and split not in get_args(Split):
        raise DataError(
            f"{folder / MANIFEST}: {file} has the split {split!r}.",
            cure='A split is "calibration" or "parity".',
        )
    label = entry.get("label", _folder_label(Path(file)))
    return _image_sample(path, Path(file).as_posix(), label=label, split=cast(Split | None, split))


def _image_sample(
    path: Path, name: str, *, label: Label = None, split: Split | None = None
) -> Sample:
    return Sample(id=name, read=partial(read_picture, path), label=label, split=split)


def _folder_label(file: Path) -> str | None:
    """The topmost folder that a file is in below the source's own, as training tools take it."""
    return file.parts[0] if len(file.parts) > 1 else None


def _has_alpha(data: bytes) -> bool:
    """Whether a PNG or WebP says in its header that it has transparency."""
    if data[:4] == b"\x89PNG":
        return data[25:26] in (b"\x04", b"\x06")  # the colour type, in IHDR
    if data[8:12] == b"WEBP":
        if data[12:16] == b"VP8X":
            return bool(data[20] & 0x10)
        if data[12:16] == b"VP8L":
            return bool(data[24] & 0x10)
    return False
