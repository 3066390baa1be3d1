"""Pictures with what is written on them: a text file of the same name beside each."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from edgekit.datasets.files import pictures
from edgekit.datasets.samples import LabelledData, LabelledSample, picture_sample, read_text
from edgekit.errors import DataError


def has_texts(folder: Path) -> bool:
    """Whether any picture of a folder has a text file beside it."""
    try:
        return any((folder / _text_of(name)).is_file() for name in pictures(folder))
    except DataError:
        return False  # no picture, which is told when the folder is opened


def open_texts(folder: Path) -> LabelledData:
    """The pictures below a folder, each with the first line of its text file.

    Raises:
        DataError: no picture, or none with a text.
    """
    files = pictures(folder)
    known = [name for name in files if (folder / _text_of(name)).is_file()]
    if not known:
        raise DataError(
            f"No picture in {folder} has a text beside it.",
            cure="Write what stands on word.png into word.txt.",
        )
    without = len(files) - len(known)
    notes = (f"{without} pictures without a text file were left out",) if without else ()

    def get(index: int) -> LabelledSample:
        text = read_text(folder / _text_of(known[index]))
        return picture_sample(folder, known[index], text.strip("\r\n"))

    return LabelledData(layout="texts", ids=tuple(known), get=get, notes=notes)


def _text_of(name: str) -> str:
    return PurePosixPath(name).with_suffix(".txt").as_posix()
