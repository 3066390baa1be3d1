"""The samples that a `.tflite` is run on, as its contract says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit import calibration
from edgekit.config import Config, load_config
from edgekit.contract import Contract
from edgekit.errors import DataError
from edgekit.pipeline.explain.request import ExplainRequest
from edgekit.resolve import resolve
from edgekit.runners.litert import LITERT
from edgekit.tflite.metadata import read_contract
from edgekit.toolchain.workshop import Workshop
from edgekit.types import TensorSpec

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, kw_only=True)
class ExplainInputs:
    """What a `.tflite` is run on.

    Attributes:
        contract: its inputs, as real values, with the axes of the samples.
        feeds: one for each input, as the runtime's worker takes them.
        ids: the names of the samples.
    """

    contract: Contract
    feeds: tuple[dict[str, Any], ...]
    ids: tuple[str, ...]

    def sample(self, place: int, index: int) -> Array:
        """One sample of an input in float64, in the input's shape."""
        import numpy as np

        feed = self.feeds[place]
        value = np.load(feed["path"], mmap_mode="r")[index]
        return np.asarray(value, np.float64).reshape(feed["shape"]).transpose(feed["permutation"])


def given_to(
    path: Path,
    request: ExplainRequest,
    samples: int,
    workshop: Workshop,
    folder: Path,
    *,
    stated: bool = False,
    otherwise: Contract | None = None,
) -> ExplainInputs:
    """Prepare the samples as a `.tflite` says that it wants them.

    Args:
        path: the file.
        request: has the data, and what the user stated.
        samples: so many.
        workshop: has the runtime's worker.
        folder: for the samples; made here.
        stated: what the user stated wins over the file's own contract; it serves a file without a
            contract in any case.
        otherwise: the contract where the file has none.

    Raises:
        DataError, UsageError, ModelError: see the classes.
    """
    result, _ = workshop.call(
        LITERT, "describe", {"artifact": str(path)}, title=f"Reading {path.name}"
    )
    own = read_contract(path)
    flags = stated or own is None
    contract = resolve(
        _real(result["inputs"]),
        _real(result["outputs"]),
        config=load_config(request.config) if flags and request.config else Config(),
        preprocess=request.preprocess if flags else {},
        embedded=own or otherwise,
    )
    workshop.progress.step("Preparing the data")
    return _loaded(contract, request, samples, workshop, folder)


def _loaded(
    contract: Contract, request: ExplainRequest, samples: int, workshop: Workshop, folder: Path
) -> ExplainInputs:
    """The samples; arrays may also lie as the framework has them, with channels first."""
    failure: DataError | None = None
    for place, (tried, order) in enumerate(_layouts(contract)):
        try:
            data = calibration.load(
                request.data,
                tried,
                folder=folder / str(place),
                calibration_samples=samples,
                parity_samples=samples,
                seed=request.seed,
                progress=workshop.progress,
            )
        except DataError as error:
            failure = failure or error
            continue
        feeds = tuple(
            {
                "path": str(data.parity.files[entry.tensor.name]),
                "shape": list(entry.tensor.shape),
                "permutation": order.get(entry.tensor.name, list(range(len(entry.tensor.shape)))),
            }
            for entry in tried.inputs
        )
        return ExplainInputs(contract=tried, feeds=feeds, ids=data.parity.ids)
    assert failure is not None
    raise failure


def _layouts(contract: Contract) -> Iterator[tuple[Contract, dict[str, list[int]]]]:
    """The contract as it is, and with the channels of NHWC inputs first."""
    yield contract, {}
    turned = []
    for entry in contract.inputs:
        shape = entry.tensor.shape
        if len(shape) != 4 or entry.tensor.layout == "NCHW":
            return
        first = (shape[0], shape[3], shape[1], shape[2])
        turned.append(replace(entry, tensor=replace(entry.tensor, shape=first, layout="NCHW")))
    order = {entry.tensor.name: [0, 2, 3, 1] for entry in turned}
    yield replace(contract, inputs=tuple(turned)), order


def _real(tables: Sequence[Mapping[str, Any]]) -> tuple[TensorSpec, ...]:
    """Inputs or outputs as an app sees them before they are quantized."""
    return tuple(
        TensorSpec(
            name=table["name"],
            shape=tuple(table["shape"]),
            dtype="float32" if table.get("scale") else table["dtype"],
        )
        for table in tables
    )
