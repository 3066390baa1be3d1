"""Puts the metadata into a `.tflite`, and the files that it names behind it.

The tables are an entry of the file's own metadata. The files of labels are a zip archive behind the
flatbuffer, whose offsets count from the start of the file: so a `.tflite` is a zip archive too.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

from edgekit.contract import Contract
from edgekit.standard_metadata.describe import describe
from edgekit.standard_metadata.schema import ENTRY, IDENTIFIER
from edgekit.standard_metadata.tables import to_bytes
from edgekit.tflite.model import Model, read, write

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The first date that a zip archive can state: the same labels make the same bytes."""


def embed_standard_metadata(
    path_in: Path, path_out: Path, contract: Contract, *, name: str
) -> bool:
    """Write a copy of a `.tflite` with standard metadata; the two paths may be the same.

    What stood there before is replaced. Where the contract says nothing that the schema has words
    for (no task, no picture) nothing is written.

    Args:
        path_in: the file.
        path_out: the copy.
        contract: as it holds for the file.
        name: of the model.

    Returns:
        Whether there was something to write.

    Raises:
        ModelError: ``path_in`` cannot be read as a `.tflite`.
        SetupError: ``path_out`` cannot be written.
    """
    description = describe(contract, name)
    if description is None:
        return False
    model = read(path_in)
    model.set_metadata(ENTRY, to_bytes(description.model, IDENTIFIER))
    _append(model, description.files)
    write(model, path_out)
    return True


def remove_standard_metadata(path: Path) -> None:
    """Take the metadata that a file came with out of it, and the files behind it.

    Raises:
        ModelError: ``path`` cannot be read as a `.tflite`.
        SetupError: it cannot be written.
    """
    model = read(path)
    if ENTRY in model.metadata:
        model.remove_metadata(ENTRY)
        model.tail = b""
        write(model, path)


def _append(model: Model, files: Mapping[str, bytes]) -> None:
    """Put files behind the flatbuffer, stored as they are: readers map them into memory."""
    model.tail = b""
    if not files:
        return
    data = model.packed()
    stream = io.BytesIO(data)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content)
    model.tail, model.tail_start = stream.getvalue()[len(data) :], len(data)
