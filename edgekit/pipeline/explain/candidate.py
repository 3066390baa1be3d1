"""A candidate against the float file that it was made from, operator by operator."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.contract import image_axes
from edgekit.errors import ModelError
from edgekit.pipeline.explain.given import ExplainInputs
from edgekit.pipeline.explain.request import ExplainRequest
from edgekit.pipeline.explain.stages import Chain
from edgekit.pipeline.explain.traces import trace_file, trace_steps
from edgekit.tflite.graph import Tensor
from edgekit.tflite.model import Model, read
from edgekit.toolchain.workshop import Workshop
from edgekit.types import TensorSpec
from edgekit.validation.explain import stepping
from edgekit.validation.explain.causes import BAD_DB, advice
from edgekit.validation.explain.matching import departure, laid, match
from edgekit.validation.explain.operators import ComparedOperator, findings
from edgekit.validation.explain.points import OpFinding, Point, StageFinding, Trace
from edgekit.validation.explain.relations import db
from edgekit.validation.explain.scaled import channel_factors
from edgekit.validation.explain.trials import GAIN_DB, input_finding, trials

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


_MOST_ROUNDS = 4
"""So often factors of channels are looked for; each time what was found is taken out first."""


class CandidateTask:
    """The candidate against the float file that it was made from."""

    def __init__(
        self,
        request: ExplainRequest,
        chain: Chain,
        given: ExplainInputs,
        workshop: Workshop,
        work: Path,
        notes: list[str],
    ) -> None:
        self.request, self.chain, self.given = request, chain, given
        self.workshop, self.work, self.notes = workshop, work, notes
        self.model, self.candidate = read(chain.floating), read(request.candidate)
        self.trace = trace_file(
            request.candidate,
            given.feeds,
            workshop,
            work / "candidate",
            stage=request.candidate.name,
            title="Running the candidate",
        )

    def compare(self) -> tuple[tuple[OpFinding, ...], StageFinding, dict[str, float]]:
        """Findings per operator, the last stage, and SQNR per output."""
        reference = self.chain.trace
        matches = match(reference, self.trace)
        stage = departure(reference, self.trace, matches, limit=BAD_DB)
        names = self._names(stage)
        observed = self._observed(names)
        cuts = set(observed) - {tensor.name for tensor in self.model.main.inputs}
        factors, stepped = self._scaled(names, cuts, observed)
        if factors:
            self.notes.append(
                f"{len(factors)} tensors have channels that were scaled on purpose (channel "
                "equalization); they are compared with that taken out."
            )
        weighted_model = _fresh(self.chain.floating)
        constants = stepping.constants(_fresh(self.request.candidate))
        back = {theirs: mine for mine, theirs in names.items()}
        stepping.give_constants(
            weighted_model, {back.get(name, name): values for name, values in constants.items()}
        )
        weighted = self._steps(weighted_model, cuts, observed, "weighted", {})
        compared = ComparedOperator(
            model=_fresh(self.chain.floating),
            candidate=self.candidate,
            names=names,
            reference=reference,
            observed=observed,
            stepped=stepped.named(),
            weighted=weighted.named(),
            factors=factors,
        )
        ops = (*self._inputs(names), *findings(compared, self._kernel_steps))
        outputs = self._outputs(self.trace.named(), names)
        if outputs and min(outputs.values()) < BAD_DB:
            ops = self._tried(ops, names, outputs)
        missing = [op for op in self.model.main.operators if op.outputs[0].name not in names]
        if missing:
            self.notes.append(
                f"{len(missing)} of {len(self.model.main.operators)} operators of the float file "
                "have no counterpart in the candidate and count with the next one that has: "
                + ", ".join(sorted({op.name for op in missing})[:6])
            )
        return ops, _with_first(stage, ops), outputs

    def _scaled(
        self, names: Mapping[str, str], cuts: set[str], observed: Mapping[str, Point]
    ) -> tuple[dict[str, Array], Trace]:
        """Factors of channels, and the steps that are made with them taken out.

        Factors show only where those of the operator's inputs are taken out already: they are
        found front to back.
        """
        renamed = _renamed(self.candidate, names)
        seen = replace(self.trace, points=tuple(observed.values()))
        factors: dict[str, Array] = {}
        for number in range(_MOST_ROUNDS):
            divisors = {name: factor.tolist() for name, factor in factors.items()}
            model = _fresh(self.chain.floating)
            stepped = self._steps(model, cuts, observed, f"stepped-{number}", divisors)
            found = channel_factors(self.model, renamed, (self.chain.trace, stepped), seen, factors)
            if set(found) == set(factors) or number == _MOST_ROUNDS - 1:
                break
            factors = found
            shutil.rmtree(self.work / f"stepped-{number}")
        return factors, stepped

    def _names(self, stage: StageFinding) -> dict[str, str]:
        """The candidate's tensor of each of the reference's, of the same shape; one for each."""
        theirs, mine = self.trace.named(), self.chain.trace.named()
        found = {
            one.reference: one.candidate
            for one in stage.matches
            if mine[one.reference].shape == theirs[one.candidate].shape
        }
        for one, two in zip(self.model.main.inputs, self.candidate.main.inputs, strict=False):
            found.setdefault(one.name, two.name)
        if not set(found) - {tensor.name for tensor in self.model.main.inputs}:
            raise ModelError(
                f"No tensor of {self.request.candidate.name} corresponds to one of the float file.",
                cure="Give the float file that it was quantized from: --float FILE.tflite",
            )
        return found

    def _observed(self, names: Mapping[str, str]) -> dict[str, Point]:
        theirs = self.trace.named()
        return {
            mine: replace(theirs[other], name=mine)
            for mine, other in names.items()
            if other in theirs
        }

    def _steps(
        self,
        model: Model,
        cuts: set[str],
        observed: Mapping[str, Point],
        name: str,
        divisors: Mapping[str, list[float]],
    ) -> Trace:
        return trace_steps(
            model,
            cuts,
            observed,
            self.workshop,
            self.work / name,
            divisors=divisors,
            title="Recomputing each operator in float",
        )

    @cache  # noqa: B019  lives as long as the task
    def _kernel_steps(self) -> Mapping[str, float]:
        """How far plain C kernels are from the runtime's default ones, in steps, per tensor."""
        import numpy as np

        points = self.trace.named()
        inputs = {tensor.name for tensor in self.candidate.main.inputs}
        plain = trace_steps(
            _fresh(self.request.candidate),
            set(points) - inputs,
            points,
            self.workshop,
            self.work / "kernels",
            kernels="reference",
            title="Asking the plain C kernels",
        )
        return {
            point.name: max(
                float(np.abs(point.values(s) - points[point.name].values(s)).max(initial=0))
                / points[point.name].scale
                for s in range(plain.samples)
            )
            for point in plain.points
            if point.name in points and points[point.name].scale
        }

    def _inputs(self, names: Mapping[str, str]) -> Iterator[OpFinding]:
        """The inputs as operators of their own."""
        mine, theirs = self.chain.trace.named(), self.trace.named()
        for place, tensor in enumerate(self.candidate.main.inputs):
            one = next((name for name, other in names.items() if other == tensor.name), None)
            if one is None or one not in mine or tensor.name not in theirs:
                continue
            point, source = theirs[tensor.name], mine[one]
            order = tuple(range(len(source.shape)))
            yield input_finding(
                point,
                [laid(source, s, order, point.shape) for s in range(self.trace.samples)],
                [self.given.sample(place, s) for s in range(self.trace.samples)],
                axis=self._channel_axis(tensor),
            )

    def _channel_axis(self, tensor: Tensor) -> int:
        axes = image_axes(TensorSpec(name=tensor.name, shape=tensor.shape))
        return axes[2] if axes else -1

    def _outputs(self, points: Mapping[str, Point], names: Mapping[str, str]) -> dict[str, float]:
        """SQNR of each output of the candidate that the reference has too."""
        import numpy as np

        mine = self.chain.trace.named()
        back = {theirs: one for one, theirs in names.items()}
        result = {}
        for tensor in self.candidate.main.outputs:
            if tensor.name in back and tensor.name in points and back[tensor.name] in mine:
                one, two = mine[back[tensor.name]], points[tensor.name]
                samples = range(min(self.chain.trace.samples, self.trace.samples))
                result[tensor.name] = db(
                    np.stack([one.values(s).reshape(two.shape) for s in samples]),
                    np.stack([two.values(s) for s in samples]),
                )
        return result

    def _tried(
        self, ops: tuple[OpFinding, ...], names: Mapping[str, str], outputs: Mapping[str, float]
    ) -> tuple[OpFinding, ...]:
        """Run the candidate on other inputs; if one of them helps, the input is what is wrong."""
        import numpy as np

        if any(op.place < 0 and op.bad for op in ops):
            return ops
        best, found = min(outputs.values()) + GAIN_DB, None
        for place, entry in enumerate(self.given.contract.inputs):
            axes = image_axes(entry.tensor)
            if axes is None or entry.preprocess is None:
                continue
            stack = np.load(self.given.feeds[place]["path"])
            channels = entry.tensor.shape[axes[2]] or 0
            for number, trial in enumerate(trials(entry.preprocess, axes[2], channels)):
                folder = self.work / f"trial-{place}-{number}"
                folder.mkdir()
                np.save(folder / "input.npy", trial.change(stack))
                feeds = [dict(feed) for feed in self.given.feeds]
                feeds[place]["path"] = str(folder / "input.npy")
                trace = trace_file(
                    self.request.candidate,
                    feeds,
                    self.workshop,
                    folder / "run",
                    stage="trial",
                    title="Trying other inputs",
                )
                level = min(self._outputs(trace.named(), names).values())
                if level >= best:
                    best, found = level, (place, trial, level)
        if found is None:
            return ops
        place, trial, level = found
        name = self.candidate.main.inputs[place].name
        said = (
            f"{trial.why} the outputs have {level:.1f} dB instead of "
            f"{min(outputs.values()):.1f} dB."
        )
        return tuple(self._blamed(op, name, trial.cause, said) for op in ops)

    def _blamed(self, op: OpFinding, name: str, cause: Any, why: str) -> OpFinding:
        """The input with the cause; the operators that read it are then not at fault."""
        if op.place < 0 and op.name == name:
            return replace(op, cause=cause, why=why, advice=advice(cause))
        if op.bad and op.place in self._first_readers():
            return replace(op, cause="none", why="Explained by the input.", advice="")
        return op

    def _first_readers(self) -> set[int]:
        """The operators up to the first ones with weights behind an input."""
        graph = self.model.main
        waiting = list(graph.inputs)
        found: set[int] = set()
        while waiting:
            for operator in graph.consumers(waiting.pop()):
                if operator.index in found:
                    continue
                found.add(operator.index)
                if operator.name not in {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}:
                    waiting.extend(operator.outputs)
        return found


def _with_first(stage: StageFinding, ops: tuple[OpFinding, ...]) -> StageFinding:
    """The candidate's stage departs where the first operator is at fault, if one is."""
    first = next((op for op in ops if op.bad), None)
    if first is None:
        return replace(stage, departs=None, operator="", departs_db=None, from_db=None)
    return replace(
        stage,
        departs=first.name,
        operator=first.operator,
        departs_db=first.total_db,
        from_db=first.inherited_db,
        remark=first.why,
    )


def _fresh(path: Path) -> Model:
    """A model to cut, with weights where its operators look for them."""
    model = read(path)
    stepping.dequantized(model)
    return model


def _renamed(model: Model, names: Mapping[str, str]) -> Model:
    """The candidate under the reference's names. Only names in the view change, not the file."""
    back = {theirs: mine for mine, theirs in names.items()}
    if all(one == two for one, two in back.items()):
        return model
    copied = Model(copy.deepcopy(model.raw))
    for tensor in copied.main.tensors:
        tensor.raw.name = back.get(tensor.name, tensor.name)
    return copied
