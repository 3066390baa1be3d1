"""Who writes and who reads each tensor of a subgraph, kept while the graph is changed.

Built once and then changed with the graph, so that a question costs what its answer is long, and a
whole pass over a graph is linear in its operators. Operators are known by their schema objects,
whose places move when others are inserted: each has a rank that only grows along the order of
execution, with room left between neighbours.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import Any

_GAP = 1 << 32
"""Between the ranks of neighbours; so an insertion hardly ever ranks all of them again."""


class Uses:
    """The index of one subgraph.

    Args:
        operators: the schema's list of operators, in the order of execution.
    """

    def __init__(self, operators: list[Any]) -> None:
        self._operators = operators
        self._count = 0
        self._rank: dict[int, int] = {}
        self._writers: dict[int, dict[int, Any]] = {}
        self._readers: dict[int, dict[int, Any]] = {}
        self._rank_again()
        for raw in operators:
            self.enter(raw)

    def is_of(self, operators: list[Any]) -> bool:
        """Whether the index still is that of a list; another list, or length, needs a new one."""
        return operators is self._operators and len(operators) == self._count

    def equals(self, other: Uses) -> bool:
        """Whether another index of the same operators gives the same answers."""

        def answers(index: Uses) -> list[dict[int, list[int]]]:
            ranks = index._rank
            return [
                {
                    tensor: sorted(using, key=ranks.__getitem__)
                    for tensor, using in uses.items()
                    if using
                }
                for uses in (index._writers, index._readers)
            ]

        in_order = [self._rank[id(raw)] for raw in self._operators]
        return in_order == sorted(in_order) and answers(self) == answers(other)

    def writer(self, tensor: int) -> Any | None:
        """The first operator that writes a tensor."""
        return next(iter(self._in_order(self._writers, tensor)), None)

    def readers(self, tensor: int) -> list[Any]:
        """The operators that read a tensor, in the order of execution."""
        return self._in_order(self._readers, tensor)

    def place(self, raw: Any) -> int:
        """Where an operator is in the order of execution.

        Raises:
            KeyError: it is not in the graph (any more).
        """
        rank = self._rank[id(raw)]
        return bisect_left(self._operators, rank, key=lambda known: self._rank[id(known)])

    def holds(self, raw: Any) -> bool:
        """Whether an operator is in the graph."""
        return id(raw) in self._rank

    def insert(self, place: int, raw: Any) -> None:
        """Insert an operator before the one at ``place``."""
        place = min(place, len(self._operators))
        self._operators.insert(place, raw)
        before = self._rank[id(self._operators[place - 1])] if place > 0 else 0
        last = place + 1 >= len(self._operators)
        after = before + 2 * _GAP if last else self._rank[id(self._operators[place + 1])]
        if after - before < 2:
            self._rank_again()
        else:
            self._rank[id(raw)] = (before + after) // 2
        self.enter(raw)

    def remove(self, raws: Iterable[Any]) -> None:
        """Take operators out of the graph."""
        gone = {id(raw): raw for raw in raws if self.holds(raw)}
        if len(gone) == 1:
            del self._operators[self.place(*gone.values())]
        else:
            self._operators[:] = [raw for raw in self._operators if id(raw) not in gone]
        for key, raw in gone.items():
            self.leave(raw)
            del self._rank[key]

    def enter(self, raw: Any) -> None:
        """Note what an operator reads and writes."""
        self._count = len(self._operators)
        for uses, tensors in ((self._writers, raw.outputs), (self._readers, raw.inputs)):
            for tensor in () if tensors is None else tensors:
                uses.setdefault(tensor, {})[id(raw)] = raw

    def leave(self, raw: Any) -> None:
        """Forget what an operator reads and writes."""
        self._count = len(self._operators)
        for uses, tensors in ((self._writers, raw.outputs), (self._readers, raw.inputs)):
            for tensor in () if tensors is None else tensors:
                uses.get(tensor, {}).pop(id(raw), None)

    def _in_order(self, uses: dict[int, dict[int, Any]], tensor: int) -> list[Any]:
        found = list(uses.get(tensor, {}).values())
        return found if len(found) < 2 else sorted(found, key=lambda raw: self._rank[id(raw)])

    def _rank_again(self) -> None:
        self._rank = {id(raw): _GAP * (n + 1) for n, raw in enumerate(self._operators)}
