"""The model contract inside the `.tflite`, so that later commands need only the file.

It is an entry of the schema's ``Metadata`` table named ``edgekit.contract``, its buffer the JSON of
`Contract.to_json` in UTF-8. Runtimes ignore entries they do not know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.contract import Contract
from edgekit.errors import EdgekitError, ModelError
from edgekit.tflite.cleanup import clean
from edgekit.tflite.model import Model, read, write

if TYPE_CHECKING:
    from pathlib import Path

CONTRACT_ENTRY = "edgekit.contract"


def embed_contract(path_in: Path, path_out: Path, contract: Contract) -> None:
    """Write a copy of a `.tflite` that carries ``contract``; the two paths may be the same.

    A contract that was there is replaced, and the file is cleaned (`edgekit.tflite.cleanup`).
    Operators, values of weights, signatures and other metadata stay as they are, so the outputs do
    too, bit for bit.

    Raises:
        ModelError: ``path_in`` cannot be read as a `.tflite`.
        SetupError: ``path_out`` cannot be written.
    """
    model = read(path_in)
    model.set_metadata(CONTRACT_ENTRY, contract.to_json().encode())
    clean(model)
    write(model, path_out)


def read_contract(path: Path) -> Contract | None:
    """The contract inside a `.tflite`, ``None`` where there is none.

    Raises:
        ModelError: the file cannot be read, or its contract cannot.
    """
    model = read(path)
    try:
        return contract_of(model)
    except ModelError as error:
        raise ModelError(f"{path}: {error.cause}", cure=error.cure) from error


def contract_of(model: Model) -> Contract | None:
    """The contract inside a model that was already read, ``None`` where there is none.

    Raises:
        ModelError: the entry is not a contract of a version that this edgekit knows.
    """
    stored = model.metadata.get(CONTRACT_ENTRY)
    if stored is None:
        return None
    try:
        return Contract.from_json(stored.decode())
    except EdgekitError as error:
        problem, cure = error.cause, error.cure
    except (ValueError, ArithmeticError, AttributeError, RecursionError) as error:
        problem, cure = repr(error), ""
    raise ModelError(
        f"The embedded contract cannot be read: {problem}",
        cure=cure or "Convert the model again.",
    )
