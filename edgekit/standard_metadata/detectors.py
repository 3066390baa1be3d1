"""The outputs of detectors, for which the schema has names of their own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.contract import Contract, Decoder, OutputContract, image_axes
from edgekit.standard_metadata import schema, tasks
from edgekit.standard_metadata.tables import Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

LABELS = "labels.txt"
_EDGES = {"yxyx": (1, 0, 3, 2), "xyxy": (0, 1, 2, 3)}
"""Where left, top, right and bottom are among a box's four numbers."""


def roles(contract: Contract) -> dict[str, str]:
    """What the schema calls each output of a detector, by its own name.

    Empty where the outputs are none that the schema knows: four of a model that selects boxes by
    itself (format ``boxes``), or two whose boxes are offsets to anchors (format ``ssd``).
    """
    entry = next((one for one in contract.outputs if one.decoder), None)
    decoder = entry.decoder if entry else None
    if entry is None or decoder is None:
        return {}
    order = decoder.box or "yxyx"
    if decoder.format == "boxes" and decoder.count and order in _EDGES:
        named: tuple[str | None, ...] = (
            entry.tensor.name,
            decoder.classes,
            decoder.scores,
            decoder.count,
        )
        known: tuple[str, ...] = ("location", "category", "score", "number of detections")
    elif decoder.format == "ssd" and _anchors(contract, decoder) is not None and order == "yxyx":
        named, known = (entry.tensor.name, decoder.scores), ("location", "score")
    else:
        return {}
    found = {name: role for name, role in zip(named, known, strict=True) if name}
    return found if set(found) == {one.tensor.name for one in contract.outputs} else {}


def outputs(
    contract: Contract, known: dict[str, str], labels: tuple[str, ...]
) -> tuple[list[Table], list[Table], list[Table]]:
    """The outputs' tables in the file's order, their group, and MediaPipe's own entry.

    Args:
        contract: of a detector.
        known: its `roles`.
        labels: of the file that is named where classes are told apart; empty where there is none.
    """
    decoder = next(one.decoder for one in contract.outputs if one.decoder)
    tables = [_output(entry, known, decoder, labels) for entry in contract.outputs]
    groups, custom = [], []
    if "category" in known.values():
        groups.append(schema.group("detection_result", ["location", "category", "score"]))
    else:
        anchors = _anchors(contract, decoder)
        scores = next(o for o in contract.outputs if known[o.tensor.name] == "score")
        assert anchors is not None
        custom.append(tasks.detector(decoder, anchors, scores.tensor.shape[-1] or 0))
    return tables, groups, custom


def value_labels(decoder: Decoder, labels: tuple[str, ...]) -> tuple[str, ...]:
    """The labels by the numbers that the model gives, which count the background too."""
    if decoder.background is None or not labels:
        return labels
    return *labels[: decoder.background], "background", *labels[decoder.background :]


def _output(
    entry: OutputContract, known: dict[str, str], decoder: Decoder, labels: tuple[str, ...]
) -> Table:
    role = known[entry.tensor.name]
    by_axis = role == "score" and "category" not in known.values()
    named = []
    if labels and (role == "category" or by_axis):
        of: schema.LabelsOf = "axis" if by_axis else "value"
        named.append(schema.labels_file(LABELS, "The names of the classes.", of))
    content = schema.feature()
    if role == "location":
        edges = _EDGES[decoder.box or "yxyx"]
        # Offsets to anchors become shares of the picture when they are decoded.
        shares = decoder.normalized or "category" not in known.values()
        content = schema.boxes(edges, normalized=shares)
    units = [schema.threshold(decoder.score_threshold)] if role == "score" else []
    return schema.tensor(role, _DESCRIPTIONS[role], content=content, units=units, files=named)


_DESCRIPTIONS = {
    "location": "The boxes.",
    "category": "The number of each box's class.",
    "score": "The score of each box.",
    "number of detections": "How many boxes there are.",
}


def _anchors(contract: Contract, decoder: Decoder) -> Array | None:
    """(N, 4) as shares of the picture; ``None`` where there are none, or they cannot be read."""
    import numpy as np

    if not decoder.anchors or decoder.background is not None or decoder.activation == "softmax":
        return None
    try:
        anchors: Array = np.load(Path(decoder.anchors), allow_pickle=False)
    except (OSError, ValueError):
        return None
    if anchors.ndim != 2 or anchors.shape[1] != 4:
        return None
    sizes = [axes for one in contract.inputs if (axes := image_axes(one.tensor))]
    if decoder.normalized or not sizes:
        return anchors
    height, width = (contract.inputs[0].tensor.shape[axis] or 1 for axis in sizes[0][:2])
    return np.asarray(anchors / np.array([width, height, width, height]))
