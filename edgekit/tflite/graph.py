"""Views of a graph's parts: `Subgraph`, `Tensor` and `Operator`.

They hold no state of their own but look at the schema's object in ``raw`` (``SubGraphT``,
``TensorT``, ``OperatorT``): every property answers from what is there at that moment. What an
operator reads and writes is changed through the methods here only, which keep the index of
`edgekit.tflite.uses`; everything else in ``raw`` may be changed freely.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from edgekit.errors import ModelError
from edgekit.tflite import dtypes
from edgekit.tflite.flatbuffer import operator_name, set_options, text
from edgekit.tflite.uses import Uses

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt

_LARGEST_WEIGHT = 127
"""The largest integer that int8 weights are stored as; the smallest is its negative."""


class GraphOwner(Protocol):
    """What a graph asks of the file that it is part of: `edgekit.tflite.model.Model`."""

    raw: Any
    uses: dict[int, Uses]

    def buffer_users(self, index: int) -> int:
        """How many tensors and metadata entries use a buffer."""

    def use_buffer(self, old: int | None, new: int | None) -> None:
        """Note that a tensor uses another buffer."""

    def store(self, holder: Any, data: Any) -> None:
        """Give a schema object new bytes."""

    def operator_code(self, name: str, version: int = 1) -> int:
        """The number of an operator's code, which is added where it is missing."""


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """``real = scale · (stored - zero_point)``, per tensor or along ``axis``.

    Attributes:
        scales: one value, or one for each entry along ``axis``.
        zero_points: as many as there are scales.
        axis: the quantized dimension, ``None`` where one scale serves the whole tensor.
    """

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int | None = None


@dataclass(frozen=True)
class Tensor:
    """One tensor of a subgraph, at ``index``."""

    subgraph: Subgraph = field(repr=False)
    index: int
    raw: Any = field(repr=False)

    @property
    def name(self) -> str:
        """The name; empty where the file has none."""
        return text(self.raw.name)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that the file is allocated with at first (dynamic dimensions are 1)."""
        return tuple(self.raw.shape or ())

    @property
    def shape_signature(self) -> tuple[int | None, ...]:
        """The shape with ``None`` for each dynamic dimension."""
        signature = self.raw.shapeSignature
        return tuple(None if size < 0 else size for size in signature or ()) or self.shape

    @property
    def dtype(self) -> str:
        """``float32``, ``int8``, ``int4`` …: NumPy's name where NumPy has the type."""
        return dtypes.name_of(self.raw.type)

    @property
    def quantization(self) -> Quantization | None:
        """Scales and zero points, ``None`` for a tensor that is not quantized."""
        raw = self.raw.quantization
        if raw is None or raw.scale is None or not len(raw.scale):
            return None
        scales = tuple(map(float, raw.scale))
        stored = () if raw.zeroPoint is None else raw.zeroPoint
        zeros = tuple(map(int, stored)) or (0,) * len(scales)
        return Quantization(
            scales=scales,
            zero_points=zeros,
            axis=raw.quantizedDimension if len(scales) > 1 else None,
        )

    @property
    def stated_range(self) -> tuple[float, float] | None:
        """All values that a float tensor can take, where the file states it."""
        raw = self.raw.quantization
        if raw is None or self.quantization is not None or self.dtype != "float32":
            return None
        ends = [() if end is None else tuple(end) for end in (raw.min, raw.max)]
        if self.is_constant or any(len(end) != 1 for end in ends):
            return None
        return float(ends[0][0]), float(ends[1][0])

    def state_range(self, low: float, high: float) -> None:
        """State all values that a float tensor can take; runtimes ignore it."""
        from ai_edge_litert.schema_py_generated import QuantizationParametersT

        self.raw.quantization = QuantizationParametersT(min=[low], max=[high])

    @property
    def stated_steps(self) -> npt.NDArray[Any] | None:
        """The step of each channel of float weights, where the file states it; float32."""
        raw = self.raw.quantization
        known = raw is not None and raw.min is not None and raw.max is not None
        if not known or not self.is_constant or self.dtype != "float32":
            return None  # quantized ones are integers
        import numpy as np

        low, high = (np.asarray(end, np.float32) for end in (raw.min, raw.max))
        return high / np.float32(_LARGEST_WEIGHT) if np.array_equal(-low, high) else None

    def state_steps(self, steps: npt.NDArray[Any], axis: int) -> None:
        """State the step of each channel of float weights; runtimes ignore it."""
        from ai_edge_litert.schema_py_generated import QuantizationParametersT

        ends = [float(step) * _LARGEST_WEIGHT for step in steps]
        self.raw.quantization = QuantizationParametersT(
            min=[-end for end in ends], max=ends, quantizedDimension=axis
        )

    @property
    def buffer(self) -> int:
        """The number of the buffer with the constant's bytes; 0 is the empty one."""
        return int(self.raw.buffer)

    def use_buffer(self, number: int) -> None:
        """Have the values that another buffer holds; 0 for none."""
        self.subgraph.model.use_buffer(self.buffer, number)
        self.raw.buffer = number

    @property
    def is_constant(self) -> bool:
        """Whether the file holds this tensor's values."""
        return self.nbytes > 0 and not self.raw.isVariable

    @property
    def nbytes(self) -> int:
        """The size of the stored values in bytes, 0 for what is computed at run time."""
        data = self.subgraph.model.raw.buffers[self.buffer].data if self.buffer else None
        return 0 if data is None else len(data)

    def data(self) -> npt.NDArray[Any]:
        """The values of a constant, of ``shape``: often a read-only view, copy to change it.

        4-bit and 2-bit types come as int8 or uint8, bfloat16 as float32.

        Raises:
            ModelError: it is not a constant, or its values have no NumPy form (strings, sparse).
        """
        if not self.is_constant:
            raise ModelError(
                f"The tensor {self.name!r} is not a constant; it has no stored values."
            )
        if self.raw.sparsity is not None:
            raise ModelError(f"The values of {self.name!r} are sparse, which edgekit cannot read.")
        stored = self.subgraph.model.raw.buffers[self.buffer].data
        try:
            return dtypes.decode(stored, self.dtype, self.shape)
        except ValueError as error:
            raise ModelError(f"The values of {self.name!r} cannot be read: {error}.") from error

    def set_data(self, values: npt.NDArray[Any]) -> None:
        """Store new values; the tensor becomes a constant if it was none.

        A buffer shared with another tensor is not touched: this one gets a buffer of its own.

        Raises:
            ValueError: ``values`` has another shape, or another type than `data` gives.
        """
        if values.shape != self.shape:
            raise ValueError(f"{self.name!r} has shape {self.shape}, the values {values.shape}")
        self.subgraph.model.store(self.raw, dtypes.encode(values, self.dtype))


@dataclass(frozen=True)
class Operator:
    """One operator of a subgraph, at ``index`` in the order of execution."""

    subgraph: Subgraph = field(repr=False)
    index: int
    raw: Any = field(repr=False)

    @property
    def name(self) -> str:
        """``CONV_2D`` …, or a custom operator's own name."""
        code = self._code
        name = operator_name(code)
        return text(code.customCode) if name == "CUSTOM" else name

    @property
    def is_custom(self) -> bool:
        """Whether the runtime needs code that is not built into it."""
        return operator_name(self._code) == "CUSTOM"

    @property
    def version(self) -> int:
        """The operator's version: it decides which runtimes can run it."""
        return int(self._code.version)

    @property
    def inputs(self) -> list[Tensor | None]:
        """The inputs, ``None`` where an optional one is left out."""
        return [None if i < 0 else self.subgraph.tensor(i) for i in self.raw.inputs or ()]

    @property
    def outputs(self) -> list[Tensor]:
        """The outputs."""
        return [self.subgraph.tensor(i) for i in self.raw.outputs or ()]

    @property
    def options(self) -> Any:
        """The schema's options object (``Conv2DOptionsT`` …), ``None`` where there is none."""
        return self.raw.builtinOptions or self.raw.builtinOptions2

    @property
    def place(self) -> int:
        """Where it is now in the order of execution, after others have come and gone."""
        return self.subgraph.uses.place(self.raw)

    def read(self, inputs: Sequence[Tensor | None]) -> None:
        """Read other tensors, ``None`` for an optional one that is left out."""
        self._rewire(inputs=[-1 if tensor is None else tensor.index for tensor in inputs])

    def read_at(self, place: int, tensor: Tensor) -> None:
        """Read another tensor as the input at ``place``, which may be the next that is free."""
        now = list(self.raw.inputs or ())
        self._rewire(inputs=[*now[:place], tensor.index, *now[place + 1 :]])

    def write(self, outputs: Sequence[Tensor]) -> None:
        """Write other tensors."""
        self._rewire(outputs=[tensor.index for tensor in outputs])

    def renumber(self, numbers: Mapping[int, int]) -> None:
        """Read and write the tensors of other numbers, where ``numbers`` has one."""
        self._rewire(
            inputs=[numbers.get(index, index) for index in self.raw.inputs or ()],
            outputs=[numbers.get(index, index) for index in self.raw.outputs or ()],
        )

    def _rewire(self, **ends: list[int]) -> None:
        uses = self.subgraph.uses
        uses.leave(self.raw)
        for name, tensors in ends.items():
            setattr(self.raw, name, tensors)
        uses.enter(self.raw)

    @property
    def _code(self) -> Any:
        return self.subgraph.model.raw.operatorCodes[self.raw.opcodeIndex]


@dataclass(frozen=True)
class Subgraph:
    """A graph of the file. Tensors and operators are numbered from 0."""

    model: GraphOwner = field(repr=False)
    index: int
    raw: Any = field(repr=False)

    def tensor(self, index: int) -> Tensor:
        """The tensor with this number."""
        return Tensor(self, index, self.raw.tensors[index])

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors by number."""
        return [self.tensor(index) for index in range(len(self.raw.tensors or ()))]

    @property
    def operators(self) -> list[Operator]:
        """All operators in the order of execution."""
        return [Operator(self, i, raw) for i, raw in enumerate(self.raw.operators or ())]

    @property
    def inputs(self) -> list[Tensor]:
        """The tensors that the caller fills."""
        return [self.tensor(index) for index in self.raw.inputs or ()]

    @property
    def outputs(self) -> list[Tensor]:
        """The tensors that the caller reads."""
        return [self.tensor(index) for index in self.raw.outputs or ()]

    @property
    def uses(self) -> Uses:
        """Who reads and writes what."""
        if self.raw.operators is None:
            self.raw.operators = []
        uses = self.model.uses.get(self.index)
        if uses is None or not uses.is_of(self.raw.operators):
            uses = self.model.uses[self.index] = Uses(self.raw.operators)
        return uses

    def producer(self, tensor: Tensor) -> Operator | None:
        """The operator that computes ``tensor``, ``None`` for inputs and constants."""
        raw = self.uses.writer(tensor.index)
        return None if raw is None else Operator(self, self.uses.place(raw), raw)

    def consumers(self, tensor: Tensor) -> list[Operator]:
        """The operators that read ``tensor``, in the order of execution."""
        uses = self.uses
        return [Operator(self, uses.place(raw), raw) for raw in uses.readers(tensor.index)]

    def holds(self, operator: Operator) -> bool:
        """Whether an operator is (still) part of the graph."""
        return self.uses.holds(operator.raw)

    def remove(self, operators: Iterable[Operator]) -> None:
        """Take operators out; the tensors that they wrote stay."""
        self.uses.remove(operator.raw for operator in operators)

    def redirect(self, old: Tensor, new: Tensor) -> None:
        """Let every operator that reads or writes ``old`` read or write ``new`` instead."""
        writer = self.producer(old)
        for operator in (*self.consumers(old), *([] if writer is None else [writer])):
            operator.renumber({old.index: new.index})

    def replace(
        self,
        operator: Operator,
        name: str,
        inputs: Sequence[Tensor | None],
        *,
        options: Any = None,
        version: int = 1,
    ) -> Operator:
        """Put another operator in the place of one; it computes the same tensors."""
        place, outputs = operator.place, operator.outputs
        self.remove([operator])
        return self.insert_operator(place, name, inputs, outputs, options=options, version=version)

    def add_tensor(
        self, name: str, shape: Sequence[int], dtype: str, data: npt.NDArray[Any] | None = None
    ) -> Tensor:
        """Append a tensor, a constant where ``data`` is given.

        Raises:
            ValueError: the schema has no such type, or the data does not fit.
        """
        from ai_edge_litert.schema_py_generated import TensorT

        raw = TensorT(name=name, shape=list(shape), type=dtypes.code_of(dtype), hasRank=True)
        self.raw.tensors = self.raw.tensors or []
        self.raw.tensors.append(raw)
        self.model.use_buffer(None, 0)
        tensor = Tensor(self, len(self.raw.tensors) - 1, raw)
        if data is not None:
            tensor.set_data(data)
        return tensor

    def insert_operator(
        self,
        index: int,
        name: str,
        inputs: Sequence[Tensor | None],
        outputs: Sequence[Tensor],
        *,
        options: Any = None,
        version: int = 1,
    ) -> Operator:
        """Insert a built-in operator before the one at ``index``.

        Args:
            index: the place in the order of execution.
            name: as in the schema's ``BuiltinOperator``, for example ``MAXIMUM``.
            inputs: ``None`` for an optional input that is left out.
            outputs: the tensors it computes.
            options: the schema's options object, for example ``MaximumMinimumOptionsT()``.
            version: the lowest operator version that supports the types in use.

        Raises:
            ValueError: the schema knows no such operator, or no such options.
        """
        from ai_edge_litert.schema_py_generated import OperatorT

        raw = OperatorT(
            opcodeIndex=self.model.operator_code(name, version),
            inputs=[-1 if tensor is None else tensor.index for tensor in inputs],
            outputs=[tensor.index for tensor in outputs],
        )
        if options is not None:
            set_options(raw, options)
        self.uses.insert(index, raw)
        return Operator(self, index, raw)
