"""The accuracy budget: from the cheapest setting up, until the int8 files hold their gates.

The rungs are always the same: the efforts in turn, then at the last of them the mixes of layers in
and out of 8 bits that no other one beats in both accuracy and latency, the fastest first. What
holds first is taken. If nothing does, the best of all rungs is, and its verdict says what it
misses.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgekit.errors import UsageError
from edgekit.pipeline.budget import BUDGET_METRICS
from edgekit.pipeline.request import Setting
from edgekit.results import Advice, FileResult, FrontPoint, KeptLayer, Rung
from edgekit.types import Effort

_EFFORTS: tuple[Effort, ...] = ("fast", "balanced", "thorough")


@dataclass(frozen=True, kw_only=True)
class RungFiles:
    """The files of a setting, compared, timed and judged."""

    files: tuple[FileResult, ...]
    advice: tuple[Advice, ...] = ()
    prepared: Path | None = None
    kept: tuple[KeptLayer, ...] = ()


def climb(
    make: Callable[[Setting], RungFiles],
    front: Callable[[Setting], Sequence[FrontPoint]],
    *,
    ranges: str,
    stated: tuple[KeptLayer, ...] = (),
    most_latency: float | None = None,
    note: Callable[[str], None],
) -> tuple[RungFiles, tuple[Rung, ...]]:
    """Climb until every file passes its verdict, or to the end.

    Args:
        make: the files of a setting.
        front: the mixes, the fastest first, after the efforts alone did not do.
        ranges: how activation ranges are chosen, on every rung.
        stated: layers that are out of 8 bits on every rung.
        most_latency: mixes that take more than so many times the time of plain int8 are left out.
        note: told about each rung.

    Returns:
        The files of the first rung that holds, or of the best one, and all rungs.

    Raises:
        UsageError: the budget is about something that cannot be measured here.
    """
    rungs: list[Rung] = []
    tried: list[RungFiles] = []
    for number, setting in enumerate(_settings(front, ranges, stated, most_latency), 1):
        started = time.monotonic()
        batch = replace(make(setting), kept=setting.kept)
        _refuse_unmeasured(batch.files)
        tried.append(batch)
        rungs.append(_rung(number, setting, batch.files, time.monotonic() - started))
        note(_told(rungs[-1]))
        if rungs[-1].passed:
            return batch, tuple(rungs)
        if all(file.error for file in batch.files):
            break  # the scheme itself is impossible: no setting will change that
    best = max(range(len(tried)), key=lambda index: (_merit(tried[index].files), -index))
    note(f"Nothing that was tried keeps the budget: rung {best + 1} comes closest.")
    return tried[best], tuple(rungs)


def _rung(number: int, setting: Setting, files: Sequence[FileResult], seconds: float) -> Rung:
    return Rung(
        number=number,
        effort=setting.effort,
        ranges=setting.ranges,
        kept=setting.kept,
        metrics={file.scheme: file.metrics for file in files},
        passed=all(file.verdict.holds for file in files),
        misses=tuple(_misses(files)),
        seconds=round(seconds, 2),
    )


def _settings(
    front: Callable[[Setting], Sequence[FrontPoint]],
    ranges: str,
    stated: tuple[KeptLayer, ...],
    most_latency: float | None,
) -> Iterator[Setting]:
    last = Setting(effort=_EFFORTS[-1], ranges=ranges, kept=stated)
    for effort in _EFFORTS:
        yield replace(last, effort=effort)
    for point in front(last):
        if point.layers and _is_fast(point, most_latency):
            yield replace(last, kept=(*stated, *point.layers))


def _is_fast(point: FrontPoint, most_latency: float | None) -> bool:
    return most_latency is None or point.slowdown <= most_latency


def pick(front: Sequence[FrontPoint], most_latency: float | None) -> tuple[FrontPoint, ...]:
    """The front with the most accurate point within the latency as the chosen one.

    Where no latency is stated, the one that is chosen already stays so.
    """
    if most_latency is None:
        return tuple(front)
    fast = [place for place, point in enumerate(front) if _is_fast(point, most_latency)]
    best = fast[-1] if fast else 0
    return tuple(replace(point, chosen=place == best) for place, point in enumerate(front))


def mark(front: Sequence[FrontPoint], kept: Sequence[KeptLayer]) -> tuple[FrontPoint, ...]:
    """The front with the point of these layers as the chosen one, if there is one."""
    layers = set(kept)
    inside = [place for place, one in enumerate(front) if one.layers and set(one.layers) <= layers]
    best = max(inside, key=lambda place: len(front[place].layers), default=None)
    return tuple(replace(point, chosen=place == best) for place, point in enumerate(front))


def _refuse_unmeasured(files: Sequence[FileResult]) -> None:
    """A gate on what cannot be measured would send the climb to the end for nothing."""
    for file in files:
        for result in file.verdict.gates:
            if result.gate.metric in BUDGET_METRICS and result.measured is None and not file.error:
                raise UsageError(
                    "--max-drop and --min-agreement need a first output that is scores of classes, "
                    "or a stated task.",
                    cure="State the budget as --min-sqnr, or what the output means with --task.",
                )


def _misses(files: Sequence[FileResult]) -> Iterator[str]:
    for file in files:
        if file.error:
            yield f"{file.scheme}: {file.error}"
        for result in file.verdict.gates:
            if result.state == "fail" and not file.error:
                yield f"{file.scheme}: {result.gate}, measured {result.measured:.4g}"


def _merit(files: Sequence[FileResult]) -> tuple[int, float]:
    """Fewer missed gates first, then the SQNR of the worst file."""
    missed = sum(result.state == "fail" for file in files for result in file.verdict.gates)
    worst = min((file.metrics.get("centred_sqnr_db", -math.inf) for file in files), default=0.0)
    return -missed, worst


def _told(rung: Rung) -> str:
    """The rung in a line."""
    kept = f", {len(rung.kept)} layers not in 8 bits" if rung.kept else ""
    state = "holds" if rung.passed else f"misses {'; '.join(rung.misses)}"
    return f"rung {rung.number}: effort {rung.effort}{kept}: {state}"


def as_tables(kept: Sequence[KeptLayer]) -> list[dict[str, Any]]:
    """The kept layers as the quantization worker takes them."""
    return [{"members": list(layer.members), "precision": layer.precision} for layer in kept]
