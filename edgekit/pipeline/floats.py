"""Getting one float `.tflite` that equals the framework, by whichever route manages it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.errors import ConversionError, EdgekitError, EnvironmentNotReady, NoRouteError
from edgekit.measure.judge import REMEMBERS
from edgekit.pipeline import candidates
from edgekit.pipeline.plan import Plan
from edgekit.pipeline.reference import Reference, load_again, spec_tables
from edgekit.pipeline.sizes import prove, start_at
from edgekit.results import Attempt
from edgekit.routes import Hop, Route, source_converter
from edgekit.tflite.model import read, write
from edgekit.tflite.normalise import normalised
from edgekit.tflite.resizable import NotResizableError, make_resizable
from edgekit.toolchain.workshop import Workshop
from edgekit.types import Binding, LatencyReport, ParityReport, Step, TensorSpec
from edgekit.validation import gates


@dataclass(frozen=True, kw_only=True)
class FloatFile:
    """A float `.tflite` that equals the framework."""

    path: Path
    parity: ParityReport
    bindings: tuple[Binding, ...]
    attempt: Attempt
    latency: LatencyReport | None = None


class _NotEqual(ConversionError):
    """A stage's outputs differ from the framework's."""

    def __init__(self, cause: str, stages: tuple[ParityReport, ...]) -> None:
        super().__init__(cause)
        self.stages = stages


def make_float(
    plan: Plan, reference: Reference, workshop: Workshop, work: Path
) -> tuple[FloatFile, tuple[Attempt, ...]]:
    """Try the routes; the chosen file and what became of every attempt.

    The first route that is right wins; with ``plan.choose_fastest`` all are made, and of those that
    are right the one with the lower median latency.

    Raises:
        NoRouteError: no route gave a right file; the cause says why for each.
        EnvironmentNotReady: not one route could even start.
    """
    if not plan.routes:
        return _as_it_is(plan, reference, workshop, work)
    right: list[FloatFile] = []
    failed: list[tuple[Attempt, EdgekitError]] = []
    for number, route in enumerate(plan.routes):
        first_step = len(workshop.steps)
        folder = work / f"route-{number}"
        folder.mkdir()
        try:
            made = _travel(plan, route, reference, workshop, folder)
        except (ConversionError, EnvironmentNotReady) as error:
            attempt = _abandoned(route, error, tuple(workshop.steps[first_step:]))
            failed.append((attempt, error))
            workshop.progress.note(f"Route {route.name} abandoned: {error.cause}")
            continue
        right.append(made)
        if not plan.choose_fastest:
            break
    if not right:
        raise _no_route(failed)
    return _choose(plan, right, [attempt for attempt, _ in failed], workshop)


def _travel(
    plan: Plan, route: Route, reference: Reference, workshop: Workshop, folder: Path
) -> FloatFile:
    first_step = len(workshop.steps)
    stages: list[ParityReport] = []
    there = _made_at(reference)
    artifact, told = _hops(plan, route, there, workshop, folder, stages)
    if reference.sizes:
        artifact = _resizable(plan, route, artifact, reference, workshop, folder)
        if there is not reference:
            path = folder / "at-first.tflite"
            artifact = start_at(artifact, told, there, reference, workshop, path)
    measured = candidates.measure(
        artifact,
        reference,
        workshop,
        name=f"float TFLite by {route.name}",
        work=folder / "outputs",
        told=told,
    )
    stages.append(measured.parity)
    require_equal(plan, stages)
    if measured.judged.remembers:
        raise ConversionError(f"{stages[-1].candidate} does not equal the framework: {REMEMBERS}.")
    if reference.sizes:
        proven, wrong = prove(
            plan,
            artifact,
            measured.bindings,
            reference,
            workshop,
            scheme="fp32",
            name=f"float TFLite by {route.name}",
            work=folder / "sizes",
        )
        if wrong:
            raise ConversionError(f"The file cannot be resized: {'; '.join(wrong)}.")
        stages += proven
    return FloatFile(
        path=artifact,
        parity=measured.parity,
        bindings=measured.bindings,
        attempt=Attempt(
            route=route.name,
            path=str(route),
            state="used",
            stages=tuple(stages),
            steps=tuple(workshop.steps[first_step:]),
        ),
    )


def _hops(
    plan: Plan,
    route: Route,
    reference: Reference,
    workshop: Workshop,
    folder: Path,
    stages: list[ParityReport] | None = None,
) -> tuple[Path, list[dict[str, Any]]]:
    """The file at the end of a route, and what its converter says of the inputs.

    What an ONNX file on the way says is compared where there are ``stages`` to add that to.
    """
    artifact, told = Path(plan.source.location), list[dict[str, Any]]()
    for number, hop in enumerate(route.hops):
        target = hop.conversion.target
        output = folder / f"{number}.{_SUFFIX.get(target, target)}"
        if hop.converter == plan.runner and not workshop.has(plan.runner):
            load_again(plan, workshop)
        told = _hop(hop, artifact, output, reference, workshop)
        artifact = output
        if target == "onnx" and stages is not None:
            stages.append(_check_onnx(plan, artifact, reference, workshop, folder / "onnx-outputs"))
            require_equal(plan, stages)
    maker = route.hops[-1].converter.name
    return normalised(artifact, folder / "normalised.tflite", maker), told


def _made_at(reference: Reference) -> Reference:
    """The size that files are made at: not one sample where a batch can be resized.

    Converters leave out what makes no difference to a dimension of 1.
    """
    single = (spec.shape[axis] == 1 for spec in reference.inputs for axis in spec.resizable)
    return reference.sizes[0] if any(single) else reference


def _resizable(
    plan: Plan,
    route: Route,
    artifact: Path,
    reference: Reference,
    workshop: Workshop,
    folder: Path,
) -> Path:
    """The file with its inputs open, by what is different where the route is made at another size.

    The size that is no multiple of anything shows best what depends on what, where the model has
    it; but its paddings may be others.

    Raises:
        ConversionError: the files differ in more than sizes.
    """
    failure: NotResizableError | None = None
    for number, there in enumerate((reference.sizes[-1], reference.sizes[1])):
        aside = folder / f"other-size-{number}"
        aside.mkdir()
        other, _ = _hops(plan, route, there, workshop, aside)
        model = read(artifact)
        try:
            make_resizable(model, read(other))
        except NotResizableError as error:
            failure = failure or error
            continue
        path = folder / "resizable.tflite"
        write(model, path)
        return path
    assert failure is not None
    raise failure


_SUFFIX = {"exported_program": "pt2", "saved_model": "d", "torchscript": "pt"}


def _hop(
    hop: Hop, artifact: Path, output: Path, reference: Reference, workshop: Workshop
) -> list[dict[str, Any]]:
    result, _ = workshop.call(
        hop.converter,
        "convert",
        {
            "artifact": str(artifact),
            "from": hop.conversion.source,
            "to": hop.conversion.target,
            "output": str(output),
            "inputs": spec_tables(reference.inputs),
            "outputs": spec_tables(reference.outputs),
        },
        title=f"Converting {hop.conversion.source} to {hop.conversion.target} "
        f"by {hop.converter.name}",
        options={"from": hop.conversion.source, "to": hop.conversion.target},
    )
    if not output.exists():
        raise ConversionError(
            f"{hop.converter.name} said that it wrote {output.name}, but did not."
        )
    return [entry for entry in result.get("inputs", []) if "source" in entry]


def _check_onnx(
    plan: Plan, artifact: Path, reference: Reference, workshop: Workshop, folder: Path
) -> ParityReport:
    folder.mkdir()
    runner = source_converter("onnx", plan.converters)
    result, _ = workshop.call(
        runner,
        "reference",
        {
            "artifact": str(artifact),
            "inputs": {name: str(path) for name, path in reference.data.parity.files.items()},
            "specs": spec_tables(reference.inputs),
            "outputs_folder": str(folder),
        },
        title="Comparing ONNX",
    )
    workshop.release(runner)
    specs = tuple(
        TensorSpec(name=o["name"], shape=tuple(o["shape"]), dtype=o["dtype"])
        for o in result["outputs"]
    )
    files = tuple(Path(o["path"]) for o in result["outputs"])
    return candidates.compare_stacks(reference, specs, files, name="ONNX").parity


def require_equal(plan: Plan, stages: Sequence[ParityReport]) -> None:
    """Hold the last stage against the float file's gates on parity (60 dB unless stated).

    Raises:
        ConversionError: it does not equal the framework.
    """
    report = stages[-1]
    measured = gates.metrics(report, None, size_bytes=0, integer_share=None)
    applicable = [
        gate
        for gate in gates.for_outputs(
            gates.for_file("fp32", None, plan.gates), "fp32", report.outputs
        )
        if gate.metric in gates.PARITY_METRICS and gate.metric in measured
    ]
    for result in gates.judge(applicable, measured):
        if result.state == "fail":
            worst = report.worst_output
            found = (
                f"has {worst.centred_db:.1f} dB of what varies (worst sample "
                f"{worst.worst_sample}: {worst.worst_sqnr_db:.1f} dB)"
            )
            if result.gate.metric.startswith("index_"):
                worst = min(report.outputs, key=lambda one: _or_all(one.index_agreement))
                found = f"has {_or_all(worst.index_agreement):.1%} of its indices"
            raise _NotEqual(
                f"{report.candidate} does not equal the framework: output {worst.name} {found}; "
                f"required: {result.gate}.",
                tuple(stages),
            )


def _or_all(share: float | None) -> float:
    """A share; all where there are no indices."""
    return 1.0 if share is None else share


def _choose(
    plan: Plan, right: list[FloatFile], failed: list[Attempt], workshop: Workshop
) -> tuple[FloatFile, tuple[Attempt, ...]]:
    from dataclasses import replace

    if len(right) == 1:
        return right[0], (*failed, right[0].attempt)
    latencies = candidates.benchmark(
        [file.path for file in right],
        workshop,
        threads=plan.request.threads,
        title="Which route's file is faster",
    )
    timed = [
        replace(file, latency=latency, attempt=replace(file.attempt, latency=latency))
        for file, latency in zip(right, latencies, strict=True)
    ]
    fastest = min(map(_median_ms, timed))
    # Within the noise of the clock the smaller file is the better one.
    tied = [file for file in timed if _median_ms(file) <= fastest * _SAME_SPEED]
    best = min(tied, key=lambda file: file.path.stat().st_size)
    slower = [
        replace(
            file.attempt,
            state="right, but slower",
            why=f"{_median_ms(file):.3f} ms, {best.attempt.route} takes {_median_ms(best):.3f} ms",
        )
        for file in timed
        if file is not best
    ]
    return best, (*failed, best.attempt, *slower)


_SAME_SPEED = 1.03


def _median_ms(file: FloatFile) -> float:
    assert file.latency is not None
    return file.latency.percentile(50)


def _abandoned(route: Route, error: EdgekitError, steps: tuple[Step, ...]) -> Attempt:
    return Attempt(
        route=route.name,
        path=str(route),
        state="abandoned",
        why=error.cause,
        stages=error.stages if isinstance(error, _NotEqual) else (),
        steps=steps,
    )


def _no_route(failed: list[tuple[Attempt, EdgekitError]]) -> EdgekitError:
    errors = [error for _, error in failed]
    if len(errors) == 1 or all(isinstance(error, EnvironmentNotReady) for error in errors):
        return errors[0]
    reasons = "".join(f"\n  {attempt.route}: {attempt.why}" for attempt, _ in failed)
    return NoRouteError(
        f"No route leads to a right file.{reasons}",
        cure=" ".join(_cures(failed)),
        log=next((error.log for error in errors if error.log), None),
    )


_NEAR_DB = 30.0
"""A file so near computes the model, only less exactly; below that an operator is wrong."""


def _cures(failed: list[tuple[Attempt, EdgekitError]]) -> list[str]:
    """What to do where every route failed: what the routes say, and what their figures mean."""
    nearest = max(
        (
            (attempt.stages[-1].worst_output.centred_db, attempt.route)
            for attempt, error in failed
            if isinstance(error, _NotEqual) and attempt.stages
        ),
        default=(-1e9, ""),
    )
    cures = [
        error.cure
        for _, error in failed
        if error.cure and "another route" not in error.cure.lower()
    ]
    cures = list(dict.fromkeys(cures))
    if nearest[0] >= _NEAR_DB:
        figure = int(nearest[0] // 5 * 5)
        cures.append(
            f"The file by {nearest[1]} is near. If the model has float16 or random numbers inside, "
            f'so that 60 dB are out of reach, --gate "fp32:centred_sqnr_db >= {figure}" takes it.'
        )
    if not cures:
        cures.append(
            "Write what the reasons name with other operators, or end the model before it and "
            "leave that part to the app."
        )
    return cures


def _as_it_is(
    plan: Plan, reference: Reference, workshop: Workshop, work: Path
) -> tuple[FloatFile, tuple[Attempt, ...]]:
    """A `.tflite` source is its own float file, its float16 weights as float32."""
    path = normalised(Path(plan.source.location), work / "source.tflite")
    found = candidates.measure(path, reference, workshop, name="float TFLite", work=work / "float")
    attempt = Attempt(route="none", path="tflite", state="used", stages=(found.parity,))
    made = FloatFile(path=path, parity=found.parity, bindings=found.bindings, attempt=attempt)
    return made, (attempt,)
