"""From the float file to one file per scheme, each with its contract inside and its proof."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from edgekit import sources
from edgekit.calibration.checks import listing
from edgekit.compat.rows import ClientRow
from edgekit.compat.run import Compatibility, in_clients
from edgekit.compat.samples import as_stored
from edgekit.errors import (
    ConversionError,
    DataError,
    EdgekitError,
    SetupError,
    StepError,
    UsageError,
)
from edgekit.measure.job import CandidateJob
from edgekit.measure.judge import Judged, verdict
from edgekit.measure.judge import measured as figures_of
from edgekit.measure.parts import Mixed, of_reference, told_by
from edgekit.measure.tasks import make_metric, picture_range
from edgekit.pipeline import candidates
from edgekit.pipeline.file_contract import file_contract
from edgekit.pipeline.floats import FloatFile
from edgekit.pipeline.kept_scales import KeptScales, within_one_step
from edgekit.pipeline.ladder import RungFiles, as_tables, climb, mark, pick
from edgekit.pipeline.plan import PREPARED_NAME, Plan
from edgekit.pipeline.reference import Reference
from edgekit.pipeline.request import Setting
from edgekit.pipeline.sizes import prove, sizes_note
from edgekit.pipeline.steps import begin
from edgekit.results import Advice, FileResult, FrontPoint, KeptFloat, KeptLayer, Rung
from edgekit.standard_metadata.embed import embed_standard_metadata, remove_standard_metadata
from edgekit.targets.check import check, reasons
from edgekit.tflite.metadata import embed_contract
from edgekit.tflite.model import read
from edgekit.tflite.summary import Summary, summarize
from edgekit.toolchain.converters import own_worker
from edgekit.toolchain.workshop import Workshop
from edgekit.types import (
    EIGHT_BIT_SCHEMES,
    INT8_SCHEMES,
    Artifact,
    Effort,
    Gate,
    LatencyReport,
    ParityReport,
    Scheme,
    Step,
    Verdict,
)
from edgekit.validation import gates
from edgekit.validation.metrics import Metric
from edgekit.validation_result import WorstSample

QUANTIZER = own_worker(
    "quantize",
    Path(__file__).parents[1] / "quantize" / "worker.py",
    versions=("litert-quantizer", "ai-edge-litert", "numpy"),
)

_CLIENT_SAMPLES = 16
WORST = 8
"""So many samples are kept of each file with what both models say."""


@dataclass(frozen=True, kw_only=True)
class Quantized:
    """One result per scheme, in the plan's order, and what was found out on the way.

    A scheme that could not be made has an ``error`` and a failed verdict. ``prepared`` is the
    prepared float model, where it is kept.
    """

    files: tuple[FileResult, ...]
    advice: tuple[Advice, ...] = ()
    ladder: tuple[Rung, ...] = ()
    front: tuple[FrontPoint, ...] = ()
    prepared: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A proven float file, and the reference with the samples that it and what becomes of it take.

    Files made from it say the same of these samples as the reference does.
    """

    floating: FloatFile
    reference: Reference


def make_files(
    plan: Plan,
    subject: Subject,
    eight_bit: Subject,
    workshop: Workshop,
    work: Path,
    kept: KeptScales | None = None,
) -> Quantized:
    """Quantize, embed the contract, compare, time and judge; climb where there is a budget.

    Args:
        plan: says what is made.
        subject: what files are made from.
        eight_bit: what those of the int8 schemes are; another one where they take raw pixels.
        workshop: has the quantizer and the runner.
        work: a folder for intermediate files.
        kept: the scales of a source that is quantized already: the int8 schemes take them.
    """
    making = _Making(plan=plan, subject=subject, eight_bit=eight_bit, workshop=workshop, work=work)
    request = plan.request
    # Random inputs must not steer anything: their statistics are nobody's.
    effort: Effort = "none" if request.synthetic else request.effort
    setting = Setting(effort=effort, ranges=request.ranges, kept=_stated(plan))
    own = tuple(INT8_SCHEMES.values())
    keeping = [scheme for scheme in plan.schemes if kept and scheme in own]
    mixed = [scheme for scheme in plan.mixed if scheme not in keeping]
    others = [scheme for scheme in plan.schemes if scheme not in (*mixed, *keeping)]
    batches = [making.make(others, setting)] if others else []
    if kept and keeping:
        batches.append(making.keeping(kept, keeping, setting.kept))
    rungs: tuple[Rung, ...] = ()
    front: tuple[FrontPoint, ...] = ()
    if mixed and request.settled is not None:
        batches.append(making.make(mixed, request.settled))
    elif mixed and plan.has_budget:

        def look(setting: Setting) -> tuple[FrontPoint, ...]:
            nonlocal front
            front = making.front(mixed[0], setting)
            return front

        best, rungs = climb(
            lambda setting: making.make(mixed, setting),
            look,
            ranges=request.ranges,
            stated=setting.kept,
            most_latency=request.max_latency,
            note=workshop.progress.note,
        )
        batches.append(best)
        front = mark(front, best.kept)
    elif mixed:
        front = pick(making.front(mixed[0], setting), request.max_latency)
        layers = next((point.layers for point in front if point.chosen), ())
        batches.append(making.make(mixed, replace(setting, kept=(*setting.kept, *layers))))
    workshop.release(QUANTIZER)
    results = {file.scheme: file for batch in batches for file in batch.files}
    return Quantized(
        files=tuple(results[scheme] for scheme in plan.schemes),
        advice=tuple({one.code: one for batch in batches for one in batch.advice}.values()),
        ladder=rungs,
        front=front,
        prepared=batches[-1].prepared,
    )


def _stated(plan: Plan) -> tuple[KeptLayer, ...]:
    """The layers that the user takes out of 8 bits by name."""
    request = plan.request
    floating = [KeptLayer(name=n, members=(n,), precision="float") for n in request.keep_float]
    sixteen = [KeptLayer(name=n, members=(n,), precision="int16") for n in request.keep_int16]
    return *floating, *sixteen


@dataclass(frozen=True, kw_only=True)
class _Made:
    """A file with its parity; the latencies of all come together, later."""

    scheme: Scheme
    path: Path
    summary: Summary
    judged: Judged
    job: CandidateJob
    worst: tuple[WorstSample, ...]
    sizes: tuple[ParityReport, ...] = ()
    wrong: tuple[str, ...] = ()


@dataclass(kw_only=True)
class _Making:
    """Makes files by one setting after the other, each batch in a folder of its own.

    Where nothing is ``calibrated``, there is no advice on the calibration samples either.
    """

    plan: Plan
    subject: Subject
    eight_bit: Subject
    workshop: Workshop
    work: Path
    calibrated: bool = True
    _batches: int = 0
    _told: set[str] = field(default_factory=set)

    def make(self, schemes: Sequence[Scheme], setting: Setting) -> RungFiles:
        """Quantize by a setting, compare, time and judge."""
        folder = self.work / f"files-{self._batches}"
        folder.mkdir()
        self._batches += 1
        begin(self.workshop.progress, "quantize")
        result = self._quantize(schemes, setting, folder)
        mixed = told_by(result["mixed_ranges"])
        advice = self._advice(result["advice"], mixed)
        for note in result["gave_up"]:
            self._tell(note)
        made, errors = [], dict(result["failures"])
        begin(self.workshop.progress, "compare")
        for scheme in schemes:
            if scheme in errors:
                continue
            try:
                made.append(self._finish(scheme, folder, mixed))
            except ConversionError as error:
                errors[scheme] = error.cause
        latencies: Sequence[LatencyReport] = []
        begin(self.workshop.progress, "time")
        if made:
            latencies = candidates.benchmark(
                [one.path for one in made],
                self.workshop,
                threads=self.plan.request.threads,
                title="Measuring latency",
            )
        results = {
            one.scheme: self._judge(one, latency, result["left"])
            for one, latency in zip(made, latencies, strict=True)
        }
        results |= {scheme: self._failed(scheme, why) for scheme, why in errors.items()}
        prepared = folder / PREPARED_NAME
        return RungFiles(
            files=tuple(results[scheme] for scheme in schemes),
            advice=advice,
            prepared=prepared if prepared.exists() else None,
        )

    def keeping(
        self, scales: KeptScales, schemes: Sequence[Scheme], kept: tuple[KeptLayer, ...]
    ) -> RungFiles:
        """Quantize by the source's scales, and compare with the quantized model itself."""
        folder = scales.path.with_name("files")
        folder.mkdir()
        itself = replace(self.subject.reference, files=scales.said)
        floating = replace(self.subject.floating, path=scales.path)
        subject = Subject(floating=floating, reference=itself)
        stating = replace(self, subject=subject, eight_bit=subject, work=folder, calibrated=False)
        made = stating.make(schemes, Setting(effort="none", ranges="minmax", kept=kept))
        for file in made.files:
            if file.error:
                continue
            path = file.artifact.path
            near = within_one_step(path, itself, self.workshop, folder / file.scheme)
            if near is not None:
                self._tell(
                    f"{file.scheme} is compared with the quantized model itself: "
                    f"{near:.1%} of the output values are within one step of it"
                )
        return made

    def front(self, scheme: Scheme, setting: Setting) -> tuple[FrontPoint, ...]:
        """Which layers to take out of 8 bits, the fastest first; the knee is the chosen one."""
        try:
            result, _ = self.workshop.call(
                QUANTIZER,
                "front",
                {
                    **self._ground(self._of(scheme)),
                    "scheme": scheme,
                    "effort": setting.effort,
                    "ranges": setting.ranges,
                },
                title="Looking for the layers that int8 hurts",
            )
        except ConversionError as error:
            self._tell(f"No layer was taken out of 8 bits: {error.cause}")
            return ()
        if not result["mixes"]:
            self._tell("No layer was taken out of 8 bits: with these data nothing can be measured.")
        return tuple(
            FrontPoint(
                **{
                    **mix,
                    "layers": tuple(
                        KeptLayer(**{**layer, "members": tuple(layer["members"])})
                        for layer in mix["layers"]
                    ),
                },
                chosen=place == result["knee"],
            )
            for place, mix in enumerate(result["mixes"])
        )

    def _of(self, scheme: Scheme) -> Subject:
        """What a scheme's file is made from."""
        return self.eight_bit if scheme in EIGHT_BIT_SCHEMES else self.subject

    def _ground(self, subject: Subject) -> dict[str, Any]:
        """What every request to the quantizer says, so that it finds what it knows already."""
        bindings = subject.floating.bindings
        return {
            "artifact": str(subject.floating.path),
            "feeds": candidates.feeds(subject.reference, bindings, "calibration"),
            "parity": candidates.feeds(subject.reference, bindings, "parity"),
            "work": str(self.work),
            "without": list(self.plan.request.without),
        }

    def _quantize(
        self, schemes: Sequence[Scheme], setting: Setting, folder: Path
    ) -> dict[str, Any]:
        """What the quantizer says of all schemes together, or of each where it fails at some.

        A scheme that ends the quantizer's process must not take the others with it.
        """
        other = [scheme for scheme in schemes if self._of(scheme) is not self._of(schemes[0])]
        if other:
            same = [scheme for scheme in schemes if scheme not in other]
            return _together([self._quantize(some, setting, folder) for some in (same, other)])
        try:
            return self._ask(schemes, setting, folder)
        except ConversionError as error:
            if len(schemes) == 1:
                return _failed_at(schemes[0], error)
        return _together([self._quantize([scheme], setting, folder) for scheme in schemes])

    def _ask(self, schemes: Sequence[Scheme], setting: Setting, folder: Path) -> dict[str, Any]:
        subject, kept = self._of(schemes[0]), as_tables(setting.kept)
        calibration = subject.reference.data.calibration
        keep = self.plan.request.keep_prepared
        result, _ = self.workshop.call(
            QUANTIZER,
            "quantize",
            {
                **self._ground(subject),
                "outputs": {scheme: str(folder / f"{scheme}.raw") for scheme in schemes},
                "effort": setting.effort,
                "ranges": setting.ranges,
                "kept": kept,
                "keep_prepared": str(folder / PREPARED_NAME) if keep else None,
            },
            title="Quantizing",
            options={
                "schemes": list(schemes),
                "data": calibration.digest,
                "samples": calibration.count,
                "effort": setting.effort,
                "ranges": setting.ranges,
                "kept": kept,
                "without": list(self.plan.request.without),
            },
        )
        return result

    def _advice(self, found: list[dict[str, Any]], mixed: Mixed) -> tuple[Advice, ...]:
        """The engine's advice with the samples' names; what was not told yet is told."""
        # Of random inputs there is nothing to say that the word synthetic does not say.
        tables = found if self.calibrated and not self.plan.request.synthetic else []
        advice = tuple(_named(one, self.subject.reference.data.calibration.ids) for one in tables)
        notes = [f"{one.code}: {one.message}" for one in advice if one.warning]
        for note in (*notes, *mixed.notes()):
            self._tell(note)
        return advice

    def _tell(self, note: str) -> None:
        """Once only, however many files are made."""
        if note not in self._told:
            self._told.add(note)
            self.workshop.progress.note(note)

    def _finish(self, scheme: Scheme, folder: Path, mixed: Mixed) -> _Made:
        subject = self._of(scheme)
        floating, reference = subject.floating, subject.reference
        raw, path = folder / f"{scheme}.raw", folder / self.plan.file(scheme).name
        contract = file_contract(
            reference.contract,
            floating.bindings,
            floating.parity.bindings,
            summarize(raw),
            mixed.cut_in(scheme),
        )
        embed_contract(raw, path, contract)
        if self.plan.request.no_standard_metadata:
            remove_standard_metadata(path)  # what the source came with
        else:
            embed_standard_metadata(path, path, contract, name=self.plan.source.name)
        raw.unlink()
        # Measured with the contract inside: what is measured is byte for byte what is delivered.
        measure = partial(
            candidates.measure,
            path,
            reference,
            self.workshop,
            name=scheme,
            work=folder / f"outputs-{scheme}",
            scheme=scheme,
            told=[
                {"source": binding.reference, "permutation": binding.permutation}
                for binding in floating.bindings
            ],
            parts=of_reference(mixed.outputs, floating.parity.bindings),
            worst=WORST,
        )
        try:
            measured = measure(metric=self._metric)
        except (DataError, SetupError) as error:
            self._without_figures(error)
            measured = measure()
        sizes, wrong = prove(
            self.plan,
            path,
            measured.bindings,
            reference,
            self.workshop,
            scheme=scheme,
            name=scheme,
            work=folder / f"sizes-{scheme}",
        )
        return _Made(
            scheme=scheme,
            path=path,
            summary=summarize(path),
            judged=measured.judged,
            job=measured.job,
            worst=measured.worst,
            sizes=sizes,
            wrong=wrong,
        )

    def _in_clients(self, made: _Made) -> Compatibility:
        """The file in the clients that were asked for, on the samples that it is judged on."""
        few = slice(0, _CLIENT_SAMPLES)
        reference = self._of(made.scheme).reference
        reals = made.job.fed(reference.inputs_of(few))
        return in_clients(
            made.path,
            self.plan.clients,
            made.summary,
            as_stored(made.summary, reals, reference.data.parity.ids[few]),
            data="the samples that files are compared on",
            progress=self.workshop.progress,
        )

    def _judge(
        self, made: _Made, latency: LatencyReport, left: dict[str, list[dict[str, Any]]]
    ) -> FileResult:
        kept = tuple(KeptFloat(**one) for one in left.get(made.scheme, ()))
        size = made.path.stat().st_size
        whys = {"integer_share": _in_float(kept)} if kept else {}
        violations = None
        if targets := self.plan.targets:
            model = read(made.path)
            fitting = [check(model, target, size_bytes=size) for target in targets]
            violations = sum(len(report.violations) for report in fitting)
            whys["target_violations"] = reasons(fitting)
        rows: tuple[ClientRow, ...] = ()
        unmet: dict[str, str] = {}
        if self.plan.clients:
            found = self._in_clients(made)
            rows, unmet = found.rows, found.violations()
            whys["client_violations"] = "; ".join(f"{one}: {why}" for one, why in unmet.items())
        measured = figures_of(
            made.judged,
            latency,
            size_bytes=size,
            integer_share=made.summary.integer_share,
            target_violations=violations,
            client_violations=len(unmet) if rows else None,
        )
        reference = self.subject.reference
        task = reference.contract.task
        if made.sizes:
            self._tell(sizes_note(made.scheme, made.sizes))
        reached = verdict(
            made.scheme,
            task,
            self._gates(made.scheme),
            measured,
            made.judged,
            reasons=whys,
            no_labels="" if reference.labels else "the samples have no labels",
            accept_few=self.plan.request.accept_few,
        )
        return FileResult(
            scheme=made.scheme,
            artifact=Artifact(
                path=made.path,
                sha256=sources.digest(made.path),
                kind="tflite",
                scheme=made.scheme,
                size_bytes=size,
                lineage=self._lineage(made.scheme),
            ),
            parity=made.judged.parity,
            latency=latency,
            verdict=replace(reached, wrong=(*reached.wrong, *made.wrong)),
            metrics=measured,
            figures=made.judged.figures,
            reference_figures=made.judged.reference_figures,
            integer_share=made.summary.integer_share,
            float_ops=tuple(sorted({op.op for op in made.summary.float_ops})),
            kept_float=kept,
            clients=rows,
            worst=made.worst,
            sizes=made.sizes,
        )

    @cached_property
    def _metric(self) -> Metric | None:
        """The task's, where the contract has what it needs."""
        reference = self.subject.reference
        span = max(map(picture_range, reference.outputs_of(slice(0, 1))))
        try:
            return make_metric(reference.compared, samples=reference.data.parity.count, span=span)
        except (UsageError, SetupError) as error:
            self._without_figures(error)
            return None

    def _without_figures(self, error: EdgekitError) -> None:
        """Go on without the task's figures, unless a budget needs them."""
        if self.plan.has_budget:
            raise error
        self._tell(f"The task's figures were not measured: {error.cause}")

    def _gates(self, scheme: Scheme) -> tuple[Gate, ...]:
        return self.plan.gates_of(scheme, self.subject.reference.contract.task)

    def _lineage(self, scheme: Scheme) -> tuple[Step, ...]:
        """The conversion, and the quantization that made the file: the last one so far."""
        quantizing = [step for step in self.workshop.steps if step.tool == QUANTIZER.name]
        return *self._of(scheme).floating.attempt.steps, *quantizing[-1:]

    def _failed(self, scheme: Scheme, why: str) -> FileResult:
        plan = self.plan
        wanted = self._gates(scheme)
        unmet = gates.judge(wanted, {gate.metric: float("nan") for gate in wanted})
        return FileResult(
            scheme=scheme,
            artifact=Artifact(path=plan.file(scheme), sha256="", kind="tflite", scheme=scheme),
            parity=None,
            latency=None,
            verdict=Verdict(gates=unmet),
            metrics={},
            error=why,
        )


def _failed_at(scheme: Scheme, error: ConversionError) -> dict[str, Any]:
    """What the quantizer would say of a scheme that it could not make."""
    cure = error.cure
    if isinstance(error, StepError):
        cure = (
            f"The files of the other schemes are not touched by it. Try {scheme} with "
            "--effort none, or leave it out with --scheme."
        )
        if error.log is not None:
            cure += f" The log has the last words: {error.log}"
    return {
        "failures": {scheme: f"{error.cause} {cure}".strip()},
        "advice": [],
        "left": {},
        "gave_up": [],
        "mixed_ranges": {"tensors": [], "cut": [], "joined": {}},
    }


def _together(answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The quantizer's answers for one scheme each as the answer for all of them."""
    mixed = [one["mixed_ranges"] for one in answers]
    return {
        "failures": {k: v for one in answers for k, v in one["failures"].items()},
        "advice": list({one["code"]: one for a in answers for one in a["advice"]}.values()),
        "left": {k: v for one in answers for k, v in one["left"].items()},
        "gave_up": list(dict.fromkeys(note for one in answers for note in one["gave_up"])),
        "mixed_ranges": {
            "tensors": max(mixed, key=_mended)["tensors"],
            "cut": [scheme for one in mixed for scheme in one["cut"]],
            "joined": {k: v for one in mixed for k, v in one["joined"].items()},
        },
    }


def _mended(mixed: dict[str, Any]) -> tuple[int, int]:
    """Who took mixed tensors apart knows more of them than who only found them."""
    return len(mixed["cut"]) + len(mixed["joined"]), len(mixed["tensors"])


def _named(found: dict[str, Any], ids: Sequence[str]) -> Advice:
    """Advice of the engine, which knows samples by their number only, with their ids."""
    names = tuple(ids[index] for index in found["samples"])
    message = found["message"].replace("{samples}", listing(names))
    return Advice(**{**found, "message": message, "samples": names})


def _in_float(kept: Sequence[KeptFloat]) -> str:
    """The first operators that compute in float, with their reasons."""
    named = [f"{one.op} {one.output} computes in float: {one.reason}" for one in kept[:4]]
    more = len(kept) - len(named)
    return "; ".join([*named, *([f"and {more} more"] if more else [])])
