"""Files that can be resized: what a converter computes from the size is computed by the graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from tflite_builder import empty_model

from edgekit.tflite.graph import Subgraph, Tensor
from edgekit.tflite.model import Model, write
from edgekit.tflite.resizable import NotResizableError, make_resizable


def net(batch: int, height: int, width: int, *, grid: bool = False) -> Model:
    """Everything that ties a file to a size, as converters write it.

    (B, H, W, 2) → tokens and back → twice as large → and the mean over all of it; a border of
    ones; where there is a ``grid``, the places of its columns are added.
    """
    model = empty_model()
    graph = model.main
    image = graph.add_tensor("image", (batch, height, width, 2), "float32")

    def op(name: str, shape: tuple[int, ...], inputs: list[Tensor], options: object) -> Tensor:
        made = graph.add_tensor(f"{name}_{len(graph.raw.tensors)}", shape, "float32")
        place = len(graph.operators)
        version = {"RESIZE_NEAREST_NEIGHBOR": 3, "CONCATENATION": 1}.get(name, 1)
        graph.insert_operator(place, name, inputs, [made], options=options, version=version)
        return made

    tokens = op(
        "RESHAPE",
        (batch, height * width, 2),
        [image, sizes(graph, batch, height * width, 2)],
        schema.ReshapeOptionsT(newShape=[batch, height * width, 2]),
    )
    doubled = op("ADD", (batch, height * width, 2), [tokens, tokens], schema.AddOptionsT())
    back = op(
        "RESHAPE",
        (batch, height, width, 2),
        [doubled, sizes(graph, batch, height, width, 2)],
        schema.ReshapeOptionsT(),
    )
    if grid:
        columns = np.broadcast_to(np.arange(width, dtype=np.float32)[:, None], (width, 2)).copy()
        places = graph.add_tensor("columns", (width, 2), "float32", columns)
        back = op("ADD", (batch, height, width, 2), [back, places], schema.AddOptionsT())
    ones = np.ones((batch, height, 1, 2), np.float32)
    border = graph.add_tensor("border", ones.shape, "float32", ones)
    wider = op(
        "CONCATENATION",
        (batch, height, width + 1, 2),
        [back, border],
        schema.ConcatenationOptionsT(axis=2),
    )
    large = op(
        "RESIZE_NEAREST_NEIGHBOR",
        (batch, 2 * height, 2 * width, 2),
        [wider, sizes(graph, 2 * height, 2 * width)],
        schema.ResizeNearestNeighborOptionsT(),
    )
    pooled = op(
        "AVERAGE_POOL_2D",
        (batch, 1, 1, 2),
        [wider],
        schema.Pool2DOptionsT(
            padding=1, strideH=1, strideW=1, filterHeight=height, filterWidth=width + 1
        ),
    )
    graph.raw.inputs, graph.raw.outputs = [image.index], [large.index, pooled.index]
    return model


def sizes(graph: Subgraph, *values: int) -> Tensor:
    name = f"sizes_{len(graph.raw.tensors)}"
    return graph.add_tensor(name, (len(values),), "int32", np.array(values, np.int32))


def right(image: np.ndarray) -> list[np.ndarray]:
    batch, height, width, _ = image.shape
    wider = np.concatenate([2 * image, np.ones((batch, height, 1, 2))], axis=2)
    columns = (np.arange(2 * width) * (width + 1)) // (2 * width)
    large = wider.repeat(2, axis=1)[:, :, columns]
    return [large, wider.mean((1, 2), keepdims=True)]


def run(path: Path, image: np.ndarray) -> list[np.ndarray]:
    interpreter = Interpreter(
        str(path),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    (given,) = interpreter.get_input_details()
    if given["shape"].tolist() != list(image.shape):
        interpreter.resize_tensor_input(given["index"], image.shape, strict=True)
    interpreter.allocate_tensors()
    interpreter.set_tensor(given["index"], image)
    interpreter.invoke()
    return [interpreter.get_tensor(one["index"]) for one in interpreter.get_output_details()]


def test_two_sizes_make_a_file_for_every_size(tmp_path: Path):
    model = net(2, 8, 12)
    make_resizable(model, net(3, 5, 7))
    write(model, tmp_path / "open.tflite")
    assert model.main.inputs[0].shape_signature == (None, None, None, 2)
    assert model.main.inputs[0].shape == (2, 8, 12, 2)
    for shape in ((2, 8, 12, 2), (1, 9, 4, 2), (4, 6, 15, 2), (1, 1, 1, 2)):
        image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        for said, wanted in zip(run(tmp_path / "open.tflite", image), right(image), strict=True):
            np.testing.assert_allclose(said, wanted, atol=1e-5)


def test_only_what_differs_is_opened(tmp_path: Path):
    model = net(1, 8, 12)
    make_resizable(model, net(1, 8, 20))
    write(model, tmp_path / "open.tflite")
    assert model.main.inputs[0].shape_signature == (1, 8, None, 2)
    image = np.random.default_rng(0).normal(size=(1, 8, 5, 2)).astype(np.float32)
    for said, wanted in zip(run(tmp_path / "open.tflite", image), right(image), strict=True):
        np.testing.assert_allclose(said, wanted, atol=1e-5)


def test_a_grid_that_was_computed_at_export_is_named():
    with pytest.raises(NotResizableError, match=r"'columns'.*one size only") as caught:
        make_resizable(net(1, 8, 12, grid=True), net(1, 8, 20, grid=True))
    assert "State the sizes" in caught.value.cure


def test_other_operators_at_another_size_are_named():
    with pytest.raises(NotResizableError, match="other operators at another size"):
        make_resizable(net(1, 8, 12), net(1, 8, 20, grid=True))
