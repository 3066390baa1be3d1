"""One contract for the reference and all candidates: what goes in, and what the outputs mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path

from edgekit.config import Config, read_labels
from edgekit.contract import Contract, InputContract, OutputContract, Preprocess
from edgekit.errors import UsageError
from edgekit.pipeline.validation.request import ValidationRequest
from edgekit.resolve import resolve
from edgekit.runners.protocol import Described
from edgekit.tflite.summary import Summary
from edgekit.types import Layout, Scheme, TensorSpec


def agreed(contracts: Mapping[str, Contract | None], stated: Sequence[str] = ()) -> Contract | None:
    """What the candidates' embedded contracts say, with outputs that are cut put together again.

    Args:
        contracts: of each candidate, by its name.
        stated: keys of the preprocessing that the user states, in which files may differ.

    Raises:
        UsageError: two files want other inputs, or mean something else by their outputs.
    """
    known = {name: original(whole(one)) for name, one in contracts.items() if one is not None}
    if not known:
        return None
    (first, contract), *others = known.items()
    for name, other in others:
        if difference := _difference(contract, other, stated):
            raise UsageError(
                f"{first} and {name} cannot be validated together: {difference}.",
                cure="Validate them apart, or state what holds for both, such as --mean and --std.",
            )
    return contract


def whole(contract: Contract) -> Contract:
    """The contract with the model's own outputs in place of a file's parts of them."""
    outputs: dict[str, OutputContract] = {}
    for entry in contract.outputs:
        part = entry.part
        if part is None:
            outputs[entry.tensor.name] = entry
            continue
        before = outputs.get(part.of)
        size = (before.tensor.shape[part.axis] or 0) if before else 0
        shape = list(entry.tensor.shape)
        shape[part.axis] = size + part.size
        tensor = replace(entry.tensor, name=part.of, shape=tuple(shape))
        outputs[part.of] = replace(before or entry, tensor=tensor, part=None)
    return Contract(inputs=contract.inputs, outputs=tuple(outputs.values()))


def original(contract: Contract) -> Contract:
    """The contract with what the original model is given, where a file normalises by itself."""
    inputs = tuple(
        replace(entry, preprocess=entry.folded or entry.preprocess, folded=None)
        for entry in contract.inputs
    )
    return replace(contract, inputs=inputs)


def on_raw_pixels(agreed: Contract | None, reference: Contract | None) -> Contract | None:
    """What the candidates agree on, for a reference that is a `.tflite` with a contract of its own.

    One that normalises by itself is given raw pixels.
    """
    if reference is None or not any(entry.folded for entry in reference.inputs):
        return agreed
    if agreed is None or len(agreed.inputs) != len(reference.inputs):
        return agreed or reference
    inputs = tuple(
        replace(mine, preprocess=own.preprocess, folded=own.folded) if own.folded else mine
        for mine, own in zip(agreed.inputs, reference.inputs, strict=True)
    )
    return replace(agreed, inputs=inputs)


def on_reference(
    request: ValidationRequest, config: Config, described: Described, embedded: Contract | None
) -> Contract:
    """The contract on the reference's own tensors: what samples are made into.

    Raises:
        UsageError: what was stated contradicts the reference.
    """
    contract = resolve(
        described.inputs,
        described.outputs,
        config=config,
        inputs=request.inputs,
        preprocess=request.preprocess,
        task=request.task,
        labels=read_labels(request.labels) if request.labels else (),
        embedded=embedded,
    )
    return _with_layouts(contract, embedded) if embedded else contract


def _with_layouts(contract: Contract, embedded: Contract) -> Contract:
    """Layouts of outputs, which a reference does not tell, by those in the files.

    An output with a file's shape has its layout too, and one with the turned shape the other; an
    output of a file without a layout was not turned, and says nothing.
    """
    known = {entry.tensor.name: entry.tensor for entry in embedded.outputs}
    by_place = len(embedded.outputs) == len(contract.outputs)
    outputs = []
    for place, entry in enumerate(contract.outputs):
        theirs = known.get(entry.tensor.name)
        if theirs is None and by_place:
            theirs = embedded.outputs[place].tensor
        layout = _layout_as(entry.tensor, theirs) if theirs is not None else None
        if layout and entry.tensor.layout is None:
            entry = replace(entry, tensor=replace(entry.tensor, layout=layout))  # noqa: PLW2901
        outputs.append(entry)
    return Contract(inputs=contract.inputs, outputs=tuple(outputs))


def _layout_as(mine: TensorSpec, theirs: TensorSpec) -> Layout | None:
    if theirs.layout is None or len(mine.shape) != 4 or len(theirs.shape) != 4:
        return None
    if mine.shape == theirs.shape:
        return theirs.layout
    batch, one, two, three = theirs.shape
    if theirs.layout == "NHWC" and mine.shape == (batch, three, one, two):
        return "NCHW"
    if theirs.layout == "NCHW" and mine.shape == (batch, two, three, one):
        return "NHWC"
    return None


def framework_inputs(contract: Contract | None) -> tuple[TensorSpec, ...]:
    """How PyTorch takes the inputs of converted files: pictures with the channels first.

    A PyTorch model does not tell its inputs; the contract in a file made from it has their names.
    """
    found = []
    for entry in contract.inputs if contract else ():
        tensor = entry.tensor
        shape, dtype = tensor.shape, tensor.dtype
        if entry.preprocess is not None:
            dtype = "float32"
            if tensor.layout == "NHWC":
                shape = (shape[0], shape[3], shape[1], shape[2])
        found.append(replace(tensor, shape=shape, dtype=dtype, layout=None))
    return tuple(found)


def scheme_of(summary: Summary) -> Scheme | None:
    """The scheme that a file looks like; ``None`` where two look the same."""
    types = set(summary.parameters_by_dtype)
    inputs = {port.tensor.dtype for port in summary.inputs}
    share = summary.integer_share or 0.0
    activations = {port.tensor.dtype for port in (*summary.inputs, *summary.outputs)}
    if not types & {"int8", "uint8", "int4"}:
        return "fp16" if "float16" in types else "fp32"
    if "int16" in activations:
        return "int16x8"
    if "uint8" in inputs:
        return "int8-uint8-io"
    if "int8" in inputs:
        return "int8"
    return "int8-float-io" if share > 0.5 else None


def name_of(path: Path, among: Sequence[Path]) -> str:
    """What a candidate is called: its file's name, with folders only where it is not enough."""
    same = [other for other in among if other.stem == path.stem]
    return path.stem if len(same) == 1 else str(path)


def _difference(one: Contract, other: Contract, stated: Sequence[str]) -> str:
    if len(one.inputs) != len(other.inputs):
        return f"they have {len(one.inputs)} and {len(other.inputs)} inputs"
    for mine, theirs in zip(one.inputs, other.inputs, strict=True):
        if difference := _preprocess_difference(mine, theirs, stated):
            return f"input {mine.tensor.name} {difference}"
    if one.task and other.task and one.task != other.task:
        return f"their tasks are {one.task} and {other.task}"
    for first, second in zip(one.outputs, other.outputs, strict=False):
        if first.labels and second.labels and first.labels != second.labels:
            return f"output {first.tensor.name} has other class names"
    return ""


def _preprocess_difference(
    mine: InputContract, theirs: InputContract, stated: Sequence[str]
) -> str:
    if mine.preprocess is None or theirs.preprocess is None:
        if mine.preprocess is not theirs.preprocess:
            return "is a picture in one only"
        return ""
    for field in fields(Preprocess):
        first, second = (getattr(one.preprocess, field.name) for one in (mine, theirs))
        if first != second and field.name not in stated:
            return f"is made with {field.name} {first} in one and {second} in the other"
    return ""
