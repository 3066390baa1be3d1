"""Successive halving: all candidates on few samples, the better ones on more, the best on all.

After Jamieson and Talwalkar, Non-stochastic Best Arm Identification (AISTATS 2016), for more than
one objective: the candidates are sorted into fronts (Deb et al., NSGA-II, 2002). The first front
always goes on; of the others as many as the share allows, front by front.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgekit.sweep.rows import SweepRow, accuracy_metric, front_of, objectives


def survivors(rows: Sequence[SweepRow], keep: float) -> list[SweepRow]:
    """Those that go on to the next round, of each place and machine.

    Candidates without figures are left behind: their job failed.

    Args:
        rows: of one round, all measured on the same number of samples.
        keep: the share that goes on at most, beside the front.
    """
    accuracy = accuracy_metric(rows)
    groups: dict[tuple[str, str], list[SweepRow]] = {}
    for row in rows:
        if objectives(row, accuracy) is not None:
            groups.setdefault((row.point.on, row.machine), []).append(row)
    chosen = {row.point for group in groups.values() for row in _of_group(group, accuracy, keep)}
    return [row for row in rows if row.point in chosen]


def _of_group(rows: Sequence[SweepRow], accuracy: str, keep: float) -> list[SweepRow]:
    left = {row.point: objectives(row, accuracy) or () for row in rows}
    by_point = {row.point: row for row in rows}
    chosen: list[SweepRow] = []
    most = math.ceil(len(rows) * keep)
    while left and (not chosen or len(chosen) < most):
        front = set(front_of(list(left.values())))
        layer = [point for point, found in left.items() if found in front]
        if chosen:
            layer = layer[: most - len(chosen)]
        chosen += [by_point[point] for point in layer]
        for point in layer:
            del left[point]
    return chosen
