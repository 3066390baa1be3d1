"""A file on a device against the same file here, operator by operator.

Both run with every operator's result readable. Then each operator runs here once more, on the
device's own inputs: what differs now is this operator's doing there, whatever came before it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.files import temporary_folder
from edgekit.pipeline.explain.given import ExplainInputs, given_to
from edgekit.pipeline.explain.request import ExplainRequest
from edgekit.pipeline.explain.traces import affordable, graph_name, trace_file, trace_steps
from edgekit.pipeline.target import Target
from edgekit.tflite.model import read
from edgekit.toolchain.workshop import Workshop
from edgekit.types import Progress
from edgekit.validation.explain import elsewhere, stepping
from edgekit.validation.explain.points import Explanation, Match, OpFinding, StageFinding, Trace

if TYPE_CHECKING:
    from edgekit.devices.runner import DeviceRunner

_RUNTIMES = {"ai-edge-litert", "tflite-runtime"}
"""Those that have plain C kernels to choose."""


def explain_on_device(request: ExplainRequest, target: Target, progress: Progress) -> Explanation:
    """Find the operators that answer otherwise on a device than here, and by which kernels.

    Raises:
        DataError, ConversionError: see `edgekit.pipeline.explain.run.explain`.
        DeviceError: the device does not do its part.
    """
    started = time.monotonic()
    path, samples = request.candidate, affordable(request.candidate, request.samples)
    with (
        temporary_folder("explain") as folder,
        Workshop(
            name=path.stem,
            progress=progress,
            limits=request.limits,
            work=Path(folder),
            read=(path,),
        ) as workshop,
    ):
        work = Path(folder)
        given = given_to(path, request, samples, workshop, work / "data")
        both = _Both(path=path, target=target, given=given, workshop=workshop, work=work)
        here, there = both.traces()
        model = read(path)
        ops = elsewhere.findings(model, here, there, both.steps(there), target.name)
        outputs = {
            tensor.name: _difference(here, there, tensor.name) for tensor in model.main.outputs
        }
        notes = [elsewhere.kinds(model, ops)]
        if any(op.bad for op in ops):
            notes.append(both.plain_kernels())
        notes.append(f"There: {_words(target)}.")
    return Explanation(
        candidate=f"{path.name} on {target.name}",
        reference="the same file here",
        graph=graph_name(model),
        samples=given.ids,
        stages=(_stage(ops, target.name),),
        ops=ops,
        outputs_db={name: one.sqnr_db for name, one in outputs.items()},
        verdict=elsewhere.said(ops, list(outputs.values()), target.name),
        notes=tuple(filter(None, notes)),
        seconds=round(time.monotonic() - started, 1),
    )


@dataclass(frozen=True, kw_only=True)
class _Both:
    """One file, here and on a device."""

    path: Path
    target: Target
    given: ExplainInputs
    workshop: Workshop
    work: Path

    def traces(self) -> tuple[Trace, Trace]:
        """Its tensors here and there."""
        here = self._here("here", "Running it here")
        self.workshop.progress.step(f"Running it on {self.target.name}")
        exposed = self.work / "here" / "exposed.tflite"
        runner = self.target.runner(exposed)
        return here, _trace(runner, exposed, here, self.work / "there")

    def steps(self, there: Trace) -> Trace:
        """Each operator here, on the inputs that it had there."""
        model, points = read(self.path), there.named()
        names = set(points) - {tensor.name for tensor in model.main.inputs}
        stepping.dequantized(model)
        return trace_steps(
            model,
            names,
            points,
            self.workshop,
            self.work / "steps",
            title="Running each operator here on the device’s inputs",
        )

    def plain_kernels(self) -> str:
        """Whether the device's plain C kernels answer as those here; empty in a browser."""
        if not _RUNTIMES & set(self.target.environment()):
            return ""
        here = self._here("plain", "Running it here with plain C kernels", kernels="reference")
        self.workshop.progress.step(f"Running it on {self.target.name} with plain C kernels")
        runner = self.target.runner(self.path, plain=True)
        there = _trace(runner, self.path, here, self.work / "plain-there")
        worst = min(
            (_difference(here, there, tensor.name) for tensor in read(self.path).main.outputs),
            key=lambda one: one.sqnr_db,
        )
        if not worst.is_far:
            return (
                "With the runtime's plain C kernels the whole file answers there as it does here: "
                "the fast kernels there are what is wrong."
            )
        return f"Also with the runtime's plain C kernels {self.target.name} answers {worst.words}."

    def _here(self, name: str, title: str, *, kernels: str = "default") -> Trace:
        return trace_file(
            self.path,
            self.given.feeds,
            self.workshop,
            self.work / name,
            stage=name,
            title=title,
            kernels=kernels,
        )


def _words(target: Target) -> str:
    """Where the file ran: architecture, processor, runtime."""
    told = target.environment()
    runtimes = [f"{name} {told[name]}" for name in sorted(_RUNTIMES & set(told))]
    return ", ".join((told["machine"], told["cpu"], *runtimes))


def _trace(runner: DeviceRunner, path: Path, here: Trace, folder: Path) -> Trace:
    """The tensors of a file whose results are all outputs, there; its inputs are those here."""
    import numpy as np

    folder.mkdir()
    graph = read(path).main
    known = here.named()
    given = [known[tensor.name] for tensor in graph.inputs]
    stacks = [np.load(point.file, mmap_mode="r") for point in given]
    results = [
        replace(known[tensor.name], file=folder / f"{number}.npy") if tensor.name in known else None
        for number, tensor in enumerate(graph.outputs)
    ]
    files: dict[Path, Any] = {}
    for piece, outputs in runner.run_stored(stacks):
        for point, stack in zip(results, outputs, strict=True):
            if point is None:  # no numbers
                continue
            if point.file not in files:
                files[point.file] = np.lib.format.open_memmap(
                    point.file,
                    mode="w+",
                    dtype=stack.dtype,
                    shape=(here.samples, *stack.shape[1:]),
                )
            files[point.file][piece] = stack
    for file in files.values():
        file.flush()
    found = [point for point in results if point is not None]
    return Trace(stage="there", points=(*given, *found), samples=here.samples)


def _difference(here: Trace, there: Trace, name: str) -> elsewhere.DeviceDifference:
    return elsewhere.difference(here.named()[name], there.named()[name], here.samples)


def _stage(ops: Sequence[OpFinding], place: str) -> StageFinding:
    first = next((op for op in ops if op.bad), None)
    matches = tuple(
        Match(reference=op.name, candidate=op.name, permutation=(), how="name", db=op.total_db)
        for op in ops
    )
    found = StageFinding(reference="here", candidate=place, matches=matches, compared=len(matches))
    if first is None:
        return found
    return replace(
        found,
        departs=first.name,
        operator=first.operator,
        departs_db=first.total_db,
        from_db=first.inherited_db,
        remark=first.why,
    )
