"""Files that can be resized: at which sizes that is proven, and what the model says there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import ConversionError, ModelError
from edgekit.pipeline import candidates
from edgekit.pipeline.plan import Plan
from edgekit.pipeline.reference import Reference, ask_model
from edgekit.runners.litert import LITERT
from edgekit.runners.litert_runner import LitertRunner
from edgekit.tflite.model import read, write
from edgekit.toolchain.workshop import Workshop
from edgekit.types import Binding, ParityReport, Scheme, TensorSpec
from edgekit.validation import align, gates

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_SAMPLES = 4
"""So many samples are compared at each size."""
_CHANGES = ((3, 5), (6, 3), (2, 2))
"""A picture's height and width in quarters of what they start with; no square at first."""
_STEP = 32
"""Networks that halve a picture five times want its sides in multiples of this."""


def shape_text(shape: Sequence[int | None]) -> str:
    """``1x3x160x288``."""
    return "x".join("?" if size is None else str(size) for size in shape)


def with_sizes(plan: Plan, reference: Reference, workshop: Workshop, work: Path) -> Reference:
    """The reference with what the model says at other sizes, where its inputs are resizable.

    The samples are those of the parity data, repeated or cut to the size. A size that is no
    multiple of 32 comes last, and is left out where the model itself does not run on it.

    Raises:
        ModelError: the model does not run at other sizes, or its outputs have other ranks there.
    """
    if not any(spec.resizable for spec in reference.inputs):
        return reference
    found = []
    for number, specs in enumerate(_sizes(reference.inputs)):
        uneven = number == len(_CHANGES)
        folder = work / f"size-{number}"
        folder.mkdir()
        try:
            found.append(_at(plan, reference, specs, workshop, folder))
        except ModelError as error:
            if not uneven:
                raise ModelError(
                    f"The model cannot be resized to {_shapes(specs)}: {error.cause}",
                    cure="State its size as numbers, or as NUMBER? so that a half, three quarters "
                    "and one and a half times of it are sizes that the model takes.",
                ) from error
            workshop.progress.note(
                f"The model itself does not run at {_shapes(specs)}: the files are proven at "
                "multiples of what it halves."
            )
    return replace(reference, sizes=tuple(found))


def prove(
    plan: Plan,
    artifact: Path,
    bindings: Sequence[Binding],
    reference: Reference,
    workshop: Workshop,
    *,
    scheme: Scheme,
    name: str,
    work: Path,
) -> tuple[tuple[ParityReport, ...], tuple[str, ...]]:
    """Run a file at the sizes of its reference; how close it is at each, and what is wrong.

    Args:
        plan: has the gates.
        artifact: the file.
        bindings: of its inputs, in its order.
        reference: at the size that the file starts with.
        workshop: has the runner.
        scheme: of the file, whose gate on decibels holds at every size.
        name: of the file in the reports.
        work: a folder that is made.
    """
    work.mkdir()
    reports, wrong = [], []
    for number, there in enumerate(reference.sizes):
        size = _shapes(there.inputs)
        specs = {spec.name: spec.shape for spec in there.inputs}
        shapes = [[specs[b.reference][axis] or 1 for axis in b.permutation] for b in bindings]
        try:
            measured = candidates.measure(
                artifact,
                there,
                workshop,
                name=f"{name} at {size}",
                scheme=scheme,
                work=work / str(number),
                told=[{"source": b.reference, "permutation": b.permutation} for b in bindings],
                shapes=shapes,
            )
        except ConversionError as error:
            wrong.append(f"at {size} it does not run as the model does: {error.cause.rstrip('.')}")
            continue
        reports.append(measured.parity)
        if missed := _missed(plan, measured.parity, scheme):
            wrong.append(f"at {size} {missed}")
    return tuple(reports), tuple(wrong)


def start_at(
    artifact: Path,
    told: Sequence[dict[str, Any]],
    here: Reference,
    reference: Reference,
    workshop: Workshop,
    output: Path,
) -> Path:
    """The file as it is at the reference's size, which is that of every tensor it is loaded with.

    Args:
        artifact: the file.
        told: what its converter says of the axes of its inputs.
        here: at the size that it was made at.
        reference: at the size to start with.
        workshop: has the runner.
        output: the new file.
    """
    described = LitertRunner(artifact, workshop=workshop, work=output.parent).describe()
    wanted = {spec.name: spec.shape for spec in reference.inputs}
    choices = align.input_choices(here.inputs, described.inputs, told)
    shapes = [
        [wanted[options[0].reference][axis] for axis in options[0].permutation]
        for options in choices
    ]
    model = read(artifact)
    result, _ = workshop.call(
        LITERT,
        "shapes",
        {"artifact": str(artifact), "shapes": shapes},
        title="Setting the size that the file starts with",
    )
    for tensor in model.main.tensors:
        if None in tensor.shape_signature:
            tensor.raw.shape = result["shapes"][str(tensor.index)]
    write(model, output)
    return output


def sizes_note(name: str, proven: Sequence[ParityReport]) -> str:
    """At which sizes a file was compared, and how close it is there, in a sentence."""
    found = [
        f"{one.candidate.rpartition(' at ')[2]} ({one.worst_output.centred_db:.1f} dB)"
        for one in proven
    ]
    return f"{name} can be resized; it was compared with the model at {', '.join(found)} too."


def _missed(plan: Plan, report: ParityReport, scheme: Scheme) -> str:
    """The first gate on decibels, equal indices or finite numbers that does not hold."""
    values = gates.metrics(report, None, size_bytes=0, integer_share=None)
    wanted = gates.for_outputs(gates.for_file(scheme, None, plan.gates), scheme, report.outputs)
    of_size = [one for one in wanted if one.metric in _AT_EVERY_SIZE and one.metric in values]
    for result in gates.judge(of_size, values):
        if result.state == "fail":
            return (
                f"{result.gate.metric} is {values[result.gate.metric]:.4g}; required: {result.gate}"
            )
    return ""


_AT_EVERY_SIZE = ("centred_sqnr_db", "nonfinite", "index_agreement")


def _sizes(inputs: Sequence[TensorSpec]) -> list[tuple[TensorSpec, ...]]:
    """The inputs at three other sizes, and at one that is no multiple of anything."""
    changed = [
        tuple(_changed(spec, number, change) for spec in inputs)
        for number, change in enumerate(_CHANGES)
    ]
    uneven = tuple(
        replace(
            spec,
            shape=tuple(
                _uneven(axis, size or 1) if axis in spec.resizable else size
                for axis, size in enumerate(spec.shape)
            ),
        )
        for spec in inputs
    )
    return [*changed, uneven]


def _changed(spec: TensorSpec, number: int, change: tuple[int, int]) -> TensorSpec:
    shape = list(spec.shape)
    for axis in spec.resizable:
        size = shape[axis] or 1
        if axis == 0:
            shape[axis] = size + (2, 1, 3)[number]
            continue
        step = next(
            s for s in (_STEP, 16, 8, 4, 2, 1) if size % s == 0 and (size >= 4 * s or s == 1)
        )
        # The same axis number changes alike in all inputs, so that what belongs together fits.
        wanted = size * change[axis % 2] / 4
        shape[axis] = max(step, round(wanted / step) * step)
        if shape[axis] == size:
            shape[axis] = size + step * (number + 1)
    return replace(spec, shape=tuple(shape))


def _uneven(axis: int, size: int) -> int:
    """A size without a common divisor with what a network halves."""
    return size + 1 if axis == 0 else size * (7, 9)[axis % 2] // 8 | 1


def _at(
    plan: Plan,
    reference: Reference,
    specs: tuple[TensorSpec, ...],
    workshop: Workshop,
    folder: Path,
) -> Reference:
    import numpy as np

    count = min(_SAMPLES, reference.data.parity.count)
    files = {}
    for place, spec in enumerate(specs):
        stack = _resized(reference, place, spec, count)
        files[spec.name] = folder / f"input_{place}.npy"
        np.save(files[spec.name], stack)
    inputs = [
        replace(entry, tensor=spec)
        for entry, spec in zip(reference.contract.inputs, specs, strict=True)
    ]
    parity = replace(
        reference.data.parity,
        files=files,
        ids=reference.data.parity.ids[:count],
        labels=reference.data.parity.labels[:count],
        digest=f"{reference.data.parity.digest} at {_shapes(specs)}",
    )
    outputs, answers = ask_model(
        plan, specs, parity, workshop, folder, title=f"Running the model at {_shapes(specs)}"
    )
    ranks = [len(spec.shape) for spec in outputs]
    if ranks != [len(spec.shape) for spec in reference.outputs]:
        raise ModelError("an output has another rank there.")
    return replace(
        reference,
        contract=replace(reference.contract, inputs=tuple(inputs)),
        outputs=outputs,
        files=answers,
        data=replace(reference.data, parity=parity),
        labels=(),
        sizes=(),
    )


def _resized(reference: Reference, place: int, spec: TensorSpec, count: int) -> Array:
    """Samples of another size: each is repeated or cut along its axes, a batch is of neighbours."""
    import numpy as np

    own = reference.inputs[place].shape
    stack = reference.inputs_of(slice(None))[place]
    if own[:1] != (1,):
        stack = stack[:count]
        for axis, size in enumerate(spec.shape):
            stack = stack.take(range(size or 1), axis=axis + 1, mode="wrap")
        return stack
    for axis, size in enumerate(spec.shape[1:], start=1):
        stack = stack.take(range(size or 1), axis=axis, mode="wrap")
    batch = spec.shape[0] or 1
    if batch == 1:
        return stack[:count]
    order = np.arange(count * batch).reshape(count, batch) % len(stack)
    return np.asarray(stack[order])


def _shapes(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(shape_text(spec.shape) for spec in specs)
