"""What the engine does with models and samples that it cannot, or can just, quantize."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from quantize_nets import Net, feed, mixed_net, operator_named, photos, quiet
from test_quantize_schemes import run, sqnr_db

from edgekit.errors import ConversionError, DataError
from edgekit.quantize import observe as observing
from edgekit.quantize.engine import QuantizeOutcome, quantize
from edgekit.quantize.observe import observe
from edgekit.tflite.model import Tensor, write
from edgekit.types import Scheme

SCHEMES: tuple[Scheme, ...] = ("int8", "int16x8", "dynamic-int8", "weight-only-int4")


def _quantize(
    tmp_path: Path, path: Path, stack: np.ndarray, *schemes: Scheme
) -> tuple[QuantizeOutcome, dict[Scheme, Path]]:
    outputs = {scheme: tmp_path / f"{scheme}.tflite" for scheme in schemes}
    feeds = feed(tmp_path / "stack.npy", stack)
    return quantize(path, outputs, feeds=feeds, work=tmp_path, progress=quiet), outputs


def test_a_file_that_is_too_large_is_refused_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekit.quantize.emit.MAX_BYTES", 1000)
    monkeypatch.setattr("edgekit.quantize.engine.observe", None)
    path = mixed_net(tmp_path / "net.tflite")
    with pytest.raises(ConversionError, match="quantizes files of up to 2 GB"):
        _quantize(tmp_path, path, photos(8, 8, 8, 3), "int8")


@pytest.mark.parametrize("scheme", ["int8", "weight-only-int4"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_sample_that_is_not_finite_is_named(tmp_path: Path, scheme: Scheme, bad: float) -> None:
    stack = photos(8, 8, 8, 3)
    stack[5, 1, 2, 0] = bad
    with pytest.raises(DataError, match=r"sample 5 .* input image"):
        _quantize(tmp_path, mixed_net(tmp_path / "net.tflite"), stack, scheme)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_samples_that_are_all_the_same(tmp_path: Path, value: float) -> None:
    path, stack = mixed_net(tmp_path / "net.tflite"), np.full((8, 8, 8, 3), value, np.float32)
    outcome, files = _quantize(tmp_path, path, stack, *SCHEMES)
    assert not outcome.failures
    for scheme in SCHEMES:
        assert sqnr_db(run(path, stack), run(files[scheme], stack)) > 30, scheme


@pytest.mark.parametrize("bias", [0.0, 1.5, -300.0])
@pytest.mark.parametrize("kind", ["conv", "depthwise", "transposed", "dense"])
def test_a_channel_of_zeros_keeps_what_its_bias_says(
    tmp_path: Path, kind: str, bias: float
) -> None:
    net = Net(1, 8, 8, 3)
    made = {
        "conv": lambda: net.conv(net.image, "layer", 3),
        "depthwise": lambda: net.depthwise(net.image, "layer"),
        "transposed": lambda: net.transposed(net.image, "layer", 3),
        "dense": lambda: net.dense(net.image, "layer", 3),
    }[kind]()
    inputs = operator_named(net, "layer").inputs
    weights, constant = inputs[1], inputs[-1]
    assert weights is not None
    assert constant is not None
    values = weights.data().copy()
    values[(..., 1) if kind == "depthwise" else 1] = 0
    weights.set_data(values)
    constant.set_data(np.array([0.1, bias, -0.1], np.float32))
    path, stack = net.save(tmp_path / "net.tflite", made), photos(8, 8, 8, 3)
    outcome, files = _quantize(tmp_path, path, stack, *SCHEMES)
    assert not outcome.failures
    for scheme in SCHEMES:
        got = run(files[scheme], stack)[..., 1]
        # Within a step of an 8-bit output, or half a per cent of a large constant.
        assert np.abs(got - bias).max() <= max(0.02, 0.01 * abs(bias)), scheme


def test_a_layer_of_zeros(tmp_path: Path) -> None:
    net = Net(1, 8, 8, 3)
    first = net.conv(net.image, "first", 4)
    for place in (1, 2):
        constant = operator_named(net, "first").inputs[place]
        assert constant is not None
        constant.set_data(np.zeros_like(constant.data()))
    path = net.save(tmp_path / "net.tflite", net.conv(first, "second", 4))
    stack = photos(8, 8, 8, 3)
    outcome, files = _quantize(tmp_path, path, stack, *SCHEMES)
    assert not outcome.failures
    for scheme in SCHEMES:
        assert sqnr_db(run(path, stack), run(files[scheme], stack)) > 35, scheme


def test_weights_that_are_not_finite_are_named(tmp_path: Path) -> None:
    net = Net(1, 8, 8, 3)
    made = net.conv(net.image, "first", 4)
    weights = operator_named(net, "first").inputs[1]
    assert weights is not None
    values = weights.data().copy()
    values[0, 0, 0, 0] = np.nan
    weights.set_data(values)
    path = net.save(tmp_path / "net.tflite", made)
    with pytest.raises(ConversionError, match="first_w of first"):
        _quantize(tmp_path, path, photos(8, 8, 8, 3), "dynamic-int8")


@pytest.mark.parametrize("end", ["input", "output"])
def test_a_tensor_that_is_never_written_is_named(tmp_path: Path, end: str) -> None:
    net = Net(1, 8, 8, 3)
    ghost = net.graph.add_tensor("ghost", (1, 8, 8, 4), "float32")
    made = net.conv(net.image, "first", 4)
    ends: list[Tensor] = [net.add(made, ghost, "sum")] if end == "input" else [made, ghost]
    path = net.save(tmp_path / "net.tflite", *ends)
    with pytest.raises(ConversionError, match="ghost"):
        _quantize(tmp_path, path, photos(8, 8, 8, 3), "int8")


def test_a_model_without_quantizable_operators_is_no_int8_file(tmp_path: Path) -> None:
    net = Net(1, 8, 8, 3)
    made = net.operator("EXP", [net.image], "exp", (1, 8, 8, 3))
    path = net.save(tmp_path / "net.tflite", made)
    outcome, _ = _quantize(tmp_path, path, photos(8, 8, 8, 3), "int16x8", "dynamic-int8", "fp16")
    assert set(outcome.failures) == {"int16x8", "dynamic-int8", "fp16"}
    assert "No operator" in outcome.failures["dynamic-int8"]


@pytest.mark.parametrize("scheme", ["fp32", "int8", "dynamic-int4"])
def test_a_file_that_is_quantized_already(tmp_path: Path, scheme: Scheme) -> None:
    stack = photos(8, 8, 8, 3)
    _, files = _quantize(tmp_path, mixed_net(tmp_path / "net.tflite"), stack, "int8")
    with pytest.raises(ConversionError, match="quantized already"):
        _quantize(tmp_path, files["int8"], stack, scheme)


def test_many_activations_are_observed_in_parts_with_the_same_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, feeds = mixed_net(tmp_path / "net.tflite"), feed(tmp_path / "x.npy", photos(6, 8, 8, 3))
    whole = observe(path, feeds, progress=quiet)
    monkeypatch.setattr(observing, "_MEMORY", 4 * 8 * 8 * 6)
    shares: list[float] = []
    parts = observe(path, feeds, progress=lambda share, _: shares.append(share))
    assert len(shares) > 4 * 6
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert set(parts) == set(whole)
    for name, histogram in whole.items():
        np.testing.assert_allclose(
            [parts[name].low, parts[name].high], [histogram.low, histogram.high], rtol=1e-5
        )


def _loop(path: Path) -> Path:
    """A dense layer, then x ← x + x three times in a WHILE."""
    net = Net(1, 8)
    raw = net.model.raw
    dense = net.dense(net.image, "dense", 8)
    counter = net.constant("counter", np.zeros(1, np.int32))
    for _ in range(2):
        raw.subgraphs.append(
            schema.SubGraphT(tensors=[], operators=[], inputs=[], outputs=[], name="part")
        )
    condition, body = net.model.subgraphs[1:]
    for part, graph in (("condition", condition), ("body", body)):
        count = graph.add_tensor(f"{part}_i", (1,), "int32")
        value = graph.add_tensor(f"{part}_x", (1, 8), "float32")
        graph.raw.inputs = [count.index, value.index]
        number = np.array([3 if graph is condition else 1], np.int32)
        limit = graph.add_tensor(f"{part}_n", (1,), "int32", number)
        if graph is condition:
            result = graph.add_tensor("go_on", (1,), "bool")
            graph.insert_operator(
                0, "LESS", [count, limit], [result], options=schema.LessOptionsT(), version=1
            )
            graph.raw.outputs = [result.index]
        else:
            after = graph.add_tensor("next", (1,), "int32")
            twice = graph.add_tensor("twice", (1, 8), "float32")
            for inputs, made in (([count, limit], after), ([value, value], twice)):
                graph.insert_operator(
                    0, "ADD", inputs, [made], options=schema.AddOptionsT(), version=1
                )
            graph.raw.outputs = [after.index, twice.index]
    options = schema.WhileOptionsT(condSubgraphIndex=1, bodySubgraphIndex=2)
    ends = [net.graph.add_tensor("count", (1,), "int32")]
    ends.append(net.graph.add_tensor("result", (1, 8), "float32"))
    net.graph.insert_operator(1, "WHILE", [counter, dense], ends, options=options, version=1)
    path = net.save(path, ends[1])
    write(net.model, path)
    return path


def test_a_loop_is_refused_or_passed_through(tmp_path: Path) -> None:
    path = _loop(tmp_path / "net.tflite")
    stack = np.random.default_rng(0).normal(0, 1, (8, 8)).astype(np.float32)
    weights: tuple[Scheme, ...] = ("dynamic-int8", "weight-only-int8", "weight-only-int4")
    outcome, files = _quantize(tmp_path, path, stack, "int8", "int16x8", *weights)
    assert set(outcome.failures) == {"int8", "int16x8"}
    assert "WHILE" in outcome.failures["int8"]
    assert not outcome.weights
    for scheme in weights:
        limit = 15 if "int4" in scheme else 30
        assert sqnr_db(run(path, stack), run(files[scheme], stack)) > limit, scheme
