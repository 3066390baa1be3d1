"""Bytes ↔ the generated object API (``ModelT`` and what hangs on it)."""

from __future__ import annotations

import struct
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.tflite import dtypes
from edgekit.tflite.verify import IDENTIFIER, MalformedError, names_by_code, verify

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# What FlatBuffers' 32-bit signed offsets and its Python builder can hold.
MAX_BYTES = 2**31 - (1 << 16)


def unpack(data: bytes) -> tuple[Any, int]:
    """The bytes of a file as a ``ModelT``, and where its flatbuffer ends.

    The vectors that a rewrite changes (shapes, indices of tensors) become Python lists; the data of
    buffers and the quantization parameters stay read-only NumPy views of ``data``. Buffers and
    custom options stored behind the flatbuffer (the layout of files over 2 GB) are resolved, so
    that no offset into the file is left.

    Raises:
        MalformedError: the bytes are not `.tflite` that holds together.
    """
    from ai_edge_litert.schema_py_generated import Model, ModelT

    end = verify(data)
    try:
        model = ModelT.InitFromObj(Model.GetRootAs(data, 0))
    except (struct.error, ValueError, TypeError, IndexError, OverflowError) as error:
        raise MalformedError(f"a field cannot be read: {error}") from error
    end = max([end, *_resolve_offsets(model, data)])
    _to_lists(model)
    check_indices(model)
    return model, end


def pack(model: Any) -> bytes:
    """The bytes of a ``ModelT``; the data of its buffers is aligned to 16 bytes.

    Raises:
        MalformedError: an operator has options that this schema cannot write, or the file would
            pass 2 GB.
    """
    import flatbuffers  # type: ignore[import-untyped]

    for operator in _operators(model):
        for options in ("builtinOptions", "builtinOptions2"):
            if getattr(operator, f"{options}Type") and getattr(operator, options) is None:
                raise MalformedError("an operator's options are newer than this schema")
    for code in model.operatorCodes or ():
        # Older files have only the first, one-byte field, and some readers look at nothing else.
        code.builtinCode = max(code.builtinCode, code.deprecatedBuiltinCode)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    size = stored_bytes(model)
    if size > MAX_BYTES:
        raise MalformedError(f"its buffers take {size} bytes, more than the 2 GB of a flatbuffer")
    packed = copy(model)
    packed.buffers = [_AlignedBuffer(buffer.data) for buffer in model.buffers]
    # Large enough at once: the builder would otherwise copy everything each time it grows.
    builder = flatbuffers.Builder(min(size + size // 8 + (1 << 16), MAX_BYTES))
    try:
        builder.Finish(packed.Pack(builder), file_identifier=IDENTIFIER)
    except flatbuffers.builder.BuilderSizeError as error:
        raise MalformedError(f"it does not fit into a flatbuffer: {error}") from error
    return bytes(memoryview(builder.Bytes)[builder.Head() :])


def stored_bytes(model: Any) -> int:
    """How many bytes the buffers of a ``ModelT`` take."""
    return sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None)


@dataclass(frozen=True)
class _AlignedBuffer:
    """Packs like ``BufferT``, quickly, and with the alignment that the schema asks for.

    The generated Python ignores the schema's ``force_align: 16``; kernels with vector instructions
    read weights in place and rely on it.
    """

    data: Any

    def Pack(self, builder: Any) -> int:  # noqa: N802 - the name that ModelT.Pack calls
        from ai_edge_litert import schema_py_generated as schema

        vector = None
        if self.data is not None:
            builder.Prep(16, len(self.data))
            vector = builder.CreateByteVector(bytes(self.data))
        schema.BufferStart(builder)
        if vector is not None:
            schema.BufferAddData(builder, vector)
        end: int = schema.BufferEnd(builder)
        return end


def text(raw: bytes | str | None) -> str:
    """A string of the schema; names that are not UTF-8 are shown, not refused."""
    return raw if isinstance(raw, str) else (raw or b"").decode("utf-8", "replace")


def operator_name(code: Any) -> str:
    """The built-in operator of an ``OperatorCodeT``: ``CONV_2D``, ``CUSTOM`` …"""
    # Older files use only the first, one-byte field, newer ones cap it at 127.
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    return names_by_code("BuiltinOperator").get(number, f"BUILTIN_{number}")


def set_options(operator: Any, options: Any) -> None:
    """Give an ``OperatorT`` an options object (``AddOptionsT()`` …) and its type code.

    Raises:
        ValueError: the schema has no such options.
    """
    name = type(options).__name__.removesuffix("T")
    for field, union in (
        ("builtinOptions", "BuiltinOptions"),
        ("builtinOptions2", "BuiltinOptions2"),
    ):
        for code, member in names_by_code(union).items():
            if member == name:
                setattr(operator, field, options)
                setattr(operator, f"{field}Type", code)
                return
    raise ValueError(f"{name!r} are not options of the .tflite schema")


def _operators(model: Any) -> Iterator[Any]:
    for subgraph in model.subgraphs or ():
        yield from subgraph.operators or ()


def _resolve_offsets(model: Any, data: bytes) -> Iterator[int]:
    """Take in what lies behind the flatbuffer; yields where each piece ends."""
    import numpy as np

    for buffer in model.buffers or ():
        # 0 and 1 mean "none" (1 reserves the field's place while a converter writes the file).
        if buffer.offset > 1 and buffer.size > 1:
            buffer.data = np.frombuffer(_slice(data, buffer.offset, buffer.size), np.uint8)
            yield buffer.offset + buffer.size
        buffer.offset = buffer.size = 0
    for operator in _operators(model):
        if operator.largeCustomOptionsOffset > 1:
            start, size = operator.largeCustomOptionsOffset, operator.largeCustomOptionsSize
            operator.customOptions = np.frombuffer(_slice(data, start, size), np.uint8)
            yield start + size
        operator.largeCustomOptionsOffset = operator.largeCustomOptionsSize = 0


def _slice(data: bytes, start: int, size: int) -> memoryview:
    if start + size > len(data):
        raise MalformedError(f"a buffer at byte {start} leaves the file ({len(data)} bytes long)")
    return memoryview(data)[start : start + size]


def _to_lists(model: Any) -> None:
    for subgraph in model.subgraphs or ():
        _listed(subgraph, "inputs", "outputs")
        for tensor in subgraph.tensors or ():
            _listed(tensor, "shape", "shapeSignature")
        for operator in subgraph.operators or ():
            _listed(operator, "inputs", "outputs", "intermediates")


def _listed(table: Any, *names: str) -> None:
    for name in names:
        values = getattr(table, name)
        if values is not None:
            setattr(table, name, values.tolist())


def check_indices(model: Any) -> None:
    """Everything that is referred to by number must exist, and constants fill their shape.

    Raises:
        MalformedError: something does not.
    """
    if not model.subgraphs:
        raise MalformedError("it has no subgraph")
    if not model.buffers:
        raise MalformedError("it has no buffers")
    _inside("metadata", (entry.buffer for entry in model.metadata or ()), len(model.buffers))
    for subgraph in model.subgraphs:
        tensors = subgraph.tensors or []
        _inside("a tensor's buffer", (tensor.buffer for tensor in tensors), len(model.buffers))
        _inside("an input or output", _ends(subgraph), len(tensors))
        for operator in subgraph.operators or ():
            _inside("an operator's code", [operator.opcodeIndex], len(model.operatorCodes or ()))
            # -1 stands for an optional input that is left out.
            used = [*(operator.inputs or ()), *(operator.intermediates or ())]
            _inside("an operator's input", used, len(tensors), lowest=-1)
            _inside("an operator's output", operator.outputs or (), len(tensors))
        for tensor in tensors:
            _check_constant(tensor, model.buffers[tensor.buffer].data)
            _check_scales(tensor)


def _check_scales(tensor: Any) -> None:
    """Scales along an axis need an axis that is there, and as many zero points as scales."""
    given = tensor.quantization
    scales = 0 if given is None or given.scale is None else len(given.scale)
    if scales > 1 and not 0 <= given.quantizedDimension < max(1, len(tensor.shape or ())):
        raise MalformedError(f"a tensor's scales lie along axis {given.quantizedDimension}")
    if scales and given.zeroPoint is not None and len(given.zeroPoint) not in (0, 1, scales):
        raise MalformedError(f"a tensor has {scales} scales and {len(given.zeroPoint)} zero points")


def _ends(subgraph: Any) -> list[int]:
    return [*(subgraph.inputs or ()), *(subgraph.outputs or ())]


def _inside(what: str, indices: Iterable[int], count: int, *, lowest: int = 0) -> None:
    for index in indices:
        if not lowest <= index < count:
            raise MalformedError(f"{what} refers to number {index} of {count}")


def _check_constant(tensor: Any, data: Any) -> None:
    """The same check that the interpreter makes before it uses a constant."""
    if tensor.buffer == 0 or data is None or not len(data) or tensor.sparsity is not None:
        return
    shape = tensor.shape or []
    expected = dtypes.byte_size(dtypes.name_of(tensor.type), shape)
    if any(size < 0 for size in shape) or expected not in (None, len(data)):
        raise MalformedError(
            f"the constant {tensor.name!r} of shape {shape} has {len(data)} bytes, not {expected}"
        )
