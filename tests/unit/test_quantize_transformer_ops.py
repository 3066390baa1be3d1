"""What transformers are made of: dense layers over sequences, GELU, LayerNorm, divisions.

The oracles are NumPy and TFLite's own float kernels, run by the interpreter.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st
from quantize_nets import Net, feed, quiet
from test_quantize_integer_ops import run, sqnr_db
from tflite_builder import invoke

from edgekit.quantize import ranges
from edgekit.quantize.emit import NO_EXCEPTIONS, Emissions, Exceptions, emit
from edgekit.quantize.engine import quantize
from edgekit.quantize.integer_ops import care
from edgekit.quantize.integer_ops.emitted import IntegerResult
from edgekit.quantize.integer_ops.norms import variance_chains, variances
from edgekit.quantize.integer_ops.rewrites import before_passes
from edgekit.quantize.observe import observe
from edgekit.quantize.sensitivity import find_layers
from edgekit.tflite.model import Tensor, read
from edgekit.tflite.summary import summarize
from edgekit.types import Scheme

TOKENS = (1, 12, 8)
MUL, ADD = schema.MulOptionsT, schema.AddOptionsT


def kinds(path: Path) -> list[str]:
    return [operator.name for operator in read(path).main.operators]


def scalar(net: Net, value: float) -> Tensor:
    return net.constant(f"scalar{len(net.graph.tensors)}", np.array([value], np.float32))


def step(net: Net, kind: str, *inputs: Tensor | float) -> Tensor:
    """An element-wise operator of tensors and scalars, with a name of its own."""
    given = [scalar(net, value) if isinstance(value, float) else value for value in inputs]
    shape = max((tensor.shape for tensor in given), key=lambda shape: (len(shape), shape))
    options = {"MUL": MUL, "ADD": ADD, "SUB": schema.SubOptionsT, "DIV": schema.DivOptionsT}
    made = options[kind]() if kind in options else None
    return net.operator(kind, given, f"t{len(net.graph.tensors)}", shape, made)


def matmul(net: Net, source: Tensor, matrix: Tensor, *, adj_x: bool = False, adj_y: bool = False):
    rows = source.shape[-1] if adj_x else source.shape[-2]
    columns = matrix.shape[-2] if adj_y else matrix.shape[-1]
    shape = (*max(source.shape[:-2], matrix.shape[:-2], key=math.prod), rows, columns)
    options = schema.BatchMatMulOptionsT(adjX=adj_x, adjY=adj_y)
    return net.operator("BATCH_MATMUL", [source, matrix], "product", shape, options)


def integer(
    path: Path, stack: np.ndarray, scheme: Scheme, exceptions: Exceptions = NO_EXCEPTIONS
) -> tuple[Path, IntegerResult]:
    """Calibrate on a stack with min-max ranges and write the file."""
    feeds = feed(path.with_suffix(".npy"), stack)
    histograms = observe(path, feeds, progress=quiet)
    output = path.with_suffix(f".{scheme}.tflite")
    return output, emit(path, output, scheme, ranges.choose(histograms, "minmax"), exceptions)


@settings(max_examples=30, deadline=None)
@given(
    axes=st.integers(2, 4),
    ones=st.integers(0, 2),
    adj_x=st.booleans(),
    adj_y=st.booleans(),
    biased=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_a_product_with_a_matrix_is_a_dense_layer(
    tmp_path_factory: pytest.TempPathFactory,
    axes: int,
    ones: int,
    adj_x: bool,
    adj_y: bool,
    biased: bool,
    seed: int,
) -> None:
    folder, shape = tmp_path_factory.mktemp("dense"), (1, 3, 6, 5)[-axes:]
    net = Net(*shape, seed=seed)
    inner = shape[-2] if adj_x else shape[-1]
    leading = (1,) * min(ones, axes - 2)
    matrix = net.normal("matrix", *leading, *((7, inner) if adj_y else (inner, 7)))
    result = matmul(net, net.image, matrix, adj_x=adj_x, adj_y=adj_y)
    if biased:
        bias = net.normal("bias", 7)
        options = ADD(fusedActivationFunction=schema.ActivationFunctionType.RELU)
        result = net.operator("ADD", [bias, result], "sum", result.shape, options)
    path = net.save(folder / "before.tflite", result)
    after = before_passes(path, folder)
    assert kinds(after) == [*(["TRANSPOSE"] if adj_x else []), "FULLY_CONNECTED"]
    values = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    np.testing.assert_allclose(invoke(after, values)[0], invoke(path, values)[0], atol=1e-5)


def test_a_product_that_is_read_twice_keeps_its_addition(tmp_path: Path) -> None:
    net = Net(*TOKENS)
    product = matmul(net, net.image, net.normal("matrix", 8, 4))
    added = net.add(product, net.normal("bias", 4), "added")
    path = net.save(tmp_path / "net.tflite", product, added)
    after = before_passes(path, tmp_path)
    assert kinds(after) == ["FULLY_CONNECTED", "ADD"]
    values = np.random.default_rng(0).normal(size=TOKENS).astype(np.float32)
    for wanted, got in zip(invoke(path, values), invoke(after, values), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_other_products_are_left_alone(tmp_path: Path) -> None:
    net = Net(1, 3, 4, 4)
    several = matmul(net, net.image, net.normal("several", 3, 4, 4))
    left = net.operator(
        "BATCH_MATMUL",
        [net.normal("left", 1, 1, 4, 4), several],
        "from_the_left",
        several.shape,
        schema.BatchMatMulOptionsT(),
    )
    path = net.save(tmp_path / "net.tflite", matmul(net, left, net.image))
    assert before_passes(path, tmp_path) == path


@pytest.mark.parametrize("scheme", ["int8-float-io", "int16x8"])
def test_a_constant_of_a_product_that_stays_has_the_scale_that_its_kernel_reads(
    tmp_path: Path, scheme: Scheme
) -> None:
    net = Net(*TOKENS)
    channels = np.geomspace(0.2, 2, 8).astype(np.float32)
    matrix = net.constant("matrix", net.rng.normal(size=(8, 8)).astype(np.float32) * channels)
    path = net.save(tmp_path / "net.tflite", matmul(net, net.image, matrix))
    stack = np.random.default_rng(0).normal(size=(8, *TOKENS[1:])).astype(np.float32)
    output, _ = integer(path, stack, scheme)
    assert "BATCH_MATMUL" in kinds(output)
    (got,) = run(output, stack[:1], delegate=True)
    assert sqnr_db(stack[:1] @ matrix.data(), got) > 30


def test_dense_layers_over_sequences_are_right_in_every_scheme(tmp_path: Path) -> None:
    net = Net(*TOKENS)
    hidden = net.add(
        matmul(net, net.image, net.normal("one", 8, 16)), net.normal("bias", 16), "hidden"
    )
    other = net.operator(
        "BATCH_MATMUL",
        [hidden, net.normal("two", 16, 8)],
        "result",
        TOKENS,
        schema.BatchMatMulOptionsT(),
    )
    path = net.save(tmp_path / "net.tflite", other)
    stack = np.random.default_rng(0).normal(size=(32, *TOKENS[1:])).astype(np.float32)
    schemes: tuple[Scheme, ...] = ("fp32", "int8-float-io", "int16x8", "dynamic-int8")
    outputs = {scheme: tmp_path / f"{scheme}.tflite" for scheme in schemes}
    work = tmp_path / "work"
    work.mkdir()
    feeds = feed(tmp_path / "stack.npy", stack)
    outcome = quantize(path, outputs, feeds=feeds, work=work, effort="fast", progress=quiet)
    assert not outcome.failures
    assert outputs["fp32"].read_bytes() == path.read_bytes()
    (wanted,) = invoke(path, stack[:1])
    for scheme in schemes[1:]:
        assert Counter(kinds(outputs[scheme]))["FULLY_CONNECTED"] == 2
        (got,) = run(outputs[scheme], stack[:1], delegate=True)
        assert sqnr_db(wanted, got) > 30, scheme


@pytest.mark.parametrize("kind", ["RELU", "RELU6", "RELU_N1_TO_1"])
def test_an_activation_becomes_part_of_what_makes_its_input(tmp_path: Path, kind: str) -> None:
    net = Net(1, 6, 6, 3)
    first = net.relu(net.conv(net.image, "first", 4), "one", kind)
    second = net.depthwise(first, "second")
    both = net.add(net.relu(second, "two", kind), second, "both")
    path = net.save(tmp_path / "net.tflite", net.relu(both, "three", kind))
    after = before_passes(path, tmp_path)
    # The depthwise convolution is read twice, once without the activation.
    assert kinds(after) == ["CONV_2D", "DEPTHWISE_CONV_2D", kind, "ADD"]
    values = np.random.default_rng(0).normal(0, 4, (1, 6, 6, 3)).astype(np.float32)
    np.testing.assert_allclose(invoke(after, values)[0], invoke(path, values)[0], rtol=1e-5)


def by_polynomial(net: Net, x: Tensor) -> Tensor:
    """x/2 · (1 + erf(x/√2)), erf by Abramowitz and Stegun 7.1.26."""
    scaled = step(net, "MUL", x, 1 / math.sqrt(2))
    size, sign = step(net, "ABS", scaled), step(net, "SIGN", scaled)
    t = step(net, "DIV", 1.0, step(net, "ADD", 1.0, step(net, "MUL", size, 0.3275911)))
    total = step(net, "MUL", t, 1.061405429)
    for factor in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        total = step(net, "MUL", step(net, "ADD", total, factor), t)
    falling = step(net, "EXP", step(net, "NEG", step(net, "MUL", size, size)))
    error = step(net, "MUL", sign, step(net, "SUB", 1.0, step(net, "MUL", total, falling)))
    return step(net, "MUL", step(net, "MUL", x, 0.5), step(net, "ADD", error, 1.0))


def by_tanh(net: Net, x: Tensor) -> Tensor:
    cube = step(net, "MUL", step(net, "MUL", x, x), x)
    inner = step(net, "ADD", x, step(net, "MUL", cube, 0.044715))
    gate = step(net, "TANH", step(net, "MUL", inner, math.sqrt(2 / math.pi)))
    return step(net, "MUL", 0.5, step(net, "MUL", x, step(net, "ADD", gate, 1.0)))


@pytest.mark.parametrize("written", [by_polynomial, by_tanh])
def test_gelu_however_written_is_one_operator(
    tmp_path: Path, written: Callable[[Net, Tensor], Tensor]
) -> None:
    net = Net(*TOKENS)
    first = net.dense(net.image, "first", 8)
    path = net.save(tmp_path / "net.tflite", net.dense(written(net, first), "last", 4))
    after = before_passes(path, tmp_path)
    assert kinds(after) == ["FULLY_CONNECTED", "GELU", "FULLY_CONNECTED"]
    assert read(after).main.operators[1].options.approximate == (written is by_tanh)
    values = np.random.default_rng(0).normal(0, 3, TOKENS).astype(np.float32)
    np.testing.assert_allclose(invoke(after, values)[0], invoke(path, values)[0], atol=1e-4)
    stack = np.random.default_rng(1).normal(0, 3, (16, *TOKENS[1:])).astype(np.float32)
    output, result = integer(after, stack, "int8-float-io")
    assert not result.left
    assert sqnr_db(invoke(path, stack[:1])[0], run(output, stack[:1], delegate=True)[0]) > 25


def test_what_is_nearly_gelu_is_left_alone(tmp_path: Path) -> None:
    net = Net(*TOKENS)
    x = net.dense(net.image, "first", 8)
    swish = step(net, "MUL", x, step(net, "LOGISTIC", step(net, "MUL", x, 1.702)))
    other = net.dense(net.image, "other", 8)
    error = step(net, "TANH", step(net, "MUL", other, 0.8))
    gated = step(net, "MUL", step(net, "MUL", x, 0.5), step(net, "ADD", error, 1.0))
    path = net.save(tmp_path / "net.tflite", swish, gated)
    assert before_passes(path, tmp_path) == path


def test_steps_of_gelu_that_others_read_stay(tmp_path: Path) -> None:
    net = Net(*TOKENS)
    result = by_tanh(net, net.image)
    (tanh,) = (op.outputs[0] for op in net.graph.operators if op.name == "TANH")
    path = net.save(tmp_path / "net.tflite", result, net.relu(tanh, "other"))
    after = before_passes(path, tmp_path)
    assert Counter(kinds(after))["TANH"] == Counter(kinds(after))["GELU"] == 1
    values = np.random.default_rng(0).normal(0, 2, TOKENS).astype(np.float32)
    for wanted, got in zip(invoke(path, values), invoke(after, values), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-5)


def layer_norm(net: Net, x: Tensor, *, divide: bool = False, squared: str = "MUL") -> Tensor:
    """As onnx2tf writes it, or with the centred values divided by the root."""

    def mean(source: Tensor) -> Tensor:
        axes = net.constant(f"axes{len(net.graph.tensors)}", np.array([2], np.int32))
        options = schema.ReducerOptionsT(keepDims=True)
        shape = (*source.shape[:2], 1)
        return net.operator("MEAN", [source, axes], f"mean{len(net.graph.tensors)}", shape, options)

    middle = mean(x)
    centred = step(net, "SUB", x, middle)
    if squared == "SQUARED_DIFFERENCE":
        options = schema.SquaredDifferenceOptionsT()
        squares = net.operator(squared, [x, middle], "squares", x.shape, options)
    else:
        squares = step(net, "MUL", centred, centred)
    variance = mean(squares)
    root = step(net, "SQRT", step(net, "ADD", variance, 1e-5))
    if divide:
        return step(net, "DIV", centred, root)
    return step(net, "MUL", centred, step(net, "DIV", 1.0, root))


def loud_and_quiet(count: int, seed: int = 0) -> np.ndarray:
    """Tokens that differ in loudness by a factor of twenty."""
    rng = np.random.default_rng(seed)
    loudness = np.geomspace(0.15, 3, TOKENS[1])[:, None]
    return (rng.normal(size=(count, *TOKENS[1:])) * loudness).astype(np.float32)


@pytest.mark.parametrize("squared", ["MUL", "SQUARED_DIFFERENCE"])
@pytest.mark.parametrize("divide", [False, True])
def test_a_division_by_a_root_is_a_product(tmp_path: Path, divide: bool, squared: str) -> None:
    net = Net(*TOKENS)
    normed = layer_norm(net, net.image, divide=divide, squared=squared)
    path = net.save(tmp_path / "net.tflite", normed)
    after = before_passes(path, tmp_path)
    assert not {"DIV", "SQRT", "SQUARED_DIFFERENCE"} & set(kinds(after))
    assert len(kinds(after)) == 7
    for values in loud_and_quiet(4)[:, None]:
        np.testing.assert_allclose(invoke(after, values)[0], invoke(path, values)[0], rtol=1e-4)


def test_variances_have_16_bits_and_the_file_is_all_integers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = Net(*TOKENS)
    path = net.save(tmp_path / "net.tflite", net.dense(layer_norm(net, net.image), "last", 8))
    after, stack, fresh = before_passes(path, tmp_path), loud_and_quiet(16), loud_and_quiet(1, 9)
    assert len(variances(read(after))) == 4  # squares, mean, epsilon, root
    output, result = integer(after, stack, "int8")
    assert not result.left
    assert summarize(output).integer_share == 1.0
    dtypes = {op.name: op.outputs[0].dtype for op in read(output).main.operators}
    assert dtypes["RSQRT"] == "int16"
    (wanted,), (got,) = invoke(path, fresh), run(output, fresh, delegate=True)
    only = frozenset(op.outputs[0].name for op in read(after).main.operators)
    _, alike = integer(after, stack, "int8", Exceptions(only=only))
    assert not alike.left
    np.testing.assert_array_equal(run(output, fresh, delegate=True)[0], got)
    monkeypatch.setattr(care, "variances", lambda _model: frozenset())
    plain, _ = integer(after, stack, "int8")
    (coarse,) = run(plain, fresh, delegate=True)
    assert sqnr_db(wanted, got) > sqnr_db(wanted, coarse) + 2


def test_a_variance_and_its_root_leave_8_bits_together(tmp_path: Path) -> None:
    """With ε lost in integers before a root in float, a silent token would become infinite."""
    net = Net(*TOKENS)
    path = net.save(tmp_path / "net.tflite", net.dense(layer_norm(net, net.image), "last", 8))
    after, stack = before_passes(path, tmp_path), loud_and_quiet(16)
    (chain,) = variance_chains(read(after))
    histograms = observe(after, feed(tmp_path / "s.npy", stack), progress=quiet)
    rows = find_layers(read(after), ranges.choose(histograms, "minmax"), Emissions())
    (layer,) = (row for row in rows if row.tensor == chain[0])
    assert set(chain) <= set(layer.members)
    assert not {row.tensor for row in rows} & set(chain[1:])
    _, result = integer(after, stack, "int8", Exceptions(floating=frozenset(chain[:1])))
    assert {left.output for left in result.left} == set(chain)


@pytest.mark.parametrize("root", ["SQRT", "RSQRT"])
@pytest.mark.parametrize("mean", ["MEAN", "SUM"])
def test_every_way_to_a_root_has_16_bit_kernels(tmp_path: Path, mean: str, root: str) -> None:
    net = Net(*TOKENS)
    first = step(net, "MUL", net.image, 1.5)
    squares = step(net, "MUL", first, first)
    axes = net.constant("axes", np.array([2], np.int32))
    shape, options = (*TOKENS[:2], 1), schema.ReducerOptionsT(keepDims=True)
    inner = net.operator(mean, [squares, axes], "mean", shape, options)
    result = step(net, "MUL", first, step(net, root, step(net, "ADD", inner, 1.0)))
    path = net.save(tmp_path / "net.tflite", result)
    output, made = integer(path, loud_and_quiet(16), "int8")
    assert not made.left
    dtypes = {op.outputs[0].dtype for op in read(output).main.operators if op.name == root}
    assert dtypes == {"int16"}
    fresh = loud_and_quiet(1, 9)
    assert sqnr_db(invoke(path, fresh)[0], run(output, fresh, delegate=True)[0]) > 25


def test_variances_at_the_ends_of_the_graph_keep_their_type(tmp_path: Path) -> None:
    net = Net(*TOKENS)
    squares = step(net, "MUL", net.image, net.image)
    axes = net.constant("axes", np.array([2], np.int32))
    options = schema.ReducerOptionsT(keepDims=True)
    mean = net.operator("MEAN", [squares, axes], "mean", (*TOKENS[:2], 1), options)
    path = net.save(tmp_path / "net.tflite", step(net, "SQRT", mean))
    assert variances(read(path)) == {"mean"}
    for scheme in ("int8", "int8-uint8-io"):
        _, result = integer(path, loud_and_quiet(16), scheme)
        assert not result.left


def divided(net: Net, kind: str) -> Tensor:
    """What is divided by: never below zero, never above it, or on both sides."""
    first = net.dense(net.image, "first", 8)
    if kind == "both":
        return first
    positive = net.relu(first, "positive")
    return positive if kind == "positive" else step(net, "MUL", positive, -1.0)


@pytest.mark.parametrize("kind", ["positive", "negative"])
def test_a_divisor_of_zero_does_not_stop_the_runtime(tmp_path: Path, kind: str) -> None:
    net = Net(*TOKENS)
    divisor = divided(net, kind)
    offset = step(net, "ADD", divisor, 1.0 if kind == "positive" else -1.0)
    quotient = step(net, "DIV", net.dense(net.image, "above", 8), offset)
    path = net.save(tmp_path / "net.tflite", quotient)
    stack = np.random.default_rng(0).normal(0, 2, (16, *TOKENS[1:])).astype(np.float32)
    output, result = integer(path, stack, "int8")
    assert not result.left
    (wanted,), (got,) = invoke(path, stack[:1]), run(output, stack[:1], delegate=True)
    assert sqnr_db(wanted, got) > 20
    # Divisors that are zero, which calibration with this net could not show.
    bare = Net(*TOKENS)
    zero = step(bare, "DIV", bare.dense(bare.image, "above", 8), divided(bare, kind))
    above = bare.save(tmp_path / "bare.tflite", zero)
    limits = {t.name: (-4.0, 4.0) for t in bare.graph.tensors if not t.is_constant}
    (below,) = (op.inputs[1] for op in bare.graph.operators if op.name == "DIV")
    assert below is not None
    limits[below.name] = (0.0, 4.0) if kind == "positive" else (-4.0, 0.0)
    stopped = tmp_path / "bare_int8.tflite"
    assert not emit(above, stopped, "int8", limits).left
    (got,) = run(stopped, np.zeros(TOKENS, np.float32), delegate=True)
    assert np.isfinite(got).all()


def test_a_divisor_that_passes_zero_keeps_the_division_in_float(tmp_path: Path) -> None:
    net = Net(*TOKENS)
    quotient = step(net, "DIV", net.dense(net.image, "above", 8), divided(net, "both"))
    path = net.save(tmp_path / "net.tflite", net.dense(quotient, "last", 4))
    limits = {t.name: (-4.0, 4.0) for t in net.graph.tensors if not t.is_constant}
    output = tmp_path / "int8.tflite"
    (left,) = emit(path, output, "int8", limits).left
    assert left.op == "DIV"
    assert "passes zero" in left.reason
    assert "DIV" in kinds(output)
