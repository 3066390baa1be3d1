"""What a `.tflite` holds: the numbers behind ``edgekit inspect``."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.contract import Contract
from edgekit.errors import ModelError
from edgekit.tflite.dtypes import FLOAT_TYPES
from edgekit.tflite.metadata import contract_of
from edgekit.tflite.model import Model, Operator, Tensor, read
from edgekit.tflite.normalise import cleaned
from edgekit.types import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

_FLEX_PREFIX = "Flex"


@dataclass(frozen=True, kw_only=True)
class Port:
    """An input or output of the main graph.

    ``real = scale · (stored - zero_point)``; both are ``None`` for a tensor that is not quantized.
    The layout is the embedded contract's, ``None`` where that does not tell. ``allocated`` is the
    shape that the file starts with, where dimensions of ``tensor`` are open.
    """

    tensor: TensorSpec
    allocated: tuple[int, ...] = ()
    scale: float | None = None
    zero_point: int | None = None

    @property
    def resizable(self) -> TensorSpec:
        """The tensor with the shape that the file starts with; open dimensions are resizable."""
        axes = tuple(axis for axis, size in enumerate(self.tensor.shape) if size is None)
        return replace(self.tensor, shape=self.allocated, resizable=axes)


@dataclass(frozen=True, kw_only=True)
class OpCount:
    """How often an operator occurs in one version."""

    op: str
    version: int
    count: int


@dataclass(frozen=True, kw_only=True)
class FloatOp:
    """An operator that computes in floating point, with the name of its first output."""

    op: str
    output: str


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Bytes by part; they add up to the size of the file.

    ``weights`` are the stored values of tensors, ``metadata`` the metadata entries and what was
    appended to the file, ``structure`` everything else.
    """

    weights: int
    structure: int
    metadata: int


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A description of one `.tflite`, ready for JSON through `dataclasses.asdict`.

    Attributes:
        path: the file.
        size_bytes: its size.
        description: what the converter wrote about itself; often its name.
        inputs: inputs of the main graph, in the file's order.
        outputs: outputs of the main graph, in the file's order.
        ops: operators of all subgraphs, the most frequent first.
        integer_share: 0 to 1, the share of operators that compute in integers: none of the tensors
            they read or write is a float, constants aside. QUANTIZE of a graph input and
            DEQUANTIZE of a graph output are left out of the count; they are the float interface
            and not part of the network; so is a CAST between floats and plain integers there
            (counts, indices, masks), and the selection of boxes. ``None`` where nothing is left
            to count.
        border_ops: how many operators were left out for that.
        float_ops: the other operators, in the order of execution. In a file that is not meant to
            be quantized these are simply its operators.
        sizes: bytes by part.
        parameters: the number of stored floating-point or quantized values; shapes, axes and other
            plain integers are not counted.
        parameters_by_dtype: the same by stored type.
        min_runtime_version: the oldest runtime with all operator versions, where the converter
            wrote it down.
        custom_ops: operators that need code of their own in the app.
        flex_ops: operators that need the TensorFlow Select (Flex) library in the app.
        stateful: has variables, which outlive a call: what it answers may depend on earlier calls.
        contract: the embedded contract.
        contract_problem: why the embedded contract cannot be read; empty where it can.
        cleaned: which operators edgekit has left out of the converter's graph; empty where none.
    """

    path: str
    size_bytes: int
    description: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    ops: tuple[OpCount, ...]
    integer_share: float | None
    border_ops: int
    float_ops: tuple[FloatOp, ...]
    sizes: Sizes
    parameters: int
    parameters_by_dtype: dict[str, int]
    min_runtime_version: str | None
    custom_ops: tuple[str, ...]
    flex_ops: tuple[str, ...]
    stateful: bool
    contract: Contract | None
    contract_problem: str = ""
    cleaned: str = ""


def summarize(path: Path) -> Summary:
    """Describe a `.tflite` without running it.

    Raises:
        ModelError: the file cannot be read as a `.tflite`. A contract that cannot be read is no
            error here: ``contract_problem`` says so.
    """
    model = read(path)
    contract, problem = None, ""
    try:
        contract = contract_of(model)
    except ModelError as error:
        problem = error.cause
    operators = [op for subgraph in model.subgraphs for op in subgraph.operators]
    counted = [op for op in operators if not _is_border(op)]
    floats = [op for op in counted if computes_in_float(op)]
    custom = sorted({op.name for op in operators if op.is_custom})
    by_dtype = _parameters(model)
    size = path.stat().st_size
    return Summary(
        path=str(path),
        size_bytes=size,
        description=model.description,
        inputs=_ports(model.main.inputs, [i.tensor for i in contract.inputs] if contract else []),
        outputs=_ports(
            model.main.outputs, [o.tensor for o in contract.outputs] if contract else []
        ),
        ops=_count_ops(operators),
        integer_share=1 - len(floats) / len(counted) if counted else None,
        border_ops=len(operators) - len(counted),
        float_ops=tuple(
            FloatOp(op=op.name, output=next((out.name for out in op.outputs), "")) for op in floats
        ),
        sizes=_sizes(model, size),
        parameters=sum(by_dtype.values()),
        parameters_by_dtype=by_dtype,
        min_runtime_version=_min_runtime_version(model),
        custom_ops=tuple(name for name in custom if not name.startswith(_FLEX_PREFIX)),
        flex_ops=tuple(name for name in custom if name.startswith(_FLEX_PREFIX)),
        stateful=any(op.name == "ASSIGN_VARIABLE" for op in operators)
        or any(tensor.raw.isVariable for graph in model.subgraphs for tensor in graph.tensors),
        contract=contract,
        contract_problem=problem,
        cleaned=cleaned(model),
    )


def _ports(tensors: Sequence[Tensor], stated: Sequence[TensorSpec]) -> tuple[Port, ...]:
    ports = []
    for index, tensor in enumerate(tensors):
        quantization = tensor.quantization
        spec = TensorSpec(name=tensor.name, shape=tensor.shape_signature, dtype=tensor.dtype)
        ports.append(
            Port(
                tensor=_with_layout(spec, index, stated, same_count=len(stated) == len(tensors)),
                allocated=tensor.shape,
                scale=quantization.scales[0] if quantization else None,
                zero_point=quantization.zero_points[0] if quantization else None,
            )
        )
    return tuple(ports)


def _with_layout(
    spec: TensorSpec, index: int, stated: Sequence[TensorSpec], *, same_count: bool
) -> TensorSpec:
    """Take the layout of the tensor that the contract calls the same, else of the one in its place.

    The shapes must agree: a contract may describe the model as it was before the converter moved
    its axes.
    """
    match = next((other for other in stated if other.name == spec.name), None)
    if match is None and same_count:
        match = stated[index]
    if match is None or match.shape != spec.shape:
        return spec
    return replace(spec, layout=match.layout)


def _count_ops(operators: Sequence[Operator]) -> tuple[OpCount, ...]:
    counts = Counter((op.name, op.version) for op in operators)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(OpCount(op=op, version=version, count=n) for (op, version), n in ordered)


def _is_border(op: Operator) -> bool:
    """Whether an operator only leads into the network or out of it, and is what it is by nature.

    Plain integers (counts, indices, masks; without a scale) become real numbers by a CAST, and the
    other way round; the selection of boxes (NON_MAX_SUPPRESSION) has float kernels only.
    """
    graph = op.subgraph
    match op.name:
        case "QUANTIZE":  # from float; one from int8 to int8 rescales, and that is computing
            if not computes_in_float(op):
                return False
            source = op.inputs[0]
            maker = None if source is None else graph.producer(source)
            at_end = not set(graph.raw.inputs or ()).isdisjoint(op.raw.inputs)
            return at_end or (maker is not None and _leads_in(maker))
        case "DEQUANTIZE":
            readers = graph.consumers(op.outputs[0])
            at_end = not set(graph.raw.outputs or ()).isdisjoint(op.raw.outputs)
            return at_end or (bool(readers) and all(_leads_out(reader) for reader in readers))
        case _:
            return _leads_in(op) or _leads_out(op)


def _leads_in(op: Operator) -> bool:
    """Whether it is a CAST to float of integers that no network has computed."""
    if op.name != "CAST" or op.inputs[0] is None or op.outputs[0].dtype not in FLOAT_TYPES:
        return False
    waiting, seen = [op.inputs[0]], set[int]()
    while waiting:
        tensor = waiting.pop()
        if not _is_plain(tensor):
            return False
        maker = op.subgraph.producer(tensor)
        if maker is not None and tensor.index not in seen and maker.name != "SHAPE":
            waiting += [one for one in maker.inputs if one is not None]
        seen.add(tensor.index)
    return True


def _leads_out(op: Operator) -> bool:
    """Whether it makes, of floats, integers that no network reads any more."""
    if op.name.startswith("NON_MAX_SUPPRESSION"):
        return True
    if op.name != "CAST" or op.inputs[0] is None or op.inputs[0].dtype not in FLOAT_TYPES:
        return False
    waiting, seen = list(op.outputs), set[int]()
    while waiting:
        tensor = waiting.pop()
        if not _is_plain(tensor):
            return False
        if tensor.index not in seen:
            seen.add(tensor.index)
            waiting += [one for o in op.subgraph.consumers(tensor) for one in o.outputs]
    return True


def _is_plain(tensor: Tensor) -> bool:
    """Whether a tensor holds integers or truth values as they are, without a scale."""
    return tensor.dtype not in FLOAT_TYPES and tensor.quantization is None


def float_operators(model: Model) -> list[Operator]:
    """The operators of all graphs that compute in float, those at the float border left out."""
    operators = [op for subgraph in model.subgraphs for op in subgraph.operators]
    return [op for op in operators if computes_in_float(op) and not _is_border(op)]


def computes_in_float(op: Operator) -> bool:
    """Whether an operator reads or writes a float, constants aside; SHAPE reads no value."""
    tensors = [*op.inputs, *op.outputs] if op.name not in ("RANK", "SHAPE") else op.outputs
    return any(
        tensor is not None and tensor.dtype in FLOAT_TYPES and not tensor.is_constant
        for tensor in tensors
    )


def _constants(model: Model) -> list[Tensor]:
    """One tensor for each buffer that holds values."""
    found = {
        tensor.buffer: tensor
        for subgraph in model.subgraphs
        for tensor in subgraph.tensors
        if tensor.is_constant
    }
    return list(found.values())


def _parameters(model: Model) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for tensor in _constants(model):
        if tensor.dtype in FLOAT_TYPES or tensor.quantization is not None:
            counts[tensor.dtype] += prod(tensor.shape)
    return dict(counts.most_common())


def _sizes(model: Model, total: int) -> Sizes:
    constants = _constants(model)
    weights = sum(tensor.nbytes for tensor in constants)
    used = {tensor.buffer for tensor in constants}
    entries = {entry.buffer for entry in model.raw.metadata or ()} - used
    stored = [model.raw.buffers[index].data for index in entries]
    metadata = len(model.tail) + sum(len(data) for data in stored if data is not None)
    return Sizes(weights=weights, structure=total - weights - metadata, metadata=metadata)


def _min_runtime_version(model: Model) -> str | None:
    stored = model.metadata.get("min_runtime_version", b"")
    return stored.split(b"\0")[0].decode("ascii", "replace") or None
