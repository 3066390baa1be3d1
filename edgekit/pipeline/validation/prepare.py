"""Everything before the measuring: candidates, reference, contract, samples, bindings."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.calibration.tensors import to_tensors
from edgekit.config import Config
from edgekit.contract import Contract
from edgekit.datasets.digests import sample_digest
from edgekit.errors import ConversionError, DataError, UsageError
from edgekit.measure import tasks
from edgekit.measure.binding import Bound, bind
from edgekit.measure.sequences import settle_sequence
from edgekit.objects import ObjectOrigin
from edgekit.pipeline.origin import SAMPLES, check_origin
from edgekit.pipeline.probe import look, probed_samples
from edgekit.pipeline.references import open_reference
from edgekit.pipeline.validation import contracts
from edgekit.pipeline.validation.data import Samples, open_samples
from edgekit.pipeline.validation.request import ValidationRequest
from edgekit.runners.bundle import SUFFIX
from edgekit.runners.http_reference import is_url
from edgekit.runners.litert_runner import IN_A_ROW, LitertRunner
from edgekit.runners.protocol import Described, Recorded, Runner
from edgekit.runners.reference import ConverterRunner
from edgekit.sources import digest, recognise
from edgekit.tflite.metadata import read_contract
from edgekit.tflite.summary import Summary, summarize
from edgekit.toolchain.workshop import Workshop
from edgekit.types import Gate, Scheme
from edgekit.validation import gates
from edgekit.validation.probe import Probe

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One file. Where ``error`` is not empty it cannot be measured.

    ``remembers``: its answers depend on the samples before, and the reference's do not.
    """

    name: str
    path: Path
    sha256: str
    summary: Summary
    scheme: Scheme | None
    bound: Bound | None = None
    remembers: bool = False
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class OpenReference:
    """What the candidates are compared with, opened.

    Attributes:
        kind: of the model source, ``bundle`` or ``http``.
        digest: of the file and its weights, ``None`` where there is none.
        stateful: it may keep state from one call to the next itself.
    """

    runner: Runner
    described: Described
    kind: str
    digest: str | None
    stateful: bool = False

    @property
    def recorded(self) -> bool:
        """Whether it is asked by digests, not by tensors."""
        return isinstance(self.runner, Recorded)

    def ask(
        self, inputs: Sequence[Array], digests: Sequence[str], ids: Sequence[str]
    ) -> list[Array]:
        """Its outputs for stacks of samples."""
        if isinstance(self.runner, Recorded):
            return self.runner.recall(digests, ids)
        return self.runner.run(inputs)

    def key(self, contract: Contract, outputs: Sequence[Array]) -> str | None:
        """What kept outputs are found by: model, versions, device, contract.

        And by what it says now about one sample: so a server or code that was changed unseen is
        found out, whatever its name and weights are.
        """
        import numpy as np

        if self.recorded:
            return None
        result = hashlib.sha256()
        for part in (self.kind, self.runner.name, self.digest, self.described.device):
            result.update(f"{part}\0".encode())
        result.update(f"{sorted(self.described.versions.items())}".encode())
        result.update(Contract(inputs=contract.inputs).to_json().encode())
        for stack in outputs:
            result.update(np.ascontiguousarray(stack).tobytes())
        return result.hexdigest()


@dataclass(frozen=True, kw_only=True)
class First:
    """The first sample that can be read.

    Attributes:
        inputs, outputs: stacks of one sample.
        pictures: the inputs that were made from pictures; of others nothing is preprocessed.
    """

    pictures: frozenset[str]
    inputs: list[Array]
    outputs: list[Array]

    @property
    def bytes(self) -> int:
        """How much memory a sample takes, with one model's outputs."""
        return sum(stack.nbytes for stack in (*self.inputs, *self.outputs))


def open_candidates(request: ValidationRequest) -> list[Candidate]:
    """Read what the files say about themselves.

    Raises:
        UsageError: there is none, or one is named twice.
        ModelError: one is not a `.tflite`, or is damaged.
    """
    if not request.candidates:
        raise UsageError("There is no candidate.", cure="Name one or more .tflite files.")
    found = []
    for path in request.candidates:
        summary = summarize(path)
        found.append(
            Candidate(
                name=contracts.name_of(path, request.candidates),
                path=path,
                sha256=digest(path),
                summary=summary,
                scheme=contracts.scheme_of(summary),
            )
        )
    names = [one.name for one in found]
    if len(set(names)) < len(names):
        raise UsageError("A candidate is named twice.", cure="Name each file once.")
    return found


def read_gates(request: ValidationRequest, config: Config) -> list[tuple[Scheme | None, Gate]]:
    """The stated gates; flags come last, so they win.

    With a metric of the user's own any name may be one of its figures.

    Raises:
        UsageError: one cannot be read.
    """
    texts = (*config.gates, *request.gates)
    own = []
    if request.metric is not None:
        words = (re.match(r"\s*(?:[\w-]+:)?(\w+)", text) for text in texts)
        own = [match[1] for match in words if match]
    return [gates.parse(text, own=own) for text in texts]


def open_the_reference(
    request: ValidationRequest, embedded: Contract | None, workshop: Workshop, work: Path
) -> OpenReference:
    """Open the reference and ask what it is.

    Raises:
        EdgekitError: it cannot be opened or loaded.
    """
    location = request.reference
    bundle = location.endswith(SUFFIX)
    source = None
    if not bundle and not is_url(location):
        source = recognise(location, weights=request.weights, trust_pickle=request.trust_pickle)
    silent = source is not None and source.kind in _SILENT_KINDS
    runner = open_reference(
        location,
        workshop=workshop,
        work=work,
        device=request.device,
        weights=request.weights,
        trust_pickle=request.trust_pickle,
        timeout=request.timeout,
        inputs=request.inputs or (contracts.framework_inputs(embedded) if silent else ()),
    )
    described = runner.describe()
    path = Path(location) if bundle else source.path if source is not None else None
    known = [digest(one) for one in (path, request.weights) if one is not None]
    if state := getattr(runner, "state_digest", None):
        known.append(state)
    joined = hashlib.sha256("".join(known).encode()).hexdigest()
    return OpenReference(
        runner=runner,
        described=described,
        kind=source.kind if source is not None else "bundle" if bundle else "http",
        digest=None if not known else known[0] if len(known) == 1 else joined,
        stateful=source is not None
        and source.kind == "tflite"
        and summarize(Path(source.location)).stateful,
    )


_SILENT_KINDS = frozenset({"torch", "torch_pickle", "torchscript", "exported_program"})
"""Models that do not tell their inputs."""


def make_contract(
    request: ValidationRequest, config: Config, reference: OpenReference, embedded: Contract | None
) -> Contract:
    """The contract on the reference's tensors.

    Raises:
        UsageError: what was stated contradicts the reference.
        DataError: a bundle was recorded with another preprocessing.
    """
    runner = reference.runner
    known = embedded
    if isinstance(runner, Recorded) and known is None and not request.preprocess:
        known = runner.contract
    if reference.kind == "tflite":
        known = contracts.on_raw_pixels(known, read_contract(Path(request.reference)))
    contract = contracts.on_reference(request, config, reference.described, known)
    if isinstance(runner, Recorded):
        runner.check(contract)
    return contract


def open_data(request: ValidationRequest, contract: Contract) -> Samples:
    """The samples, with labels where they can be used.

    Raises:
        DataError: there is none, or labels do not fit the model.
    """
    return open_samples(
        request.data,
        task=contract.task,
        classes=tasks.class_names(contract),
        outputs=tasks.class_count(contract),
        layout=request.layout,
    )


def first_sample(
    samples: Samples, chosen: Sequence[int], contract: Contract, reference: OpenReference
) -> First:
    """Read one sample and ask the reference about it.

    Raises:
        DataError: none of the samples can be read, or one does not fit the model.
    """
    import numpy as np

    problem: DataError | None = None
    for place in chosen:
        try:
            sample = samples.get(place)
            content = sample.read()
        except DataError as error:
            problem = error
            continue
        loaded = to_tensors(content, contract, sample.id)
        inputs = []
        for entry in contract.inputs:
            value = loaded.tensors[entry.tensor.name]
            inputs.append(value if entry.tensor.shape[:1] == (1,) else value[None])
        known = sample_digest(content)
        outputs = reference.ask(inputs, [known], [sample.id])
        return First(
            pictures=frozenset(loaded.pictures),
            inputs=inputs,
            outputs=[np.asarray(one) for one in outputs],
        )
    raise DataError(
        f"None of the {len(chosen)} samples can be read: {problem}",
        cure="Check --data.",
    )


_READ = 16
"""So many samples show how a sequence is read, where nobody says."""


def settle(
    samples: Samples,
    chosen: Sequence[int],
    contract: Contract,
    reference: OpenReference,
    first: First,
) -> tuple[Contract, tuple[str, ...]]:
    """The contract with how a sequence is read, and what was found out about it.

    Raises:
        UsageError: nobody says, and nothing shows it.
    """
    if contract.task != "sequence":
        return contract, ()
    outputs = first.outputs
    asked = isinstance(reference.runner, ConverterRunner | LitertRunner)
    if asked and not any(entry.sequence for entry in contract.outputs):
        outputs = reference.runner.run(read_stacks(samples, chosen[:_READ], contract)[0])
    return settle_sequence(contract, outputs)


def probe_contract(
    samples: Samples,
    chosen: Sequence[int],
    contract: Contract,
    reference: OpenReference,
    first: First,
) -> Probe:
    """Ask the reference about a few samples as likely slips would feed them.

    A recording cannot be asked, and a server is not asked more than the comparison needs.
    """
    if not isinstance(reference.runner, ConverterRunner | LitertRunner):
        return Probe(why="a recording or a server is not asked again")
    some = [chosen[one] for one in probed_samples(len(chosen), first.inputs)]
    inputs, labels = read_stacks(samples, some, contract)
    ask = reference.runner.run
    return look(contract, inputs, ask(inputs), labels, ask, pictures=first.pictures)


def ask_the_object(
    origin: ObjectOrigin,
    samples: Samples,
    chosen: Sequence[int],
    contract: Contract,
    reference: OpenReference,
) -> str:
    """Hold the reference against the object in Python that it was exported from.

    Raises:
        ModelError: the object says something else about some of the samples.
    """
    inputs, _ = read_stacks(samples, chosen[:SAMPLES], contract)
    specs = [entry.tensor for entry in contract.inputs]
    names = [spec.name for spec in reference.described.outputs]
    return check_origin(origin, specs, inputs, reference.runner.run(inputs), names)


def read_stacks(
    samples: Samples, places: Sequence[int], contract: Contract
) -> tuple[list[Array], list[int | None]]:
    """A few samples as stacks (N, …), one for each input, and their classes where they have one.

    What cannot be read is left out: it is told where it is measured.
    """
    import numpy as np

    stacks: list[list[Array]] = []
    labels: list[int | None] = []
    for place in places:
        try:
            sample = samples.get(place)
            loaded = to_tensors(sample.read(), contract, sample.id)
        except DataError:
            continue
        stacks.append(
            [
                value if entry.tensor.shape[:1] == (1,) else value[None]
                for entry in contract.inputs
                for value in (loaded.tensors[entry.tensor.name],)
            ]
        )
        labels.append(int(sample.label) if isinstance(sample.label, Integral) else None)
    return [np.concatenate(column) for column in zip(*stacks, strict=True)], labels


def run_in_a_row(
    candidates: Sequence[Candidate],
    samples: Samples,
    chosen: Sequence[int],
    contract: Contract,
    reference: OpenReference,
    runner_of: Callable[[Path], LitertRunner],
) -> list[Candidate]:
    """Find the candidates that remember the samples before, where the reference does not.

    A reference that is a `.tflite` with variables may remember too: it is reset as they are.
    """
    if reference.stateful or not any(one.summary.stateful for one in candidates):
        return list(candidates)
    inputs, _ = read_stacks(samples, chosen[:IN_A_ROW], contract)
    return [
        replace(one, remembers=runner_of(one.path).remembers(one.bound.job.fed(inputs)))
        if one.bound is not None and one.summary.stateful
        else one
        for one in candidates
    ]


def bind_all(
    candidates: Sequence[Candidate],
    contract: Contract,
    first: First,
    runner_of: Callable[[Path], Runner],
) -> list[Candidate]:
    """Run each candidate on the first sample; one that fails has an error from here on.

    Raises:
        DeviceError: the device that runners are on does not do its part.
    """
    bound = []
    for one in candidates:
        try:
            found = bind(
                runner_of(one.path),
                one.path,
                one.summary,
                contract,
                one.summary.contract,
                first.inputs,
                first.outputs,
            )
            bound.append(replace(one, bound=found))
        except ConversionError as error:
            bound.append(replace(one, error=str(error)))
    return bound
