"""A float `.tflite` from elsewhere, in the form that edgekit's passes and other readers expect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.tflite.layout import settle_layout
from edgekit.tflite.model import Model, read, read_made, write
from edgekit.tflite.surgery import forget

if TYPE_CHECKING:
    from pathlib import Path

    from edgekit.tflite.graph import Operator, Subgraph


CLEANED_ENTRY = "edgekit.cleaned"
"""The metadata entry that says which operators were left out, in words."""


def normalised(path: Path, copy: Path, maker: str = "") -> Path:
    """The file, or where it had to be put right a ``copy``, which computes the same.

    Args:
        path: the file.
        copy: where the copy would be.
        maker: who has just written the file, where it is not the user's.

    Raises:
        UsageError: there is no such file.
        ModelError: it is no `.tflite`, or it is damaged.
        ConversionError: it is, and a ``maker`` is to blame.
        SetupError: the copy cannot be written.
    """
    model = read_made(path, maker) if maker else read(path)
    if not normalise(model):
        return path
    write(model, copy)
    return copy


def normalise(model: Model) -> bool:
    """Put a model right in place; whether anything had to be.

    Operator codes stand in both of the schema's fields: old files have only the older one, some
    converters write only the newer one. Constants that are stored in float16 and made float32 by
    the graph (the scheme ``fp16``) are stored in float32, which is exact. Axes are turned only
    where something is gained by it (`edgekit.tflite.layout`); what was left out stands in the
    metadata.
    """
    recoded = _write_both_codes(model)
    widened = [_widen(graph) for graph in model.subgraphs]
    gone = settle_layout(model)
    if gone:
        words = ", ".join(f"{count} {name}" for name, count in sorted(gone.items()))
        model.set_metadata(CLEANED_ENTRY, f"{words} left out".encode())
    return recoded or any(widened) or bool(gone)


def cleaned(model: Model) -> str:
    """What `normalise` has left out of a model, in words; empty where nothing."""
    return model.metadata.get(CLEANED_ENTRY, b"").decode("utf-8", "replace")


def _write_both_codes(model: Model) -> bool:
    changed = False
    for code in model.raw.operatorCodes or ():
        whole = max(code.builtinCode, code.deprecatedBuiltinCode)
        old = min(whole, 127)  # the older field has one byte, and 127 stands for "see the other"
        changed |= (code.builtinCode, code.deprecatedBuiltinCode) != (whole, old)
        code.builtinCode, code.deprecatedBuiltinCode = whole, old
    return changed


def _widen(graph: Subgraph) -> bool:
    """Let the constants of float16 be constants of float32, without the operator between them."""
    import numpy as np

    gone = [op for op in graph.operators if _widens_a_constant(op)]
    for operator in gone:
        (stored,), (wide,) = operator.inputs, operator.outputs
        assert stored is not None
        wide.set_data(stored.data().astype(np.float32))
    places = {operator.index for operator in gone}
    kept = [raw for index, raw in enumerate(graph.raw.operators or ()) if index not in places]
    graph.raw.operators = kept
    used = {index for raw in kept for index in raw.inputs or ()} | set(graph.raw.outputs or ())
    for operator in gone:
        (stored,) = operator.inputs
        if stored is not None and stored.index not in used:
            forget(stored)
    return bool(gone)


def _widens_a_constant(operator: Operator) -> bool:
    if operator.name != "DEQUANTIZE" or operator.inputs[0] is None:
        return False
    stored = operator.inputs[0]
    return stored.dtype == "float16" and stored.is_constant and stored.raw.sparsity is None
