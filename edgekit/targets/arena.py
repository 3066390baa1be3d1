"""How much working memory the tensors of one inference need: an estimate from the file alone.

The runtime places tensors that are alive at the same time side by side in one arena, by a greedy
planner (Pisarchyk and Lee, *Efficient Memory Management for Deep Neural Net Inference*, 2020,
"Greedy by Size"): the largest tensor first, each at the lowest offset where it overlaps no tensor
that lives at the same time. The peak of what is alive is a bound that no placement can beat.

Not in the estimate: scratch buffers of kernels and the runtime's own structures, which add to it,
and results that a runtime writes over their inputs, which take away from it.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.tflite.dtypes import byte_size
from edgekit.tflite.graph import Subgraph, Tensor
from edgekit.tflite.model import Model


@dataclass(frozen=True, kw_only=True)
class Arena:
    """Bytes of the arena of all graphs of a file.

    Attributes:
        peak: the most that is alive at one time; no planner needs less.
        planned: what the greedy planner needs.
    """

    peak: int
    planned: int


@dataclass(frozen=True, kw_only=True)
class Block:
    """A tensor in time: alive from operator ``first`` to operator ``last``, both included."""

    size: int
    first: int
    last: int

    def overlaps(self, other: Block) -> bool:
        """Whether both are alive at one time."""
        return self.first <= other.last and other.first <= self.last


def estimate(model: Model, *, alignment: int = 64, keeps_inputs: bool = True) -> Arena | None:
    """The arena of a file; ``None`` where a shape or the size of a type is not known.

    Args:
        model: the file.
        alignment: bytes to which every tensor is aligned.
        keeps_inputs: whether inputs keep their place to the end of the inference, so that the
            caller need not write them again.
    """
    peak = planned = 0
    for graph in model.subgraphs:
        blocks = blocks_of(graph, alignment=alignment, keeps_inputs=keeps_inputs)
        if blocks is None:
            return None
        peak += peak_of(blocks)
        planned += plan(blocks)
    return Arena(peak=peak, planned=planned)


def blocks_of(graph: Subgraph, *, alignment: int, keeps_inputs: bool) -> list[Block] | None:
    """Every tensor that is computed or fed, with its lifetime; see `estimate`."""
    end = len(graph.operators)
    uses: dict[int, list[int]] = {}
    for op in graph.operators:
        for index in (*(op.raw.inputs or ()), *(op.raw.outputs or ())):
            uses.setdefault(index, []).append(op.index)
    for index in graph.raw.inputs or ():
        uses.setdefault(index, []).insert(0, 0)
        if keeps_inputs:
            uses[index].append(end)
    for index in graph.raw.outputs or ():
        uses.setdefault(index, []).append(end)
    blocks = []
    for index, times in uses.items():
        if index < 0 or (tensor := graph.tensor(index)).is_constant:
            continue
        size = _size(tensor)
        if size is None:
            return None
        always = tensor.raw.isVariable
        blocks.append(
            Block(
                size=-(-size // alignment) * alignment,
                first=0 if always else min(times),
                last=end if always else max(times),
            )
        )
    return blocks


def _size(tensor: Tensor) -> int | None:
    if None in tensor.shape_signature:
        return None
    return byte_size(tensor.dtype, tensor.shape)


def peak_of(blocks: list[Block]) -> int:
    """The most bytes that are alive at one time."""
    changes: dict[int, int] = {}
    for block in blocks:
        changes[block.first] = changes.get(block.first, 0) + block.size
        changes[block.last + 1] = changes.get(block.last + 1, 0) - block.size
    alive = peak = 0
    for time in sorted(changes):
        alive += changes[time]
        peak = max(peak, alive)
    return peak


def plan(blocks: list[Block]) -> int:
    """The bytes that the greedy planner needs."""
    placed: list[tuple[int, Block]] = []  # by offset
    for block in sorted(blocks, key=lambda one: (-one.size, one.first)):
        offset = 0
        for start, other in placed:
            if other.overlaps(block):
                if start - offset >= block.size:
                    break
                offset = max(offset, start + other.size)
        placed.append((offset, block))
        placed.sort(key=lambda one: one[0])
    return max((offset + block.size for offset, block in placed), default=0)
