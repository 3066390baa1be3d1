"""One client's answer to a file, whatever becomes of its process.

A client may crash, hang, print to standard output, want another NumPy or not be there at all: it
runs in a process of its own, in its own environment, contained and watched like a converter
(`edgekit.toolchain`). What it does not do is its answer, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from edgekit.compat.clients import Client
from edgekit.compat.samples import ClientSamples, tensors_of
from edgekit.devices.session import DeviceLimits
from edgekit.devices.target import open_device
from edgekit.devices.tensors import DeviceTensor
from edgekit.devices.web import package
from edgekit.errors import (
    ConversionError,
    DataError,
    DeviceError,
    SetupError,
    StepTimeout,
    UsageError,
)
from edgekit.files import temporary_folder
from edgekit.tflite.summary import Summary
from edgekit.toolchain.converters import Converter
from edgekit.toolchain.workshop import Workshop
from edgekit.types import Progress

if TYPE_CHECKING:
    from edgekit.runners.protocol import Array

Stage: TypeAlias = Literal["missing", "other kind", "refused", "stopped", "ran"]
"""How far a client came: it is not here; it is for other files; it did not open this one; it opened
it but gave no outputs; it gave outputs."""
_RUNS = 20
_TIMING = {"runs": _RUNS, "warmup": 3, "seconds": 2.0}
_NO_TIMING = {"runs": 0, "warmup": 0, "seconds": 0.0}


@dataclass(frozen=True, kw_only=True)
class ClientAnswer:
    """What a client said.

    Attributes:
        stage: how far it came.
        reason: why no further; empty where it ran.
        cure: what to do about that, or about outputs that differ.
        other_kernels: by which its worker can compute the file too, to find out why it differs.
        outputs: stacks (N, *shape), in the file's order.
        ms: times of one inference.
        versions: of what ran.
        facts: whole numbers that the client tells of the file, such as ``arena_bytes``.
        lasting: whether the same client says the same about the same file tomorrow.
    """

    stage: Stage
    reason: str = ""
    cure: str = ""
    other_kernels: str = ""
    outputs: tuple[Array, ...] = ()
    ms: tuple[float, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    facts: dict[str, int] = field(default_factory=dict)
    lasting: bool = True


def ask(
    client: Client,
    file: Path,
    summary: Summary,
    samples: ClientSamples,
    *,
    workshop: Workshop,
    kernels: str = "",
) -> ClientAnswer:
    """Open the file in a client and run the samples.

    Args:
        client: whom to ask.
        file: the `.tflite`.
        summary: what is in it.
        samples: what goes in.
        workshop: with an existing, empty folder for the client's files, the time that opening, and
            running, may take, and who is told what happens.
        kernels: which ones, by its worker's name for them; empty for those that it chooses.
    """
    if client.worker is None:
        return _ask_device(
            client,
            file,
            summary,
            samples,
            seconds=workshop.limits.seconds,
            progress=workshop.progress,
        )
    inputs, outputs = map(tensors_of, (summary.inputs, summary.outputs))
    request = {
        "artifact": str(file.resolve()),
        "folder": str(workshop.folder),
        "inputs": _with_paths(inputs, samples.stacks, workshop.folder),
        "outputs": list(map(asdict, outputs)),
        "kernels": kernels,
        **(_TIMING if client.timed and not kernels else _NO_TIMING),
    }
    return _ask_worker(client.worker, workshop, request, outputs)


def _ask_worker(
    worker: Converter, workshop: Workshop, request: dict[str, Any], tensors: Sequence[DeviceTensor]
) -> ClientAnswer:
    name = Path(request["artifact"]).name
    opened = False
    with workshop:
        try:
            title = f"Opening {name} in {worker.name}"
            loaded, _ = workshop.call(worker, "load", request, title=title)
            facts = _facts(loaded)
            hint, other = str(loaded.get("hint", "")), str(loaded.get("other_kernels", ""))
            opened = True
            title = f"Running {name} in {worker.name}"
            result, _ = workshop.call(worker, "run", request, title=title)
            outputs = _outputs(result["outputs"], tensors)
        except SetupError as error:
            return ClientAnswer(stage="missing", reason=error.cause, cure=error.cure, lasting=False)
        except UsageError as error:
            return ClientAnswer(stage="other kind", reason=error.cause, cure=error.cure)
        except ConversionError as error:
            return ClientAnswer(
                stage="stopped" if opened else "refused",
                reason=_first_line(error.cause),
                versions=workshop.versions_of(worker),
                lasting=not isinstance(error, StepTimeout),
            )
    return ClientAnswer(
        stage="ran",
        cure=hint,
        other_kernels=other,
        outputs=outputs,
        ms=tuple(map(float, result["ms"])),
        versions=workshop.versions_of(worker),
        facts=facts,
    )


def facts_of(worker: Converter, file: Path, progress: Progress) -> dict[str, int]:
    """What a client tells of a file when it opens it.

    Raises:
        ConversionError: it does not open it.
        SetupError: it is not there.
    """
    with (
        temporary_folder("facts") as folder,
        Workshop(
            name=f"facts-{worker.name}", progress=progress, work=folder, read=(file.resolve(),)
        ) as workshop,
    ):
        request = {"artifact": str(file.resolve()), "folder": str(folder)}
        title = f"Opening {file.name} in {worker.name}"
        loaded, _ = workshop.call(worker, "load", request, title=title)
    return _facts(loaded)


def _facts(loaded: dict[str, Any]) -> dict[str, int]:
    return {str(name): int(value) for name, value in loaded.get("facts", {}).items()}


def _ask_device(
    client: Client,
    file: Path,
    summary: Summary,
    samples: ClientSamples,
    *,
    seconds: float | None,
    progress: Progress,
) -> ClientAnswer:
    import numpy as np

    opened = False
    versions: dict[str, str] = {}
    try:
        if client.device == "web":
            package.install(progress)
        limits = DeviceLimits(step=seconds or DeviceLimits.step)
        with open_device(client.device, limits=limits, hold=False) as device:
            _ = device.facts  # one that is not there says so here
            progress.step(f"Running {file.name} in {client.name}")
            with device.runner(file) as runner:
                versions = runner.describe().versions
                opened = True
                pieces = [outputs for _, outputs in runner.run_stored(samples.stacks)]
                stacks = [np.concatenate(column) for column in zip(*pieces, strict=True)]
                first = [stack[:1] for stack in samples.stacks]
                ms = runner.benchmark(first, runs=_RUNS, seconds=2).latency.samples_ms
        outputs = _shaped(stacks, tensors_of(summary.outputs))
    except (SetupError, DeviceError) as error:
        stage: Stage = "stopped" if opened else "missing"
        return ClientAnswer(stage=stage, reason=error.cause, cure=error.cure, lasting=False)
    except (ConversionError, DataError) as error:
        stage = "stopped" if opened else "refused"
        return ClientAnswer(stage=stage, reason=_first_line(error.cause), versions=versions)
    return ClientAnswer(stage="ran", outputs=outputs, ms=tuple(ms), versions=versions)


def _with_paths(
    tensors: Sequence[DeviceTensor], stacks: Sequence[Array], folder: Path
) -> list[dict[str, Any]]:
    """Inputs for a worker's request, with the files of their samples."""
    import numpy as np

    entries = []
    for place, (tensor, stack) in enumerate(zip(tensors, stacks, strict=True)):
        path = folder / f"input_{place}.npy"
        np.save(path, stack, allow_pickle=False)
        entries.append({**asdict(tensor), "path": str(path)})
    return entries


def _outputs(paths: Sequence[str], tensors: Sequence[DeviceTensor]) -> tuple[Array, ...]:
    """The stacks that a worker has written.

    Raises:
        ConversionError: they cannot be what the file's outputs are.
    """
    import numpy as np

    try:
        stacks = [np.load(path, allow_pickle=False) for path in paths]
    except (OSError, ValueError) as error:
        raise ConversionError(f"Its outputs cannot be read: {error}") from error
    return _shaped(stacks, tensors)


def _shaped(stacks: Sequence[Array], tensors: Sequence[DeviceTensor]) -> tuple[Array, ...]:
    """Stacks in the shapes that the file states.

    Raises:
        ConversionError: a number of outputs or values is another one, or they are not numbers.
    """
    if len(stacks) != len(tensors):
        raise ConversionError(f"It gave {len(stacks)} outputs; the file has {len(tensors)}.")
    return tuple(map(_one_shaped, stacks, tensors))


def _one_shaped(stack: Array, tensor: DeviceTensor) -> Array:
    if stack.dtype.kind not in "fiub":
        raise ConversionError(f"Its output {tensor.name} is of type {stack.dtype}.")
    if stack[0].size != math.prod(tensor.shape):  # of an open size: LiteRT says which it is
        return stack
    return stack.reshape(len(stack), *tensor.shape)


def _first_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0][:300] if lines else "It did not say why."
