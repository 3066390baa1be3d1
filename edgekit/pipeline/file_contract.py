"""The contract as it holds for one file: its own shapes, types, layouts and parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgekit.contract import Contract, InputContract, OutputContract
from edgekit.measure.parts import Parts, part_of, slots
from edgekit.tflite.summary import Summary
from edgekit.types import Binding, Layout


def file_contract(
    contract: Contract,
    bindings: Sequence[Binding],
    output_bindings: Sequence[Binding],
    summary: Summary,
    cut: Sequence[Parts] = (),
) -> Contract:
    """The contract as it holds for a file: its own shapes, types and layouts, in its own order.

    Args:
        contract: the framework's side.
        bindings: which input of the file is which, and how its axes are turned.
        output_bindings: the same for the outputs.
        summary: of the file.
        cut: the outputs that the file has in parts.
    """
    by_name = {entry.tensor.name: entry for entry in contract.inputs}
    inputs = []
    for binding, port in zip(bindings, summary.inputs, strict=True):
        entry = by_name[binding.reference]
        inputs.append(
            InputContract(
                tensor=replace(
                    port.resizable,
                    name=binding.reference,
                    layout=_layout(entry.tensor.layout, binding.permutation),
                ),
                preprocess=entry.preprocess,
                assumed=entry.assumed,
                folded=entry.folded,
            )
        )
    outputs = _file_outputs(contract, output_bindings, summary, cut)
    return Contract(inputs=tuple(inputs), outputs=outputs)


def _file_outputs(
    contract: Contract, bindings: Sequence[Binding], summary: Summary, cut: Sequence[Parts]
) -> tuple[OutputContract, ...]:
    """The outputs in the file's order; one that the framework does not have keeps its own name."""
    stated = {entry.tensor.name: entry for entry in contract.outputs}
    bound = {binding.index: binding for binding in bindings}
    outputs = []
    by_output = {one.output: one for one in cut}
    places = slots(len(summary.outputs), cut)
    for port, (index, number) in zip(summary.outputs, places, strict=True):
        binding = bound.get(index)
        entry = stated.get(binding.reference) if binding else None
        tensor = replace(
            port.resizable,
            name=binding.reference if binding else port.tensor.name,
            layout=_layout(entry.tensor.layout, binding.permutation) if binding and entry else None,
        )
        part = None
        if number is not None:
            tensor, part = part_of(by_output[index], number, tensor, bound=binding is not None)
        outputs.append(replace(entry or OutputContract(tensor=tensor), tensor=tensor, part=part))
    return tuple(outputs)


def _layout(layout: Layout | None, permutation: tuple[int, ...]) -> Layout | None:
    if permutation == (0, 2, 3, 1):
        return "NHWC"
    if permutation == (0, 3, 1, 2):
        return "NCHW"
    return layout
