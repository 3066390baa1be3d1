"""The source model as the reference: its description, the data for it, its own outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit import calibration
from edgekit.calibration.samples import SampleSet
from edgekit.contract import Contract, InputContract, OutputContract
from edgekit.errors import ModelError, UsageError
from edgekit.measure.sequences import settle_sequence
from edgekit.measure.tasks import require_meaning
from edgekit.pipeline.known import preset_words, told_preset
from edgekit.pipeline.labels import SampleLabel, settle_labels
from edgekit.pipeline.plan import Plan
from edgekit.pipeline.probe import look, probed_samples, reference_accuracy, refuse_contradictions
from edgekit.pipeline.steps import begin
from edgekit.quantize.emit import refuse_bad_source
from edgekit.resolve import resolve
from edgekit.results import DataReport
from edgekit.runners.litert import LITERT
from edgekit.runners.litert_runner import LitertRunner
from edgekit.standard_metadata.reading import read_preset
from edgekit.tflite.metadata import read_contract
from edgekit.tflite.model import read
from edgekit.tflite.normalise import normalise
from edgekit.tflite.summary import summarize
from edgekit.toolchain.named_models import named_request
from edgekit.toolchain.workshop import Workshop
from edgekit.types import Progress, TensorSpec
from edgekit.validation.probe import Probe

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What every candidate is compared with.

    Attributes:
        contract: inputs (static) and outputs as the framework has them.
        outputs: the outputs with the shapes of one sample.
        files: one stack of shape (N, …) per output.
        data: the samples.
        labels: the class or text of each parity sample, empty where none is known.
        stateful: it may keep state from one call to the next itself.
        quantized: it is the float form of a quantized model.
        sizes: what the model says at other sizes of its inputs, where the files can be resized.
    """

    contract: Contract
    outputs: tuple[TensorSpec, ...]
    files: tuple[Path, ...]
    data: calibration.Dataset
    labels: tuple[SampleLabel, ...] = ()
    stateful: bool = False
    quantized: bool = False
    sizes: tuple[Reference, ...] = ()

    @property
    def classes(self) -> list[int | None]:
        """The class of each parity sample, where it is one."""
        labels = self.labels or [None] * self.data.parity.count
        return [label if isinstance(label, int) else None for label in labels]

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs in the model's order."""
        return tuple(entry.tensor for entry in self.contract.inputs)

    @property
    def compared(self) -> Contract:
        """The contract with the outputs as the model really gave them."""
        stated = dict(enumerate(self.contract.outputs))
        return replace(
            self.contract,
            outputs=tuple(
                replace(stated[place], tensor=replace(stated[place].tensor, shape=spec.shape))
                if place in stated
                else OutputContract(tensor=spec)
                for place, spec in enumerate(self.outputs)
            ),
        )

    def inputs_of(self, some: slice | Array) -> list[Array]:
        """Stacks (n, …) of some parity samples, in the order of the inputs."""
        import numpy as np

        files = self.data.parity.files
        stacks = [np.load(files[spec.name], mmap_mode="r") for spec in self.inputs]
        return [np.asarray(stack[some]) for stack in stacks]

    def outputs_of(self, some: slice | Array) -> list[Array]:
        """Stacks (n, …) of what the reference said about some parity samples."""
        import numpy as np

        return [
            _samples(np.asarray(np.load(path, mmap_mode="r")[some]), spec)
            for path, spec in zip(self.files, self.outputs, strict=True)
        ]


def _samples(stack: Array, spec: TensorSpec) -> Array:
    """A stack of an output without the batch axis that the framework keeps for each sample."""
    doubled = stack.ndim == len(spec.shape) + 1 and stack.shape[1] == 1
    return stack[:, 0] if doubled and spec.shape[:1] == (1,) else stack


def spec_tables(specs: tuple[TensorSpec, ...]) -> list[dict[str, Any]]:
    """Tensor specs as the worker protocol has them."""
    return [
        {
            "name": s.name,
            "shape": list(s.shape),
            "dtype": s.dtype,
            "layout": s.layout,
            "resizable": list(s.resizable),
        }
        for s in specs
    ]


def check_model(plan: Plan, progress: Progress) -> Contract:
    """Load the model and complete its contract, as every conversion begins; run nothing of it.

    Raises:
        ModelError, UsageError, SetupError: what would stop the conversion there.
    """
    with Workshop(
        name=plan.source.name,
        progress=progress,
        limits=plan.request.limits,
        source=plan.source,
    ) as workshop:
        return _agreed(plan, workshop)


def make_reference(plan: Plan, workshop: Workshop, work: Path) -> Reference:
    """Load the model, prepare the data, run the model on it.

    Raises:
        ModelError, UsageError, DataError, SetupError: see the classes.
    """
    contract = _agreed(plan, workshop)
    data = _load_data(plan, contract, work / "data", workshop)
    contract = _settle_assumptions(contract, data, workshop)
    begin(workshop.progress, "reference")
    folder = work / "reference"
    folder.mkdir()
    specs = tuple(entry.tensor for entry in contract.inputs)
    if plan.source.kind == "tflite":
        identity = [
            {
                "path": str(data.parity.files[spec.name]),
                "shape": spec.shape,
                "permutation": list(range(len(spec.shape))),
            }
            for spec in specs
        ]
        result, _ = workshop.call(
            LITERT,
            "run",
            {"artifact": plan.source.location, "inputs": identity, "outputs_folder": str(folder)},
            title="Running the float file as the reference",
        )
        outputs = tuple(entry.tensor for entry in contract.outputs)
        files = tuple(map(Path, result["outputs"]))
    else:
        title = f"Running the {plan.source.kind} model as the reference"
        result = _ask(plan, specs, data.parity, workshop, folder, title=title)
        _pass_on_notes(result, workshop)
        outputs, files = _answers(result)
    if not files:
        raise ModelError("The model has no outputs.", cure="Return at least one tensor.")
    contract, labels = settle_labels(contract, outputs, data, workshop.progress)
    reference = Reference(
        contract=contract,
        outputs=outputs,
        files=files,
        data=data,
        labels=labels,
        stateful=plan.source.kind == "tflite" and summarize(Path(plan.source.location)).stateful,
        quantized=bool(result.get("quantized")),
    )
    if data.parity.synthetic:
        return reference  # nobody can read what a model says about noise
    some = reference.outputs_of(slice(0, _READ))
    contract, notes = settle_sequence(reference.compared, some)
    for note in notes:
        workshop.progress.note(note)
    return replace(reference, contract=_read_as(reference.contract, contract))


def ask_model(
    plan: Plan,
    specs: tuple[TensorSpec, ...],
    samples: SampleSet,
    workshop: Workshop,
    folder: Path,
    *,
    title: str,
) -> tuple[tuple[TensorSpec, ...], tuple[Path, ...]]:
    """What the loaded model says to samples: its outputs with the shapes of one, and their files.

    Raises:
        ModelError: it does not run on inputs of these shapes.
    """
    return _answers(_ask(plan, specs, samples, workshop, folder, title=title))


def _ask(
    plan: Plan,
    specs: tuple[TensorSpec, ...],
    samples: SampleSet,
    workshop: Workshop,
    folder: Path,
    *,
    title: str,
) -> dict[str, Any]:
    result, _ = workshop.call(
        plan.runner,
        "reference",
        {
            "inputs": {name: str(path) for name, path in samples.files.items()},
            "specs": spec_tables(specs),
            "outputs_folder": str(folder),
        },
        title=title,
        options={"samples": samples.count, "data": samples.digest},
    )
    return result


def _answers(result: dict[str, Any]) -> tuple[tuple[TensorSpec, ...], tuple[Path, ...]]:
    outputs = tuple(
        TensorSpec(name=o["name"], shape=tuple(o["shape"]), dtype=o["dtype"])
        for o in result["outputs"]
    )
    return outputs, tuple(Path(o["path"]) for o in result["outputs"])


_READ = 16
"""So many samples show how a sequence is read, where nobody says."""


def _read_as(contract: Contract, settled: Contract) -> Contract:
    if contract.task != "sequence":
        return contract
    pairs = zip(contract.outputs, settled.outputs, strict=False)
    outputs = (replace(one, sequence=how.sequence, labels=how.labels) for one, how in pairs)
    return replace(contract, outputs=tuple(outputs))


def probe_contract(plan: Plan, reference: Reference, workshop: Workshop, work: Path) -> Probe:
    """Ask the loaded model about a few of its samples as likely slips would feed them."""
    import numpy as np

    parity = reference.data.parity
    if parity.synthetic:
        return Probe(why="the inputs are random")
    begin(workshop.progress, "probe")
    specs = reference.inputs
    folder = work / "probe"
    folder.mkdir()

    def ask(stacks: Sequence[Array]) -> list[Array]:
        if plan.source.kind == "tflite":
            runner = LitertRunner(Path(plan.source.location), workshop=workshop, work=folder)
            return runner.run(stacks)
        paths = {spec.name: folder / f"{place}.npy" for place, spec in enumerate(specs)}
        for path, stack in zip(paths.values(), stacks, strict=True):
            np.save(path, stack)
        result, _ = workshop.call(
            plan.runner,
            "reference",
            {
                "inputs": {name: str(path) for name, path in paths.items()},
                "specs": spec_tables(specs),
                "outputs_folder": str(folder),
            },
            title="Trying other ways to feed the model",
            options={"samples": len(stacks[0])},
        )
        answers = [np.load(one["path"]) for one in result["outputs"]]
        return [_samples(one, spec) for one, spec in zip(answers, reference.outputs, strict=True)]

    some = probed_samples(parity.count, reference.inputs_of(slice(0, 1)))
    labels = reference.classes
    found = look(
        reference.contract,
        reference.inputs_of(some),
        reference.outputs_of(some),
        [labels[place] for place in some],
        ask,
        pictures=parity.pictures,
    )
    return replace(
        found,
        accuracy=reference_accuracy(reference.contract, reference.outputs_of(slice(None)), labels),
        accepted=plan.request.accept_contract,
    )


def data_report(plan: Plan, data: calibration.Dataset) -> DataReport:
    """What the report says about the data."""
    written = plan.request.origin.data if plan.request.origin else {}
    where = written.get("calibration", str(plan.calibration))
    return DataReport(
        path="synthetic" if plan.request.synthetic else where,
        synthetic=plan.request.synthetic,
        seed=data.seed,
        calibration_samples=data.calibration.count,
        calibration_digest=data.calibration.digest,
        parity_samples=data.parity.count,
        parity_digest=data.parity.digest,
        parity_ids=data.parity.ids,
        notes=data.notes,
        skipped=data.skipped,
    )


def _agreed(plan: Plan, workshop: Workshop) -> Contract:
    """The model's contract, completed and free of contradictions."""
    contract = _describe(plan, workshop)
    refuse_contradictions(contract, accepted=plan.request.accept_contract)
    try:
        require_meaning(contract)
    except UsageError as error:
        if plan.has_budget:
            raise
        workshop.progress.note(f"{error.cause} {error.cure}")
    return contract


def _describe(plan: Plan, workshop: Workshop) -> Contract:
    source = plan.source
    if source.kind == "tflite":
        result, _ = workshop.call(
            LITERT, "describe", {"artifact": source.location}, title=f"Reading {source.name}"
        )
        _require_float(Path(source.location))
        embedded = read_contract(Path(source.location))
        preset = read_preset(Path(source.location)) if embedded is None else None
    else:
        result = _load(plan, workshop, title=f"Loading {source.name}")
        embedded, preset = None, plan.request.preset or told_preset(result)
    contract = resolve(
        _specs(result["inputs"]),
        _specs(result["outputs"]),
        config=plan.config,
        inputs=plan.request.inputs,
        preprocess=plan.request.preprocess,
        task=plan.request.task,
        labels=plan.labels,
        embedded=embedded,
        preset=preset,
    )
    for note in preset_words(contract, preset) if preset else ():
        workshop.progress.note(note)
    return contract


def load_again(plan: Plan, workshop: Workshop) -> None:
    """Load the model into a new process of its converter, after the first one crashed."""
    _load(plan, workshop, title=f"Loading {plan.source.name} again")


def _load(plan: Plan, workshop: Workshop, *, title: str) -> dict[str, Any]:
    source = plan.source
    in_config = (
        TensorSpec(
            name=name,
            shape=tuple(table["shape"]),
            dtype=table.get("dtype", "float32"),
            layout=table.get("layout"),
        )
        for name, table in plan.config.inputs.items()
        if table.get("shape")
    )
    request = {
        "source": {
            "location": source.location,
            "kind": source.kind,
            "weights": str(source.weights) if source.weights else None,
            "trust_pickle": source.trust_pickle,
            "signature": source.signature,
            "as_float": True,
            "named": named_request(source, network=plan.request.limits.allow_network),
        },
        "inputs": spec_tables(plan.request.inputs or tuple(in_config)),
    }
    result, _ = workshop.call(plan.runner, "describe", request, title=title)
    _pass_on_notes(result, workshop)
    return result


def _pass_on_notes(result: dict[str, Any], workshop: Workshop) -> None:
    for note in result.get("notes", ()):
        workshop.progress.note(note)


def _settle_assumptions(
    contract: Contract, data: calibration.Dataset, workshop: Workshop
) -> Contract:
    """Tell the user what was assumed, and forget it where the data did not need it.

    Arrays that were ready for the model say nothing about how a picture becomes such an array, so
    an assumed preprocessing must not travel in the file as if it were known.
    """
    inputs = []
    synthetic = data.parity.synthetic
    pictures = data.calibration.pictures | data.parity.pictures
    for entry in contract.inputs:
        if entry.assumed and not synthetic and entry.tensor.name not in pictures:
            inputs.append(InputContract(tensor=entry.tensor))
            continue
        inputs.append(entry)
        for assumption in entry.assumed:
            workshop.progress.note(f"Input {entry.tensor.name}: {assumption}.")
    return replace(contract, inputs=tuple(inputs))


def _require_float(path: Path) -> None:
    summary = summarize(path)
    if any(port.scale is not None for port in (*summary.inputs, *summary.outputs)) or (
        summary.integer_share and "int8" in summary.parameters_by_dtype
    ):
        raise ModelError(
            f"{path} is quantized already.",
            cure="Start from the float file: quantizing twice only adds error.",
        )
    model = read(path)
    normalise(model)
    refuse_bad_source(model)


def _specs(tables: list[dict[str, Any]]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            name=table["name"],
            shape=tuple(table["shape"]),
            dtype=table["dtype"],
            layout=table.get("layout"),
            resizable=tuple(table.get("resizable", ())),
        )
        for table in tables
    )


def _load_data(
    plan: Plan, contract: Contract, folder: Path, workshop: Workshop
) -> calibration.Dataset:
    request = plan.request
    folder.mkdir()
    begin(workshop.progress, "data")
    workshop.progress.step("Preparing the data")
    if request.synthetic:
        data = calibration.synthetic(
            contract, folder=folder, samples=min(plan.samples, 32), seed=request.seed
        )
    else:
        assert plan.calibration is not None
        data = calibration.load(
            plan.calibration,
            contract,
            folder=folder,
            calibration_samples=plan.samples,
            parity_samples=request.parity_samples,
            seed=request.seed,
            parity_path=plan.parity,
            progress=workshop.progress,
        )
    workshop.progress.update(1.0)
    for note in data.notes:
        workshop.progress.note(note)
    return data
