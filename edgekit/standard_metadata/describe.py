"""From a contract to the schema's tables, and the files of labels that they name."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgekit.contract import Contract, InputContract, OutputContract, image_axes
from edgekit.standard_metadata import detectors, schema, tasks
from edgekit.standard_metadata.tables import Table

_CLASSIC, _WITH_CUSTOM = "1.0.0", "1.5.0"
"""The schema's versions that a reader must know."""


@dataclass(kw_only=True)
class Description:
    """The root table, and the files that it names, by name."""

    model: Table
    files: dict[str, bytes] = field(default_factory=dict)


def describe(contract: Contract, name: str) -> Description | None:
    """What the schema can say about a file; ``None`` where that is nothing.

    Args:
        contract: as it holds for the file.
        name: of the model.
    """
    if contract.task is None and not any(entry.preprocess for entry in contract.inputs):
        return None
    files: dict[str, bytes] = {}
    inputs = [_input(entry) for entry in contract.inputs]
    outputs, groups, custom = _outputs(contract, files)
    root = schema.model(
        name,
        f"{(contract.task or 'model').capitalize()}, converted and compared by edgekit.",
        schema.graph(inputs, outputs, groups, custom),
        min_parser_version=_WITH_CUSTOM if custom else _CLASSIC,
    )
    return Description(model=root, files=files)


def _input(entry: InputContract) -> Table:
    tensor, preprocess = entry.tensor, entry.preprocess
    axes = image_axes(tensor)
    if preprocess is None or axes is None:
        return schema.tensor(tensor.name, "Input.", content=schema.feature())
    height, width, channels = (tensor.shape[axis] or 0 for axis in axes)
    color = preprocess.color
    # The schema has no word for BGR.
    space: schema.ColorSpace = "unknown" if color == "BGR" else color
    mean = [value / preprocess.scale for value in preprocess.mean]
    std = [value / preprocess.scale for value in preprocess.std]
    if len(mean) != len(std):
        mean, std = ((one * channels if len(one) == 1 else one) for one in (mean, std))
    what = "raw pixels" if entry.folded else "pixels"
    return schema.tensor(
        tensor.name,
        f"A {color} picture of {height}×{width} {what}.",
        content=schema.image(space, height, width),
        units=[schema.normalization(mean, std)],
        stats=schema.stats(*preprocess.value_range),
    )


def _outputs(
    contract: Contract, files: dict[str, bytes]
) -> tuple[list[Table], list[Table], list[Table]]:
    """The outputs' tables, their groups, and entries for single tasks; adds to ``files``."""
    if contract.task == "detection" and (known := detectors.roles(contract)):
        named = next((one for one in contract.outputs if one.labels), None)
        decoder = next(one.decoder for one in contract.outputs if one.decoder)
        labels = detectors.value_labels(decoder, named.labels) if named else ()
        if labels:
            files[detectors.LABELS] = _lines(labels)
        return detectors.outputs(contract, known, labels)
    custom = [tasks.segmenter()] if contract.task == "segmentation" else []
    tables = [_output(entry, place, files) for place, entry in enumerate(contract.outputs)]
    return tables, [], custom


def _output(entry: OutputContract, place: int, files: dict[str, bytes]) -> Table:
    name = f"labels{place or ''}.txt"
    named = []
    if entry.labels and _classes(entry) in (len(entry.labels), None):
        files[name] = _lines(entry.labels)
        named.append(schema.labels_file(name, "The names of the classes.", "axis"))
    return schema.tensor(
        entry.tensor.name,
        f"{(entry.task or 'output').capitalize()}.",
        content=schema.feature(),
        files=named,
    )


def _classes(entry: OutputContract) -> int | None:
    """How many classes the output tells apart; ``None`` where it names one by its number."""
    shape = entry.tensor.shape
    if entry.task == "segmentation":
        axes = image_axes(entry.tensor)
        return None if axes is None else shape[axes[2]]
    return shape[-1] if shape else None


def _lines(labels: tuple[str, ...]) -> bytes:
    """One label a line; a line break within a label would make two of it."""
    return "".join(" ".join(label.splitlines()) + "\n" for label in labels).encode()
