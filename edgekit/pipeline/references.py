"""Opening whatever can be a reference: a model, a recorded bundle, a server."""

from __future__ import annotations

from pathlib import Path

from edgekit.contract import Contract
from edgekit.runners.protocol import Runner
from edgekit.toolchain.workshop import Workshop
from edgekit.types import TensorSpec


def open_reference(
    location: str,
    *,
    workshop: Workshop,
    work: Path,
    contract: Contract | None = None,
    device: str = "auto",
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
    raise NotImplementedError(location)
