"""The contract that a module is made from: the file's, completed by what the user states."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.config import Config, load_config, read_labels
from edgekit.contract import Contract, Task
from edgekit.errors import ModelError, UsageError
from edgekit.resolve import resolve
from edgekit.standard_metadata.reading import read_preset
from edgekit.types import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgekit.tflite.summary import Port, Summary

_CURE = (
    "Say it, for example --task classification --labels labels.txt --resize 256 --crop 224 "
    "--scale 1/255 --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225; or in an edgekit.toml with "
    "--config; or convert the model with edgekit, which writes it into the file."
)


@dataclass(frozen=True, kw_only=True)
class Stated:
    """What the user says about the file; it wins over what the file says.

    Attributes:
        config: an ``edgekit.toml``.
        preprocess: keys of `edgekit.contract.Preprocess`.
        task: of the first output.
        labels: a file with class names.
    """

    config: Path | None = None
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    task: Task | None = None
    labels: Path | None = None


def complete(summary: Summary, stated: Stated) -> Contract:
    """The contract on the file's own tensors, in its order; real-valued where it is quantized.

    Raises:
        ModelError: the contract inside the file cannot be read.
        UsageError: something is missing that nobody stated, or contradicts the file.
    """
    if summary.contract_problem:
        raise ModelError(summary.contract_problem, cure="Convert the model again.")
    own = summary.contract
    if own and (len(own.inputs), len(own.outputs)) != (len(summary.inputs), len(summary.outputs)):
        raise ModelError(
            f"{summary.path} has {len(summary.inputs)} inputs and {len(summary.outputs)} outputs, "
            f"its contract {len(own.inputs)} and {len(own.outputs)}.",
            cure="Convert the model again.",
        )
    config = load_config(stated.config) if stated.config else Config()
    # Of a quantized input such metadata tells what its integers are, not its real values.
    plain = own is None and all(port.scale is None for port in summary.inputs)
    preset = read_preset(Path(summary.path)) if plain else None
    names = [entry.tensor.name for entry in own.inputs] if own else []
    output_names = [entry.tensor.name for entry in own.outputs] if own else []
    contract = resolve(
        _described(summary.inputs, names),
        _described(summary.outputs, output_names),
        config=config,
        preprocess=stated.preprocess,
        task=stated.task,
        labels=read_labels(stated.labels) if stated.labels else (),
        embedded=own,
        preset=preset,
    )
    _require_all(summary.path, contract, own, stated, config)
    return _with_parts(contract, own) if own else contract


def _described(ports: tuple[Port, ...], names: list[str]) -> tuple[TensorSpec, ...]:
    """The ports as real-valued tensors, under the contract's names where there is one."""
    return tuple(
        replace(
            port.resizable,
            name=names[place] if names else port.tensor.name,
            dtype=port.tensor.dtype if port.scale is None else "float32",
        )
        for place, port in enumerate(ports)
    )


def _require_all(
    path: str, contract: Contract, own: Contract | None, stated: Stated, config: Config
) -> None:
    """Refuse to guess what changes every result.

    Raises:
        UsageError: with all that is missing.
    """
    missing = []
    told = {"scale", "mean", "std"} & set(stated.preprocess)
    told |= {"scale" for table in config.inputs.values() if table.get("preprocess")}
    told |= {"contract" for entry in (own.inputs if own else ()) if entry.preprocess}
    told |= {"preset" for entry in contract.inputs if {"scale", "mean"} & set(entry.origins)}
    if not told:
        missing.append("how pixels become its input (resize, crop, color, scale, mean, std)")
    if contract.task is None:
        missing.append("what its first output means (task)")
    if missing:
        has = "The contract in" if own else "There is no contract in"
        raise UsageError(f"{has} {path}; missing is {' and '.join(missing)}.", cure=_CURE)


def _with_parts(contract: Contract, own: Contract) -> Contract:
    """What `resolve` leaves out: outputs in parts, layouts of outputs, and what was assumed."""
    inputs = tuple(
        replace(entry, assumed=before.assumed)
        for entry, before in zip(contract.inputs, own.inputs, strict=True)
    )
    outputs = tuple(
        replace(
            entry,
            part=before.part,
            tensor=replace(entry.tensor, layout=entry.tensor.layout or before.tensor.layout),
        )
        for entry, before in zip(contract.outputs, own.outputs, strict=True)
    )
    return Contract(inputs=inputs, outputs=outputs)
