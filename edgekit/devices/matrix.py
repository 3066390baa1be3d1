"""Will this file load in the runtime that an app ships, and say the same?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.calibration.samples import stack_shape
from edgekit.calibration.sources import open_source
from edgekit.calibration.synthetic import synthetic
from edgekit.closeness import Variation, channel_axis, is_vector_of_scores, spread, sums
from edgekit.contract import Contract, InputContract
from edgekit.devices.runtimes import Runtime, runtime_device
from edgekit.devices.target import open_device
from edgekit.errors import ConversionError, DataError, DeviceError, EnvironmentNotReady
from edgekit.files import temporary_folder
from edgekit.runners.protocol import Described
from edgekit.tflite.metadata import read_contract
from edgekit.tflite.model import read
from edgekit.types import OutputParity, Progress
from edgekit.validation.parity import summarize

if TYPE_CHECKING:
    from edgekit.runners.protocol import Array


@dataclass(frozen=True, kw_only=True)
class RuntimeRow:
    """One runtime's answer.

    Attributes:
        runtime: its name and version.
        error: why it does not run the file; empty where it does.
        cure: what to do about that.
        outputs: how close each output is to the current runtime's.
        steps: the largest difference of any value in steps of the output's quantization; ``None``
            where no output is quantized.
        first_ms: the first inference.
        p50_ms: the median of the following ones.
    """

    runtime: str
    error: str = ""
    cure: str = ""
    outputs: tuple[OutputParity, ...] = ()
    steps: float | None = None
    first_ms: float | None = None
    p50_ms: float | None = None

    @property
    def worst(self) -> OutputParity | None:
        """The output with the lowest SQNR."""
        return min(self.outputs, key=lambda one: one.sqnr_db, default=None)


def compare_runtimes(
    path: Path,
    runtimes: Sequence[Runtime],
    *,
    data: Path | None,
    samples: int = 16,
    seed: int = 0,
    progress: Progress,
) -> list[RuntimeRow]:
    """Run a file in each runtime on the same inputs; edgekit's own runtime comes first.

    Args:
        path: the `.tflite`.
        runtimes: to try; a runtime that cannot be had or that refuses the file gets a row too.
        data: what `edgekit.calibration.sources.open_source` takes; random inputs if ``None``.
        samples: at most so many.
        seed: of the random inputs.
        progress: told what happens.

    Raises:
        UsageError: there is no such file.
        ConversionError: it is damaged, or edgekit's own runtime does not run it.
        DataError: the data does not fit the model.
    """
    read(path)
    progress.step(f"Running {path.name} in edgekit's own runtime")
    with open_device("local", hold=False) as device, device.runner(path) as runner:
        described = runner.describe()
        stacks, ids = inputs_for(path, described, data=data, samples=samples, seed=seed)
        wanted = runner.run(stacks)
        timing = runner.benchmark(stacks, runs=20, seconds=10).latency
        scales = runner.output_scales
    name, version = next(iter(described.versions.items()))
    own = RuntimeRow(
        runtime=f"{name}=={version}", first_ms=timing.first_ms, p50_ms=timing.percentile(50)
    )
    judged = _Judge(path, stacks, ids, wanted, scales)
    rows = [replace(own, outputs=judged.parity(wanted), steps=judged.steps(wanted))]
    for runtime in runtimes:
        progress.step(f"Running {path.name} in {runtime}")
        rows.append(judged.row(runtime, progress))
    return rows


def inputs_for(
    path: Path, described: Described, *, data: Path | None, samples: int, seed: int
) -> tuple[list[Array], list[str]]:
    """A stack of real values for each input, and the samples' names.

    Pictures are preprocessed as the contract in the file says.

    Raises:
        DataError: the data does not fit the model, or there is none.
    """
    import numpy as np

    contract = _contract(path, described)
    if data is None:
        with temporary_folder("runtimes") as folder:
            made = synthetic(contract, folder=Path(folder), samples=samples, seed=seed).calibration
            files = [made.files[spec.name] for spec in described.inputs]
            return [np.load(file) for file in files], list(made.ids)
    chosen = open_source(data).samples[:samples]
    if not chosen:
        raise DataError(f"{data} holds no samples.", cure="Give data with samples in it.")
    loaded = [sample.load(contract).tensors for sample in chosen]
    stacks = [
        np.stack([tensors[spec.name] for tensors in loaded]).reshape(stack_shape(spec, len(loaded)))
        for spec in described.inputs
    ]
    return stacks, [sample.id for sample in chosen]


def _contract(path: Path, described: Described) -> Contract:
    """What the file says of its inputs, for the real values that a runner takes."""
    known = read_contract(path)
    by_name = {entry.tensor.name: entry for entry in known.inputs} if known else {}
    entries = []
    for spec in described.inputs:
        entry = by_name.get(spec.name, InputContract(tensor=spec))
        entries.append(replace(entry, tensor=replace(entry.tensor, dtype=spec.dtype)))
    return Contract(inputs=tuple(entries))


class _Judge:
    """Runs the file elsewhere and compares."""

    def __init__(
        self,
        path: Path,
        stacks: list[Array],
        ids: list[str],
        wanted: list[Array],
        scales: tuple[float, ...],
    ) -> None:
        self._path, self._stacks, self._ids = path, stacks, ids
        self._wanted, self._scales = wanted, scales

    def row(self, runtime: Runtime, progress: Progress) -> RuntimeRow:
        """One runtime's answer, also where it has none."""
        name = str(runtime)
        try:
            with (
                runtime_device(runtime, progress=progress) as device,
                device.runner(self._path) as runner,
            ):
                got = runner.run(self._stacks)
                timing = runner.benchmark(self._stacks, runs=20, seconds=10).latency
        except (ConversionError, DeviceError, EnvironmentNotReady) as error:
            return RuntimeRow(runtime=name, error=error.cause, cure=error.cure)
        if [one.shape for one in got] != [one.shape for one in self._wanted]:
            return RuntimeRow(runtime=name, error="Its outputs have other shapes.")
        return RuntimeRow(
            runtime=name,
            outputs=self.parity(got),
            steps=self.steps(got),
            first_ms=timing.first_ms,
            p50_ms=timing.percentile(50),
        )

    def parity(self, got: list[Array]) -> tuple[OutputParity, ...]:
        """Each output against edgekit's own runtime's."""
        return tuple(
            summarize(
                f"output {number}",
                sums(mine, theirs),
                self._ids,
                scores=is_vector_of_scores(mine.shape[1:]),
                variation=Variation(spread(mine, channel_axis(mine.shape[1:]))),
            )
            for number, (mine, theirs) in enumerate(zip(self._wanted, got, strict=True))
        )

    def steps(self, got: list[Array]) -> float | None:
        """The largest difference in steps of the quantized outputs."""
        found = [
            float(abs(mine - theirs).max()) / scale
            for mine, theirs, scale in zip(self._wanted, got, self._scales, strict=True)
            if scale
        ]
        return max(found, default=None)
