"""What a measuring process is told, as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.contract import Contract
from edgekit.errors import UsageError
from edgekit.raw_pixels.normalization import Normalization

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Feed:
    """One input of a file: which of the reference's it is, and how its axes are turned.

    Attributes:
        source: the place of the reference's input.
        permutation: from its axes to the file's.
        shape: of the file's.
        pixels: how the reference's values were made of the raw pixels that this file is fed,
            ``None`` where it takes the values themselves.
        values: what is done with the raw pixels that the reference is fed, where that normalises
            by itself and this file does not.
        channels: the axis of the channels in the reference, counted from the last.
    """

    source: int
    permutation: Sequence[int]
    shape: Sequence[int]
    pixels: Normalization | None = None
    values: Normalization | None = None
    channels: int = -1

    def of(self, stack: Array) -> Array:
        """What the file is fed for samples (N, …) of the reference's input."""
        if self.pixels is not None:
            stack = self.pixels.pixels(stack, stack.ndim + self.channels)
        if self.values is not None:
            stack = self.values.values(stack, stack.ndim + self.channels)
        return turn(stack, self.permutation, self.shape)


@dataclass(frozen=True, kw_only=True)
class Taken:
    """One of the reference's outputs, from a file's.

    Attributes:
        places: of the file's outputs; several where it has the output in parts.
        axis: that the parts lie along, counted from the last.
        permutation: turns the reference's axes into the file's.
    """

    places: Sequence[int]
    axis: int | None
    permutation: Sequence[int]


@dataclass(frozen=True, kw_only=True)
class Span:
    """What a file's tensor can represent, and which of the reference's tensors it stands for."""

    role: str
    index: int
    name: str
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class CandidateJob:
    """One file, with its tensors bound to the reference's.

    ``widths`` are those of its outputs' possible ranges, in the reference's order, see
    `edgekit.tflite.bounds`; ``indices`` says which of them name things, see
    `edgekit.tflite.indices`.
    """

    path: str
    feeds: Sequence[Feed]
    outputs: Sequence[Taken]
    spans: Sequence[Span] = ()
    widths: Sequence[float | None] = field(default_factory=list)
    indices: Sequence[bool] = field(default_factory=list)

    @property
    def named(self) -> tuple[int, ...]:
        """The places of the outputs that are indices."""
        return tuple(place for place, one in enumerate(self.indices) if one)

    def fed(self, inputs: Sequence[Array]) -> list[Array]:
        """The reference's stacks (N, …) in the file's order and axes."""
        return [feed.of(inputs[feed.source]) for feed in self.feeds]


@dataclass(frozen=True, kw_only=True)
class MeasuringJob:
    """Everything that a process needs to measure any chunk.

    Attributes:
        data, layout, labelled: the samples, see `edgekit.pipeline.validation.data.open_samples`.
        contract: on the reference's tensors, as `Contract.to_json` writes it.
        parts: by output: (axis, start, size) of entries with a magnitude of their own.
        metric: the user's own.
        span: see `edgekit.measure.tasks.make_metric`.
        recorded: the reference is asked by digests, so nobody needs the inputs as stacks.
        references: the folder of the reference's outputs.
        scratch: a folder for what is on its way.
        device_answers: the folder of what a device says; empty where candidates run here.
    """

    data: str
    layout: str
    labelled: bool
    contract: str
    candidates: Sequence[CandidateJob]
    parts: dict[str, list[list[int]]]
    metric: str | None
    span: float
    recorded: bool
    references: str
    scratch: str
    device_answers: str = ""

    def write(self, path: Path) -> None:
        """Write it where a process can read it."""
        path.write_text(self.to_json(), encoding="utf-8")

    def to_json(self) -> str:
        """All of it."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, path: Path) -> MeasuringJob:
        """Read what `write` wrote."""
        return cls.from_json(path.read_text(encoding="utf-8"))

    @classmethod
    def from_json(cls, text: str) -> MeasuringJob:
        """The inverse of `to_json`."""
        table = json.loads(text)
        candidates = [
            CandidateJob(
                path=one["path"],
                feeds=[_feed(feed) for feed in one["feeds"]],
                outputs=[Taken(**taken) for taken in one["outputs"]],
                spans=[Span(**span) for span in one["spans"]],
                widths=one["widths"],
                indices=one["indices"],
            )
            for one in table.pop("candidates")
        ]
        return cls(candidates=candidates, **table)

    @property
    def stated(self) -> Contract:
        """The contract itself."""
        return Contract.from_json(self.contract)


def _feed(table: dict[str, Any]) -> Feed:
    pixels, values = table.pop("pixels"), table.pop("values")
    return Feed(**table, pixels=_normalization(pixels), values=_normalization(values))


def _normalization(table: dict[str, Any] | None) -> Normalization | None:
    return None if table is None else Normalization.from_table(table)


def turn(stack: Array, permutation: Sequence[int], shape: Sequence[int]) -> Array:
    """Samples (N, …) of a reference's tensor with the axes and shape that a file wants.

    Permutations count the axes of one sample, whose batch axis of 1 is the samples' in a stack; a
    sample without one gets the samples' axis in front.
    """
    turned = stack.transpose(_axes(stack, permutation))
    rest = shape[1:] if len(shape) == len(permutation) and shape[:1] in ((1,), [1]) else shape
    result: Array = turned.reshape(len(stack), *rest)
    return result


def turn_back(stack: Array, permutation: Sequence[int], like: Array) -> Array:
    """The inverse for an output: a file's stack with the axes and shape of the reference's."""
    inverse = sorted(range(len(permutation)), key=lambda place: permutation[place])
    turned = stack.transpose(_axes(stack, inverse))
    if turned.size != like.size:
        raise UsageError(
            f"The reference gives {like.shape[1:]} for a sample, the candidate {stack.shape[1:]}.",
            cure="Check that both are the same model with the same input size.",
        )
    result: Array = turned.reshape(like.shape)
    return result


def _axes(stack: Array, permutation: Sequence[int]) -> list[int]:
    if stack.ndim == len(permutation):
        return list(permutation)
    if stack.ndim == len(permutation) + 1:
        return [0, *(axis + 1 for axis in permutation)]
    return list(range(stack.ndim))  # of another rank but as many elements: reshaped afterwards
