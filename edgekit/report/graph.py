"""The operators of a file for a page: in the order of execution, folded by module, coloured.

Colours are by what is known of each operator: its error, whether an accelerator computes it, its
type. The style sheet switches between them; a search field is the only script.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from edgekit.report import words
from edgekit.targets.placement import place
from edgekit.targets.profile import Profile
from edgekit.tflite.graph import Tensor
from edgekit.tflite.layer_names import layer_name
from edgekit.tflite.model import Model
from edgekit.tflite.summary import computes_in_float

FULL_DB = 60.0
"""An operator's error is coloured from here downwards: above it nobody sees a difference."""
_NO_DB = 10.0
"""From here on it has its full colour."""
_MOST_NODES = 3000
_MOST_GROUPS = 40
_IN_A_GROUP = 20
"""Operators of a group where names tell no modules."""


@dataclass(frozen=True, kw_only=True)
class GraphNode:
    """One operator.

    Attributes:
        place: in the order of execution.
        name: of its layer.
        tensor_name: of its first output.
        operator: its kind.
        tensor: what it gives: ``1×56×56×24 int8``.
        reads: places of the operators whose results it reads, but for the one just before it.
        integer: whether it computes in integers, where that is known.
        error_db: SQNR in decibels of what it adds, where that was measured.
        taken: whether an accelerator computes it, by the accelerator's name.
    """

    place: int
    name: str
    operator: str
    tensor: str
    reads: tuple[int, ...]
    integer: bool | None
    tensor_name: str = ""
    error_db: float | None = None
    taken: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class GraphShade:
    """One way to colour the operators.

    Attributes:
        key: for the style sheet.
        title, legend: what is coloured, and how to read it.
        colour: the style sheet's.
        of: how strongly an operator is coloured, 0 to 1; ``None`` where nothing is known.
        say: the same in words.
    """

    key: str
    title: str
    legend: str
    colour: str
    of: Callable[[GraphNode], float | None]
    say: Callable[[GraphNode], str]


@dataclass(frozen=True, kw_only=True)
class GraphGroup:
    """Neighbouring operators of one module, or some neighbours where names tell none."""

    name: str
    nodes: tuple[GraphNode, ...]

    @property
    def title(self) -> str:
        """Its name, or what it begins and ends with."""
        ends = dict.fromkeys((self.nodes[0].name, self.nodes[-1].name))
        return self.name or " … ".join(ends)


@dataclass(frozen=True, kw_only=True)
class DrawnGraph:
    """The operators of one file in groups; ``hidden`` more were left out."""

    file: str
    groups: tuple[GraphGroup, ...]
    hidden: int = 0
    accelerators: tuple[str, ...] = ()

    @property
    def nodes(self) -> tuple[GraphNode, ...]:
        """All that are shown, in the order of execution."""
        return tuple(node for group in self.groups for node in group.nodes)

    @property
    def modes(self) -> tuple[GraphShade, ...]:
        """The ways to colour them for which something is known."""
        found = [_BY_ERROR] if any(node.error_db is not None for node in self.nodes) else []
        found += [_by_accelerator(place, name) for place, name in enumerate(self.accelerators)]
        found += [_BY_TYPE] if any(node.integer is not None for node in self.nodes) else []
        return tuple(found)


def draw_graph(model: Model, file: str, *, profiles: Sequence[Profile] = ()) -> DrawnGraph:
    """The main graph of a file.

    Args:
        model: the file.
        file: what it is called.
        profiles: of accelerators that may compute some of the operators.
    """
    graph = model.main
    makers = {tensor.index: op.index for op in graph.operators for tensor in op.outputs}
    taken = {one.name: _taken(model, one) for one in profiles if one.accelerator}
    nodes = []
    for op in graph.operators[:_MOST_NODES]:
        first = op.outputs[0] if op.outputs else None
        name = first.name if first else ""
        sources = {makers[one.index] for one in op.inputs if one and one.index in makers}
        nodes.append(
            GraphNode(
                place=op.index,
                name=layer_name(op),
                tensor_name=name,
                operator=op.name,
                tensor=_tensor(first),
                reads=tuple(sorted(sources - {op.index - 1})),
                integer=not computes_in_float(op),
                taken={name: op.index in found for name, found in taken.items()},
            )
        )
    return DrawnGraph(
        file=file,
        groups=grouped(nodes),
        hidden=len(graph.operators) - len(nodes),
        accelerators=tuple(taken),
    )


def grouped(nodes: Sequence[GraphNode]) -> tuple[GraphGroup, ...]:
    """Neighbours of one module together, by as many parts of their names as give few groups."""
    paths = [node.name.split(".")[:-1] for node in nodes]
    best: list[GraphGroup] = []
    for depth in range(1, 7):
        keys = [".".join(path[:depth]) for path in paths]
        runs = [
            GraphGroup(name=key, nodes=tuple(node for node, _ in run))
            for key, run in groupby(zip(nodes, keys, strict=True), key=lambda pair: pair[1])
        ]
        if len(runs) > min(_MOST_GROUPS, max(2, len(nodes) // 2)):
            break
        best = runs
    if len(best) > 1 and any(group.name for group in best):
        return tuple(best)
    some = [nodes[start : start + _IN_A_GROUP] for start in range(0, len(nodes), _IN_A_GROUP)]
    return tuple(
        GraphGroup(name=f"{part[0].place + 1} to {part[-1].place + 1}", nodes=tuple(part))
        for part in some
    )


def _taken(model: Model, profile: Profile) -> set[int]:
    """The operators that an accelerator computes, as its profile says."""
    assert profile.accelerator is not None
    found, _ = place(model, profile.accelerator)
    return {index for part in found.parts if part.accelerated for index in part.operators}


def _error(node: GraphNode) -> float | None:
    if node.error_db is None:
        return None
    return min(1.0, max(0.0, (FULL_DB - node.error_db) / (FULL_DB - _NO_DB)))


_BY_ERROR = GraphShade(
    key="error",
    title="error",
    legend=f"The stronger, the more error an operator adds: full at {_NO_DB:.0f} dB, none from "
    f"{FULL_DB:.0f} dB.",
    colour="--first",
    of=_error,
    say=lambda node: "" if node.error_db is None else words.number("_db", node.error_db),
)
_BY_TYPE = GraphShade(
    key="integer",
    title="integer or float",
    legend="Coloured: computes in integers.",
    colour="--accent",
    of=lambda node: None if node.integer is None else float(node.integer),
    say=lambda node: "integer" if node.integer else "float",
)


def _by_accelerator(place: int, name: str) -> GraphShade:
    return GraphShade(
        key=f"on-{place}",
        title=name,
        legend=f"Coloured: {name} computes it, as predicted from its profile. The rest is left to "
        "the CPU.",
        colour="--good",
        of=lambda node: float(node.taken[name]),
        say=lambda node: name if node.taken[name] else "CPU",
    )


def _tensor(tensor: Tensor | None) -> str:
    if tensor is None:
        return ""
    return f"{'×'.join(map(str, tensor.shape)) or 'scalar'} {tensor.dtype}"
