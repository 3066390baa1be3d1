"""From outputs to rows, and rows together: the same for every command that compares.

A row is a few numbers about one sample. What is about all samples at once (how the reference
varies, the error by channel) is a row for each batch, which adds up.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from edgekit.closeness import channel_axis, merge, spread, sums
from edgekit.contract import Contract
from edgekit.measure.job import Span
from edgekit.validation.evidence import marks
from edgekit.validation.metrics import Batch, Metric
from edgekit.validation.nominal import drawn, equal, merge_drawn

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_SPREAD, _DRAWN = "spread/", "drawn/"
_BLOCK = 1_000_000
"""So many values of an output are compared at once: more would only take memory."""

Cuts = Mapping[str, Sequence[Sequence[int]]]
"""By the place of an output: (axis, start, size) of entries with a magnitude of their own."""


def sample_rows(inputs: Sequence[Sequence[Array]]) -> dict[str, Array]:
    """What samples are recognised by, from the inputs of each."""
    import numpy as np

    found = [marks(one) for one in inputs]
    if not found:
        return {}
    return {f"marks/{name}": np.array([one[name] for one in found]) for name in found[0]}


def reference_rows(
    contract: Contract, cuts: Cuts, reference: Sequence[Array], named: Collection[int] = ()
) -> dict[str, Array]:
    """How the reference's outputs vary in a batch, and the parts of those that mix ranges.

    Args:
        contract: on the reference's tensors.
        cuts: of its outputs.
        reference: its outputs, as stacks.
        named: the places of outputs that are indices for some candidate.
    """
    found: dict[str, Array] = {}
    for place, stack in enumerate(reference):
        if place in named:
            found |= _prefixed(f"{_DRAWN}{place}", drawn(stack))
        axis = _channels(contract, place, stack)
        found |= _prefixed(f"{_SPREAD}{place}", spread(stack, axis))
        for number, cut in enumerate(cuts.get(str(place), ())):
            part = _taken(contract, place, stack, cut)
            found |= _prefixed(f"{_SPREAD}{place}.{number}", spread(part, axis))
    return found


def candidate_rows(
    contract: Contract,
    cuts: Cuts,
    batch: Batch,
    *,
    inputs: Sequence[Sequence[Array]],
    spans: Sequence[Span],
    metric: Metric | None,
    named: Collection[int] = (),
) -> dict[str, Array]:
    """What one candidate did with a batch.

    Args:
        contract: on the reference's tensors.
        cuts: of its outputs.
        batch: what both models said.
        inputs: of each sample, in the contract's order.
        spans: the ranges that the file can represent.
        metric: the task's.
        named: the places of outputs that are indices.
    """
    found: dict[str, Array] = {}
    for place, (mine, theirs) in enumerate(zip(batch.reference, batch.candidate, strict=True)):
        if place in named:
            found |= _prefixed(f"equal/{place}", equal(mine, theirs))
        axis = _channels(contract, place, mine)
        found |= _prefixed(f"parity/{place}", _blocks(mine, theirs, axis))
        for number, cut in enumerate(cuts.get(str(place), ())):
            part, other = (_taken(contract, place, stack, cut) for stack in (mine, theirs))
            found |= _prefixed(f"part/{place}/{number}", _blocks(part, other, None))
    for place, span in enumerate(spans):
        values = (
            [sample[span.index] for sample in inputs]
            if span.role == "input"
            else list(batch.reference[span.index])
        )
        found |= _prefixed(f"drift/{place}", drift(values, span.low, span.high))
    if metric is not None:
        found |= _prefixed("metric", cast(Any, metric.measure(batch)))
    return found


@dataclass(kw_only=True)
class Rows:
    """All rows of a run, joined: those of the samples, and those of each candidate by name.

    Attributes:
        common: columns about the samples.
        candidates: columns of each candidate.
        spreads: how each output of the reference varies, by its place; a part's is ``0.1``.
        drawn: some of the reference's answers, of outputs that are indices.
        skipped: the samples that could not be read.
    """

    common: dict[str, Array] = field(default_factory=dict)
    candidates: list[dict[str, Array]] = field(default_factory=list)
    spreads: dict[str, dict[str, Array]] = field(default_factory=dict)
    drawn: dict[str, dict[str, Array]] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()

    @property
    def index(self) -> Array:
        """The place of each sample in the data."""
        import numpy as np

        return self.common.get("index", np.zeros(0, np.int64))

    @property
    def samples(self) -> int:
        """How many samples were measured."""
        return len(self.index)

    @property
    def marks(self) -> dict[str, Array]:
        """What the samples are recognised by."""
        return under(self.common, "marks")


class Joining:
    """Takes the columns of one batch after the other.

    Args:
        candidates: how many there are; one that crashed has rows of some batches only.
    """

    def __init__(self, candidates: int) -> None:
        self._count = candidates
        self._kept: dict[str, list[Array]] = {}
        self._spreads: dict[str, dict[str, Array]] = {}
        self._drawn: dict[str, dict[str, Array]] = {}
        self._skipped: list[str] = []

    def add(self, columns: Mapping[str, Array], skipped: Sequence[str] = ()) -> None:
        """The next batch."""
        batch: dict[str, dict[str, dict[str, Array]]] = {_SPREAD: {}, _DRAWN: {}}
        for name, column in columns.items():
            prefix = name[: name.find("/") + 1]
            if prefix in batch:
                place, _, what = name.removeprefix(prefix).partition("/")
                batch[prefix].setdefault(place, {})[what] = column.copy()
            else:
                # A copy: a view would keep all of the file's bytes.
                self._kept.setdefault(name, []).append(column.copy())
        for place, one in batch[_SPREAD].items():
            known = self._spreads.get(place)
            self._spreads[place] = merge(known, one) if known else one
        for place, one in batch[_DRAWN].items():
            known = self._drawn.get(place)
            self._drawn[place] = merge_drawn(known, one) if known else one
        self._skipped += skipped

    def rows(self) -> Rows:
        """Everything that was added; there is nothing left to add to."""
        import numpy as np

        joined = {}
        while self._kept:
            name, parts = self._kept.popitem()
            joined[name] = np.concatenate(parts)
        candidates = [under(joined, str(number)) for number in range(self._count)]
        common = {name: column for name, column in joined.items() if not name[:1].isdigit()}
        return Rows(
            common=common,
            candidates=candidates,
            spreads=self._spreads,
            drawn=self._drawn,
            skipped=tuple(self._skipped),
        )


def drift(values: Sequence[Array], low: float, high: float) -> dict[str, Array]:
    """Per sample: the range of a tensor, and how many of its values lie outside of a file's."""
    import numpy as np

    found = np.zeros((len(values), 4))
    for row, value in enumerate(values):
        least, most = float(value.min()), float(value.max())
        below = np.count_nonzero(value < low) if least < low else 0
        outside = below + (np.count_nonzero(value > high) if most > high else 0)
        found[row] = least, most, outside, value.size
    return dict(zip(("low", "high", "outside", "count"), found.T, strict=True))


def under(columns: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    """The columns below a prefix, without it."""
    start = f"{prefix}/"
    return {
        name.removeprefix(start): column
        for name, column in columns.items()
        if name.startswith(start)
    }


def _channels(contract: Contract, place: int, stack: Array) -> int:
    return channel_axis(stack.shape[1:], contract.outputs[place].tensor.layout)


def _taken(contract: Contract, place: int, stack: Array, cut: Sequence[int]) -> Array:
    """The entries of one part of an output; its axis counts those of the contract's tensor."""
    axis, start, size = cut
    last = axis - len(contract.outputs[place].tensor.shape)
    part: Array = stack[tuple([slice(None)] * (stack.ndim + last) + [slice(start, start + size)])]
    return part


def _blocks(mine: Array, theirs: Array, channel: int | None) -> dict[str, Array]:
    """`sums`, some samples at a time."""
    import numpy as np

    step = max(1, _BLOCK // max(1, mine[0].size))
    parts = [
        sums(mine[start : start + step], theirs[start : start + step], channel=channel)
        for start in range(0, len(mine), step)
    ]
    found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if "channel_noise" in found:
        found["channel_noise"] = found["channel_noise"].sum(axis=0, keepdims=True)
    return found


def _prefixed(prefix: str, columns: Mapping[str, Array]) -> dict[str, Array]:
    return {f"{prefix}/{name}": column for name, column in columns.items()}
