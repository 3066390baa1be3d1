"""What a file says of its tensors: the page's runtime tells neither their order nor scales."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.devices.agent.frames import AgentRefusal
from edgekit.errors import EdgekitError
from edgekit.tflite.flatbuffer import text
from edgekit.tflite.model import Tensor, read

if TYPE_CHECKING:
    from edgekit.devices.agent.frames import Header

_TYPES = ("float32", "int32", "uint8")
"""What `@litertjs/core` 2.5 takes and gives."""


def describe(path: Path) -> tuple[Header, bool]:
    """Inputs and outputs as the agent describes them, and whether the graph keeps a state.

    Raises:
        Refusal: the file cannot be read, or has inputs or outputs that no browser takes.
    """
    try:
        model = read(path)
    except EdgekitError as error:
        raise AgentRefusal("model", error.cause, error.cure) from error
    signatures = model.raw.signatureDefs or ()
    signature = signatures[0] if signatures else None
    tables = {
        "inputs": _tables(model.main.inputs, signature and signature.inputs),
        "outputs": _tables(model.main.outputs, signature and signature.outputs),
    }
    return tables, any(tensor.raw.isVariable for tensor in model.main.tensors)


def _tables(tensors: list[Tensor], names: Any) -> list[Header]:
    by_index = {entry.tensorIndex: text(entry.name) for entry in names or ()}
    return [_table(tensor, by_index.get(tensor.index, tensor.name)) for tensor in tensors]


def _table(tensor: Tensor, name: str) -> Header:
    if tensor.dtype not in _TYPES:
        # In the cause, too: where there are many files, only that is shown.
        told = "convert it with --scheme int8-float-io" if "int" in tensor.dtype else "use float32"
        raise AgentRefusal(
            "model",
            f"Browsers take no {tensor.dtype} input or output, as {name!r} is: {told}.",
            "edgekit convert … --scheme int8-float-io gives integers inside and floats outside.",
        )
    known = tensor.quantization
    return {
        "name": name,
        "shape": list(tensor.shape),
        "dtype": tensor.dtype,
        "scale": known.scales[0] if known else 0.0,
        "zero_point": known.zero_points[0] if known else 0,
    }
