"""Deciding what to do, without doing any of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgekit.arguments import check_arguments
from edgekit.compat.clients import Client, with_baseline
from edgekit.config import Config, find_config, load_config, read_labels
from edgekit.contract import Task, check_preprocess
from edgekit.errors import DataError, UsageError
from edgekit.files import kind_of, shown
from edgekit.pipeline import budget
from edgekit.pipeline.request import ConversionRequest
from edgekit.provenance.lock import LOCK_NAME
from edgekit.quantize.ranges import parse_method
from edgekit.routes import Route, find_routes, source_converter
from edgekit.runners.litert import LITERT
from edgekit.sources import recognise
from edgekit.targets.profile import Profile
from edgekit.targets.reading import load as load_target
from edgekit.toolchain.converters import Converter, discover
from edgekit.types import EIGHT_BIT_SCHEMES, INT8_SCHEMES, Gate, ModelSource, Scheme
from edgekit.validation import gates

REPORT_NAME = "edgekit-report.json"
PAGE_NAME = "edgekit-report.html"
PREPARED_NAME = "prepared.tflite"
"""What the prepared float model is called in the work folder."""
DEFAULT_SAMPLES = 128


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run will do.

    Attributes:
        runner: the converter that runs the source model as the reference.
        routes: the routes in the order in which they are tried; empty for a `.tflite` source.
        converters: all that exist, by name.
        choose_fastest: try all routes and keep the fastest right one.
        targets: profiles that every file must fit.
        clients: in which every file must run and agree, LiteRT first; empty for none.
    """

    request: ConversionRequest
    config: Config
    source: ModelSource
    runner: Converter
    routes: tuple[Route, ...]
    converters: dict[str, Converter]
    choose_fastest: bool
    schemes: tuple[Scheme, ...]
    calibration: Path | None
    parity: Path | None
    samples: int
    labels: tuple[str, ...]
    gates: tuple[tuple[Scheme | None, Gate], ...]
    targets: tuple[Profile, ...] = ()
    clients: tuple[Client, ...] = ()
    output: Path

    @property
    def task(self) -> Task | None:
        """The task that the user stated, if any (a `.tflite` source may bring its own)."""
        stated = (table.get("task") for table in self.config.outputs.values())
        return self.request.task or next(filter(None, stated), None)

    @property
    def report(self) -> Path:
        """Where the report will be."""
        return self.output / REPORT_NAME

    @property
    def page(self) -> Path:
        """Where the page will be."""
        return self.output / PAGE_NAME

    @property
    def lock(self) -> Path:
        """Where it will be written down what the files were made from."""
        return self.output / LOCK_NAME

    def file(self, scheme: Scheme) -> Path:
        """Where the file of a scheme will be."""
        return self.output / f"{self.source.name}_{scheme.replace('-', '_')}.tflite"

    @property
    def prepared(self) -> Path:
        """Where the prepared float model will be, if it is kept."""
        return self.output / f"{self.source.name}_prepared.tflite"

    @property
    def has_budget(self) -> bool:
        """Whether the int8 schemes climb the ladder."""
        return budget.is_stated(self.request)

    @property
    def seeks_layers(self) -> bool:
        """Whether a budget or a latency decides which layers are taken out of 8 bits."""
        return self.has_budget or self.request.max_latency is not None

    @property
    def mixed(self) -> tuple[Scheme, ...]:
        """The schemes of which layers may be taken out of 8 bits."""
        return tuple(
            scheme
            for scheme in self.schemes
            if scheme in EIGHT_BIT_SCHEMES and (self.seeks_layers or scheme == "int8-mixed")
        )

    def gates_of(self, scheme: Scheme, task: Task | None) -> tuple[Gate, ...]:
        """The gates of the file of a scheme."""
        request = self.request
        # A budget or a flag may ask for layers in float; what was asked for is not a fault.
        allow_float = request.allow_float_ops or self.seeks_layers or bool(request.keep_float)
        stated = list(self.gates)
        if scheme in EIGHT_BIT_SCHEMES:
            stated += ((scheme, gate) for gate in budget.budget_gates(request, task))
        return gates.for_file(scheme, task, stated, allow_float=allow_float)

    def describe(self) -> dict[str, Any]:
        """The plan as plain data, for ``--dry-run``."""
        from edgekit.toolchain.environments import is_ready

        used = {self.runner.name: self.runner} | {
            hop.converter.name: hop.converter for route in self.routes for hop in route.hops
        }
        return {
            "source": {"location": self.source.location, "kind": self.source.kind},
            "routes": [str(route) for route in self.routes],
            "choose": "fastest" if self.choose_fastest else "first that is right",
            "environments": {
                name: "ready" if is_ready(converter) else "to be built"
                for name, converter in used.items()
                if converter.environment == "isolated"
            },
            "calibration": "synthetic" if self.request.synthetic else str(self.calibration),
            "parity": str(self.parity) if self.parity else "a part of the calibration data",
            "samples": self.samples,
            "files": {scheme: str(self.file(scheme)) for scheme in self.schemes},
            "effort": self.request.effort,
            "ranges": self.request.ranges,
            "without": list(self.request.without),
            "targets": [profile.name for profile in self.targets],
            "clients": [client.name for client in self.clients],
            "gates": {
                scheme: [str(gate) for gate in self.gates_of(scheme, self.task)]
                for scheme in self.schemes
            },
            "config": str(self.request.config) if self.request.config else None,
            "report": str(self.report),
            "lock": str(self.lock),
        }


def plan(request: ConversionRequest) -> Plan:
    """Decide sources, routes, schemes, data and outputs.

    Raises:
        UsageError: something needed is missing or contradictory.
        ModelError: the model file is empty or not what its name says.
        DataError: the calibration data is not there.
        SetupError: a converter's manifest is broken.
    """
    check_arguments(request)
    if request.model is None and request.config is None:
        request = replace(request, config=find_config())
    config = load_config(request.config) if request.config else Config()
    source = recognise(
        _location(request, config),
        weights=request.weights or config.weights,
        trust_pickle=request.trust_pickle,
        signature=request.signature,
    )
    _check_what_it_must_be_told(source, request, config)
    converters = discover()
    runner = LITERT if source.kind == "tflite" else source_converter(source.kind, converters)
    routes = () if source.kind == "tflite" else find_routes(source.kind, converters, request.route)
    calibration = request.calibration or config.calibration
    if calibration is None and not request.synthetic:
        raise UsageError(
            "No calibration data was given, so nothing could be proven about the result.",
            cure="Add --calibration FOLDER with inputs the model will really see (a few dozen "
            "images do). To go without, add --synthetic: random inputs, and a report that says so.",
        )
    if calibration is not None and request.synthetic:
        raise UsageError(
            "--synthetic and --calibration contradict each other.", cure="Leave one of them out."
        )
    for path in filter(None, (calibration, request.parity or config.parity)):
        if kind_of(path) not in ("file", "folder"):
            raise DataError(f"There is no file or folder {shown(path)}.", cure="Check the path.")
    parse_method(request.ranges)
    check_preprocess(request.preprocess)
    targets = tuple(map(load_target, dict.fromkeys((*config.targets, *request.targets))))
    clients = _clients(request, config)
    samples = request.samples or config.samples or DEFAULT_SAMPLES
    return Plan(
        request=request,
        config=config,
        source=source,
        runner=runner,
        routes=routes,
        converters=converters,
        choose_fastest=runner.choose == "fastest" and request.route is None,
        schemes=_schemes(request),
        calibration=calibration,
        parity=request.parity or config.parity,
        samples=samples,
        labels=read_labels(request.labels) if request.labels else (),
        gates=_gates(request, config, fits=bool(targets), runs=bool(clients)),
        targets=targets,
        clients=clients,
        output=request.output or Path(f"{source.name}_tflite"),
    )


def _check_what_it_must_be_told(
    source: ModelSource, request: ConversionRequest, config: Config
) -> None:
    """Refuse here what the model's worker would refuse after it has loaded its framework."""
    stated = request.inputs or any(table.get("shape") for table in config.inputs.values())
    silent = source.kind in ("torch", "torch_pickle", "torchscript") and source.named is None
    if silent and not stated:
        raise UsageError(
            "A PyTorch model does not tell the shape of its inputs.",
            cure="Add for example --input image:1x3x224x224 (or [inputs.image] in edgekit.toml).",
        )


def _location(request: ConversionRequest, config: Config) -> str:
    if request.model:
        return request.model
    if config.source is None:
        raise UsageError(
            "No model was named, and there is no edgekit.toml with one here or above."
            if request.config is None
            else f"No model was named, and {request.config} has no source = … under [model].",
            cure="edgekit convert MODEL --calibration FOLDER",
        )
    assert request.config is not None
    below = request.config.parent / config.source
    return str(below) if below.exists() else config.source


def _schemes(request: ConversionRequest) -> tuple[Scheme, ...]:
    """The stated schemes in their order, or the default; int8 needs real data by default."""
    default: tuple[Scheme, ...] = (
        ("fp32", "fp16") if request.synthetic else ("fp32", "fp16", "int8")
    )
    schemes = request.schemes or default
    if request.io_dtype is not None and "int8" not in schemes:
        raise UsageError(
            f"--io-dtype {request.io_dtype} is for int8, which is not among the schemes.",
            cure=f"Add --scheme int8, or name {INT8_SCHEMES[request.io_dtype]} with --scheme.",
        )
    made = tuple(dict.fromkeys(_with_borders(request, scheme) for scheme in schemes))
    budget.check_int8_wishes(request, made)
    return made


def _with_borders(request: ConversionRequest, scheme: Scheme) -> Scheme:
    """``int8`` as the scheme that has the stated type of inputs and outputs."""
    return INT8_SCHEMES[request.io_dtype or "int8"] if scheme == "int8" else scheme


def _clients(request: ConversionRequest, config: Config) -> tuple[Client, ...]:
    """Those in which every file must run; ``compat: NAMES`` as a gate names some too.

    Raises:
        UsageError: there is no such client.
    """
    gated = [gate for gate in request.gates if gate.startswith(gates.IN_CLIENTS)]
    told = (
        *config.clients,
        *request.compat,
        *(one.removeprefix(gates.IN_CLIENTS) for one in gated),
    )
    names = [name.strip() for text in told for name in text.split(",")]
    return with_baseline(names) if any(names) else ()


def _gates(
    request: ConversionRequest, config: Config, *, fits: bool, runs: bool
) -> tuple[tuple[Scheme | None, Gate], ...]:
    """All stated gates; what is asked of int8 is asked of the scheme that is made in its place.

    With ``fits`` the first of them is that a file fits the targets, with ``runs`` that it runs in
    the clients.
    """
    asked = ["target_violations <= 0"] * fits + ["client_violations <= 0"] * runs
    told = [gate for gate in request.gates if not gate.startswith(gates.IN_CLIENTS)]
    stated = map(gates.parse, (*asked, *config.gates, *told))
    return tuple((only and _with_borders(request, only), gate) for only, gate in stated)
