"""The user's own model as the reference, run by the worker of its framework."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from edgekit.errors import ModelError
from edgekit.runners.protocol import Described, Device, Timing
from edgekit.runners.stacks import reals, sample_shapes, spec_tables
from edgekit.toolchain.converters import Converter
from edgekit.toolchain.named_models import named_request
from edgekit.toolchain.workshop import Workshop
from edgekit.types import LatencyReport, ModelSource, TensorSpec

if TYPE_CHECKING:
    from types import TracebackType

    from edgekit.runners.protocol import Array

_MIB = (1 << 20) / 1e6
"""Megabytes of 1,000,000 bytes in one of the workshop's."""


class ConverterRunner:
    """A model in a converter's process, which stays there between calls.

    Args:
        source: the model.
        converter: who can run it.
        workshop: where its process lives.
        work: an existing folder for stacks on their way.
        device: ``auto``, ``cuda`` or ``cpu``; converters other than PyTorch's know the CPU only.
        inputs: what the user stated, for a model that does not tell its inputs.
    """

    def __init__(
        self,
        source: ModelSource,
        converter: Converter,
        *,
        workshop: Workshop,
        work: Path,
        device: Device = "auto",
        inputs: tuple[TensorSpec, ...] = (),
    ) -> None:
        self.name = source.name
        self.source = source
        self.state_digest: str | None = None
        """SHA-256 of the weights as they were loaded, where the converter tells it."""
        self._converter = converter
        self._workshop = workshop
        self._work = work
        self._device = device
        self._stated = inputs
        self._described: Described | None = None

    def describe(self) -> Described:
        """Load the model where that was not done; a dimension is ``None`` where it is open.

        Raises:
            ModelError, UsageError: it cannot be loaded, or a PyTorch model's inputs are not stated.
            SetupError: no such device, or the framework is not installed.
        """
        if self._described is not None and self._workshop.has(self._converter):
            return self._described
        source = self.source
        result, step = self._workshop.call(
            self._converter,
            "describe",
            {
                "source": {
                    "location": source.location,
                    "kind": source.kind,
                    "weights": str(source.weights) if source.weights else None,
                    "trust_pickle": source.trust_pickle,
                    "named": named_request(source),
                },
                "inputs": spec_tables(self._stated),
                "device": self._device,
                "digest": True,
            },
            title=f"Loading {source.name}",
        )
        self.state_digest = result.get("digest")
        self._described = Described(
            inputs=_specs(result["inputs"]),
            outputs=_specs(result["outputs"]),
            device=result.get("device", "CPU"),
            versions=step.versions,
        )
        if not self._described.outputs:
            raise ModelError("The model has no outputs.", cure="Return at least one tensor.")
        return self._described

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """As `edgekit.runners.protocol.Runner.run`; outputs of whole numbers stay whole numbers.

        Open dimensions get the size that the stacks have.
        """
        import numpy as np

        with tempfile.TemporaryDirectory(dir=self._work, prefix="stacks-") as folder:
            request = {**self._request(inputs, Path(folder)), "outputs_folder": folder}
            result, _ = self._workshop.call(
                self._converter,
                "reference",
                request,
                title=f"Running {self.name}",
                options={"samples": len(inputs[0])},
            )
            return [
                reals(np.load(entry["path"], allow_pickle=False)) for entry in result["outputs"]
            ]

    def benchmark(
        self, inputs: Sequence[Array], *, runs: int = 50, warmup: int = 5, seconds: float = 20
    ) -> Timing:
        """Time the first sample. On a GPU with CUDA's events, without copying to and from it."""
        with tempfile.TemporaryDirectory(dir=self._work, prefix="stacks-") as folder:
            request = {
                **self._request([stack[:1] for stack in inputs], Path(folder)),
                "runs": runs,
                "warmup": warmup,
                "seconds": seconds,
            }
            result, step = self._workshop.call(
                self._converter, "benchmark", request, title=f"Timing {self.name}"
            )
        return Timing(
            latency=LatencyReport(
                samples_ms=tuple(result["samples_ms"]),
                threads=result["threads"],
                load_ms=result["load_ms"],
                first_ms=result["first_ms"],
                warmup=warmup,
            ),
            peak_memory_mb=round((step.peak_memory_mb or 0.0) * _MIB, 1) or None,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._workshop.release(self._converter)

    def _request(self, inputs: Sequence[Array], folder: Path) -> dict[str, Any]:
        """Write the stacks; the request's ``inputs`` and ``specs``."""
        import numpy as np

        specs = sample_shapes(self.describe().inputs, inputs)
        files = {}
        for number, (spec, stack) in enumerate(zip(specs, inputs, strict=True)):
            path = folder / f"input_{number}.npy"
            np.save(path, np.asarray(stack).astype(spec.dtype, copy=False), allow_pickle=False)
            files[spec.name] = str(path)
        return {"inputs": files, "specs": spec_tables(specs)}


def _specs(tables: list[dict[str, Any]]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            name=table["name"],
            shape=tuple(table["shape"]),
            dtype=table["dtype"],
            layout=table.get("layout"),
        )
        for table in tables
    )
