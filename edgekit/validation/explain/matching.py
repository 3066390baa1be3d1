"""Which tensor of one stage is which of another: told by a converter, by name, or by its values."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from edgekit.closeness import sqnr_db
from edgekit.validation.align import fitting
from edgekit.validation.explain.points import Match, Point, StageFinding, Trace
from edgekit.validation.explain.split import energy

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

SAME_DB = 10.0
"""Tensors that nobody named are taken for the same from here on."""
DEPARTS_DB = 40.0
"""A float stage equals the one before it above this level; float arithmetic alone gives 100 dB."""


def match(
    reference: Trace, candidate: Trace, told: Mapping[str, Sequence[str]] | None = None
) -> tuple[Match, ...]:
    """Pair the points of two traces, in the order of the candidate.

    Args:
        reference: the stage before.
        candidate: the stage after.
        told: the candidate's tensor → names in the reference that a converter says it comes from;
            of several the closest is taken (an activation that was fused into its convolution
            leaves both names).
    """
    named = reference.named()
    found: dict[str, Match] = {}
    # By values a convolution may be taken for its activation, until that comes.
    doubted: dict[str, str] = {}
    left = dict(named)
    for point in candidate.points:
        names = [name for name in (told or {}).get(point.name, ()) if name in named]
        how: Literal["told", "name", "measured"] = "told"
        if not names and point.name in named:
            names, how = [point.name], "name"
        pairs = list(_ways([named[name] for name in names], point))
        doubtful = how == "told" and all(_db(*way, samples=1) < SAME_DB for way in pairs)
        if doubtful:  # nobody knows, or what was said is wrong: another may have these values
            alike = [way for way in _ways(_alike(left.values(), point), point) if _same(*way)]
            how, pairs = ("measured", alike) if alike else (how, pairs)
        if not pairs:
            continue
        mine, other, order = _closest(pairs, claimed=doubted)
        level = _db(mine, other, order, samples=min(reference.samples, candidate.samples))
        if earlier := doubted.get(mine.name):
            if how == "measured" and found[earlier].db >= level:
                continue
            del found[earlier], doubted[mine.name]
        if how == "measured" and level < DEPARTS_DB:
            doubted[mine.name] = point.name
        else:
            left.pop(mine.name, None)
        found[point.name] = Match(
            reference=mine.name, candidate=point.name, permutation=order, how=how, db=level
        )
    return tuple(found.values())


def _closest(
    pairs: Sequence[tuple[Point, Point, tuple[int, ...]]], claimed: Collection[str]
) -> tuple[Point, Point, tuple[int, ...]]:
    """The best way; of equal ones that are none too good the first that nobody has claimed."""

    def rank(way: tuple[Point, Point, tuple[int, ...]]) -> tuple[float, bool]:
        level = round(_db(*way, samples=1), 1)
        return level, level >= DEPARTS_DB or way[0].name not in claimed

    return max(pairs, key=rank)


def departure(
    before: Trace, after: Trace, matches: Sequence[Match], *, limit: float = DEPARTS_DB
) -> StageFinding:
    """Where a stage first departs from the one before it.

    Args:
        before, after: the stages.
        matches: from `match`.
        limit: the SQNR in decibels below which tensors differ.
    """
    first = next((one for one in matches if one.db < limit), None)
    makers = after.named()
    found = StageFinding(
        reference=before.stage,
        candidate=after.stage,
        matches=tuple(matches),
        compared=len(matches),
    )
    if first is None:
        return found
    right = matches[: matches.index(first)]
    name = _first_after(after, right[-1].candidate if right else None, first.candidate)
    return replace(
        found,
        departs=name,
        operator=makers[name].operator,
        departs_db=first.db,
        from_db=min((one.db for one in right), default=None),
    )


def _first_after(trace: Trace, right: str | None, wrong: str) -> str:
    """The first tensor behind one that is right; it has no counterpart, or is the wrong one."""
    names = [point.name for point in trace.points]
    return names[names.index(right) + 1] if right is not None else wrong


def laid(point: Point, sample: int, order: tuple[int, ...], shape: tuple[int, ...]) -> Array:
    """One sample of a reference's tensor as the candidate has it."""
    values = point.values(sample)
    if len(order) == values.ndim:
        values = values.transpose(order)
    return values.reshape(shape)


def _ways(points: Sequence[Point], other: Point) -> Iterator[tuple[Point, Point, tuple[int, ...]]]:
    """The layouts in which each of some tensors has the shape of another, or else its size."""
    import numpy as np

    for point in points:
        orders = fitting(point.shape, other.shape)
        if not orders and np.prod(point.shape) == np.prod(other.shape):
            orders = [tuple(range(len(point.shape)))]
        for order in orders:
            yield point, other, order


def _alike(points: Any, other: Point) -> list[Point]:
    """Those tensors whose values have about the mean and the energy of another's."""
    import numpy as np

    values = other.values(0)
    norm, mean = np.sqrt(energy(values)), values.mean() if values.size else 0.0
    alike = []
    for point in points:
        if np.prod(point.shape) != np.prod(other.shape) or values.size < 2:
            continue
        mine = point.values(0)
        close = abs(np.sqrt(energy(mine)) - norm) <= 0.3 * norm
        if close and abs(mine.mean() - mean) <= 0.3 * norm / np.sqrt(values.size):
            alike.append(point)
    return alike


def _same(point: Point, other: Point, order: tuple[int, ...]) -> bool:
    return _db(point, other, order, samples=1) >= SAME_DB


def _db(point: Point, other: Point, order: tuple[int, ...], *, samples: int) -> float:
    import numpy as np

    signal = noise = 0.0
    for sample in range(samples):
        wanted, got = laid(point, sample, order, other.shape), other.values(sample)
        if not np.isfinite(got).all() and np.isfinite(wanted).all():
            return sqnr_db(1.0, np.inf)
        wanted, got = np.nan_to_num(wanted), np.nan_to_num(got)
        signal += energy(wanted)
        noise += energy(got - wanted)
    return sqnr_db(signal, noise)
