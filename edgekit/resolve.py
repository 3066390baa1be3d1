"""Completing the contract: what the model tells, then ``edgekit.toml``, then flags.

What a model tells is its tensors, and what its makers wrote down about it (`edgekit.presets`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar, cast

from edgekit.config import Config, read_labels
from edgekit.contract import (
    LETTERBOX,
    Contract,
    InputContract,
    OutputContract,
    Task,
    check_elements,
    check_label_count,
    decoder_from_table,
    image_axes,
    is_of_sequence,
    preprocess_from_table,
    sequence_from_table,
)
from edgekit.errors import UsageError
from edgekit.presets import Preset
from edgekit.types import Layout, TensorSpec

_Entry = TypeVar("_Entry", InputContract, OutputContract)


def resolve(
    described_inputs: tuple[TensorSpec, ...],
    described_outputs: tuple[TensorSpec, ...],
    *,
    config: Config,
    inputs: tuple[TensorSpec, ...] = (),
    preprocess: Mapping[str, Any] | None = None,
    task: Task | None = None,
    labels: tuple[str, ...] = (),
    embedded: Contract | None = None,
    preset: Preset | None = None,
) -> Contract:
    """Complete what the model tells with ``edgekit.toml`` and then with flags.

    Names match by name; where ``edgekit.toml`` has exactly as many inputs as the model and no name
    matches, they match by position. The model's own names are kept.

    Args:
        described_inputs: what the model tells about its inputs (shapes may be open).
        described_outputs: the same for the outputs.
        config: the parsed ``edgekit.toml`` (an empty `Config` where there is none).
        inputs: ``--input`` flags.
        preprocess: preprocessing flags, for the only (or every) picture input.
        task: ``--task``, for the first output.
        labels: the names of the classes, for the first output.
        embedded: the contract inside a `.tflite` source; everything else wins over it.
        preset: what the model's makers wrote down; everything else wins over it, ``embedded`` too.

    Raises:
        UsageError: an open dimension remains, or what was given contradicts the model or names an
            input that it does not have; or the preset says what no contract can, and nobody said
            what to do instead.
    """
    given = {
        name: TensorSpec(
            name=name,
            shape=tuple(table["shape"]) if "shape" in table else (),
            dtype=table.get("dtype", "float32"),
            layout=table.get("layout"),
        )
        for name, table in config.inputs.items()
    }
    for flag in inputs:
        before = given.get(flag.name)
        layout = flag.layout or (before.layout if before else None)
        given[flag.name] = replace(flag, layout=layout)
    names = {spec.name for spec in described_inputs}
    _refuse_unknown([flag.name for flag in inputs if flag.name not in names], names)
    matched = _match_names(described_inputs, given)
    embedded_inputs = _embedded(
        [spec.name for spec in described_inputs],
        {entry.tensor.name: entry for entry in embedded.inputs} if embedded else {},
    )
    resolved = []
    for spec in described_inputs:
        user = matched.get(spec.name)
        tensor = _merge(spec, user) if user else _fix_batch(spec)
        _require_static(tensor)
        stated = config.inputs.get(user.name if user else spec.name, {}).get("preprocess", {})
        earlier = embedded_inputs.get(spec.name)
        flags = preprocess or {}
        layers: dict[str, Mapping[str, Any]] = {}
        if earlier and earlier.preprocess:
            layers["the contract in the file"] = asdict(earlier.preprocess)
        elif preset and _picture_axes(tensor):
            layers[preset.origin] = _preset_table(preset, tensor, stated=bool(stated or flags))
        layers |= {"edgekit.toml": stated, "stated": flags}
        table = _layered(*layers.values())
        if stated and _picture_axes(tensor) is None:
            raise UsageError(
                f"Input {spec.name} of shape {_show(tensor.shape)} is not a picture (1 × height × "
                "width × 1, 3 or 4 channels), so it cannot be preprocessed as one.",
                cure=f"Remove preprocess from [inputs.{user.name if user else spec.name}].",
            )
        origins = _origins(layers, table, preset)
        entry = replace(_with_preprocess(tensor, table), origins=origins)
        if earlier is not None:
            entry = replace(entry, folded=earlier.folded)
            if earlier.preprocess and not {"scale", "mean", "std"} & {*stated, *flags}:
                entry = replace(entry, assumed=earlier.assumed)  # a guess stays one
        resolved.append(entry)
    outputs = _resolve_outputs(described_outputs, config, task, labels, embedded)
    return Contract(
        inputs=tuple(resolved), outputs=_with_meaning(outputs, preset if not embedded else None)
    )


def _preset_table(preset: Preset, tensor: TensorSpec, *, stated: bool) -> Mapping[str, Any]:
    """The preset for an input of this size; nothing where it says what a contract cannot."""
    axes = _picture_axes(tensor)
    assert axes is not None
    if not preset.unknown:
        return preset.for_size(cast(int, tensor.shape[axes[0]]), cast(int, tensor.shape[axes[1]]))
    if not stated:
        raise UsageError(
            f"How pictures become input {tensor.name} stands in {preset.origin}, but edgekit does "
            f"not know all of it: {'; '.join(preset.unknown)}.",
            cure="State what comes closest: --resize, --crop, --scale, --mean, --std; it is then "
            "taken in its place.",
        )
    return {}


def _origins(
    layers: Mapping[str, Mapping[str, Any]], table: Mapping[str, Any], preset: Preset | None
) -> dict[str, str]:
    """Who says each value: the last layer that has it."""
    found = {key: name for name, layer in layers.items() for key in layer if key in table}
    if preset is None:
        return found
    return {k: preset.said_by(k) if name == preset.origin else name for k, name in found.items()}


def _with_meaning(
    outputs: tuple[OutputContract, ...], preset: Preset | None
) -> tuple[OutputContract, ...]:
    """The outputs with what the preset says of the first, where nobody said anything else."""
    if preset is None or not outputs:
        return outputs
    first, *others = outputs
    meant = replace(
        first,
        task=first.task or preset.task,
        labels=first.labels or preset.labels,
        decoder=first.decoder or (preset.decoder if not others else None),
    )
    try:
        check_label_count(meant)
    except UsageError:  # trained further on other classes
        meant = replace(meant, labels=first.labels)
    return (meant, *others)


def _resolve_outputs(
    described: tuple[TensorSpec, ...],
    config: Config,
    task: Task | None,
    labels: tuple[str, ...],
    embedded: Contract | None,
) -> tuple[OutputContract, ...]:
    names = [spec.name for spec in described]
    tables = _match_outputs(names, config.outputs)
    earlier = _embedded(
        names, {entry.tensor.name: entry for entry in embedded.outputs} if embedded else {}
    )
    outputs = []
    for index, spec in enumerate(described):
        table = tables.get(spec.name, {})
        before = earlier.get(spec.name, OutputContract(tensor=spec))
        own_labels = _labels(table["labels"]) if "labels" in table else before.labels
        outputs.append(
            OutputContract(
                tensor=spec,
                task=(task if index == 0 and task else table.get("task", before.task)),
                labels=labels if index == 0 and labels else own_labels,
                **_decoders(table, before),
            )
        )
        check_label_count(outputs[-1])
    return tuple(outputs)


def _decoders(table: Mapping[str, Any], before: OutputContract) -> dict[str, Any]:
    """How the output is read, by the ``decoder`` of its table, else as it was."""
    if "decoder" not in table:
        return {"decoder": before.decoder, "sequence": before.sequence}
    if is_of_sequence(table["decoder"]):
        return {"sequence": sequence_from_table(table["decoder"])}
    return {"decoder": decoder_from_table(table["decoder"])}


def _match_outputs(
    names: list[str], stated: Mapping[str, Mapping[str, Any]]
) -> Mapping[str, Mapping[str, Any]]:
    """The tables of ``[outputs]`` by the model's names; by place where no name matches."""
    unknown = sorted(set(stated) - set(names))
    if not unknown:
        return stated
    if len(unknown) == len(stated) and len(stated) in (1, len(names)):
        return dict(zip(names, stated.values(), strict=False))
    raise UsageError(
        f"The model has no output named {', '.join(unknown)}.",
        cure=f"Its outputs are: {', '.join(names)}",
    )


def _layered(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of all layers, later ones first; a crop and a letterbox take each other's place."""
    table: dict[str, Any] = {}
    for layer in layers:
        if layer.get("letterbox"):
            table.pop("crop", None)
        elif layer.get("crop") or layer.get("letterbox") is False:
            for name in LETTERBOX:
                table.pop(name, None)
        table |= layer
    return table


def _picture_axes(tensor: TensorSpec) -> tuple[int, int, int] | None:
    axes = image_axes(tensor)
    return axes if axes is not None and tensor.shape[axes[2]] in (1, 3, 4) else None


def _with_preprocess(tensor: TensorSpec, table: dict[str, Any]) -> InputContract:
    axes = _picture_axes(tensor)
    if axes is None:
        return InputContract(tensor=tensor)
    layout: Layout = "NCHW" if axes[2] == 1 else "NHWC"
    height, width = cast(int, tensor.shape[axes[0]]), cast(int, tensor.shape[axes[1]])
    assumed = []
    unscaled = not {"scale", "mean", "std"} & set(table)
    if unscaled and tensor.dtype.startswith("float"):  # integer inputs take the pixels as they are
        table["scale"] = 1 / 255
        assumed.append("pixel values are scaled to 0…1 (no --scale, --mean or --std was given)")
    if "resize" not in table and "crop" not in table:
        table["resize"] = (height, width)
    if "color" not in table and tensor.shape[axes[2]] == 1:
        table["color"] = "GRAY"
    return InputContract(
        tensor=replace(tensor, layout=layout),
        preprocess=preprocess_from_table(table),
        assumed=tuple(assumed),
    )


def _embedded(names: list[str], entries: dict[str, _Entry]) -> dict[str, _Entry]:
    """What a file's contract says about its tensors, by the names that the file itself tells.

    The contract keeps the framework's names, a TFLite file may tell others: then the place decides.
    """
    if set(entries) & set(names) or len(entries) != len(names):
        return entries
    return dict(zip(names, entries.values(), strict=True))


def _match_names(
    described: tuple[TensorSpec, ...], given: dict[str, TensorSpec]
) -> dict[str, TensorSpec]:
    names = {spec.name for spec in described}
    by_name = {name: spec for name, spec in given.items() if name in names}
    if len(by_name) == len(given):
        return by_name
    if not by_name and len(given) == len(described):
        return {spec.name: user for spec, user in zip(described, given.values(), strict=True)}
    _refuse_unknown(sorted(set(given) - names), names)
    return by_name


def _refuse_unknown(unknown: list[str], names: set[str]) -> None:
    if unknown:
        raise UsageError(
            f"The model has no input named {', '.join(unknown)}.",
            cure=f"Its inputs are: {', '.join(sorted(names))}",
        )


def _merge(spec: TensorSpec, user: TensorSpec) -> TensorSpec:
    shape = user.shape or spec.shape
    fixed = [
        axis
        for axis in user.resizable
        if len(shape) == len(spec.shape)
        and spec.shape[axis] is not None
        and axis not in spec.resizable
    ]
    if fixed:
        raise UsageError(
            f"Input {spec.name} is to be resizable, but the model itself fixes dimension "
            f"{fixed[0]} at {spec.shape[fixed[0]]}: {_show(spec.shape)}.",
            cure="Export the model with that dimension left open, or name the model's code instead "
            f"of its export; or state it as a number: --input {spec.name}:{_show(spec.shape)}",
        )
    fits = len(shape) == len(spec.shape) and all(
        mine is None or theirs is None or mine == theirs
        for mine, theirs in zip(shape, spec.shape, strict=True)
    )
    if spec.shape and not fits:
        raise UsageError(
            f"Input {spec.name}: the model wants {_show(spec.shape)}, you gave {_show(shape)}.",
            cure=f"--input {spec.name}:{_show(spec.shape)}",
        )
    if len(shape) == len(spec.shape):
        shape = tuple(
            theirs if mine is None else mine for mine, theirs in zip(shape, spec.shape, strict=True)
        )
    layout = user.layout or spec.layout
    return _fix_batch(replace(spec, shape=shape, layout=layout, resizable=user.resizable))


def _fix_batch(spec: TensorSpec) -> TensorSpec:
    """An open first dimension is the batch, and an app runs one sample at a time."""
    if spec.shape and spec.shape[0] is None:
        return replace(spec, shape=(1, *spec.shape[1:]))
    return spec


def _require_static(spec: TensorSpec) -> None:
    if not spec.is_static:
        example = "x".join("224" if d is None else str(d) for d in spec.shape)
        raise UsageError(
            f"Input {spec.name} has dynamic dimensions: {_show(spec.shape)}.",
            cure=f"Say which size the app will use, for example --input {spec.name}:{example}; or "
            f"leave it open, for a file that can be resized: --input {spec.name}:"
            f"{_show(spec.shape)}",
        )
    check_elements(spec.shape, spec.name)


def _show(shape: tuple[int | None, ...]) -> str:
    return "x".join("?" if dimension is None else str(dimension) for dimension in shape)


def _labels(value: str | tuple[str, ...] | list[str]) -> tuple[str, ...]:
    return read_labels(Path(value)) if isinstance(value, str) else tuple(value)
