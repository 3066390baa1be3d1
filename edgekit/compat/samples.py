"""What goes into every client: the same tensors, as the file stores them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.devices.matrix import inputs_for
from edgekit.devices.tensors import DeviceTensor
from edgekit.errors import ModelError
from edgekit.runners.protocol import Described
from edgekit.tflite.model import read
from edgekit.tflite.summary import Port, Summary

if TYPE_CHECKING:
    from edgekit.runners.protocol import Array

_FLOATS = ("float16", "float32", "float64")
_WHOLE = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool")
_STORED = frozenset((*_FLOATS, *_WHOLE))
"""Types of inputs that NumPy has too."""


@dataclass(frozen=True, kw_only=True)
class ClientSamples:
    """Stacks (N, *shape) of each input in its stored type, and what they are called.

    ``digest`` is over types, shapes and bytes (sha256, hexadecimal).
    """

    stacks: tuple[Array, ...]
    ids: tuple[str, ...]
    digest: str


def stored_samples(
    file: Path, summary: Summary, *, data: Path | None, samples: int, seed: int
) -> ClientSamples:
    """Real samples, preprocessed by the file's contract and quantized by its own scales.

    Args:
        file: the `.tflite`.
        summary: what is in it.
        data: pictures or arrays; random inputs if ``None``.
        samples: at most so many.
        seed: of the random inputs.

    Raises:
        DataError: the data does not fit the model, or there is none.
        ModelError: an input has a type for which there are no samples.
    """

    for port in summary.inputs:
        if port.tensor.dtype not in _STORED:
            raise ModelError(
                f"No data becomes {port.tensor.dtype}, as the input {port.tensor.name} wants it.",
                cure="Make the file with float32, int8 or uint8 inputs: --io-dtype.",
            )
    inputs, outputs = map(tensors_of, (summary.inputs, summary.outputs))
    described = Described(
        inputs=tuple(one.real_spec for one in inputs),
        outputs=tuple(one.real_spec for one in outputs),
        device="",
    )
    reals, ids = inputs_for(file, described, data=data, samples=samples, seed=seed)
    return as_stored(summary, reals, ids)


def as_stored(summary: Summary, reals: Sequence[Array], ids: Sequence[str]) -> ClientSamples:
    """Stacks (N, *shape) of real values in the file's order, as the file stores them.

    Args:
        summary: what is in the file.
        reals: the values.
        ids: what the N samples are called.
    """
    stacks = [
        tensor.store(stack).reshape(len(ids), *tensor.shape)
        for tensor, stack in zip(tensors_of(summary.inputs), reals, strict=True)
    ]
    return ClientSamples(stacks=tuple(stacks), ids=tuple(ids), digest=_digest(stacks))


def tensors_of(ports: Sequence[Port]) -> tuple[DeviceTensor, ...]:
    """Inputs or outputs as a runtime has them: an open dimension as the file starts."""
    return tuple(
        DeviceTensor(
            name=port.tensor.name,
            shape=tuple(max(1, size) for size in port.allocated),
            dtype=port.tensor.dtype,
            scale=float(port.scale or 0.0),
            zero_point=int(port.zero_point or 0),
        )
        for port in ports
    )


def judged_outputs(file: Path, summary: Summary) -> tuple[DeviceTensor, ...]:
    """The outputs, where one in float that is dequantized from integers has their scale."""
    graph = read(file).main
    outputs = []
    for tensor, output in zip(tensors_of(summary.outputs), graph.outputs, strict=True):
        made_by = graph.producer(output)
        source = made_by.inputs[0] if made_by and made_by.name == "DEQUANTIZE" else None
        stored = source.quantization if source else None
        outputs.append(replace(tensor, scale=stored.scales[0]) if stored else tensor)
    return tuple(outputs)


def _digest(stacks: Sequence[Array]) -> str:
    found = hashlib.sha256()
    for stack in stacks:
        found.update(f"{stack.dtype}{stack.shape}".encode())
        found.update(stack.tobytes())
    return found.hexdigest()
