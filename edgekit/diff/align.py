"""Which layer of one file is which of the other.

Certain pairs first, then what is left between them. Names lead where the file's unchanged weights
show that names are kept; a converter that numbers its tensors gives other names to every layer
behind a new one, and then weights lead.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Sequence
from difflib import SequenceMatcher
from typing import TypeAlias

from edgekit.diff.layers import LayerPair

Key: TypeAlias = Callable[[LayerPair], Hashable]
"""What two layers must have in common; ``None`` pairs with nothing."""


def align(before: Sequence[LayerPair], after: Sequence[LayerPair]) -> dict[int, int]:
    """Pairs of places, from the list before to the one after."""
    found = _Alignment(before, after)
    found.unique(lambda one: (one.kind, one.names, one.content) if one.content else None)
    passes: list[Key] = [_by_name, _by_content]
    if not found.names_are_kept():
        passes.reverse()
    for key in passes:
        found.unique(key)
    for key in (_by_name, _by_shape, _by_kind):
        found.in_order(key)
    found.unique(lambda one: one.names if one.name else None)  # another type under the same name
    return found.pairs


def _by_name(layer: LayerPair) -> Hashable:
    return (layer.kind, layer.names) if layer.name else None


def _by_content(layer: LayerPair) -> Hashable:
    return (layer.kind, layer.content) if layer.content else None


def _by_shape(layer: LayerPair) -> Hashable:
    return layer.kind, layer.shapes


def _by_kind(layer: LayerPair) -> Hashable:
    return layer.kind


class _Alignment:
    def __init__(self, before: Sequence[LayerPair], after: Sequence[LayerPair]) -> None:
        self._before, self._after = before, after
        self.pairs: dict[int, int] = {}

    def names_are_kept(self) -> bool:
        """Whether most layers with the same weights also have the same name."""
        mine, theirs = _single(self._before, _by_content), _single(self._after, _by_content)
        both = mine.keys() & theirs.keys()
        kept = sum(self._before[mine[k]].names == self._after[theirs[k]].names for k in both)
        return 2 * kept >= len(both)

    def unique(self, key: Key) -> None:
        """Pair what has a key that no other layer of its file has."""
        mine = _single(self._before, key, self.pairs.keys())
        theirs = _single(self._after, key, self.pairs.values())
        self.pairs |= {mine[k]: theirs[k] for k in mine.keys() & theirs.keys()}

    def in_order(self, key: Key) -> None:
        """Pair what has the same key in the same order, between the pairs that are known."""
        anchors = _longest_rise(sorted(self.pairs.items()))
        mine = self._left(self._before, self.pairs.keys(), key, [a for a, _ in anchors])
        theirs = self._left(self._after, set(self.pairs.values()), key, [b for _, b in anchors])
        matcher = SequenceMatcher(
            None, [k for _, k in mine], [k for _, k in theirs], autojunk=False
        )
        for block in matcher.get_matching_blocks():
            for step in range(block.size):
                self.pairs[mine[block.a + step][0]] = theirs[block.b + step][0]

    def _left(
        self,
        layers: Sequence[LayerPair],
        paired: Collection[int],
        key: Key,
        anchors: Sequence[int],
    ) -> list[tuple[int, Hashable]]:
        """The unpaired layers: their places, and their keys with the gap that they lie in."""
        return [
            (place, (bisect_left(anchors, place), known))
            for place, layer in enumerate(layers)
            if place not in paired and (known := key(layer)) is not None
        ]


def _single(
    layers: Sequence[LayerPair], key: Key, taken: Collection[int] = ()
) -> dict[Hashable, int]:
    """Places by key, of the untaken layers whose key is theirs alone."""
    used = set(taken)
    keys = {p: key(layer) for p, layer in enumerate(layers) if p not in used}
    counts = Counter(keys.values())
    return {known: p for p, known in keys.items() if known is not None and counts[known] == 1}


def _longest_rise(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The most pairs that rise in both places: those that order says something about.

    Patience sorting; see Fredman, "On computing the length of longest increasing subsequences",
    1975.
    """
    tops: list[int] = []
    piles: list[int] = []
    back: list[int] = []
    for number, (_, place) in enumerate(pairs):
        pile = bisect_left(tops, place)
        tops[pile : pile + 1] = [place]
        piles[pile : pile + 1] = [number]
        back.append(piles[pile - 1] if pile else -1)
    rise, number = [], piles[-1] if piles else -1
    while number >= 0:
        rise.append(pairs[number])
        number = back[number]
    return rise[::-1]
