"""Each difference is planted in a real file and must be found, alone and where it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tflite_builder as tiny
from ai_edge_litert import schema_py_generated as schema

from edgekit.contract import Contract, InputContract, Preprocess
from edgekit.diff.compare import diff
from edgekit.diff.findings import Diff
from edgekit.report.diff import sentence, to_html, to_json
from edgekit.tflite.metadata import embed_contract
from edgekit.tflite.model import Model, Tensor, read, write
from edgekit.types import TensorSpec

KINDS = ("operators", "tensors", "weights", "ranges", "contract", "metadata")


def tensor(model: Model, name: str) -> Tensor:
    return next(one for one in model.main.tensors if one.name == name)


def plant(folder: Path, change: Callable[[Model], None], source: bytes | None = None) -> Diff:
    """The difference that a change of the tiny net makes; its bytes are written anew for both."""
    before, after = folder / "before.tflite", folder / "after.tflite"
    before.write_bytes(source or tiny.tiny_bytes())
    model = read(before)
    write(model, before)
    change(model)
    write(model, after)
    return diff(before, after)


def only(found: Diff, *kinds: str) -> None:
    """Nothing else was found."""
    assert {kind for kind in KINDS if getattr(found, kind)} == set(kinds)


def quantized() -> bytes:
    return tiny.quantized_bytes("static_wi8_ai8")


def test_nothing(tmp_path):
    found = plant(tmp_path, lambda model: None)
    assert found.same
    assert found.same_bytes
    assert (found.matched, found.equal_constants) == (2, 4)
    assert sentence(found) == "The files are equal byte for byte."


def test_bytes_in_another_order(tmp_path):
    def unused_buffer(model: Model) -> None:
        model.add_buffer(b"nobody reads this")

    found = plant(tmp_path, unused_buffer)
    assert found.same
    assert not found.same_bytes
    assert "how the bytes are ordered" in sentence(found)


def test_weights_of_one_layer(tmp_path):
    def scale(model: Model) -> None:
        kernel = tensor(model, "kernel")
        kernel.set_data(kernel.data() * np.float32(1.5))

    found = plant(tmp_path, scale)
    only(found, "weights")
    (one,) = found.weights
    assert (one.layer, one.operator, one.tensor) == ("features", "CONV_2D", "kernel")
    assert one.relative_l2 == pytest.approx(0.5, rel=1e-6)
    assert one.max_abs == pytest.approx(0.5 * np.abs(tiny.random_weights().kernel).max(), rel=1e-6)
    assert one.share == 1.0
    assert found.equal_constants == 3


def test_one_weight_of_many(tmp_path):
    def nudge(model: Model) -> None:
        dense = tensor(model, "dense")
        values = dense.data().copy()
        values[2, 7] += 0.25
        dense.set_data(values)

    (one,) = plant(tmp_path, nudge).weights
    assert one.layer == "scores"
    assert one.share == pytest.approx(1 / tiny.random_weights().dense.size)
    assert one.max_abs == pytest.approx(0.25, rel=1e-5)


def test_an_integer_weight_is_compared_by_what_it_stands_for(tmp_path):
    def step(model: Model) -> None:
        kernel = next(
            t
            for t in model.main.tensors
            if t.dtype == "int8" and len(t.shape) == 4 and t.is_constant
        )
        values = kernel.data().copy()
        values[1, 0, 0, 0] ^= 1  # one step of that channel's grid
        kernel.set_data(values)

    found = plant(tmp_path, step, quantized())
    only(found, "weights")
    (one,) = found.weights
    model = read(tmp_path / "before.tflite")
    kernel = next(
        t for t in model.main.tensors if t.dtype == "int8" and len(t.shape) == 4 and t.is_constant
    )
    assert kernel.quantization is not None
    assert one.max_abs == pytest.approx(kernel.quantization.scales[1])


def test_the_same_integers_with_another_scale_are_other_weights(tmp_path):
    def rescale(model: Model) -> None:
        kernel = model.main.operators[0].inputs[1]
        assert kernel is not None
        quantization = kernel.raw.quantization
        quantization.scale = np.array(quantization.scale) * np.float32(2)

    (one,) = plant(tmp_path, rescale, quantized()).weights
    assert one.operator == "CONV_2D"
    assert one.relative_l2 == pytest.approx(1, rel=1e-6)


def test_equal_values_in_another_type(tmp_path):
    def halve(model: Model) -> None:
        dense = tensor(model, "dense")
        half = model.main.add_tensor(
            "half", dense.shape, "float16", dense.data().astype(np.float16)
        )
        whole = model.main.add_tensor("whole", dense.shape, "float32")
        model.main.insert_operator(0, "DEQUANTIZE", [half], [whole])
        model.main.operators[2].raw.inputs[1] = whole.index

    found = plant(tmp_path, halve)
    only(found, "weights")  # the DEQUANTIZE is how the weight is stored, no layer
    (one,) = found.weights
    assert one.dtype == "float32 → float16"
    assert 0 < (one.relative_l2 or 0) < 1e-3


def test_an_added_operator_leaves_the_others_matched(tmp_path):
    def clip(model: Model) -> None:
        graph = model.main
        features, clipped = (
            tensor(model, "features"),
            graph.add_tensor("clipped", tensor(model, "features").shape, "float32"),
        )
        graph.insert_operator(1, "RELU6", [features], [clipped])
        graph.operators[2].raw.inputs[0] = clipped.index

    found = plant(tmp_path, clip)
    only(found, "operators")
    kinds = [(one.kind, one.operator, one.name) for one in found.operators]
    assert kinds == [("changed", "FULLY_CONNECTED", "scores"), ("added", "RELU6", "clipped")]
    (wire,) = found.operators[0].changes
    assert (wire.what, wire.before, wire.after) == ("input 0", "features", "clipped")


def test_a_removed_operator(tmp_path):
    model = read_tiny(tmp_path)
    relu = model.main.add_tensor("relu", (1, tiny.CLASSES), "float32")
    model.main.insert_operator(2, "RELU", [tensor(model, "scores")], [relu])
    write(model, tmp_path / "before.tflite")
    found = plant(
        tmp_path,
        lambda model: model.main.raw.operators.pop(),
        (tmp_path / "before.tflite").read_bytes(),
    )
    only(found, "operators")
    assert [(one.kind, one.operator) for one in found.operators] == [("removed", "RELU")]


def read_tiny(folder: Path) -> Model:
    path = folder / "tiny.tflite"
    path.write_bytes(tiny.tiny_bytes())
    return read(path)


def test_another_option(tmp_path):
    def activate(model: Model) -> None:
        model.main.operators[
            0
        ].options.fusedActivationFunction = schema.ActivationFunctionType.RELU6

    found = plant(tmp_path, activate)
    only(found, "operators")
    (one,) = found.operators
    assert (one.kind, one.name) == ("changed", "features")
    assert [change.what for change in one.changes] == ["option fusedActivationFunction"]


def test_another_version(tmp_path):
    def newer(model: Model) -> None:
        model.raw.operatorCodes[0].version = 5

    (one,) = plant(tmp_path, newer).operators
    assert [(c.what, c.before, c.after) for c in one.changes] == [("version", "1", "5")]


def test_another_type_of_operator_at_the_same_place(tmp_path):
    def replace(model: Model) -> None:
        relu = model.main.add_tensor("relu", (1, tiny.CLASSES), "float32")
        model.main.insert_operator(2, "RELU", [tensor(model, "scores")], [relu])

    before = read_tiny(tmp_path)
    replace(before)
    write(before, tmp_path / "with.tflite")

    def other(model: Model) -> None:
        model.main.operators[2].raw.opcodeIndex = model.operator_code("TANH")

    found = plant(tmp_path, other, (tmp_path / "with.tflite").read_bytes())
    only(found, "operators")
    (one,) = found.operators
    assert one.kind == "changed"
    assert [(c.what, c.before, c.after) for c in one.changes] == [("type", "RELU", "TANH")]


def test_a_layer_rewired(tmp_path):
    """A subtraction whose operands change places: the same operators, another function."""
    model = read_tiny(tmp_path)
    graph = model.main
    scores = tensor(model, "scores")
    doubled = graph.add_tensor("doubled", scores.shape, "float32")
    minus = graph.add_tensor("minus", scores.shape, "float32")
    graph.insert_operator(2, "ABS", [scores], [doubled])
    graph.insert_operator(3, "SUB", [doubled, scores], [minus], options=schema.SubOptionsT())
    write(model, tmp_path / "sub.tflite")
    found = plant(
        tmp_path,
        lambda model: model.main.operators[3].raw.inputs.reverse(),
        (tmp_path / "sub.tflite").read_bytes(),
    )
    only(found, "operators")
    assert [change.what for change in found.operators[0].changes] == ["input 0", "input 1"]


def test_a_constant_shape_is_shown_and_is_no_weight(tmp_path):
    model = read_tiny(tmp_path)
    graph = model.main
    flat = graph.add_tensor("flat", (tiny.CLASSES,), "float32")
    shape = graph.add_tensor("shape", (1,), "int32", np.array([tiny.CLASSES], np.int32))
    graph.insert_operator(2, "RESHAPE", [tensor(model, "scores"), shape], [flat])
    write(model, tmp_path / "reshape.tflite")

    def reshape(model: Model) -> None:
        tensor(model, "shape").set_data(np.array([-1], np.int32))

    found = plant(tmp_path, reshape, (tmp_path / "reshape.tflite").read_bytes())
    only(found, "operators")
    (change,) = found.operators[0].changes
    assert (change.what, change.before, change.after) == ("input 1", "5", "-1")


def test_a_range(tmp_path):
    def widen(model: Model) -> None:
        features = tensor(model, "features").raw.quantization
        features.scale = np.array(features.scale) * np.float32(1.25)
        features.zeroPoint = np.array([7])

    found = plant(tmp_path, widen, quantized())
    only(found, "ranges")
    (one,) = found.ranges
    assert (one.tensor, one.operator) == ("features", "CONV_2D")
    assert one.percent == pytest.approx(25, abs=1e-3)
    assert one.zero_after == 7


def test_the_shape_and_name_of_an_input(tmp_path):
    def change(model: Model) -> None:
        image = tensor(model, "image")
        image.raw.name, image.raw.shape = "picture", [1, 16, 16, 3]

    found = plant(tmp_path, change)
    only(found, "tensors")
    facts = {(c.what, c.before, c.after) for one in found.tensors for c in one.changes}
    assert facts == {("name", "image", "picture"), ("shape", "1×8×8×3", "1×16×16×3")}


def test_the_contract_by_its_keys(tmp_path):
    spec = TensorSpec(name="image", shape=tiny.IMAGE)
    paths = []
    for name, scale in (("a", 1.0), ("b", 0.5)):
        path = tmp_path / f"{name}.tflite"
        path.write_bytes(tiny.tiny_bytes())
        entry = InputContract(tensor=spec, preprocess=Preprocess(scale=scale))
        embed_contract(path, path, Contract(inputs=(entry,)))
        paths.append(path)
    found = diff(*paths)
    only(found, "contract")
    (change,) = found.contract
    assert (change.what, change.before, change.after) == (
        "inputs[0].preprocess.scale",
        "1.0",
        "0.5",
    )


def test_metadata(tmp_path):
    def change(model: Model) -> None:
        model.set_metadata("min_runtime_version", b"2.9.0\0\0")
        model.raw.description = "other"
        model.tail, model.tail_start = b"PK a label archive", 0

    found = plant(tmp_path, change)
    only(found, "metadata")
    facts = {change.what: change.after for change in found.metadata}
    assert facts["min_runtime_version"] == "2.9.0"
    assert set(facts) == {"min_runtime_version", "description", "files behind the graph"}


def test_a_graph_more(tmp_path):
    def copy(model: Model) -> None:
        model.raw.subgraphs.append(model.raw.subgraphs[0])

    found = plant(tmp_path, copy)
    only(found, "operators")
    assert {(one.kind, one.subgraph) for one in found.operators} == {("added", 1)}


# ------------------------------------------------------------------------- alignment


def chain(names: list[str], seeds: list[int]) -> Model:
    """FULLY_CONNECTED layers of the same shape, one behind the other."""
    model = tiny.empty_model()
    graph = model.main
    value = graph.add_tensor("input", (1, 8), "float32")
    graph.raw.inputs = [value.index]
    for name, seed in zip(names, seeds, strict=True):
        weights = np.random.default_rng(seed).normal(size=(8, 8)).astype(np.float32)
        constant = graph.add_tensor(f"w_{name}", (8, 8), "float32", weights)
        output = graph.add_tensor(name, (1, 8), "float32")
        place = len(graph.operators)
        graph.insert_operator(
            place,
            "FULLY_CONNECTED",
            [value, constant, None],
            [output],
            options=schema.FullyConnectedOptionsT(),
        )
        value = output
    graph.raw.outputs = [value.index]
    return model


def compare(folder: Path, before: Model, after: Model) -> Diff:
    write(before, folder / "before.tflite")
    write(after, folder / "after.tflite")
    return diff(folder / "before.tflite", folder / "after.tflite")


def test_numbered_names_do_not_shift_the_layers_behind_a_new_one(tmp_path):
    before = chain(["fc", "fc1", "fc2", "fc3"], [0, 1, 2, 3])
    after = chain(["fc", "fc1", "fc2", "fc3", "fc4"], [0, 9, 1, 2, 3])
    found = compare(tmp_path, before, after)
    assert (found.matched, found.equal_constants) == (4, 4)
    assert not found.weights
    assert [(o.kind, o.name) for o in found.operators if o.kind != "changed"] == [("added", "fc1")]


def test_names_hold_where_two_layers_exchange_their_weights(tmp_path):
    names = ["a", "b", "c", "d"]
    found = compare(tmp_path, chain(names, [0, 1, 2, 3]), chain(names, [0, 2, 1, 3]))
    assert {one.layer for one in found.weights} == {"b", "c"}
    assert not found.operators


def test_names_hold_where_all_weights_are_new(tmp_path):
    names = ["a", "b", "c"]
    found = compare(tmp_path, chain(names, [0, 1, 2]), chain(["a", "new", "b", "c"], [5, 6, 7, 8]))
    assert [(o.kind, o.name) for o in found.operators if o.kind != "changed"] == [("added", "new")]
    assert {one.layer for one in found.weights} == {"a", "b", "c"}


def test_without_any_names_order_and_type_decide(tmp_path):
    found = compare(tmp_path, chain([""] * 4, [0, 1, 2, 3]), chain([""] * 3, [0, 2, 3]))
    assert (found.matched, found.equal_constants) == (3, 3)
    assert [one.kind for one in found.operators if one.kind != "changed"] == ["removed"]


def test_what_lies_on_the_two_sides_of_a_known_layer_is_not_the_same(tmp_path):
    before, after = chain(["", "a", "b"], [7, 0, 1]), chain(["a", "b", ""], [0, 1, 8])
    found = compare(tmp_path, before, after)
    assert found.matched == 2
    assert sorted(one.kind for one in found.operators if one.kind != "changed") == [
        "added",
        "removed",
    ]
    assert not found.weights


def test_a_file_against_itself_quantized(tmp_path):
    (tmp_path / "a.tflite").write_bytes(tiny.tiny_bytes())
    (tmp_path / "b.tflite").write_bytes(quantized())
    found = diff(tmp_path / "a.tflite", tmp_path / "b.tflite")
    assert found.matched == 2
    kernel = next(
        one for one in found.weights if one.operator == "CONV_2D" and one.shape == "4×3×3×3"
    )
    assert kernel.dtype == "float32 → int8"
    assert 0 < (kernel.relative_l2 or 0) < 0.02  # 8 bits, symmetric, by channel
    assert all(one.scale_before is None for one in found.ranges)


# ------------------------------------------------------------------------- reports


def test_the_json_is_strict_and_the_page_holds_no_markup_of_the_file(tmp_path):
    def change(model: Model) -> None:
        kernel = tensor(model, "kernel")
        kernel.set_data(kernel.data() * 0)
        tensor(model, "features").raw.name = "<script>alert(1)</script>"
        model.main.operators[1].options.keepNumDims = True

    found = plant(tmp_path, change)
    document = json.loads(to_json(found), parse_constant=pytest.fail)
    assert document["schema"] == "edgekit-diff"
    assert document["same"] is False
    page = to_html(found)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_weights_that_were_all_zeros(tmp_path):
    model = read_tiny(tmp_path)
    kernel = tensor(model, "kernel")
    kernel.set_data(kernel.data() * 0)
    write(model, tmp_path / "zeros.tflite")
    found = plant(
        tmp_path,
        lambda model: tensor(model, "kernel").set_data(tiny.random_weights().kernel),
        (tmp_path / "zeros.tflite").read_bytes(),
    )
    (one,) = found.weights
    assert one.relative_l2 == float("inf")
    assert json.loads(to_json(found))["weights"][0]["relative_l2"] is None
    assert "was all zeros" in to_html(found)
