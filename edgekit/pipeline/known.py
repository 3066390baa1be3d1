"""What a model brings along about feeding it, and saying so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from edgekit.contract import Contract
from edgekit.presets import Preset
from edgekit.presets.keras_layers import from_layers
from edgekit.presets.objects import preset_of_source
from edgekit.presets.onnx_metadata import from_properties


def told_preset(described: Mapping[str, Any]) -> Preset | None:
    """The preset in what a worker tells of a model: its source's notes, its properties, or layers.

    Raises:
        UsageError: the notes of a source have no form that is known.
    """
    if notes := described.get("preset_notes"):
        return preset_of_source(notes)
    if metadata := described.get("metadata"):
        return from_properties(metadata)
    return from_layers([(kind, config) for kind, config in described.get("first_layers", ())])


def preset_words(contract: Contract, preset: Preset) -> Iterator[str]:
    """Each picture input's preprocessing with who says each value, and what the output means."""
    for entry in contract.inputs:
        if entry.preprocess is None or not any(
            origin.startswith(preset.origin) for origin in entry.origins.values()
        ):
            continue
        said = [
            f"{key} {_value(getattr(entry.preprocess, key))} ({_short(origin, preset)})"
            for key, origin in entry.origins.items()
        ]
        yield f"Input {entry.tensor.name}, from {preset.origin}: {', '.join(said)}."
    if contract.outputs and preset.task and contract.outputs[0].task == preset.task:
        first = contract.outputs[0]
        taken = bool(first.labels) and first.labels == preset.labels
        named = f", {len(first.labels)} labels" if taken else ""
        yield f"Output {first.tensor.name}, from {preset.origin}: {preset.task}{named}."


def _short(origin: str, preset: Preset) -> str:
    return origin.removeprefix(preset.origin).removeprefix(": ") or "so stated there"


def _value(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return f"1/{1 / value:g}" if 0 < value < 1 and (1 / value) % 0.5 == 0 else f"{value:g}"
        case tuple() if all(type(one) is int for one in value) and len(value) == 2:
            return "x".join(map(str, value))
        case tuple():
            return " ".join(f"{one:g}" for one in value)
        case _:
            return str(value)
