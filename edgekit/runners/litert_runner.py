"""A candidate in the runtime here: ai-edge-litert in a process of its own."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from edgekit.runners.litert import LITERT
from edgekit.runners.protocol import Described, OperatorTime, Timing
from edgekit.runners.stacks import reals
from edgekit.tflite.model import read
from edgekit.toolchain.workshop import Workshop
from edgekit.types import LatencyReport, TensorSpec

if TYPE_CHECKING:
    from types import TracebackType

    from edgekit.runners.protocol import Array

_MIB = (1 << 20) / 1e6
"""Megabytes of 1,000,000 bytes in one of the workshop's."""
WARMUP = 3
IN_A_ROW = 8
"""So many samples are enough to see whether a file remembers."""
_STATELESS_DB = 100.0
"""Below so much SQNR between a run after a reset and one after other samples, a file remembers."""
_PROFILED = 20
_DELEGATED = "Delegate/"
_HEADING = re.compile(r"=+ .+ =+\s*$")
_LINE = re.compile(
    r"\s*(?P<type>\S.*?)\s+[\d.]+\s+[\d.]+\s+(?P<ms>[\d.]+)\s+[\d.]+%\s+[\d.]+%\s+-?[\d.]+\s+\d+\s"
)


class LitertRunner:
    """One `.tflite`. Its process ends with a crash of the runtime, edgekit goes on.

    Args:
        path: the file.
        workshop: where the runtime's process lives.
        work: an existing folder for stacks on their way.
        threads: of the runtime.
        shapes: of its inputs in their order, where they are to be resized.
    """

    def __init__(
        self,
        path: Path,
        *,
        workshop: Workshop,
        work: Path,
        threads: int = 1,
        shapes: Sequence[Sequence[int]] | None = None,
    ) -> None:
        self.name = path.stem
        self.path = path
        self._workshop = workshop
        self._work = work
        self._threads = threads
        self._file = {"artifact": str(path), "shapes": shapes and [list(one) for one in shapes]}

    def describe(self) -> Described:
        """As `edgekit.runners.protocol.Runner.describe`; quantized tensors are told as float32."""
        result, step = self._workshop.call(
            LITERT, "describe", self._file, title=f"Loading {self.name}"
        )
        return Described(
            inputs=tuple(map(_real_spec, result["inputs"])),
            outputs=tuple(map(_real_spec, result["outputs"])),
            device=f"CPU, {self._threads} thread{'s' if self._threads > 1 else ''}",
            versions=step.versions,
        )

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """As `edgekit.runners.protocol.Runner.run`."""
        import numpy as np

        with tempfile.TemporaryDirectory(dir=self._work, prefix="stacks-") as folder:
            entries = self._stored(inputs, Path(folder))
            result, _ = self._workshop.call(
                LITERT,
                "run",
                {
                    **self._file,
                    "inputs": entries,
                    "outputs_folder": folder,
                    "threads": self._threads,
                },
                title=f"Running {self.name}",
            )
            return [reals(np.load(path, allow_pickle=False)) for path in result["outputs"]]

    def remembers(self, inputs: Sequence[Array]) -> bool:
        """Whether what a file with variables answers depends on the samples that came before.

        It is run on the samples in a row, in two orders, without a reset.

        Args:
            inputs: stacks of shape (N, …) in the file's order and axes; a few samples are enough.

        Raises:
            ConversionError: it does not run.
        """
        with tempfile.TemporaryDirectory(dir=self._work, prefix="stacks-") as folder:
            result, _ = self._workshop.call(
                LITERT,
                "consecutive",
                {**self._file, "inputs": self._stored(inputs, Path(folder))},
                title="Running samples in a row",
            )
        return float(result["sqnr_db"]) < _STATELESS_DB

    def _stored(self, inputs: Sequence[Array], folder: Path) -> list[dict[str, Any]]:
        """Stacks as files, as the worker is told of them."""
        import numpy as np

        entries = []
        for number, (spec, stack) in enumerate(zip(self.describe().inputs, inputs, strict=True)):
            path = folder / f"input_{number}.npy"
            np.save(path, stack, allow_pickle=False)
            shape = list(spec.shape)
            order = list(range(len(shape)))
            entries.append({"path": str(path), "shape": shape, "permutation": order})
        return entries

    def benchmark(
        self, inputs: Sequence[Array], *, runs: int = 50, warmup: int = WARMUP, seconds: float = 20
    ) -> Timing:
        """As `edgekit.runners.protocol.Timed.benchmark`; what the input holds makes no odds."""
        (timing,) = benchmark(
            [self.path],
            self._workshop,
            threads=self._threads,
            runs=runs,
            warmup=warmup,
            seconds=seconds,
        )
        return timing

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._workshop.release(LITERT)


def benchmark(
    paths: Sequence[Path],
    workshop: Workshop,
    *,
    threads: int = 1,
    runs: int = 50,
    warmup: int = WARMUP,
    seconds: float = 20,
) -> list[Timing]:
    """Time single inferences of several files in turn, so that machine noise hits all alike.

    Each file is first loaded in a process that has nothing else, which tells its peak memory.

    Raises:
        ConversionError: the runtime refuses a file or crashes on it.
    """
    alone = [footprint(path, workshop, threads) for path in paths]
    samples = interleaved(
        paths, workshop, threads=threads, runs=runs, warmup=warmup, seconds=seconds
    )
    return [
        replace(
            timing,
            latency=replace(timing.latency, samples_ms=measured, warmup=warmup),
        )
        for timing, measured in zip(alone, samples, strict=True)
    ]


def interleaved(
    paths: Sequence[Path],
    workshop: Workshop,
    *,
    threads: int,
    runs: int,
    warmup: int = WARMUP,
    seconds: float = 20,
) -> list[tuple[float, ...]]:
    """The raw times of each file in milliseconds, measured in turn in one process."""
    result, _ = workshop.call(
        LITERT,
        "benchmark",
        {
            "artifacts": [str(path) for path in paths],
            "threads": threads,
            "warmup": warmup,
            "runs": runs,
            "seconds": seconds,
        },
        title="Timing",
    )
    return [tuple(entry["samples_ms"]) for entry in result["results"]]


def footprint(path: Path, workshop: Workshop, threads: int) -> Timing:
    """Loading, first inference and memory of one file, without any samples yet."""
    workshop.release(LITERT)
    request = {"artifact": str(path), "threads": threads}
    result, step = workshop.call(LITERT, "footprint", request, title=f"Loading {path.stem}")
    constants = [tensor.index for tensor in read(path).main.tensors if tensor.is_constant]
    arena, _ = workshop.call(
        LITERT, "arena", {**request, "constants": constants}, title=f"Loading {path.stem}"
    )
    workshop.release(LITERT)
    return Timing(
        latency=LatencyReport(
            samples_ms=(), threads=threads, load_ms=result["load_ms"], first_ms=result["first_ms"]
        ),
        peak_memory_mb=round((step.peak_memory_mb or 0.0) * _MIB, 1) or None,
        arena_mb=round(arena["bytes"] / 1e6, 3),
    )


def operators(path: Path, workshop: Workshop) -> tuple[OperatorTime, ...]:
    """Where one inference's time goes by type of operator, the costliest first, with one thread.

    A delegate calls its operators by names of its own: in XNNPACK a 1×1 convolution is a fully
    connected one.

    Raises:
        ConversionError: this runtime does not tell.
    """
    workshop.release(LITERT)  # what was loaded before must not disturb, nor be hurt by a crash
    result, _ = workshop.call(
        LITERT,
        "profile",
        {"artifact": str(path), "warmup": WARMUP, "runs": _PROFILED},
        title=f"Profiling {path.stem}",
    )
    workshop.release(LITERT)
    return by_type(result["summary"])


def by_type(summary: str) -> tuple[OperatorTime, ...]:
    """The lines of a profiler's table, added up by type of operator."""
    lines = summary.splitlines()
    headings = [place for place, line in enumerate(lines) if _HEADING.match(line)]
    first = next((place for place in headings if "Run Order" in lines[place]), None)
    if first is None:
        return ()
    end = next((place for place in headings if place > first), len(lines))
    matches = [match for line in lines[first:end] if (match := _LINE.match(line))]
    whole = sum(float(match["ms"]) for match in matches) or 1.0
    found: dict[str, list[float]] = {}
    for match in matches:
        found.setdefault(match["type"], []).append(float(match["ms"]))
    times = [
        OperatorTime(
            operator=kind.removeprefix(_DELEGATED),
            count=len(taken),
            ms=round(sum(taken), 4),
            share=sum(taken) / whole,
            delegate="XNNPACK" if kind.startswith(_DELEGATED) else "",
        )
        for kind, taken in found.items()
    ]
    return tuple(sorted(times, key=lambda one: -one.ms))


def _real_spec(table: dict[str, Any]) -> TensorSpec:
    dtype = "float32" if table["scale"] or table["dtype"] == "float16" else table["dtype"]
    return TensorSpec(name=table["name"], shape=tuple(table["shape"]), dtype=dtype)
