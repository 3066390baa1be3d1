"""The framework of passes: what is caught, what is loud, and what is looked at afterwards."""

from __future__ import annotations

from typing import Any

import pytest
from tflite_builder import random_weights, tiny_net

from edgekit.tflite.layout import SettleLayout
from edgekit.tflite.model import Model
from edgekit.tflite.passes import (
    VERIFY,
    BrokenPass,
    GraphPass,
    PassFailure,
    PassResult,
    PassSequence,
    attempt,
    verify_graph,
)


def net() -> Model:
    return tiny_net(random_weights())


class NameTensors(GraphPass):
    """Names the first tensors as told, one a call."""

    def __init__(self, *names: str) -> None:
        self._names = list(names)

    def call(self, model: Model) -> PassResult:
        name = self._names.pop(0) if self._names else ""
        if name:
            model.main.tensors[0].raw.name = name
        return PassResult(name=self.name, count=bool(name), notes=(name,) if name else ())


class Mistaken(GraphPass):
    """Has a mistake of edgekit's in it."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def call(self, model: Model) -> int:
        raise self._error


class Unable(GraphPass):
    """Cannot do the graph, and may have begun nevertheless."""

    def __init__(self, *, halfway: bool = False) -> None:
        self._halfway = halfway

    def call(self, model: Model) -> int:
        if self._halfway:
            model.main.tensors[0].raw.shape = [7]
        raise PassFailure("there is no way")


def test_what_gives_up_is_noted_and_the_others_go_on() -> None:
    done = PassSequence(NameTensors("one"), Unable(), NameTensors("two"))(net())
    assert done.count == 2
    assert done.notes == ("one", "two")
    assert done.failures == ("unable gave up: there is no way",)


@pytest.mark.parametrize("error", [KeyError("wieghts"), ValueError("a typo"), TypeError("None")])
def test_a_mistake_is_loud(error: Exception) -> None:
    with pytest.raises(type(error)):
        PassSequence(NameTensors("one"), Mistaken(error))(net())


def test_giving_up_halfway_is_a_mistake() -> None:
    with pytest.raises(BrokenPass, match="unable gave up halfway"):
        PassSequence(Unable(halfway=True))(net())


def test_a_sequence_repeats_until_nothing_changes() -> None:
    model = net()
    done = PassSequence(NameTensors("one", "two", "three"), repeat=True)(model)
    assert done.count == 3
    assert model.main.tensors[0].name == "three"


def test_what_a_pass_requires_is_asked_before_it_runs() -> None:
    model = net()
    model.raw.subgraphs.append(model.copy().raw.subgraphs[0])
    assert attempt(SettleLayout(), model).failures == (
        "settle layout gave up: the graph has inner graphs",
    )


def _unknown_tensor(model: Model) -> None:
    model.main.operators[0].raw.inputs[0] = 99


def _index_out_of_date(model: Model) -> None:
    model.main.consumers(model.main.inputs[0])
    model.main.operators[0].raw.inputs[0] = model.main.outputs[0].index


def _read_too_early(model: Model) -> None:
    operators = model.main.raw.operators
    model.main.raw.operators = operators[::-1]


def _short_constant(model: Model) -> None:
    constant = next(tensor for tensor in model.main.tensors if tensor.is_constant)
    constant.raw.shape = [1, *constant.shape, 3]


@pytest.mark.parametrize(
    "spoil", [_unknown_tensor, _index_out_of_date, _read_too_early, _short_constant]
)
def test_a_graph_that_does_not_hold_together_is_told_after_the_pass(
    spoil: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Spoil(GraphPass):
        def call(self, model: Model) -> int:
            spoil(model)
            return 1

    with pytest.raises(BrokenPass, match="after spoil"):
        PassSequence(Spoil())(net())
    monkeypatch.delenv(VERIFY)  # which is not looked at where nobody asks
    PassSequence(Spoil())(net())


def test_a_whole_graph_holds_together() -> None:
    verify_graph(net())


def test_a_copy_is_a_model_of_its_own_with_the_same_bytes() -> None:
    model = net()
    twin, bytes_before = model.copy(), model.packed()
    assert twin.packed() == bytes_before
    constants = [t for t in model.main.tensors if t.is_constant]
    for one, other in zip(constants, [t for t in twin.main.tensors if t.is_constant], strict=True):
        stored = (one.subgraph.model.raw.buffers, other.subgraph.model.raw.buffers)
        assert stored[0][one.buffer].data is stored[1][other.buffer].data  # no copies of weights
        other.set_data(other.data() + 1)
        other.raw.name = "changed"
    twin.main.operators[0].options.padding = 1
    twin.main.remove(twin.main.operators[-1:])
    twin.main.raw.outputs.clear()
    assert model.packed() == bytes_before
