"""Opening whatever can be a reference: a model, a recorded bundle, a server."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from edgekit.contract import Contract
from edgekit.errors import UsageError
from edgekit.routes import source_converter
from edgekit.runners.bundle import SUFFIX, RecordedReference
from edgekit.runners.http_reference import HttpReference, is_url
from edgekit.runners.litert_runner import LitertRunner
from edgekit.runners.protocol import Device, Runner
from edgekit.runners.reference import ConverterRunner
from edgekit.sources import recognise
from edgekit.toolchain.converters import discover
from edgekit.toolchain.workshop import Workshop
from edgekit.types import ModelSource, SourceKind, TensorSpec

ON_CUDA: frozenset[SourceKind] = frozenset(
    {"torch", "torch_pickle", "torchscript", "exported_program"}
)
"""The kinds of model that can run on a GPU here."""


def open_reference(
    location: str,
    *,
    workshop: Workshop,
    work: Path,
    contract: Contract | None = None,
    device: Device = "auto",
    weights: Path | None = None,
    trust_pickle: bool = False,
    inputs: tuple[TensorSpec, ...] = (),
    timeout: float = 60.0,
) -> Runner:
    """The runner of a reference.

    Args:
        location: a model as ``edgekit convert`` takes it (PyTorch, Keras, SavedModel, ONNX,
            ``.tflite``), an ``.edgeref`` bundle, or the URL of a model behind the Open Inference
            Protocol (``…/v2/models/NAME``) or TensorFlow Serving (``…/v1/models/NAME:predict``).
        workshop: where converters' workers live; the runner does not close it.
        work: an existing folder for the stacks that go to a worker and come back.
        contract: what the user stated about the inputs. A bundle recorded with another
            preprocessing or other shapes is refused. `None` where the reference itself tells.
        device: ``auto``, ``cuda`` or ``cpu``; for PyTorch.
        weights, trust_pickle: as in `edgekit.sources.recognise`.
        inputs: what the user stated, for a model that does not tell its inputs (PyTorch).
        timeout: seconds that a server may take for one answer.

    Returns:
        A context manager; nothing is loaded before `describe` or `run`. If it is a
        `edgekit.runners.protocol.Recorded`, ask it with ``recall(digests)`` instead of
        ``run(inputs)``. Digests are `edgekit.datasets.digests.sample_digest`.

    Raises:
        UsageError: there is no such model, or an option does not go with it.
        ModelError: the file is damaged.
        DataError: a bundle is damaged, or was recorded with another contract.
    """
    if device not in get_args(Device):
        raise UsageError(f"There is no device {device!r}.", cure=f"One of {get_args(Device)}.")
    beside = "--weights" if weights else "--trust-pickle" if trust_pickle else ""
    if is_url(location) or location.endswith(SUFFIX):
        if beside or device == "cuda":
            raise UsageError(
                f"{beside or '--reference-device cuda'} does not go with {location}, which does "
                "not run here.",
                cure="Leave it out.",
            )
        if is_url(location):
            return HttpReference(location, timeout=timeout, inputs=inputs)
        bundle = RecordedReference(Path(location))
        if contract is not None:
            bundle.check(contract)
        return bundle
    source = recognise(location, weights=weights, trust_pickle=trust_pickle)
    if device == "cuda" and source.kind not in ON_CUDA:
        raise UsageError(
            f"--reference-device cuda is for PyTorch; {location} is of the kind {source.kind}.",
            cure="Leave it out: the model runs on the CPU.",
        )
    workshop.source = source
    return _in_a_worker(source, workshop=workshop, work=work, device=device, inputs=inputs)


def _in_a_worker(
    source: ModelSource,
    *,
    workshop: Workshop,
    work: Path,
    device: Device,
    inputs: tuple[TensorSpec, ...],
) -> Runner:
    if source.kind == "tflite":
        return LitertRunner(Path(source.location), workshop=workshop, work=work)
    return ConverterRunner(
        source,
        source_converter(source.kind, discover()),
        workshop=workshop,
        work=work,
        device=device,
        inputs=inputs,
    )
