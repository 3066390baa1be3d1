"""``edgekit reference record``: run a reference once and keep what it says about each sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekit.config import Config, load_config, read_labels
from edgekit.contract import Contract, Task
from edgekit.datasets import Layout
from edgekit.errors import DataError, SetupError, UsageError
from edgekit.pipeline.publish import disk_errors, held, scratch_folder
from edgekit.pipeline.recording import Recording, RecordingSource
from edgekit.pipeline.references import open_reference
from edgekit.resolve import resolve
from edgekit.runners.bundle import SUFFIX
from edgekit.runners.bundle_format import Manifest
from edgekit.runners.protocol import Described, Device, Recorded, Runner
from edgekit.tflite.metadata import read_contract
from edgekit.toolchain.workshop import Limits, Workshop
from edgekit.types import Progress, TensorSpec


@dataclass(frozen=True, kw_only=True)
class RecordRequest:
    """All options, as the user gave them.

    Attributes:
        model: what `edgekit.pipeline.references.open_reference` takes, but a bundle.
        data, layout, limit, seed: as of a validation: the same numbers choose the same samples.
        output: the file, ``NAME.edgeref``.
        device, weights, trust_pickle, inputs: of the model.
        preprocess: keys of `edgekit.contract.Preprocess`.
        runs: how many inferences are timed; 0 for none.
        timeout: seconds that a server may take for one answer.
        force: replace an existing file.
    """

    model: str
    data: Path
    output: Path
    layout: Layout | None = None
    limit: int | None = None
    seed: int = 0
    device: Device = "auto"
    weights: Path | None = None
    trust_pickle: bool = False
    inputs: tuple[TensorSpec, ...] = ()
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    task: Task | None = None
    labels: Path | None = None
    config: Path | None = None
    runs: int = 50
    timeout: float = 60.0
    force: bool = False
    limits: Limits = field(default_factory=Limits)


def record(request: RecordRequest, progress: Progress) -> Manifest:
    """Run the reference on all samples and write the bundle, whole or not at all.

    Samples that cannot be used are left out, with a note that names them.

    Raises:
        UsageError: the file exists and ``force`` is not set, or an option makes no sense.
        DataError: more than a tenth of the samples cannot be read or do not fit the model.
        ModelError, SetupError: see the classes.
    """
    _require_free(request)
    config = load_config(request.config) if request.config else Config()
    folder = request.output.parent
    with (
        held(folder, request.output.name),
        scratch_folder(folder) as work,
        disk_errors(folder),
        Workshop(
            name=request.output.stem, progress=progress, limits=request.limits, work=work
        ) as workshop,
        _open(request, config, workshop, work) as runner,
    ):
        waiting = work / request.output.name
        described = runner.describe()
        contract = _contract(request, config, described)
        source = RecordingSource(
            data=request.data,
            layout=request.layout,
            limit=request.limit,
            seed=request.seed,
            runs=request.runs,
        )
        manifest = Recording(source, runner, described, contract, workshop).write(waiting)
        waiting.replace(request.output)
    return manifest


def _require_free(request: RecordRequest) -> None:
    path = request.output
    if path.suffix != SUFFIX:
        raise UsageError(f"{path} does not end with {SUFFIX}.", cure=f"-o {path.stem}{SUFFIX}")
    if path.is_dir() or (path.exists() and not request.force):
        raise UsageError(
            f"{path} exists already.",
            cure="Choose another --output file, or replace it with --force.",
        )
    if not path.parent.is_dir():
        raise SetupError(f"There is no folder {path.parent}.", cure="Make it, or check the path.")
    if not request.data.exists():
        raise DataError(f"There is no data at {request.data}.", cure="Check --data.")


def _open(request: RecordRequest, config: Config, workshop: Workshop, work: Path) -> Runner:
    in_config = (
        TensorSpec(
            name=name,
            shape=tuple(table["shape"]),
            dtype=table.get("dtype", "float32"),
            layout=table.get("layout"),
        )
        for name, table in config.inputs.items()
        if table.get("shape")
    )
    runner = open_reference(
        request.model,
        workshop=workshop,
        work=work,
        device=request.device,
        weights=request.weights or config.weights,
        trust_pickle=request.trust_pickle,
        inputs=request.inputs or tuple(in_config),
        timeout=request.timeout,
    )
    if isinstance(runner, Recorded):
        raise UsageError(
            f"{request.model} is a recording already.", cure="Name the model that it was made of."
        )
    return runner


def _contract(request: RecordRequest, config: Config, described: Described) -> Contract:
    is_file = request.model.lower().endswith(".tflite")
    return resolve(
        described.inputs,
        described.outputs,
        config=config,
        inputs=request.inputs,
        preprocess=request.preprocess,
        task=request.task,
        labels=read_labels(request.labels) if request.labels else (),
        embedded=read_contract(Path(request.model)) if is_file else None,
    )
