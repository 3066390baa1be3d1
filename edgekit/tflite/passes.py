"""Changes of a graph as passes: what one asks for, what it does, and what holds afterwards.

In the manner of ONNX IR's passes (`onnx_ir.passes`), but in place. A pass that cannot do a graph
says so by `PassFailure` before it has changed anything, and the others go on. Nothing else is
caught: a mistake in edgekit ends the run.

With ``EDGEKIT_VERIFY_PASSES`` in the environment the graph is verified after each pass, as in
edgekit's own tests.
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.tflite.flatbuffer import check_indices
from edgekit.tflite.uses import Uses
from edgekit.tflite.verify import MalformedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgekit.tflite.model import Model, Subgraph

VERIFY = "EDGEKIT_VERIFY_PASSES"
"""The environment variable that has the graph verified after each pass."""


class PassFailure(Exception):
    """A pass cannot do this graph and has left it as it was; the text says why."""


class BrokenPass(Exception):
    """A pass has left a graph that does not hold together: a mistake in edgekit."""


@dataclass(frozen=True, kw_only=True)
class PassResult:
    """What a pass did.

    Attributes:
        name: of the pass, in words.
        count: how many things it has changed.
        notes: what is to be said about it, in words.
        failures: which passes gave up, and why.
    """

    name: str
    count: int = 0
    notes: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether the graph is another one now."""
        return self.count > 0


class GraphPass(ABC):
    """One change of a model, in place.

    A subclass has `call`, and `requires` and `ensures` where there is something to ask for.
    """

    @property
    def name(self) -> str:
        """What it is called in notes: the words of the class's name."""
        return re.sub(r"(?<!^)(?=[A-Z])", " ", type(self).__name__).lower()

    def requires(self, model: Model) -> None:  # noqa: B027 - most passes ask for nothing
        """Look whether the pass can do this model.

        Raises:
            PassFailure: it cannot.
        """

    @abstractmethod
    def call(self, model: Model) -> int | PassResult:
        """Change the model; how many things were changed, or what is to be said besides.

        Raises:
            PassFailure: it cannot be done; nothing has been changed then.
        """

    def ensures(self, model: Model) -> None:  # noqa: B027 - and promise nothing more
        """Look whether the model is now what the pass is there for.

        Raises:
            BrokenPass: it is not.
        """

    def did(self, count: int, *notes: str) -> PassResult:
        """What a pass has to say of itself."""
        return PassResult(name=self.name, count=count, notes=notes)

    def __call__(self, model: Model) -> PassResult:
        """Ask, change, and look.

        Raises:
            PassFailure: the pass cannot do the model, which is as it was.
            BrokenPass: it has left the model in disorder.
        """
        verifying = VERIFY in os.environ
        before = _fingerprint(model) if verifying else None
        try:
            self.requires(model)
            said = self.call(model)
        except PassFailure:
            if verifying and _fingerprint(model) != before:
                raise BrokenPass(f"{self.name} gave up halfway") from None
            raise
        self.ensures(model)
        if verifying:
            verify_graph(model, after=self.name)
        return said if isinstance(said, PassResult) else PassResult(name=self.name, count=said)


class PassSequence(GraphPass):
    """Passes one after the other; what gives up is noted and left out.

    Args:
        passes: in their order.
        repeat: again and again, until a round changes nothing.
    """

    def __init__(self, *passes: GraphPass, repeat: bool = False) -> None:
        self._passes, self._repeat = passes, repeat

    def call(self, model: Model) -> PassResult:
        """Run them all; the counts together, and the notes in their order."""
        results: list[PassResult] = []
        while True:
            done = [attempt(one, model) for one in self._passes]
            results += done
            if not self._repeat or not any(one.changed for one in done):
                break
        return PassResult(
            name=self.name,
            count=sum(one.count for one in results),
            notes=tuple(dict.fromkeys(note for one in results for note in one.notes)),
            failures=tuple(dict.fromkeys(why for one in results for why in one.failures)),
        )


def attempt(one: GraphPass, model: Model) -> PassResult:
    """Run a pass; where it gives up its result says why, and the model is as it was."""
    try:
        return one(model)
    except PassFailure as failure:
        return PassResult(name=one.name, failures=(f"{one.name} gave up: {failure}",))


def verify_graph(model: Model, *, after: str = "") -> None:
    """See that all numbers refer to something, and that nothing is read before it is written.

    Args:
        model: any.
        after: the pass that has just changed it.

    Raises:
        BrokenPass: something is wrong.
    """
    try:
        check_indices(model.raw)
    except MalformedError as error:
        raise BrokenPass(f"after {after}: {error}") from error
    for graph in model.subgraphs:
        if not graph.uses.equals(Uses(graph.raw.operators)):
            raise BrokenPass(f"after {after}: the index of who reads what is out of date")
    if tensor := unwritten(model.main):
        raise BrokenPass(f"after {after}: {tensor} is read before anything has written it")


def unwritten(graph: Subgraph) -> str | None:
    """The name of a tensor that is read before anything has written it."""
    written = {tensor.index for tensor in graph.inputs}
    for operator in graph.operators:
        for tensor in filter(None, operator.inputs):
            has_values = tensor.is_constant or tensor.raw.isVariable or 0 in tensor.shape
            if not has_values and tensor.index not in written:
                return tensor.name
        written |= {tensor.index for tensor in operator.outputs}
    left = (t for t in graph.outputs if not t.is_constant and t.index not in written)
    return next((tensor.name for tensor in left), None)


def _fingerprint(model: Model) -> list[Any]:
    """What a pass could have changed: who reads what, names, shapes and values."""

    def operators(raws: Iterable[Any]) -> list[Any]:
        return [(raw.opcodeIndex, list(raw.inputs), list(raw.outputs)) for raw in raws]

    graphs = [graph.raw for graph in model.subgraphs]
    return [
        [(operators(raw.operators or ()), list(raw.inputs), list(raw.outputs)) for raw in graphs],
        [(t.name, t.type, t.buffer, list(t.shape or ())) for raw in graphs for t in raw.tensors],
        [id(buffer.data) for buffer in model.raw.buffers],
    ]
