"""A float `.tflite` from elsewhere, in the form that edgekit's passes and other readers expect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.tflite.layout import SettleLayout
from edgekit.tflite.model import Model, read, read_made, write
from edgekit.tflite.passes import GraphPass, PassSequence
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
        ModelError: it is not a `.tflite`, or it is damaged.
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
    done = PassSequence(WriteBothCodes(), WidenHalves(), SettleLayout())(model)
    if done.notes:
        model.set_metadata(CLEANED_ENTRY, "; ".join(done.notes).encode())
    return done.changed


def cleaned(model: Model) -> str:
    """What `normalise` has left out of a model, in words; empty where nothing."""
    return model.metadata.get(CLEANED_ENTRY, b"").decode("utf-8", "replace")


class WriteBothCodes(GraphPass):
    """Operator codes stand in both of the schema's fields."""

    def call(self, model: Model) -> int:
        """Write the field that is missing."""
        changed = 0
        for code in model.raw.operatorCodes or ():
            whole = max(code.builtinCode, code.deprecatedBuiltinCode)
            old = min(whole, 127)  # the older field has one byte; 127 stands for "see the other"
            changed += (code.builtinCode, code.deprecatedBuiltinCode) != (whole, old)
            code.builtinCode, code.deprecatedBuiltinCode = whole, old
        return changed


class WidenHalves(GraphPass):
    """Constants of float16 are constants of float32, without the operator between them."""

    def call(self, model: Model) -> int:
        """Widen them in each subgraph."""
        return sum(_widen(graph) for graph in model.subgraphs)


def _widen(graph: Subgraph) -> int:
    import numpy as np

    gone = [op for op in graph.operators if _widens_a_constant(op)]
    for operator in gone:
        (stored,), (wide,) = operator.inputs, operator.outputs
        assert stored is not None
        wide.set_data(stored.data().astype(np.float32))
    graph.remove(gone)
    ends = set(graph.raw.outputs or ())
    for operator in gone:
        (stored,) = operator.inputs
        if stored is not None and stored.index not in ends and not graph.consumers(stored):
            forget(stored)
    return len(gone)


def _widens_a_constant(operator: Operator) -> bool:
    if operator.name != "DEQUANTIZE" or operator.inputs[0] is None:
        return False
    stored = operator.inputs[0]
    return stored.dtype == "float16" and stored.is_constant and stored.raw.sparsity is None
