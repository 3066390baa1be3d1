"""A sweep as jobs. What two combinations have in common is one job: it has one key.

A key is the digest of all that decides a job's result: the content of models, code and data, the
settings that its step looks at, versions, and the keys of the jobs that it reads from. Where a file
lies, and when it was written, does not count. So a rerun does what changed and what hangs on it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from edgekit import sources
from edgekit.config import Config, load_config
from edgekit.contract import check_preprocess
from edgekit.errors import DataError, EdgekitError
from edgekit.files import kind_of, shown
from edgekit.jobs.protocol import Job, Plain, Resources
from edgekit.pipeline.locking import input_digests
from edgekit.pipeline.plan import Plan, plan
from edgekit.pipeline.record import RecordRequest
from edgekit.pipeline.request import ConversionRequest
from edgekit.pipeline.validation.request import ValidationRequest
from edgekit.plain import to_plain
from edgekit.sweep.file import Faults, SweepFile, SweepModel, parsed_inputs
from edgekit.sweep.points import Combination, points
from edgekit.sweep.work import MODULE
from edgekit.toolchain.workshop import Limits, versions
from edgekit.types import EIGHT_BIT_SCHEMES
from edgekit.validation import gates
from edgekit.version import __version__

_HOST = ("numpy", "opencv-python-headless", "pillow", "litert-quantizer", "ai-edge-litert")
_OF_INT8 = ("max_drop", "min_sqnr", "min_agreement", "max_latency", "keep_float", "keep_int16")
"""What is about 8-bit schemes only, and an error where there is none."""
_QUANTIZING = ("io_dtype", "ranges", "without", "allow_float_ops", *_OF_INT8)
_JUDGING = ("targets", "gates", "threads")
_LATER = frozenset((*_QUANTIZING, *_JUDGING, "schemes", "effort", "no_standard_metadata"))
"""Fields of a conversion that its float file does not depend on."""
_PLACES = frozenset(
    ("model", "weights", "calibration", "parity", "labels", "config", "data", "output")
)
"""Fields that are places; their content is what counts."""
_MODEL = ("weights", "signature", "preprocess", "fold_preprocess", "feed_color", "route")
_DATA = ("calibration", "parity", "samples", "parity_samples", "synthetic", "seed")
_MEANING = ("task", "labels", "config", "accept_few")
_CONVERSION = (
    *(*_MODEL, *_DATA, *_MEANING, "accept_contract", "keep_scales"),
    *(*_QUANTIZING, *_JUDGING),
)
_MEASURING = (*_MEANING, "layout", "limit", "seed", "preprocess")

CONVERTING, RECORDING, MEASURING = range(3)
"""Priorities: what is measured is measured last, and alone on its machine."""


@dataclass(frozen=True, kw_only=True)
class SweepCandidate:
    """A combination and the jobs that it takes: its file, and how that does where it runs.

    ``rounds`` has one job for each round of a search, the last of which has all samples.
    """

    point: Combination
    file: str
    rounds: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """What a sweep will do: the jobs by key, and the combinations that they are for."""

    sweep: SweepFile
    jobs: Mapping[str, Job]
    candidates: tuple[SweepCandidate, ...]

    def needed(self, keys: list[str]) -> list[Job]:
        """The jobs of these keys and all that they need, each after those."""
        found: dict[str, Job] = {}

        def add(key: str) -> None:
            if key not in found:
                for need in self.jobs[key].needs:
                    add(need)
                found[key] = self.jobs[key]

        for key in keys:
            add(key)
        return list(found.values())


def priority(job: Job) -> int:
    """What goes before what, see `CONVERTING`."""
    step = job.function.rpartition(":")[2]
    return {"to_recording": RECORDING, "to_figures": MEASURING, "to_latency": MEASURING}.get(
        step, CONVERTING
    )


def plan_sweep(
    sweep: SweepFile, *, cores: float, limits: Limits | None = None, trust_pickle: bool = False
) -> SweepPlan:
    """Plan all combinations; nothing is run, and nothing is written.

    Args:
        sweep: what was read.
        cores: of the machine that measures: nothing else runs on it meanwhile.
        limits: on the time and memory of each step.
        trust_pickle: open pickles, which can run any code.

    Raises:
        UsageError: what is wrong with models, settings or data, all of it together.
    """
    planning = _Planning(
        sweep=sweep, cores=cores, limits=limits or Limits(), trust_pickle=trust_pickle
    )
    wanted = points(sweep)
    planning.check(wanted)
    candidates = tuple(planning.candidate(point) for point in wanted)
    return SweepPlan(sweep=sweep, jobs=planning.jobs, candidates=candidates)


@dataclass(kw_only=True)
class _Planning:
    sweep: SweepFile
    cores: float
    limits: Limits
    trust_pickle: bool
    jobs: dict[str, Job] = field(default_factory=dict)
    _plans: dict[tuple[str, str], Plan] = field(default_factory=dict)
    _digests: dict[Path, str] = field(default_factory=dict)
    _made_from: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)

    @cached_property
    def models(self) -> dict[str, SweepModel]:
        """The models by their names."""
        return {model.name: model for model in self.sweep.models}

    def check(self, wanted: tuple[Combination, ...]) -> None:
        """Plan the conversion of every model at every size: what is wrong is told before anything.

        Raises:
            UsageError: what was found, with the model that it is about.
        """
        found = Faults()
        for name, size in dict.fromkeys((point.model, point.size) for point in wanted):
            where = f"The model {name!r}" + (f" at {size}" if size else "")
            try:
                self._plans[name, size] = plan(self._conversion(name, size))
                self._made_from[name, size] = input_digests(self._plans[name, size])
                self._check_data(name)
            except EdgekitError as error:
                found.take(where, error)
        for point in wanted if not found else ():
            try:
                plan(self._of_scheme(point))
            except EdgekitError as error:
                found.take(f"{point.name!r}", error)
        found.stop()

    def candidate(self, point: Combination) -> SweepCandidate:
        """A combination with its jobs, which are made where they are new."""
        file = self._file_job(point)
        limits = (*(self.sweep.search.samples if self.sweep.search else ()), None)
        data = self.models[point.model].settings.get("data")
        if data is None:
            return SweepCandidate(point=point, file=file, rounds=(self._latency_job(point, file),))
        recording = self._recording_job(point)
        rounds = tuple(self._figures_job(point, file, recording, most) for most in limits)
        return SweepCandidate(point=point, file=file, rounds=tuple(dict.fromkeys(rounds)))

    def _conversion(self, name: str, size: str) -> ConversionRequest:
        model = self.models[name]
        known = {key: value for key, value in model.settings.items() if key in _CONVERSION}
        lists = ("without", "keep_float", "keep_int16", "targets", "gates")
        known |= {key: tuple(known[key]) for key in lists if key in known}
        return ConversionRequest(
            model=model.location,
            inputs=parsed_inputs(model.settings, size),
            trust_pickle=self.trust_pickle,
            no_standard_metadata=not model.settings.get("standard_metadata", True),
            output=Path("files"),
            limits=self.limits,
            **{"config": None, **known},
        )

    def _of_scheme(self, point: Combination) -> ConversionRequest:
        request = self._conversion(point.model, point.size)
        own: dict[str, Any] = {"effort": point.effort} if point.effort else {}
        if point.scheme != "int8":
            own["io_dtype"] = None
        if point.scheme not in EIGHT_BIT_SCHEMES:
            own |= {name: getattr(ConversionRequest(), name) for name in _OF_INT8}
        return replace(request, schemes=(point.scheme,), **own)

    def _check_data(self, name: str) -> None:
        settings = self.models[name].settings
        data = settings.get("data")
        if data is not None and kind_of(data) not in ("file", "folder"):
            raise DataError(f"There is no file or folder {shown(data)}.", cure="Check data.")
        check_preprocess(settings.get("preprocess", {}))

    def _float_job(self, point: Combination) -> str:
        name, size = point.model, point.size
        made = self._plans[name, size]
        request = made.request
        decides = {key: value for key, value in _table(request).items() if key not in _LATER}
        parity = [
            (scheme, str(gate))
            for scheme, gate in made.gates
            if scheme in (None, "fp32") and gate.metric in gates.PARITY_METRICS
        ]
        return self._add(
            "to_float",
            " ".join(filter(None, (name, size, "float"))),
            {"request": to_plain(request)},
            decides=[
                decides,
                parity,
                made.seeks_layers,
                self._made_from[name, size],
                self._digest(made.calibration),
                self._digest(made.parity),
                versions(made.runner.versions) if made.runner.environment == "host" else {},
            ],
        )

    def _file_job(self, point: Combination) -> str:
        request = self._of_scheme(point)
        floating = self._float_job(point)
        stated = self._plans[point.model, point.size].gates
        timed = request.max_latency is not None or any(
            gate.metric.startswith("latency") for _, gate in stated
        )
        return self._add(
            "to_scheme",
            point.name,
            {"request": to_plain(request), "float": floating},
            decides=[_table(request), self._made_from[point.model, point.size]],
            needs=(floating,),
            # A limit on latency is judged where nothing else runs.
            resources=Resources(cores=self.cores) if timed else None,
        )

    def _recording_job(self, point: Combination) -> str:
        name, size = point.model, point.size
        request = self._plans[name, size].request
        settings = self.models[name].settings
        config = load_config(request.config) if request.config else Config()
        recording = RecordRequest(
            model=request.model or "",
            output=Path("reference.edgeref"),
            inputs=request.inputs,
            weights=request.weights or config.weights,
            trust_pickle=request.trust_pickle,
            preprocess=request.preprocess,
            task=request.task,
            labels=request.labels,
            config=request.config,
            data=settings["data"],
            layout=settings.get("layout"),
            limit=settings.get("limit"),
            seed=request.seed,
            runs=0,
            limits=self.limits,
        )
        return self._add(
            "to_recording",
            " ".join(filter(None, (name, size, "reference"))),
            {"request": to_plain(recording)},
            decides=[
                _table(recording),
                self._made_from[name, size],
                self._digest(settings["data"]),
            ],
        )

    def _figures_job(self, point: Combination, file: str, recording: str, most: int | None) -> str:
        settings = self.models[point.model].settings
        limit = settings.get("limit")
        if most is not None:
            limit = min(most, limit or most)
        known = {key: value for key, value in settings.items() if key in _MEASURING}
        address, runtime = self.sweep.where(point.on)
        request = ValidationRequest(
            candidates=(Path("file.tflite"),),
            reference="reference.edgeref",
            data=settings["data"],
            gates=tuple(settings.get("gates", ())),
            strict=settings.get("strict", False),
            accept_contract=settings.get("accept_contract", False),
            threads=settings.get("threads", 1),
            address=address,
            runtime=runtime,
            explain="never",
            limits=self.limits,
            **{**known, "limit": limit},
        )
        samples = f", {limit} samples" if most is not None else ""
        return self._add(
            "to_figures",
            f"{point.name} on {point.on}{samples}",
            {"request": to_plain(request), "file": file, "recording": recording},
            decides=[_table(request), self._digest(settings["data"])],
            needs=(file, recording),
            resources=self._alone(point),
        )

    def _latency_job(self, point: Combination, file: str) -> str:
        settings = self.models[point.model].settings
        address, runtime = self.sweep.where(point.on)
        request = ValidationRequest(
            candidates=(),
            reference="",
            data=Path(),
            threads=settings.get("threads", 1),
            address=address,
            runtime=runtime,
            limits=self.limits,
        )
        return self._add(
            "to_latency",
            f"{point.name} on {point.on}",
            {"request": to_plain(request), "file": file},
            decides=[_table(request)],
            needs=(file,),
            resources=self._alone(point),
        )

    def _alone(self, point: Combination) -> Resources:
        """Nothing runs beside what is timed; a device elsewhere has one holder."""
        address, _ = self.sweep.where(point.on)
        if address == "local":
            return Resources(cores=self.cores)
        return Resources(cores=1.0, devices=frozenset({address}))

    def _add(
        self,
        step: str,
        name: str,
        arguments: Mapping[str, Plain],
        *,
        decides: list[Any],
        needs: tuple[str, ...] = (),
        resources: Resources | None = None,
    ) -> str:
        ground = [step, __version__, versions(_HOST), list(needs), decides]
        text = json.dumps(to_plain(ground), sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()
        self.jobs.setdefault(
            key,
            Job(
                key=key,
                name=name,
                function=f"{MODULE}:{step}",
                arguments=arguments,
                needs=needs,
                resources=resources or Resources(cores=min(self.sweep.cores, self.cores)),
            ),
        )
        return key

    def _digest(self, path: Path | None) -> str:
        if path is None:
            return ""
        if path not in self._digests:
            try:
                self._digests[path] = sources.digest(path)
            except OSError as error:
                raise DataError(
                    f"{error.filename} cannot be read: {error.strerror or error}."
                ) from error
        return self._digests[path]


def _table(request: Any) -> dict[str, Any]:
    """A request without its places, which count by their content."""
    table: dict[str, Any] = to_plain(request)
    return {key: value for key, value in table.items() if key not in _PLACES}
