"""The index of who reads and writes what: after any surgery it equals one made anew."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st
from tflite_builder import empty_model

from edgekit.quantize.integer_ops.constants import FoldConstants
from edgekit.quantize.integer_ops.masks import find_masks
from edgekit.tflite.graph import Operator, Subgraph
from edgekit.tflite.model import Model
from edgekit.tflite.uses import Uses

PACKAGE = Path(__file__).parents[2] / "edgekit"


def chain(count: int) -> Model:
    model = empty_model()
    graph = model.main
    last = graph.add_tensor("x", (1, 4), "float32")
    one = graph.add_tensor("one", (1,), "float32", np.ones(1, np.float32))
    graph.raw.inputs = [last.index]
    for number in range(count):
        result = graph.add_tensor(f"t{number}", (1, 4), "float32")
        graph.insert_operator(number, "ADD", [last, one], [result], options=schema.AddOptionsT())
        last = result
    graph.raw.outputs = [last.index]
    return model


def answers(graph: Subgraph) -> list[tuple[int | None, list[int]]]:
    """For each tensor the place of what writes it, and the places of what reads it."""
    found = []
    for tensor in graph.tensors:
        maker = graph.producer(tensor)
        readers = [reader.place for reader in graph.consumers(tensor)]
        found.append((None if maker is None else maker.place, readers))
    return found


def scanned(graph: Subgraph) -> list[tuple[int | None, list[int]]]:
    """The same by looking through the whole graph."""
    raws = graph.raw.operators
    return [
        (
            next((place for place, raw in enumerate(raws) if index in raw.outputs), None),
            [place for place, raw in enumerate(raws) if index in raw.inputs],
        )
        for index in range(len(graph.raw.tensors))
    ]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["insert", "remove", "read", "read-at", "write", "redirect", "replace"]),
        st.integers(0, 10**6),
        st.integers(0, 10**6),
    ),
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_after_any_surgery_the_index_equals_one_made_anew(
    steps: list[tuple[str, int, int]],
) -> None:
    graph = chain(6).main
    for kind, first, second in steps:
        _change(graph, kind, first, second)
        assert answers(graph) == scanned(graph)


def _change(graph: Subgraph, kind: str, first: int, second: int) -> None:
    tensors, operators = graph.tensors, graph.operators
    tensor, other = tensors[first % len(tensors)], tensors[second % len(tensors)]
    options = schema.AddOptionsT()
    if kind == "insert":
        place = first % (len(operators) + 1)
        made = graph.add_tensor("made", (1, 4), "float32")
        graph.insert_operator(place, "ADD", [tensor, other], [made], options=options)
    elif kind == "redirect":
        graph.redirect(tensor, other)
    elif operators:
        operator: Operator = operators[second % len(operators)]
        match kind:
            case "remove":
                graph.remove([operator, operators[first % len(operators)]])
                assert not graph.holds(operator)
            case "read":
                operator.read([tensor, None, tensor])
            case "read-at":
                operator.read_at(first % (len(operator.inputs) + 1), other)
            case "write":
                operator.write([tensor])
            case "replace":
                graph.replace(operator, "SUB", [tensor, other], options=schema.SubOptionsT())


def test_many_insertions_at_one_place_keep_the_order() -> None:
    """Between two ranks there is room for 32 halvings only; then all are ranked again."""
    graph = chain(3).main
    start, one = graph.tensors[:2]
    graph.producer(start)
    for number in range(100):
        made = graph.add_tensor(f"m{number}", (1, 4), "float32")
        graph.insert_operator(1, "ADD", [start, one], [made], options=schema.AddOptionsT())
        assert answers(graph) == scanned(graph)


def test_a_list_that_was_exchanged_gets_a_new_index() -> None:
    graph = chain(3).main
    graph.producer(graph.tensors[0])
    graph.raw.operators = graph.raw.operators[:1]
    assert answers(graph) == scanned(graph)


def test_no_search_scans_the_graph(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """In a chain of n operators the number of questions grows as n, and no question scans."""
    asked: list[int] = []
    plain = Uses.readers
    monkeypatch.setattr(Uses, "readers", lambda self, one: asked.append(one) or plain(self, one))
    counts = []
    for count in (200, 400):
        asked.clear()
        model = chain(count)
        assert not FoldConstants()(model).changed
        assert not find_masks(model, {}).limits
        for operator in model.main.operators:
            assert len(model.main.consumers(operator.outputs[0])) <= 1
        counts.append(len(asked))
    assert counts[1] <= 2.1 * counts[0] + 10


def test_operators_are_rewired_through_the_index_only() -> None:
    """A change beside the index would leave it wrong without a word."""
    beside = re.compile(
        r"(?<!graph)(?<!subgraph)\.raw\.(inputs|outputs)(\[[^]]*\])? = "
        r"|raw\.(inputs|outputs)\.(append|insert)"
        r"|\.raw\.buffer = "
        r"|\.raw\.operators(\[|\.(insert|append|pop|remove)| = )|del .*raw\.operators"
    )
    graph_level = re.compile(r"(graph|main|subgraph)\.raw\.(inputs|outputs)")
    found = [
        f"{path.relative_to(PACKAGE)}: {line.strip()}"
        for path in PACKAGE.rglob("*.py")
        if path.parent.name != "tflite"
        for line in path.read_text().splitlines()
        if beside.search(line) and not graph_level.search(line)
    ]
    assert found == []
