"""How a graph falls apart between an accelerator and the CPU.

A delegate gets whole parts of the graph: each part is a set of operators that can run as one, once
what they read is there. The runtime forms them greedily in the order of execution
(``PartitionGraphIntoIndependentNodeSubsets`` in TensorFlow Lite's ``graph_info.cc``), and so does
`split`: it takes all operators of one side that are ready, and what becomes ready through them,
before it changes sides.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from edgekit.tflite.graph import Operator, Subgraph


@dataclass(frozen=True, kw_only=True)
class Partition:
    """Operators, by their indices, that run one after the other on one side."""

    accelerated: bool
    operators: tuple[int, ...]


def split(graph: Subgraph, taken: Collection[int]) -> tuple[Partition, ...]:
    """The parts in the order in which they run.

    Args:
        graph: a graph whose operators are in an order in which they can run.
        taken: indices of the operators that the accelerator takes.
    """
    waiting = graph.operators
    made = {i for op in waiting for i in op.raw.outputs or ()}
    missing: set[int] = set(made)  # tensors that no operator has computed yet
    parts: list[Partition] = []
    while waiting:
        side, mine, rest = False, list[int](), list[Operator]()
        for op in waiting:
            ready = missing.isdisjoint(op.raw.inputs or ())
            if ready and not mine:
                side = op.index in taken
            if ready and (op.index in taken) == side:
                mine.append(op.index)
                missing.difference_update(op.raw.outputs or ())
            else:
                rest.append(op)
        if not mine:
            break  # a circle, which no runtime can run either
        parts.append(Partition(accelerated=side, operators=tuple(mine)))
        waiting = rest
    return tuple(parts)
