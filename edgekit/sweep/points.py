"""The combinations of a sweep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, cast

from edgekit.errors import UsageError
from edgekit.sweep.file import SweepFile
from edgekit.types import Effort, Scheme

_EFFORTLESS = frozenset({"fp32", "fp16"})
"""Schemes that no effort changes anything of."""


@dataclass(frozen=True, kw_only=True)
class Combination:
    """One combination. ``size`` is empty where there is only one; ``effort`` where it has no part.

    ``on`` is where its file runs: ``local``, a runtime, or the address of a device.
    """

    model: str
    size: str
    scheme: Scheme
    effort: Effort | str
    on: str

    @property
    def file(self) -> tuple[str, str, str, str]:
        """What decides the file; the rest decides how it does."""
        return self.model, self.size, self.scheme, self.effort

    @property
    def name(self) -> str:
        """What people call its file."""
        return " ".join(filter(None, self.file))


def points(sweep: SweepFile) -> tuple[Combination, ...]:
    """All combinations, each once, in the order of the file.

    Raises:
        UsageError: ``include`` names something that cannot be, or nothing is left.
    """
    names = tuple(model.name for model in sweep.models)
    crossed = _crossed(names, sweep.sizes, sweep.schemes, sweep.efforts, sweep.places)
    wanted = [one for one in crossed if not any(_fits(one, some) for some in sweep.exclude)]
    for some in sweep.include:
        for place in some.get("on", ()):
            sweep.where(place)
        wanted += _crossed(
            some.get("model", names),
            some.get("size", sweep.sizes),
            cast("tuple[Scheme, ...]", some.get("scheme", sweep.schemes)),
            cast("tuple[Effort, ...]", some.get("effort", sweep.efforts)),
            some.get("on", sweep.places),
        )
    if not wanted:
        raise UsageError("No combination is left.", cure="Look at exclude in [sweep].")
    return tuple(dict.fromkeys(wanted))


def _crossed(
    models: tuple[str, ...],
    sizes: tuple[str, ...],
    schemes: tuple[Scheme, ...],
    efforts: tuple[Effort, ...],
    places: tuple[str, ...],
) -> Iterator[Combination]:
    for model, size, scheme, effort, on in product(models, sizes, schemes, efforts, places):
        own = "" if scheme in _EFFORTLESS else effort
        yield Combination(model=model, size=size, scheme=scheme, effort=own, on=on)


def _fits(point: Combination, pattern: Mapping[str, Any]) -> bool:
    return all(getattr(point, key) in values for key, values in pattern.items())
