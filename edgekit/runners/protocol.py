"""What every runner is: the reference, a candidate in the runtime here, or one on a device.

A runner has one model. It takes stacks of samples and gives stacks of outputs, so that a device at
the end of a slow line gets work in large pieces, and it times single inferences by itself, where
the clock is beside the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

from edgekit.contract import Contract
from edgekit.types import LatencyReport, TensorSpec

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]

Device: TypeAlias = Literal["auto", "cuda", "cpu"]
"""Where a PyTorch reference runs: ``auto`` takes the GPU where there is one."""


@dataclass(frozen=True, kw_only=True)
class Described:
    """What a runner says about its model and itself.

    Attributes:
        inputs, outputs: in the model's own order, with the shapes of one sample.
        device: where it runs, in words: ``CPU, 2 threads``, ``NVIDIA H200``.
        versions: of what runs it, by name.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    device: str
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class OperatorTime:
    """How long the operators of one type take within an inference.

    Attributes:
        operator: ``CONV_2D`` …, or the delegate's name for what it took over.
        count: how many there are.
        ms: of all of them, per inference.
        share: of the inference, 0 to 1.
        delegate: which delegate runs them; empty for the runtime's own kernels.
    """

    operator: str
    count: int
    ms: float
    share: float
    delegate: str = ""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """One model's speed and memory.

    Attributes:
        latency: raw samples, the first inference, loading.
        peak_memory_mb: the peak resident memory of the process that had only this model, in units
            of 1,000,000 bytes; ``None`` where it cannot be known.
        arena_mb: what the runtime's tensors take at once.
        operators: where the time goes, the costliest type first.
    """

    latency: LatencyReport
    peak_memory_mb: float | None = None
    arena_mb: float | None = None
    operators: tuple[OperatorTime, ...] = ()


class Runner(Protocol):
    """A model that can be run. Used as a context manager, which frees what it holds."""

    name: str

    def describe(self) -> Described:
        """The model's tensors and where it runs.

        Raises:
            ConversionError: the runtime does not load the model, or crashes on it.
        """

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Run samples one at a time.

        Args:
            inputs: for each input in the model's order a stack (N, …) of real values, with the
                shape and axes of `Described.inputs`. The runner quantizes where its model wants it.

        Returns:
            For each output a stack (N, …) of real values in float32, dequantized.

        Raises:
            ConversionError: the runtime refuses or crashes, or a limit was reached.
        """

    def __enter__(self) -> Self:
        """Ready to run."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Free everything, whatever happened."""


@runtime_checkable
class Timed(Protocol):
    """A runner that times single inferences of the model it has loaded."""

    def benchmark(
        self, inputs: Sequence[Array], *, runs: int = 50, warmup: int = 5, seconds: float = 20
    ) -> Timing:
        """Time the first sample of the stacks, ``runs`` times or for ``seconds``.

        Raises:
            ConversionError: as `Runner.run`.
        """


@runtime_checkable
class InPieces(Protocol):
    """A runner at the end of a line: outputs come piece by piece, and those that came are kept."""

    def run_chunks(self, inputs: Sequence[Array]) -> Iterator[tuple[slice, list[Array]]]:
        """As `Runner.run`: which samples, in order, and their outputs.

        Raises:
            ConversionError: as `Runner.run`.
            DeviceError: the device does not do its part.
        """


@runtime_checkable
class Recorded(Protocol):
    """A reference whose outputs were kept: asked by what a sample is, not by its tensors.

    It is a `Runner` too, whose ``run`` is refused.
    """

    @property
    def contract(self) -> Contract:
        """The inputs with their preprocessing, and the outputs, as they were recorded."""

    @property
    def latency(self) -> LatencyReport | None:
        """As measured where it was recorded."""

    def check(self, contract: Contract) -> None:
        """Refuse inputs that are made otherwise than the recorded ones.

        Raises:
            DataError: shapes, types or preprocessing differ; it says in what.
        """

    def recall(self, digests: Sequence[str], names: Sequence[str] = ()) -> list[Array]:
        """The outputs of samples.

        Args:
            digests: of each sample (`edgekit.datasets.digests.sample_digest`).
            names: the samples' ids, for the error.

        Returns:
            As `Runner.run`, in the order of ``digests``.

        Raises:
            DataError: a sample was not recorded; it says which, and whether one of that name was.
        """
