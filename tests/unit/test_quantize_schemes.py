"""Schemes with 4-bit weights and other borders, in files that the runtime runs."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given
from hypothesis import strategies as st
from quantize_nets import Net, feed, mixed_net, photos, quiet

from edgekit.quantize.emit import Exceptions, emit
from edgekit.quantize.engine import QuantizeOutcome, quantize
from edgekit.quantize.grids import Grid, grid_of, steps
from edgekit.quantize.layers import find_layers
from edgekit.quantize.rounding import round_rows
from edgekit.tflite.model import Tensor, read, write
from edgekit.tflite.summary import summarize
from edgekit.types import INT4_SCHEMES, WEIGHT_SCHEMES, Effort, Scheme


def run(path: Path, stack: np.ndarray) -> np.ndarray:
    """The real outputs for real inputs, with the interpreter alone."""
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    (source,), target = interpreter.get_input_details(), interpreter.get_output_details()[0]
    results = []
    for sample in stack:
        value, (scale, zero) = sample[None], source["quantization"]
        if scale:
            limits = np.iinfo(source["dtype"])
            value = np.clip(np.rint(value / scale) + zero, limits.min, limits.max)
        interpreter.set_tensor(source["index"], value.astype(source["dtype"]))
        interpreter.invoke()
        got, (scale, zero) = interpreter.get_tensor(target["index"]), target["quantization"]
        results.append((got.astype(np.float64) - zero) * (scale or 1.0))
    return np.concatenate(results)


def sqnr_db(wanted: np.ndarray, got: np.ndarray) -> float:
    noise = np.square(wanted - got).sum()
    return float(10 * np.log10(np.square(wanted).sum() / max(noise, 1e-30)))


def dense_net(path: Path, *widths: int) -> Path:
    net = Net(1, widths[0])
    tensor = net.image
    for place, width in enumerate(widths[1:]):
        tensor = net.dense(tensor, f"dense{place}", width)
        if place < len(widths) - 2:
            tensor = net.relu(tensor, f"relu{place}")
    return net.save(path, tensor)


def sequence_net(path: Path, *, width: int = 64, rows: int = 5) -> Path:
    """What a transformer's block does with weights: dense layers over (1, rows, width)."""
    net = Net(1, rows, width)

    def dense(source: Tensor, name: str, outputs: int) -> Tensor:
        inputs = [source, net.normal(f"{name}_w", outputs, width), net.normal(f"{name}_b", outputs)]
        options = schema.FullyConnectedOptionsT(keepNumDims=True)
        shape = (1, rows, outputs)
        return net.operator("FULLY_CONNECTED", inputs, name, shape, options, version=5)

    query, key = dense(net.image, "query", width), dense(net.image, "key", width)
    scores = net.operator(
        "BATCH_MATMUL",
        [query, key],
        "scores",
        (1, rows, rows),
        schema.BatchMatMulOptionsT(adjY=True),
    )
    options = schema.SoftmaxOptionsT(beta=0.1)
    shares = net.operator("SOFTMAX", [scores], "shares", (1, rows, rows), options)
    mixed = net.operator(
        "BATCH_MATMUL",
        [shares, dense(net.image, "value", width)],
        "mixed",
        (1, rows, width),
        schema.BatchMatMulOptionsT(),
    )
    return net.save(path, dense(net.add(mixed, net.image, "sum"), "out", 7))


def by_hand(path: Path, output: Path, scheme: Scheme) -> Path:
    """A float model with the weights that nearest rounding leaves, from the definition."""
    loaded = read(path)
    for layer in find_layers(loaded):
        values, limit = layer.weights.data().astype(np.float64), 127
        axes: tuple[int, ...] = (0, 1, 2) if layer.is_depthwise else (1, 2, 3)
        if scheme in INT4_SCHEMES and layer.kind in ("CONV_2D", "FULLY_CONNECTED"):
            limit = 7
        shape, width = values.shape, values.shape[-1]
        blocks = scheme == "dynamic-int4-block32" and width % 32 == 0 and width > 32
        if layer.kind == "FULLY_CONNECTED" and blocks:
            values, axes = values.reshape(-1, 32), (1,)
        axes = tuple(axis for axis in axes if axis < values.ndim)
        scale = (np.abs(values).max(axis=axes, keepdims=True) / limit).astype(np.float32)
        if blocks and layer.kind == "FULLY_CONNECTED":
            scale = scale.astype(ml_dtypes.bfloat16).astype(np.float32)
        index = np.clip(np.rint(values / scale), -limit - (limit == 7), limit)
        layer.weights.set_data((index * scale).reshape(shape).astype(np.float32))
    write(loaded, output)
    return output


NETS = {
    "mixed": (mixed_net, (8, 8, 3)),
    "dense": (lambda path: dense_net(path, 64, 96, 33, 5), (64,)),
    "sequence": (sequence_net, (5, 64)),
}


@pytest.mark.parametrize("scheme", sorted(WEIGHT_SCHEMES))
@pytest.mark.parametrize("net", NETS)
def test_the_runtime_computes_what_the_stored_weights_say(
    tmp_path: Path, net: str, scheme: Scheme
) -> None:
    build, shape = NETS[net]
    path = build(tmp_path / "float.tflite")
    stack = np.random.default_rng(0).normal(0, 1, (4, *shape)).astype(np.float32)
    emit(path, tmp_path / "out.tflite", scheme)
    wanted = run(by_hand(path, tmp_path / "hand.tflite", scheme), stack)
    got = run(tmp_path / "out.tflite", stack)
    # Weight-only files compute in float; dynamic ones round activations to 8 bits on the way.
    assert sqnr_db(wanted, got) > (100 if scheme.startswith("weight-only") else 30)


def _weights(path: Path) -> dict[str, str]:
    """The stored type of each layer's weights, by the operator's kind."""
    loaded = read(path)
    stored = {op.outputs[0].index: op.inputs[0] for op in loaded.main.operators}
    found = {}
    for op in loaded.main.operators:
        if op.name in ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED"):
            tensor = op.inputs[1]
            assert tensor is not None
            source = tensor if tensor.is_constant else stored[tensor.index]
            assert source is not None
            found[op.name] = source.dtype
    return found


@pytest.mark.parametrize("scheme", sorted(INT4_SCHEMES))
def test_operators_without_a_4_bit_kernel_get_8_bits(tmp_path: Path, scheme: Scheme) -> None:
    emit(mixed_net(tmp_path / "float.tflite"), tmp_path / "out.tflite", scheme)
    assert _weights(tmp_path / "out.tflite") == {
        "CONV_2D": "int4",
        "DEPTHWISE_CONV_2D": "int8",
        "TRANSPOSE_CONV": "int8",
        "FULLY_CONNECTED": "int4",
    }


def _versions(path: Path) -> dict[str, int]:
    return {op.name: op.version for op in read(path).main.operators}


def test_versions_promise_what_the_weights_need(tmp_path: Path) -> None:
    """FULLY_CONNECTED 12 (2.17.0) has a scale per channel, CONV_2D 8 (2.15.0) weights of 4 bits."""
    path = mixed_net(tmp_path / "float.tflite")
    made: dict[Scheme, dict[str, int]] = {}
    for scheme in ("dynamic-int8", "dynamic-int4", "weight-only-int8"):
        emit(path, tmp_path / f"{scheme}.tflite", scheme)
        made[scheme] = _versions(tmp_path / f"{scheme}.tflite")
    before = _versions(path)
    assert made["dynamic-int8"]["FULLY_CONNECTED"] == 12
    assert made["dynamic-int4"]["FULLY_CONNECTED"] == 12
    assert made["dynamic-int4"]["CONV_2D"] == 8
    # Convolutions with int8 weights are right everywhere; weight-only files compute in float.
    assert made["dynamic-int8"]["CONV_2D"] < 8
    assert made["weight-only-int8"]["FULLY_CONNECTED"] == before["FULLY_CONNECTED"]


def test_rows_that_blocks_do_not_divide_get_one_step_a_channel(tmp_path: Path) -> None:
    path = dense_net(tmp_path / "float.tflite", 64, 48, 32, 5)
    grids = [grid_of(layer, "dynamic-int4-block32") for layer in find_layers(read(path))]
    assert [grid.block for grid in grids] == [32, None, None]
    emit(path, tmp_path / "out.tflite", "dynamic-int4-block32")
    stack = np.random.default_rng(0).normal(0, 1, (3, 64)).astype(np.float32)
    assert sqnr_db(run(path, stack), run(tmp_path / "out.tflite", stack)) > 10


@pytest.mark.parametrize("scheme", ["dynamic-int4", "dynamic-int4-block32", "weight-only-int4"])
def test_rounded_weights_are_kept_bit_for_bit(tmp_path: Path, scheme: Scheme) -> None:
    path = dense_net(tmp_path / "float.tflite", 64, 96, 64)
    loaded, generator = read(path), np.random.default_rng(3)
    wanted = {}
    for layer in find_layers(loaded):
        grid = grid_of(layer, scheme)
        given = generator.normal(0, 1, (200, layer.weights.shape[1]))
        step = steps(layer, grid, np.square(given).mean(axis=0))
        index = round_rows(layer.matrix(), given.T @ given + np.eye(given.shape[1]), step, 7)
        cells = index.reshape(-1, grid.block or index.shape[1])
        cells[:, 0] = np.where(np.abs(cells).max(axis=1) < 7, 7, cells[:, 0])
        layer.set_matrix(index * (step if step.ndim == 2 else step[:, None]))
        wanted[layer.weights.name] = index
    write(loaded, path)
    emit(path, tmp_path / "out.tflite", scheme)
    # Types and transformations may rename a tensor, not the shape of its values.
    found = [t for t in read(tmp_path / "out.tflite").main.tensors if t.dtype == "int4"]
    assert len(found) == len(wanted)
    for tensor in found:
        assert any(np.array_equal(tensor.data(), index) for index in wanted.values())


@given(st.integers(0, 2**32 - 1), st.sampled_from([None, 32]))
def test_clipping_never_costs_more_than_the_widest_step(seed: int, block: int | None) -> None:
    net = Net(1, 64)
    net.dense(net.image, "dense", 4)
    (layer,) = find_layers(net.model)
    generator = np.random.default_rng(seed)
    weights = generator.standard_t(2, (4, 64)).astype(np.float32)
    layer.set_matrix(weights)
    energy = generator.random(64)
    chosen = steps(layer, Grid(limit=7, block=block), energy)
    chosen = chosen if chosen.ndim == 2 else chosen[:, None]
    widest = np.abs(weights.reshape(4, -1, block or 64)).max(axis=2) / 7
    widest = np.repeat(widest, block or 64, axis=1)

    def cost(step: np.ndarray) -> float:
        index = np.clip(np.rint(weights / step), -7, 7)
        return float((np.square(index * step - weights) * energy).sum())

    # Steps of blocks are stored with 8 significant bits, which may cost a little by itself.
    assert cost(chosen) <= cost(widest) * (1.02 if block else 1.0001) + 1e-9


def _quantize(
    tmp_path: Path, path: Path, stack: np.ndarray, *schemes: Scheme, effort: Effort = "balanced"
) -> tuple[QuantizeOutcome, dict[Scheme, Path]]:
    outputs = {scheme: tmp_path / f"{scheme}-{effort}.tflite" for scheme in schemes}
    feeds = feed(tmp_path / "stack.npy", stack)
    outcome = quantize(path, outputs, feeds=feeds, work=tmp_path, effort=effort, progress=quiet)
    assert not outcome.failures
    return outcome, outputs


def test_preparation_helps_every_scheme_on_samples_it_has_not_seen(tmp_path: Path) -> None:
    path = mixed_net(tmp_path / "float.tflite")
    schemes: tuple[Scheme, ...] = (*sorted(WEIGHT_SCHEMES), "int16x8")
    stack, fresh = photos(32, 8, 8, 3), photos(16, 8, 8, 3, seed=9)
    _, plain = _quantize(tmp_path, path, stack, *schemes, effort="none")
    outcome, prepared = _quantize(tmp_path, path, stack, *schemes)
    wanted = run(path, fresh)
    for scheme in schemes:
        before, after = (sqnr_db(wanted, run(files[scheme], fresh)) for files in (plain, prepared))
        assert after > before + 1, scheme
    assert {result.scheme for result in outcome.weights if result.kept} == set(schemes)


def test_a_scheme_that_gains_nothing_gets_the_model_as_it_came(tmp_path: Path) -> None:
    net = Net(1, 8)
    tensor = net.dense(net.image, "dense", 4)
    weights = net.graph.operators[0].inputs[1]
    assert weights is not None
    weights.set_data(np.tile([[7, -7, 3, 1, 0, -2, 5, 4]], (4, 1)).astype(np.float32))
    path = net.save(tmp_path / "float.tflite", tensor)
    stack = np.random.default_rng(0).normal(0, 1, (16, 8)).astype(np.float32)
    outcome, files = _quantize(tmp_path, path, stack, "weight-only-int4")
    (result,) = outcome.weights
    assert not result.kept
    assert result.model.packed() == read(path).packed()
    assert sqnr_db(run(path, stack), run(files["weight-only-int4"], stack)) > 100


def test_borders_differ_in_type_only(tmp_path: Path) -> None:
    path, fresh = mixed_net(tmp_path / "float.tflite"), photos(8, 8, 8, 3, seed=9)
    schemes: tuple[Scheme, ...] = ("int8", "int8-uint8-io", "int8-float-io")
    _, files = _quantize(tmp_path, path, photos(16, 8, 8, 3), *schemes)
    results = [run(files[scheme], fresh) for scheme in schemes]
    np.testing.assert_allclose(results[1], results[0], atol=1e-6)
    np.testing.assert_allclose(results[2], results[0], atol=1e-6)
    for scheme, dtype in zip(schemes, ("int8", "uint8", "float32"), strict=True):
        summary = summarize(files[scheme])
        assert [port.tensor.dtype for port in (*summary.inputs, *summary.outputs)] == [dtype] * 2
        assert summary.integer_share == 1.0
    signed, unsigned = (summarize(files[scheme]).inputs[0] for scheme in schemes[:2])
    assert unsigned.scale == signed.scale
    assert (unsigned.zero_point or 0) - (signed.zero_point or 0) == 128


@pytest.mark.parametrize(
    ("scheme", "dtype"),
    [("int8", "int8"), ("int8-uint8-io", "uint8"), ("int8-float-io", "float32")],
)
def test_borders_stay_beside_layers_with_more_bits(
    tmp_path: Path, scheme: Scheme, dtype: str
) -> None:
    net = Net(1, 8, 8, 3)
    first = net.conv(net.image, "first", 4, activation="RELU")
    path = net.save(tmp_path / "float.tflite", net.conv(first, "second", 4))
    ranges = {"image": (-4.0, 4.0), "first": (0.0, 4.0), "second": (-8.0, 8.0)}
    for exceptions in (
        Exceptions(sixteen=frozenset({"second"})),
        Exceptions(floating=frozenset({"first"})),
    ):
        emit(path, tmp_path / "out.tflite", scheme, ranges, exceptions)
        graph = read(tmp_path / "out.tflite").main
        assert [graph.inputs[0].dtype, graph.outputs[0].dtype] == [dtype, dtype]
        stack = np.random.default_rng(0).uniform(-1, 1, (3, 8, 8, 3)).astype(np.float32)
        assert sqnr_db(run(path, stack), run(tmp_path / "out.tflite", stack)) > 20
