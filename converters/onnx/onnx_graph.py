"""An ONNX graph of static shapes to rewrite: constants, shapes, users, new nodes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime

Rule = Callable[["Graph", onnx.NodeProto], bool]
"""Adds the nodes that take the node's place (the last one writes its output), or gives False."""


class Graph:
    """What rules read of a model, and where they add nodes.

    Attributes:
        constants: the initializers as arrays.
        shapes: of every value that is known to be static.
        makers: the node that writes a value.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        self.constants = _Constants(model.graph)
        self.shapes = {name: list(tensor.dims) for name, tensor in self.constants.protos.items()}
        self.types: dict[str, int] = {}
        for value in (*graph.input, *graph.output, *graph.value_info):
            kind = value.type.tensor_type
            self.types[value.name] = kind.elem_type
            if kind.HasField("shape") and all(d.HasField("dim_value") for d in kind.shape.dim):
                self.shapes[value.name] = [d.dim_value for d in kind.shape.dim]
        self.makers = {name: node for node in model.graph.node for name in node.output if name}
        self.users: dict[str, int] = defaultdict(int)
        for node in model.graph.node:
            for name in node.input:
                self.users[name] += 1
        self._taken = {*self.shapes, *self.types, *self.makers}
        self._added: list[onnx.NodeProto] = []

    def rewrite(
        self, rules: Mapping[str, Rule], *, every: Callable[[onnx.NodeProto], None] | None = None
    ) -> set[str]:
        """Put what the rules add in place of their nodes; the operators that were replaced.

        ``every`` is told each node that stays, in order.
        """
        nodes: list[onnx.NodeProto] = []
        changed = set()
        for node in self.model.graph.node:
            rule = rules.get(node.op_type)
            self._added = []
            if rule is not None and rule(self, node):
                nodes += self._added
                changed.add(node.op_type)
            else:
                nodes.append(node)
                if every is not None:
                    every(node)
        if changed:
            del self.model.graph.node[:]
            self.model.graph.node.extend(nodes)
            del self.model.graph.value_info[:]
        return changed

    def add(self, op_type: str, *inputs: str, to: str | list[str] = "", **attributes: Any) -> str:
        """Add a node that writes ``to``, or one new value; the name of its first output."""
        outputs = [to or self._name(op_type)] if isinstance(to, str) else to
        self._added.append(onnx.helper.make_node(op_type, inputs, outputs, **attributes))
        return outputs[0]

    def constant(self, value: Any) -> str:
        """Add an initializer; its name. A list is one of integers: a shape, axes."""
        if isinstance(value, list):
            value = np.array(value, np.int64)
        name = self._name("constant")
        tensor = onnx.numpy_helper.from_array(np.asarray(value), name)
        self.model.graph.initializer.append(tensor)
        self.constants.protos[name] = tensor
        return name

    def evaluate(self, node: onnx.NodeProto, **feeds: np.ndarray) -> np.ndarray:
        """What ONNX Runtime says that a node gives.

        ``feeds`` are named after the node's inputs; constant ones need not be fed.
        """
        for name in node.input:
            if name and name not in feeds and (value := self.constants.get(name)) is not None:
                feeds[name] = value
        alone = onnx.NodeProto()
        alone.CopyFrom(node)
        alone.input[:] = [name if name in feeds else "" for name in node.input]
        alone.output[:] = ["result"]
        graph = onnx.helper.make_graph(
            [alone],
            "alone",
            [
                onnx.helper.make_tensor_value_info(
                    name, onnx.helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
                )
                for name, value in feeds.items()
            ],
            [onnx.ValueInfoProto(name="result")],
        )
        model = onnx.helper.make_model(
            graph, opset_imports=self.model.opset_import, ir_version=self.model.ir_version
        )
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        result: np.ndarray = session.run(None, feeds)[0]
        return result

    def _name(self, stem: str) -> str:
        number = len(self._taken)
        while (name := f"edgekit_{stem}_{number}") in self._taken:
            number += 1
        self._taken.add(name)
        return name


class _Constants:
    """Initializers and ``Constant`` nodes by name, as arrays when asked for."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.protos = {tensor.name: tensor for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self.protos[node.output[0]] = node.attribute[0].t

    def get(self, name: str) -> np.ndarray | None:
        tensor = self.protos.get(name)
        return None if tensor is None else onnx.numpy_helper.to_array(tensor)


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """The node's attributes as Python values, texts decoded."""
    found = {}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        found[attribute.name] = value.decode() if isinstance(value, bytes) else value
    return found


def sort_nodes(model: onnx.ModelProto) -> bool:
    """Put nodes behind those whose values they read, as the standard asks; whether any moved.

    Nodes on a circle stay at the end, for the checker to name.
    """
    nodes = list(model.graph.node)
    makers = {name: place for place, node in enumerate(nodes) for name in node.output if name}
    waits = [
        {makers[name] for name in _reads(node) if name in makers} - {place}
        for place, node in enumerate(nodes)
    ]
    if all(max(before, default=-1) < place for place, before in enumerate(waits)):
        return False
    order = _topological(waits)
    del model.graph.node[:]
    model.graph.node.extend(nodes[place] for place in order)
    return True


def _topological(waits: list[set[int]]) -> list[int]:
    """Kahn's algorithm; the original order wherever it is free."""
    import heapq

    readers: dict[int, list[int]] = defaultdict(list)
    for place, before in enumerate(waits):
        for maker in before:
            readers[maker].append(place)
    left = [len(before) for before in waits]
    ready = [place for place, count in enumerate(left) if not count]
    order = []
    while ready:
        place = heapq.heappop(ready)
        order.append(place)
        for reader in readers[place]:
            left[reader] -= 1
            if not left[reader]:
                heapq.heappush(ready, reader)
    done = set(order)
    return order + [place for place in range(len(waits)) if place not in done]


def _reads(node: onnx.NodeProto) -> set[str]:
    """What a node reads, in its subgraphs too."""
    found = set(node.input)
    for attribute in node.attribute:
        graphs = [attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else attribute.graphs
        for graph in graphs:
            for inner in graph.node:
                found |= _reads(inner)
    return found
