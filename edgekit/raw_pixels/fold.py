"""Puts a normalisation into the graph, behind an input that then takes raw pixels.

Into the first convolution where that is exact (w' = w · gain, b' = b + Σ w · shift, channels in the
order they are fed), else as operators in front of everything. Padding with zeros between the input
and the convolution becomes padding with the pixels that were zero (`edgekit.raw_pixels.borders`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from edgekit.raw_pixels import borders
from edgekit.raw_pixels.normalization import WHITE, Normalization
from edgekit.tflite.model import Model, Operator, Subgraph, Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Folded:
    """What was done for one input.

    Attributes:
        input: its name in the file.
        how: where the normalisation went: into the first convolution, or ``in front`` of all; or
            there was ``nothing`` to do.
        operator: the name of the convolution's output, or of the operators that were added.
        added: the kinds of the operators that were added, borders among them.
        why: why it did not go into a convolution; empty where it did.
    """

    input: str
    how: Literal["convolution", "in front", "nothing"]
    operator: str = ""
    added: tuple[str, ...] = ()
    why: str = ""

    def __str__(self) -> str:
        """In words, for the report."""
        if self.how == "nothing":
            return f"Input {self.input} took raw pixels already."
        added = ", ".join(self.added)
        if self.how == "in front":
            return (
                f"Input {self.input} takes raw pixels; {added} in front of the graph normalises "
                f"them, since {self.why}."
            )
        border = f"; {added} for its border" if added else ""
        return f"Input {self.input} takes raw pixels: folded into {self.operator}{border}."


@dataclass(frozen=True, kw_only=True)
class _Path:
    """From the input to the first convolution."""

    picture: Tensor
    pads: tuple[Operator, ...]
    convolution: Operator
    padding: borders.Padding


class _Unfoldable(Exception):
    """Why a normalisation does not go into a convolution."""


def fold(model: Model, number: int, normalization: Normalization, axis: int) -> Folded:
    """Let an input take raw pixels 0…255, within ``model``.

    The input and what pads it state their range (`edgekit.tflite.graph.Tensor.stated_range`), so
    that 8 bits store each pixel as it is.

    Args:
        model: a float model.
        number: of the input.
        normalization: from the pixels that are fed to the values that the model wants.
        axis: of the input's channels.
    """
    graph = model.main
    tensor = graph.inputs[number]
    try:
        found = None if normalization.is_identity else _path(graph, tensor, normalization, axis)
    except _Unfoldable as reason:
        added = _put_in_front(graph, tensor, normalization, axis)
        folded = Folded(
            input=tensor.name, how="in front", operator=tensor.name, added=added, why=str(reason)
        )
    else:
        if found is None:
            folded = Folded(input=tensor.name, how="nothing")
        else:
            for picture in (found.picture, *(pad.outputs[0] for pad in found.pads)):
                picture.state_range(0.0, WHITE)
            added = _into(graph, found, normalization)
            name = found.convolution.outputs[0].name
            folded = Folded(input=tensor.name, how="convolution", operator=name, added=added)
    tensor.state_range(0.0, WHITE)
    return folded


def _path(graph: Subgraph, tensor: Tensor, normalization: Normalization, axis: int) -> _Path:
    """The only way from the input to a convolution that can take the normalisation.

    Raises:
        _Unfoldable: there is none.
    """
    pads: list[Operator] = []
    picture, padding = tensor, borders.Padding()
    while True:
        operator = _only_reader(graph, pads[-1].outputs[0] if pads else picture)
        if operator.name == "TRANSPOSE" and not pads:
            axis = _transposed(operator, axis)
            picture = operator.outputs[0]
        elif operator.name == "PAD":
            more = borders.of_pad(operator)
            if more is None or axis != 3:
                raise _Unfoldable("its padding is not that of a picture")
            pads.append(operator)
            padding += more
        else:
            break
    if axis != 3:
        raise _Unfoldable(f"its channels are axis {axis} where {operator.name} reads it")
    _check_convolution(operator, normalization)
    size = (pads[-1].outputs[0] if pads else picture).shape[1:3]
    kernel = operator.inputs[1].shape[1:3]  # type: ignore[union-attr]
    padding += borders.of_convolution(operator, (size[0], size[1]), (kernel[0], kernel[1]))
    if padding and not all(0 <= zero <= WHITE for zero in normalization.zeros):
        raise _Unfoldable("no pixel is zero after normalisation, which the border needs")
    return _Path(picture=picture, pads=tuple(pads), convolution=operator, padding=padding)


def _only_reader(graph: Subgraph, tensor: Tensor) -> Operator:
    readers = graph.consumers(tensor)
    if len(readers) != 1 or tensor.index in graph.raw.outputs:
        raise _Unfoldable(f"{len(readers)} operators read it" if readers else "nothing reads it")
    return readers[0]


def _transposed(operator: Operator, axis: int) -> int:
    order = operator.inputs[1]
    if order is None or not order.is_constant:
        raise _Unfoldable("its axes are turned by computed amounts")
    place: int = order.data().tolist().index(axis)
    return place


def _check_convolution(operator: Operator, normalization: Normalization) -> None:
    """Only weights that are known, and that each read one channel of the picture."""
    if operator.name not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        raise _Unfoldable(f"{operator.name} reads it first")
    constants = operator.inputs[1:]
    if any(t is not None and (not t.is_constant or t.dtype != "float32") for t in constants):
        raise _Unfoldable(f"the weights of {operator.outputs[0].name} are not stored as float32")
    weights = operator.inputs[1]
    assert weights is not None
    channels = len(normalization.order)
    if operator.name == "DEPTHWISE_CONV_2D" and normalization.swaps:
        raise _Unfoldable("DEPTHWISE_CONV_2D reads it first, which cannot swap colours")
    if operator.name == "CONV_2D" and weights.shape[3] != channels:
        raise _Unfoldable("a convolution with groups reads it first")


def _into(graph: Subgraph, path: _Path, normalization: Normalization) -> tuple[str, ...]:
    """Change weights, bias and padding; the kinds of operators that the border takes."""
    import numpy as np

    operator = path.convolution
    weights = operator.inputs[1]
    assert weights is not None
    values = weights.data().astype(np.float64)
    if operator.name == "CONV_2D":
        gains, shifts = np.array(normalization.gains), np.array(normalization.shifts)
        lifted = (values * shifts).sum(axis=(1, 2, 3))
        scaled = np.empty_like(values)
        scaled[..., list(normalization.order)] = values * gains
    else:  # (1, height, width, channels · multiplier), the outputs of a channel side by side
        times = values.shape[3] // len(normalization.order)
        gains, shifts = (np.repeat(v, times) for v in (normalization.gains, normalization.shifts))
        lifted = (values * shifts).sum(axis=(0, 1, 2))
        scaled = values * gains
    _set_constant(graph, operator, 1, scaled)
    bias = operator.inputs[2] if len(operator.raw.inputs) > 2 else None
    _set_constant(graph, operator, 2, lifted + (0.0 if bias is None else bias.data()))
    if not path.padding or not any(normalization.shifts):
        return ()
    return _replace_border(graph, path, normalization)


def _set_constant(graph: Subgraph, operator: Operator, place: int, values: Array) -> None:
    """Change a constant of an operator, which gets one of its own where others read it too."""
    import numpy as np

    inputs = operator.raw.inputs
    known = operator.inputs[place] if place < len(inputs) else None
    if known is not None and len(graph.consumers(known)) == 1:
        known.set_data(values.astype(np.float32))
        return
    name = f"{operator.outputs[0].name}/{'weights' if place == 1 else 'bias'}"
    tensor = graph.add_tensor(name, values.shape, "float32", values.astype(np.float32))
    operator.read_at(place, tensor)


def _replace_border(graph: Subgraph, path: _Path, normalization: Normalization) -> tuple[str, ...]:
    """Put a border of the right pixels in the place of every PAD and of SAME padding."""
    operator, before = path.convolution, len(graph.raw.operators)
    padded = borders.add_border(graph, operator, path.picture, normalization.zeros, path.padding)
    added = len(graph.raw.operators) - before
    for place in range(operator.index, operator.index + added):
        graph.operators[place].outputs[0].state_range(0.0, WHITE)
    operator.read_at(0, padded)
    operator.raw.builtinOptions.padding = borders.VALID
    graph.remove(path.pads)
    return ("CONCATENATION",) * added


def _put_in_front(
    graph: Subgraph, tensor: Tensor, normalization: Normalization, axis: int
) -> tuple[str, ...]:
    """Operators that normalise, between the input and everything that read it."""
    readers = graph.consumers(tensor)
    values = graph.add_tensor(f"{tensor.name}/normalized", tensor.shape, "float32")
    for reader in readers:
        reader.renumber({tensor.index: values.index})
    if axis == 3 and len(tensor.shape) == 4:
        return _convolve(graph, tensor, values, normalization)
    return _compute(graph, tensor, values, normalization, axis)


def _convolve(
    graph: Subgraph, tensor: Tensor, values: Tensor, normalization: Normalization
) -> tuple[str, ...]:
    """One convolution of a single pixel, which rounds once in 8 bits."""
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    channels = len(normalization.order)
    gains = np.array(normalization.gains, np.float32)
    bias = np.array(normalization.shifts, np.float32)
    options: Any
    if normalization.swaps:
        name, options = "CONV_2D", schema.Conv2DOptionsT()
        weights = np.zeros((channels, 1, 1, channels), np.float32)
        weights[range(channels), 0, 0, list(normalization.order)] = gains
    else:
        name, options = "DEPTHWISE_CONV_2D", schema.DepthwiseConv2DOptionsT()
        options.depthMultiplier = 1
        weights = gains.reshape(1, 1, 1, channels)
    options.padding = borders.VALID
    options.strideW = options.strideH = 1
    constants = [
        graph.add_tensor(f"{values.name}/weights", weights.shape, "float32", weights),
        graph.add_tensor(f"{values.name}/bias", bias.shape, "float32", bias),
    ]
    graph.insert_operator(0, name, [tensor, *constants], [values], options=options)
    return (name,)


def _compute(
    graph: Subgraph, tensor: Tensor, values: Tensor, normalization: Normalization, axis: int
) -> tuple[str, ...]:
    """For other axes than a convolution's: GATHER where colours change places, MUL and ADD."""
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    shape = [1] * len(tensor.shape)
    shape[axis] = len(normalization.order)
    steps: list[tuple[str, Array, Any]] = []
    if normalization.swaps:
        options = schema.GatherOptionsT()
        options.axis = axis
        steps.append(("GATHER", np.array(normalization.order, np.int32), options))
    gains, shifts = (
        np.array(one, np.float32).reshape(shape)
        for one in (normalization.gains, normalization.shifts)
    )
    steps += [("MUL", gains, schema.MulOptionsT()), ("ADD", shifts, schema.AddOptionsT())]
    current = tensor
    for place, (name, constant, options) in enumerate(steps):
        stated = graph.add_tensor(
            f"{values.name}/{name.lower()}", constant.shape, str(constant.dtype), constant
        )
        last = place == len(steps) - 1
        made = values if last else graph.add_tensor(f"{stated.name}_out", tensor.shape, "float32")
        graph.insert_operator(place, name, [current, stated], [made], options=options)
        if name == "GATHER":
            made.state_range(0.0, WHITE)
        current = made
    return tuple(name for name, _, _ in steps)
