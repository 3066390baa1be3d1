"""``edgekit reference record``: run a reference once and keep what it says about each sample."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeAlias

from edgekit import __version__
from edgekit.calibration.samples import stack_shape
from edgekit.calibration.tensors import Loaded, to_tensors
from edgekit.config import Config, load_config, read_labels
from edgekit.contract import Contract, InputContract, OutputContract, Task
from edgekit.datasets import LabelledSample, Layout
from edgekit.datasets.digests import sample_digest
from edgekit.errors import DataError, SetupError, UsageError
from edgekit.pipeline.publish import disk_errors
from edgekit.pipeline.references import open_reference
from edgekit.pipeline.validation.data import Samples, open_samples, order
from edgekit.resolve import resolve
from edgekit.runners.bundle import SUFFIX
from edgekit.runners.bundle_format import BundleWriter, Manifest, Origin
from edgekit.runners.http_reference import is_url
from edgekit.runners.protocol import Described, Device, Recorded, Runner, Timed, Timing
from edgekit.runners.reference import ConverterRunner
from edgekit.runners.stacks import sample_shapes
from edgekit.sources import digest, recognise
from edgekit.tflite.metadata import read_contract
from edgekit.toolchain.workshop import Limits, Workshop
from edgekit.types import Progress, TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]

_CHUNK_BYTES = 64 << 20
_MOST_ROWS = 256
_THREADS = 8


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

    Samples that cannot be read are left out, with a note that names them.

    Raises:
        UsageError: the file exists and ``force`` is not set, or an option makes no sense.
        DataError: no sample can be read, or one does not fit the model.
        ModelError, SetupError: see the classes.
    """
    _require_free(request)
    config = load_config(request.config) if request.config else Config()
    folder = request.output.parent
    with (
        disk_errors(folder),
        TemporaryDirectory(dir=folder, prefix=".edgekit-") as work,
        Workshop(name=request.output.stem, progress=progress, limits=request.limits) as workshop,
        _open(request, config, workshop, Path(work)) as runner,
    ):
        waiting = Path(work, request.output.name)
        manifest = _Recording(request, runner, config, workshop, progress).write(waiting)
        waiting.replace(request.output)
    return manifest


class _Recording:
    """One recording: from an opened reference to a finished file."""

    def __init__(
        self,
        request: RecordRequest,
        runner: Runner,
        config: Config,
        workshop: Workshop,
        progress: Progress,
    ) -> None:
        self._request = request
        self._runner = runner
        self._workshop = workshop
        self._progress = progress
        self._described = runner.describe()
        self._contract = _contract(request, config, self._described)
        self._skipped: list[str] = []
        self._pictures: set[str] = set()
        self._timing: Timing | None = None

    def write(self, path: Path) -> Manifest:
        samples = open_samples(
            self._request.data, task=self._contract.task, layout=self._request.layout
        )
        writer: BundleWriter | None = None
        outputs: tuple[TensorSpec, ...] = ()
        try:
            for read in self._chunks(samples):
                inputs = self._stacks([one.loaded for one in read])
                given = self._runner.run(inputs)
                if writer is None:
                    outputs = _closed(self._described.outputs, given)
                    writer = BundleWriter(path, outputs)
                    self._timing = self._time(inputs)
                writer.append([one.id for one in read], [one.digest for one in read], given)
            if writer is None:
                raise DataError(
                    f"None of the samples of {self._request.data} can be read: {self._skipped[0]}",
                    cure="Check --data.",
                )
            return writer.finish(
                origin=self._origin(),
                contract=self._settled(outputs),
                pictures=sorted(self._pictures),
                latency=self._timing.latency if self._timing else None,
                peak_memory_mb=self._timing.peak_memory_mb if self._timing else None,
            )
        finally:
            if writer is not None:
                writer.close()
            self._tell()

    def _chunks(self, samples: Samples) -> Iterator[list[_Read]]:
        """The samples that can be read, in pieces that fit into memory, with the share done."""
        chosen = order(samples, limit=self._request.limit, seed=self._request.seed)
        size = _chunk_rows(self._contract)
        outer = self._workshop.progress
        with ThreadPoolExecutor(_THREADS) as threads:
            for start in range(0, len(chosen), size):
                wanted = [samples.get(index) for index in chosen[start : start + size]]
                # Only files of their own can be read in any order; a video's frames cannot.
                together = all(one.path is not None for one in wanted)
                found = (threads.map if together else map)(self._read, wanted)
                self._workshop.progress = _Share(outer, start, len(wanted), len(chosen))
                if kept := [one for one in found if one is not None]:
                    yield kept
        self._workshop.progress = outer

    def _read(self, sample: LabelledSample) -> _Read | None:
        try:
            content = sample.read()
            known = sample_digest(content, sample.path)
        except DataError as error:
            self._skipped.append(error.cause)
            return None
        loaded = to_tensors(content, self._contract, sample.id)
        return _Read(id=sample.id, digest=known, loaded=loaded)

    def _stacks(self, loaded: Sequence[Loaded]) -> list[Array]:
        import numpy as np

        stacks = []
        for entry in self._contract.inputs:
            name = entry.tensor.name
            values = np.stack([one.tensors[name] for one in loaded])
            stacks.append(values.reshape(stack_shape(entry.tensor, len(loaded))))
            if any(name in one.pictures for one in loaded):
                self._pictures.add(name)
        return stacks

    def _time(self, inputs: Sequence[Array]) -> Timing | None:
        if self._request.runs == 0 or not isinstance(self._runner, Timed):
            return None
        return self._runner.benchmark([stack[:1] for stack in inputs], runs=self._request.runs)

    def _settled(self, outputs: Sequence[TensorSpec]) -> Contract:
        """Without an assumed preprocessing that no picture went through, with closed outputs."""
        inputs = tuple(
            InputContract(tensor=entry.tensor)
            if entry.assumed and entry.tensor.name not in self._pictures
            else entry
            for entry in self._contract.inputs
        )
        stated = {entry.tensor.name: entry for entry in self._contract.outputs}
        return Contract(
            inputs=inputs,
            outputs=tuple(
                replace(stated.get(spec.name, OutputContract(tensor=spec)), tensor=spec)
                for spec in outputs
            ),
        )

    def _origin(self) -> Origin:
        kind, digests = _model_digests(self._request)
        if isinstance(self._runner, ConverterRunner) and self._runner.state_digest:
            digests["state"] = self._runner.state_digest
        return Origin(
            name=self._runner.name,
            kind=kind,
            digests=digests,
            device=self._described.device,
            versions=dict(self._described.versions),
            hardware=hardware(),
            data=self._request.data.resolve().name,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            edgekit=__version__,
        )

    def _tell(self) -> None:
        if self._skipped:
            first = "; ".join(sorted(self._skipped)[:3])
            self._progress.note(f"{len(self._skipped)} samples were left out: {first}")
        for entry in self._contract.inputs:
            for assumption in entry.assumed if entry.tensor.name in self._pictures else ():
                self._progress.note(f"Input {entry.tensor.name}: {assumption}.")


@dataclass(frozen=True, kw_only=True)
class _Read:
    id: str
    digest: str
    loaded: Loaded


@dataclass(frozen=True)
class _Share:
    """The progress of one piece as that of the whole."""

    outer: Progress
    start: int
    size: int
    count: int

    def step(self, title: str) -> None:
        self.outer.step(title)

    def update(self, fraction: float, message: str = "") -> None:
        done = (self.start + fraction * self.size) / self.count
        self.outer.update(done, f"{round(done * self.count)} of {self.count} samples")

    def note(self, message: str) -> None:
        self.outer.note(message)


def hardware() -> dict[str, str]:
    """This machine: system, processor, cores, memory."""
    import psutil

    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": str(psutil.cpu_count() or ""),
        "memory": f"{psutil.virtual_memory().total / 1e9:.1f} GB",
    }


def _processor() -> str:
    """What Linux calls it; elsewhere its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.machine()


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


def _model_digests(request: RecordRequest) -> tuple[str, dict[str, str]]:
    """The kind of the model, and the digests of its files; none of what a server hides."""
    if is_url(request.model):
        return "http", {}
    source = recognise(request.model, weights=request.weights, trust_pickle=request.trust_pickle)
    files = {"file": source.path, "weights": source.weights}
    return source.kind, {name: digest(path) for name, path in files.items() if path is not None}


def _closed(specs: Sequence[TensorSpec], stacks: Sequence[Array]) -> tuple[TensorSpec, ...]:
    """The outputs as they really came."""
    return tuple(
        replace(spec, dtype=stack.dtype.name)
        for spec, stack in zip(sample_shapes(specs, stacks), stacks, strict=True)
    )


def _chunk_rows(contract: Contract) -> int:
    import math

    import numpy as np

    size = sum(
        math.prod(one or 1 for one in entry.tensor.shape) * np.dtype(entry.tensor.dtype).itemsize
        for entry in contract.inputs
    )
    return max(1, min(_MOST_ROWS, _CHUNK_BYTES // max(1, size)))
