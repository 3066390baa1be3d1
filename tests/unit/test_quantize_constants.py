"""What is known before the file runs is folded; assignments and borders in int8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from quantize_nets import Net, feed, quiet
from test_quantize_integer_ops import run, sqnr_db
from tflite_builder import invoke

from edgekit.quantize.engine import quantize
from edgekit.quantize.integer_ops.rewrites import before_passes
from edgekit.tflite.model import Tensor, read
from edgekit.tflite.summary import summarize

ROWS, COLUMNS = 6, 8


def rows(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (count, ROWS, COLUMNS)).astype(np.float32)


def integers(net: Net, name: str, *values: int) -> Tensor:
    return net.constant(name, np.array(values, np.int32))


def untyped(net: Net, kind: str, inputs: list, name: str, shape: tuple, dtype: str, options=None):  # type: ignore[no-untyped-def, type-arg]
    result = net.graph.add_tensor(name, shape, dtype)
    place = len(net.graph.operators)
    net.graph.insert_operator(place, kind, inputs, [result], options=options)
    return result


def names(path: Path) -> list[str]:
    return [operator.name for operator in read(path).main.operators]


def same_values(one: Path, other: Path) -> None:
    (sample,) = rows(1, seed=9)
    for wanted, got in zip(invoke(one, sample[None]), invoke(other, sample[None]), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def int8_of(path: Path, scheme: str = "int8") -> Path:
    output = path.with_suffix(".int8")
    outcome = quantize(
        path,
        {scheme: output},  # type: ignore[dict-item]
        feeds=feed(path.parent / "rows.npy", rows(24)),
        work=path.parent,
        effort="none",
        progress=quiet,
    )
    assert not outcome.failures
    return output


def as_int8(path: Path, least_db: float) -> Path:
    output = int8_of(path)
    (sample,) = rows(1, seed=9)
    for wanted, got in zip(
        invoke(path, sample[None]), run(output, sample[None], delegate=True), strict=True
    ):
        assert sqnr_db(wanted, got) > least_db
    return output


def with_position(net: Net) -> Tensor:
    """A positional encoding as it is written: sin(position / 100 ** (i / width))."""
    width = net.constant("width", np.linspace(0, 1, COLUMNS, dtype=np.float32)[None])
    base = net.constant("base", np.array([100], np.float32))
    power = net.operator("POW", [base, width], "power", (1, COLUMNS), schema.PowOptionsT())
    shape = untyped(
        net,
        "SHAPE",
        [net.image],
        "shape",
        (3,),
        "int32",
        schema.ShapeOptionsT(outType=schema.TensorType.INT32),
    )
    places = [integers(net, "at", 1), integers(net, "one", 1)]
    count = untyped(net, "SLICE", [shape, *places], "count", (1,), "int32", schema.SliceOptionsT())
    scalar = untyped(
        net, "RESHAPE", [count, integers(net, "none")], "scalar", (), "int32",
        schema.ReshapeOptionsT(newShape=[]),
    )  # fmt: skip
    ends = [net.constant(f"end{n}", np.array(n, np.int32)) for n in (0, 1)]
    ranged = untyped(
        net, "RANGE", [ends[0], scalar, ends[1]], "ranged", (ROWS,), "int32",
        schema.RangeOptionsT(),
    )  # fmt: skip
    column = untyped(
        net, "RESHAPE", [ranged, integers(net, "column_shape", ROWS, 1)], "column", (ROWS, 1),
        "int32", schema.ReshapeOptionsT(newShape=[ROWS, 1]),
    )  # fmt: skip
    options = schema.CastOptionsT(
        inDataType=schema.TensorType.INT32, outDataType=schema.TensorType.FLOAT32
    )
    position = net.operator("CAST", [column], "position", (ROWS, 1), options)
    angle = net.operator("DIV", [position, power], "angle", (ROWS, COLUMNS), schema.DivOptionsT())
    sine = net.operator("SIN", [angle], "sine", (ROWS, COLUMNS))
    return net.add(net.image, sine, "sum")


def test_a_positional_encoding_is_a_constant(tmp_path: Path) -> None:
    net = Net(1, ROWS, COLUMNS)
    path = net.save(tmp_path / "float.tflite", with_position(net))
    folded = before_passes(path, tmp_path)
    assert names(folded) == ["ADD"]
    same_values(path, folded)
    assert summarize(as_int8(path, 35)).integer_share == 1


def test_a_shape_that_is_open_is_not_folded(tmp_path: Path) -> None:
    net = Net(1, ROWS, COLUMNS)
    total = with_position(net)
    net.image.raw.shapeSignature = [1, -1, COLUMNS]
    path = net.save(tmp_path / "float.tflite", total)
    assert {"SHAPE", "RANGE", "SIN"} <= set(names(before_passes(path, tmp_path)))


def test_what_data_decides_is_not_folded(tmp_path: Path) -> None:
    """How many values WHERE finds: the file says 1, whatever will come."""
    net = Net(1, ROWS, COLUMNS)
    zero = net.constant("zero", np.zeros(1, np.float32))
    above = untyped(
        net, "GREATER", [net.image, zero], "above", net.image.shape, "bool",
        schema.GreaterOptionsT(),
    )  # fmt: skip
    places = untyped(net, "WHERE", [above], "places", (1, 3), "int64")
    shape = untyped(
        net,
        "SHAPE",
        [places],
        "shape",
        (2,),
        "int32",
        schema.ShapeOptionsT(outType=schema.TensorType.INT32),
    )
    one = net.constant("value", np.array(1, np.float32))
    total = integers(net, "axis", 0)
    filled = net.operator("FILL", [shape, one], "filled", (1, 3))
    summed = net.operator(
        "SUM", [filled, total], "summed", (3,), schema.ReducerOptionsT(keepDims=False)
    )
    path = net.save(tmp_path / "float.tflite", summed)
    assert "SHAPE" in names(before_passes(path, tmp_path))
    (sample,) = rows(1, seed=9)
    (counted,) = invoke(before_passes(path, tmp_path), sample[None])
    assert counted[0] == (sample > 0).sum()


def test_what_does_nothing_goes(tmp_path: Path) -> None:
    net = Net(1, ROWS, COLUMNS)
    ones = net.constant("ones", np.ones((1, ROWS, COLUMNS), np.float32))
    zeros = net.constant("zeros", np.zeros((1, COLUMNS), np.float32))
    same = net.operator("MUL", [ones, net.image], "same", net.image.shape, schema.MulOptionsT())
    moved = net.add(same, zeros, "moved")
    wider = net.constant("wider", np.zeros((2, ROWS, COLUMNS), np.float32))
    total = net.operator("ADD", [moved, wider], "wide", wider.shape, schema.AddOptionsT())
    path = net.save(tmp_path / "float.tflite", total)
    folded = before_passes(path, tmp_path)
    assert names(folded) == ["ADD"]  # the one that repeats its input stays
    same_values(path, folded)


def test_rows_without_any_token_are_not_looked_for(tmp_path: Path) -> None:
    """Attention as PyTorch writes it: where all scores are minus infinity, its weights are 0."""
    net = Net(1, ROWS, COLUMNS)
    shape = net.image.shape
    masked = net.constant("masked", np.array([0] * 6 + [-3.4e38] * 2, np.float32))
    scores = net.add(net.image, masked, "scores")
    lowest = net.constant("lowest", np.array(-np.inf, np.float32))
    empty = untyped(net, "EQUAL", [scores, lowest], "empty", shape, "bool", schema.EqualOptionsT())
    there = untyped(net, "LOGICAL_NOT", [empty], "there", shape, "bool")
    options = schema.CastOptionsT(
        inDataType=schema.TensorType.BOOL, outDataType=schema.TensorType.FLOAT32
    )
    kept = net.operator("CAST", [there], "kept", shape, options)
    weights = net.operator("SOFTMAX", [scores], "weights", shape, schema.SoftmaxOptionsT(beta=1.0))
    zeroed = net.operator("MUL", [weights, kept], "zeroed", shape, schema.MulOptionsT())
    scale = net.constant("scale", np.linspace(1, 2, COLUMNS, dtype=np.float32))
    last = net.operator("MUL", [zeroed, scale], "last", shape, schema.MulOptionsT())
    path = net.save(tmp_path / "float.tflite", last)
    folded = before_passes(path, tmp_path)
    assert names(folded) == ["ADD", "SOFTMAX", "MUL"]
    same_values(path, folded)
    as_int8(path, 25)


def scattered(net: Net, values: Tensor, updates: Tensor) -> Tensor:
    """``x[places] = updates`` as onnx2tf writes it; the places are a constant."""
    index = np.array([[0, row, 2] for row in range(ROWS)], np.int32)
    places, shape = net.constant("places", index), integers(net, "whole", 1, ROWS, COLUMNS)
    one = net.constant("one", np.array(1, np.float32))
    inside = net.operator("SCATTER_ND", [places, updates, shape], "put", values.shape)
    filled = net.operator("FILL", [integers(net, "rows", ROWS), one], "ones", (ROWS,))
    marks = net.operator("SCATTER_ND", [places, filled, shape], "marks", values.shape)
    kept = net.operator("SUB", [one, marks], "kept", values.shape, schema.SubOptionsT())
    left = net.operator("MUL", [values, kept], "left", values.shape, schema.MulOptionsT())
    return net.add(left, inside, "assigned")


def test_an_assigned_constant(tmp_path: Path) -> None:
    net = Net(1, ROWS, COLUMNS)
    updates = net.constant("updates", np.full(ROWS, 1.5, np.float32))
    path = net.save(tmp_path / "float.tflite", scattered(net, net.image, updates))
    assert names(before_passes(path, tmp_path)) == ["MUL", "ADD"]
    same_values(path, before_passes(path, tmp_path))
    assert summarize(as_int8(path, 35)).integer_share == 1


def test_an_assigned_result(tmp_path: Path) -> None:
    """The kernel leaves stored zeros where nothing is put: they have to mean zero."""
    net = Net(1, ROWS, COLUMNS)
    options = schema.ReducerOptionsT(keepDims=False)
    largest = net.operator(
        "REDUCE_MAX", [net.image, integers(net, "axis", 0, 2)], "largest", (ROWS,), options
    )
    path = net.save(tmp_path / "float.tflite", scattered(net, net.image, largest))
    output = as_int8(path, 32)
    assert summarize(output).integer_share == 1
    assert "SCATTER_ND" in names(output)


def test_a_scalar_that_several_read(tmp_path: Path) -> None:
    """litert-quantizer writes copies of it in a wrong shape, and the file does not load."""
    net = Net(1, ROWS, COLUMNS)
    half = net.constant("half", np.array(0.5, np.float32))
    smaller = net.operator("MUL", [net.image, half], "smaller", net.image.shape,
                           schema.MulOptionsT())  # fmt: skip
    total = net.operator("SUB", [half, smaller], "total", net.image.shape, schema.SubOptionsT())
    most = net.operator("MAXIMUM", [total, half], "most", net.image.shape,
                        schema.MaximumMinimumOptionsT())  # fmt: skip
    as_int8(net.save(tmp_path / "float.tflite", most), 35)


def test_an_input_that_is_an_output_too(tmp_path: Path) -> None:
    net = Net(1, ROWS, COLUMNS)
    total = net.add(net.image, net.normal("bias", COLUMNS), "total")
    path = net.save(tmp_path / "float.tflite", total, net.image, total)
    output = path.with_suffix(".int8")
    outcome = quantize(
        path,
        {"int8": output, "dynamic-int8": path.with_suffix(".dynamic")},
        feeds=feed(tmp_path / "rows.npy", rows(24)),
        work=tmp_path,
        effort="fast",
        progress=quiet,
    )
    assert "int8" not in outcome.failures


def test_equal_weights_are_read_from_one_constant(tmp_path: Path) -> None:
    net = Net(1, ROWS, COLUMNS)
    weights = net.rng.normal(0, 0.3, (COLUMNS, COLUMNS)).astype(np.float32)
    zeros = net.constant("zeros", np.zeros(COLUMNS, np.float32))
    options = schema.FullyConnectedOptionsT(keepNumDims=True)
    last = net.image
    for step in range(4):
        copy = net.constant(f"weights{step}", weights)
        last = net.operator(
            "FULLY_CONNECTED", [last, copy, zeros], f"step{step}", last.shape, options, version=5
        )
    path = net.save(tmp_path / "float.tflite", last)
    shared = before_passes(path, tmp_path)
    read_by = {operator.raw.inputs[1] for operator in read(shared).main.operators}
    assert len(read_by) == 1
    same_values(path, shared)


def test_truth_values_become_int8_at_once(tmp_path: Path) -> None:
    net = Net(1, ROWS, COLUMNS)
    zero = net.constant("zero", np.zeros(1, np.float32))
    above = untyped(
        net, "GREATER", [net.image, zero], "above", net.image.shape, "bool",
        schema.GreaterOptionsT(),
    )  # fmt: skip
    options = schema.CastOptionsT(
        inDataType=schema.TensorType.BOOL, outDataType=schema.TensorType.FLOAT32
    )
    marks = net.operator("CAST", [above], "marks", net.image.shape, options)
    kept = net.operator("MUL", [net.image, marks], "kept", net.image.shape, schema.MulOptionsT())
    path = net.save(tmp_path / "float.tflite", kept)
    assert summarize(as_int8(path, 30)).integer_share == 1


def test_a_cast_of_plain_integers_at_a_border_is_not_counted(tmp_path: Path) -> None:
    net = Net(1, ROWS, COLUMNS)
    options = schema.CastOptionsT(
        inDataType=schema.TensorType.INT32, outDataType=schema.TensorType.FLOAT32
    )
    counts = net.graph.add_tensor("counts", net.image.shape, "int32")
    real = net.operator("CAST", [counts], "real", counts.shape, options)
    total = net.add(real, net.image, "total")
    net.graph.raw.inputs = [counts.index]
    path = net.save(tmp_path / "float.tflite", total)
    model = read(path)
    model.main.raw.inputs = [counts.index, net.image.index]
    # In float, the ADD is all that counts, and it is float.
    summary = summarize(path)
    assert [one.op for one in summary.float_ops] == ["ADD"]
    assert summary.border_ops == 1
