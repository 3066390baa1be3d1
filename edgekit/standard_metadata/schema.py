"""The tables of the TFLite Metadata schema (identifier ``M001``), as far as edgekit writes them.

Slots are the fields' places in the schema's tables; fields that edgekit has nothing to say about
are left out. https://ai.google.dev/edge/litert/conversion/tensorflow/metadata explains the fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from edgekit.standard_metadata.tables import Table, TableNumber, TableNumbers

IDENTIFIER = b"M001"
ENTRY = "TFLITE_METADATA"
"""The name of the entry in the `.tflite`."""

LabelsOf: TypeAlias = Literal["axis", "value"]
_LABELS: dict[LabelsOf, int] = {"axis": 2, "value": 3}
"""TENSOR_AXIS_LABELS: line n names entry n. TENSOR_VALUE_LABELS: it names the value n."""
ColorSpace: TypeAlias = Literal["unknown", "RGB", "GRAY"]
_COLORS: dict[ColorSpace, int] = {"unknown": 0, "RGB": 1, "GRAY": 2}
_FEATURE, _IMAGE, _BOXES = 1, 2, 3  # members of the union ContentProperties
_NORMALIZATION, _THRESHOLD = 1, 3  # members of the union ProcessUnitOptions
_BOUNDARIES = 1
_RATIO, _PIXEL = 0, 1


def model(name: str, description: str, graph: Table, *, min_parser_version: str) -> Table:
    """``ModelMetadata``, the root."""
    return Table({0: name, 1: description, 3: [graph], 7: min_parser_version})


def graph(
    inputs: Sequence[Table],
    outputs: Sequence[Table],
    groups: Sequence[Table],
    custom: Sequence[Table],
) -> Table:
    """``SubGraphMetadata``; inputs and outputs in the file's order."""
    return Table({2: inputs, 3: outputs, 8: groups, 9: custom})


def tensor(
    name: str,
    description: str,
    *,
    content: Table,
    units: Sequence[Table] = (),
    stats: Table | None = None,
    files: Sequence[Table] = (),
) -> Table:
    """``TensorMetadata``."""
    return Table({0: name, 1: description, 3: content, 4: units, 5: stats, 6: files})


def labels_file(name: str, description: str, of: LabelsOf) -> Table:
    """``AssociatedFile`` with one label a line."""
    return Table({0: name, 1: description, 2: TableNumber(kind="int8", value=_LABELS[of])})


def feature() -> Table:
    """``Content`` of any tensor without a more exact meaning."""
    return _content(_FEATURE, Table())


def image(color: ColorSpace, height: int, width: int) -> Table:
    """``Content`` of a picture, with its size."""
    size = Table(
        {0: TableNumber(kind="uint32", value=width), 1: TableNumber(kind="uint32", value=height)}
    )
    return _content(_IMAGE, Table({0: TableNumber(kind="int8", value=_COLORS[color]), 1: size}))


def boxes(order: Sequence[int], *, normalized: bool) -> Table:
    """``Content`` of boxes given by their boundaries.

    Args:
        order: where left, top, right and bottom are among the four numbers.
        normalized: they are fractions of the picture, not pixels.
    """
    properties = Table(
        {
            0: TableNumbers(kind="uint32", values=order),
            1: TableNumber(kind="int8", value=_BOUNDARIES),
            2: TableNumber(kind="int8", value=_RATIO if normalized else _PIXEL),
        }
    )
    return _content(_BOXES, properties, range_=(2, 2))


def normalization(mean: Sequence[float], std: Sequence[float]) -> Table:
    """``ProcessUnit``: ``(pixel - mean) / std``; one value, or one for each channel."""
    options = Table(
        {0: TableNumbers(kind="float32", values=mean), 1: TableNumbers(kind="float32", values=std)}
    )
    return _unit(_NORMALIZATION, options)


def threshold(score: float) -> Table:
    """``ProcessUnit``: what scores less is left out."""
    return _unit(_THRESHOLD, Table({0: TableNumber(kind="float32", value=score)}))


def stats(low: float, high: float) -> Table:
    """``Stats``: the least and the largest value."""
    return Table(
        {
            0: TableNumbers(kind="float32", values=[high]),
            1: TableNumbers(kind="float32", values=[low]),
        }
    )


def group(name: str, tensors: Sequence[str]) -> Table:
    """``TensorGroup``: tensors that tell of the same things."""
    return Table({0: name, 1: tensors})


def custom(name: str, data: bytes) -> Table:
    """``CustomMetadata``: bytes that one task's programs understand."""
    return Table({0: name, 1: data})


def _content(kind: int, properties: Table, range_: tuple[int, int] | None = None) -> Table:
    limits = None
    if range_ is not None:
        limits = Table({n: TableNumber(kind="int32", value=end) for n, end in enumerate(range_)})
    return Table({0: TableNumber(kind="uint8", value=kind), 1: properties, 2: limits})


def _unit(kind: int, options: Table) -> Table:
    return Table({0: TableNumber(kind="uint8", value=kind), 1: options})
