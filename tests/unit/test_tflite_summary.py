"""What `summarize` says about float, quantized and partly quantized files."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import tflite_builder as tiny
from ai_edge_litert import schema_py_generated as schema

from edgekit.contract import Contract, InputContract
from edgekit.tflite.metadata import CONTRACT_ENTRY, embed_contract
from edgekit.tflite.model import Model, read, write
from edgekit.tflite.summary import FloatOp, OpCount, Summary, summarize
from edgekit.types import TensorSpec

WEIGHTS = tiny.random_weights()
BIASES = WEIGHTS.kernel_bias.size + WEIGHTS.dense_bias.size
MATRICES = WEIGHTS.kernel.size + WEIGHTS.dense.size


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "net.tflite"
    path.write_bytes(tiny.tiny_bytes())
    return path


def quantized(path: Path, recipe: str = "static_wi8_ai8") -> Path:
    path.write_bytes(tiny.quantized_bytes(recipe))
    return path


def changed(path: Path, model: Model) -> Summary:
    write(model, path)
    return summarize(path)


def test_a_float_file(path: Path) -> None:
    summary = summarize(path)
    assert summary.inputs[0].tensor == TensorSpec(name="image", shape=tiny.IMAGE)
    assert summary.outputs[0].tensor == TensorSpec(name="scores", shape=(1, tiny.CLASSES))
    assert summary.inputs[0].scale is None
    assert summary.ops == (
        OpCount(op="CONV_2D", version=1, count=1),
        OpCount(op="FULLY_CONNECTED", version=1, count=1),
    )
    assert summary.integer_share == 0
    assert summary.float_ops == (
        FloatOp(op="CONV_2D", output="features"),
        FloatOp(op="FULLY_CONNECTED", output="scores"),
    )
    assert summary.parameters_by_dtype == {"float32": MATRICES + BIASES}
    assert summary.description == "edgekit test"
    assert (summary.min_runtime_version, summary.contract) == (None, None)
    assert (summary.custom_ops, summary.flex_ops) == ((), ())


def test_an_int8_file(path: Path) -> None:
    summary = summarize(quantized(path))
    port = summary.inputs[0]
    assert port.tensor.dtype == "int8"
    assert port.scale == pytest.approx(2 / 255, rel=0.05)  # calibrated on uniform -1…1
    assert port.zero_point is not None
    assert (summary.integer_share, summary.float_ops, summary.border_ops) == (1, (), 0)
    assert summary.parameters_by_dtype == {"int8": MATRICES, "int32": BIASES}


def test_dynamic_int8_still_computes_in_float(path: Path) -> None:
    summary = summarize(quantized(path, "dynamic_wi8_afp32"))
    assert summary.integer_share == 0
    assert "int8" in summary.parameters_by_dtype


def test_the_float_border_of_an_int8_file_is_counted_apart(path: Path) -> None:
    model = read(quantized(path))
    graph = model.main
    image, scores = graph.inputs[0], graph.outputs[0]
    float_image = graph.add_tensor("float_image", image.shape, "float32")
    float_scores = graph.add_tensor("float_scores", scores.shape, "float32")
    graph.insert_operator(0, "QUANTIZE", [float_image], [image])
    graph.insert_operator(len(graph.operators), "DEQUANTIZE", [scores], [float_scores])
    graph.raw.inputs, graph.raw.outputs = [float_image.index], [float_scores.index]
    model.raw.signatureDefs = None
    summary = changed(path, model)
    assert (summary.integer_share, summary.border_ops, summary.float_ops) == (1, 2, ())
    assert tiny.invoke(path, tiny.random_image())[0].dtype == np.float32


def test_a_float_island_is_named(path: Path) -> None:
    model = read(quantized(path))
    graph = model.main
    scores = graph.outputs[0]
    island = [graph.add_tensor(name, scores.shape, "float32") for name in ("in", "erased")]
    again = graph.add_tensor("again", scores.shape, "int8")
    again.raw.quantization = scores.raw.quantization
    end = len(graph.operators)
    graph.insert_operator(end, "DEQUANTIZE", [scores], [island[0]])
    graph.insert_operator(end + 1, "ABS", [island[0]], [island[1]], options=schema.AbsOptionsT())
    graph.insert_operator(end + 2, "QUANTIZE", [island[1]], [again])
    graph.raw.outputs = [again.index]
    summary = changed(path, model)
    assert summary.integer_share == pytest.approx(2 / 5)
    assert summary.float_ops == (
        FloatOp(op="DEQUANTIZE", output="in"),
        FloatOp(op="ABS", output="erased"),
        FloatOp(op="QUANTIZE", output="again"),
    )
    assert summary.border_ops == 0


def test_an_integer_rescaling_is_computing_not_border(path: Path) -> None:
    model = read(quantized(path))
    graph = model.main
    image = graph.inputs[0]
    other = graph.add_tensor("other", image.shape, "int8")
    other.raw.quantization = image.raw.quantization
    graph.insert_operator(0, "QUANTIZE", [other], [image])
    graph.raw.inputs = [other.index]
    summary = changed(path, model)
    assert (summary.integer_share, summary.border_ops) == (1, 0)


def test_the_sizes_add_up_and_follow_what_is_added(path: Path) -> None:
    before = summarize(path)
    sizes = before.sizes
    assert sizes.weights + sizes.structure + sizes.metadata == path.stat().st_size
    assert sizes.weights == 4 * before.parameters
    assert sizes.metadata == 0
    model = read(path)
    model.set_metadata("note", bytes(1000))
    model.tail = b"zip" * 100
    after = changed(path, model)
    assert after.sizes.metadata == 1300
    assert after.sizes.weights == sizes.weights
    assert sum(asdict(after.sizes).values()) == path.stat().st_size


def test_shared_weights_and_shapes_are_not_counted_twice_or_at_all(path: Path) -> None:
    model = read(path)
    graph = model.main
    kernel = graph.operators[0].inputs[1]
    assert kernel is not None
    graph.add_tensor("twin", kernel.shape, "float32").use_buffer(kernel.buffer)
    graph.add_tensor("a_shape", (2,), "int32", np.array([1, -1], np.int32))
    assert changed(path, model).parameters == MATRICES + BIASES


def test_custom_and_flex_operators(path: Path) -> None:
    model = read(path)
    custom = schema.BuiltinOperator.CUSTOM
    for name in ("FlexErf", "MyOp", "MyOp"):
        code = schema.OperatorCodeT(
            deprecatedBuiltinCode=custom, builtinCode=custom, customCode=name
        )
        model.raw.operatorCodes.append(code)
        operator = schema.OperatorT(
            opcodeIndex=len(model.raw.operatorCodes) - 1, inputs=[], outputs=[]
        )
        model.main.raw.operators.append(operator)
    summary = changed(path, model)
    assert (summary.custom_ops, summary.flex_ops) == (("MyOp",), ("FlexErf",))
    assert OpCount(op="MyOp", version=1, count=2) in summary.ops


def test_the_runtime_version_is_read(path: Path) -> None:
    model = read(path)
    model.set_metadata("min_runtime_version", b"2.11.0".ljust(16, b"\0"))
    assert changed(path, model).min_runtime_version == "2.11.0"


def test_dynamic_dimensions_are_none(path: Path) -> None:
    model = read(path)
    model.main.inputs[0].raw.shapeSignature = [-1, 8, 8, 3]
    assert changed(path, model).inputs[0].tensor.shape == (None, 8, 8, 3)


@pytest.mark.parametrize(
    ("name", "shape", "layout"),
    [
        ("image", tiny.IMAGE, "NHWC"),  # by name
        ("pixels", tiny.IMAGE, "NHWC"),  # by position
        ("image", (1, 3, 8, 8), None),  # of the model before its axes were moved
    ],
)
def test_the_layout_comes_from_the_contract(
    path: Path, name: str, shape: tuple[int, ...], layout: str | None
) -> None:
    spec = TensorSpec(name=name, shape=shape, layout="NHWC")
    embed_contract(path, path, Contract(inputs=(InputContract(tensor=spec),)))
    summary = summarize(path)
    assert summary.contract is not None
    assert summary.inputs[0].tensor == replace(
        TensorSpec(name="image", shape=tiny.IMAGE), layout=layout
    )


def test_a_broken_contract_does_not_hide_the_rest(path: Path) -> None:
    model = read(path)
    model.set_metadata(CONTRACT_ENTRY, b"{}")
    summary = changed(path, model)
    assert summary.contract is None
    assert "embedded contract" in summary.contract_problem
    assert summary.parameters == MATRICES + BIASES


def test_it_is_ready_for_json(path: Path) -> None:
    embed_contract(path, path, Contract())
    data = json.loads(json.dumps(asdict(summarize(path))))
    assert data["inputs"][0]["tensor"]["shape"] == list(tiny.IMAGE)


def test_a_file_without_operators_has_no_share(path: Path) -> None:
    assert changed(path, tiny.empty_model()).integer_share is None
