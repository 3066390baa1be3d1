"""From the converters' manifests to the routes that lead from a model to a `.tflite` file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgekit.errors import UsageError
from edgekit.toolchain.converters import Conversion, Converter
from edgekit.types import SourceKind


@dataclass(frozen=True, kw_only=True)
class Hop:
    """One converter turning one kind of file into another."""

    converter: Converter
    conversion: Conversion


@dataclass(frozen=True, kw_only=True)
class Route:
    """A chain of hops; named after its last converter, the one that writes the `.tflite`."""

    hops: tuple[Hop, ...]

    @property
    def name(self) -> str:
        """The name for ``--route``."""
        return self.hops[-1].converter.name

    def __str__(self) -> str:
        kinds = [self.hops[0].conversion.source, *(hop.conversion.target for hop in self.hops)]
        return " → ".join(kinds) + f" (by {', '.join(hop.converter.name for hop in self.hops)})"


def find_routes(
    kind: SourceKind, converters: Mapping[str, Converter], only: str | None = None
) -> tuple[Route, ...]:
    """All routes from ``kind`` to ``tflite``, the preferred first.

    Args:
        kind: what the model is.
        converters: all that there are.
        only: the name of the one route to keep (``--route``); ``-`` and ``_`` are the same.

    Raises:
        UsageError: there is no route from this kind, or none of that name.
    """
    routes = sorted(
        _extend((), kind, converters),
        key=lambda route: (route.hops[-1].conversion.priority, len(route.hops), route.name),
    )
    # Two ways to the same converter differ only in detours: the preferred one is enough.
    best: dict[str, Route] = {}
    for route in routes:
        best.setdefault(route.name, route)
    routes, names = list(best.values()), list(best)
    if only is not None:
        plain = only.replace("-", "_")
        routes = [route for route in routes if route.name.replace("-", "_") == plain]
    if not routes:
        raise UsageError(
            f"No route {only + ' ' if only else ''}leads from {kind} to tflite.",
            cure=f"Routes for this model: {', '.join(names)}"
            if names
            else "See: edgekit toolchain list",
        )
    return tuple(routes)


def source_converter(kind: SourceKind, converters: Mapping[str, Converter]) -> Converter:
    """The converter that can run a model of this kind.

    Raises:
        UsageError: none can.
    """
    for converter in converters.values():
        if kind in converter.runs:
            return converter
    raise UsageError(f"No converter runs models of the kind {kind}.")


def _extend(
    hops: tuple[Hop, ...], kind: SourceKind, converters: Mapping[str, Converter]
) -> list[Route]:
    if kind == "tflite":
        return [Route(hops=hops)] if hops else []
    passed = {hop.conversion.source for hop in hops}
    routes = []
    for converter in converters.values():
        for conversion in converter.converts:
            if conversion.source == kind and conversion.target not in passed | {kind}:
                hop = Hop(converter=converter, conversion=conversion)
                routes += _extend((*hops, hop), conversion.target, converters)
    return routes
