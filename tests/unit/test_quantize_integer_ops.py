"""Operators that litert-quantizer leaves in float: integer in the file, and right in the runtime.

The oracle is TFLite's own float kernel, run by the interpreter on the float net.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from hypothesis import given, settings
from hypothesis import strategies as st
from quantize_nets import Net, feed, photos, quiet
from tflite_builder import invoke

from edgekit.quantize import ranges
from edgekit.quantize.emit import NO_EXCEPTIONS, Exceptions, emit
from edgekit.quantize.integer_ops.emitted import IntegerResult
from edgekit.quantize.integer_ops.rewrites import IntegerKernels
from edgekit.quantize.observe import observe
from edgekit.tflite.model import Tensor, read, write
from edgekit.tflite.summary import summarize
from edgekit.types import Scheme

SHAPE = (1, 6, 8, 4)
Case = Callable[[Net, Tensor], Tensor]


def ints(net: Net, values: Any) -> Tensor:
    """A constant that nobody has named yet."""
    return net.constant(f"ints{len(net.graph.tensors)}", np.array(values, np.int32))


def floats(net: Net, *values: float) -> Tensor:
    return net.constant(f"floats{len(net.graph.tensors)}", np.array(values, np.float32))


def alone(kind: str, options: Any = None) -> Case:
    """An operator of one tensor, with a result of the same shape."""
    return lambda net, x: net.operator(kind, [x], "y", x.shape, options)


def reduced(kind: str) -> Case:
    def build(net: Net, x: Tensor) -> Tensor:
        options = schema.ReducerOptionsT(keepDims=True)
        return net.operator(kind, [x, ints(net, [1])], "y", (1, 1, *x.shape[2:]), options)

    return build


def prelu(net: Net, x: Tensor) -> Tensor:
    alpha = net.constant("alpha", np.linspace(-0.2, 0.7, x.shape[-1], dtype=np.float32)[None, None])
    return net.operator("PRELU", [x, alpha], "y", x.shape)


def minimum(net: Net, x: Tensor) -> Tensor:
    options = schema.MaximumMinimumOptionsT()
    return net.operator("MINIMUM", [x, floats(net, 0.25)], "y", x.shape, options)


def minimum_of_two(net: Net, x: Tensor) -> Tensor:
    other = net.operator("ABS", [x], "other", x.shape)
    return net.operator("MINIMUM", [x, other], "y", x.shape, schema.MaximumMinimumOptionsT())


def depth_to_space(net: Net, x: Tensor) -> Tensor:
    _, height, width, channels = x.shape
    shape = (1, 2 * height, 2 * width, channels // 4)
    return net.operator("DEPTH_TO_SPACE", [x], "y", shape, schema.DepthToSpaceOptionsT(blockSize=2))


def tile(net: Net, x: Tensor) -> Tensor:
    shape = (1, 2 * x.shape[1], *x.shape[2:])
    return net.operator("TILE", [x, ints(net, [1, 2, 1, 1])], "y", shape)


def reverse(net: Net, x: Tensor) -> Tensor:
    options = schema.ReverseV2OptionsT()
    return net.operator("REVERSE_V2", [x, ints(net, [2])], "turned", x.shape, options)


def squeeze_and_expand(net: Net, x: Tensor) -> Tensor:
    options = schema.SqueezeOptionsT(squeezeDims=[0])
    flat = net.operator("SQUEEZE", [x], "flat", x.shape[1:], options)
    inputs = [flat, ints(net, 0)]
    return net.operator("EXPAND_DIMS", inputs, "y", x.shape, schema.ExpandDimsOptionsT())


def batches(net: Net, x: Tensor) -> Tensor:
    _, height, width, channels = x.shape
    block, none = ints(net, [2, 2]), ints(net, [[0, 0], [0, 0]])
    shape = (4, height // 2, width // 2, channels)
    many = net.operator("SPACE_TO_BATCH_ND", [x, block, none], "many", shape)
    return net.operator("BATCH_TO_SPACE_ND", [many, block, none], "y", x.shape)


def power(exponent: float) -> Case:
    def build(net: Net, x: Tensor) -> Tensor:
        positive = net.relu(x, "positive")
        above = net.add(positive, floats(net, 0.5), "above")
        return net.operator("POW", [above, floats(net, exponent)], "y", x.shape)

    return build


def logarithm(net: Net, x: Tensor) -> Tensor:
    above = net.add(net.relu(x, "positive"), floats(net, 0.5), "above")
    return net.operator("LOG", [above], "y", x.shape)


def sum_of_two(net: Net, x: Tensor) -> Tensor:
    return net.operator("ADD_N", [x, net.relu(x, "other")], "y", x.shape, schema.AddNOptionsT())


def cast(net: Net, x: Tensor) -> Tensor:
    kind = schema.TensorType.FLOAT32
    options = schema.CastOptionsT(inDataType=kind, outDataType=kind)
    return net.operator("CAST", [x], "y", x.shape, options)


ONE_KERNEL: dict[str, Case] = {
    "ABS": alone("ABS"),
    "ELU": alone("ELU"),
    "EXP": alone("EXP"),
    "LEAKY_RELU": alone("LEAKY_RELU", schema.LeakyReluOptionsT(alpha=0.1)),
    "RELU6": alone("RELU6"),
    "RELU_0_TO_1": alone("RELU_0_TO_1"),
    "RELU_N1_TO_1": alone("RELU_N1_TO_1"),
    "L2_NORMALIZATION": alone("L2_NORMALIZATION", schema.L2NormOptionsT()),
    "LOG_SOFTMAX": alone("LOG_SOFTMAX", schema.LogSoftmaxOptionsT()),
    "PRELU": prelu,
    "MINIMUM": minimum,
    "DEPTH_TO_SPACE": depth_to_space,
    "TILE": tile,
    "REVERSE_V2": reverse,
    "REDUCE_MAX": reduced("REDUCE_MAX"),
    "BATCHES": batches,
    "SQUEEZE, EXPAND_DIMS": squeeze_and_expand,
    "CAST": cast,
    "NEG": alone("NEG", schema.NegOptionsT()),
    "SQUARE": alone("SQUARE", schema.SquareOptionsT()),
}
"""Exact to half a step of the output when the input lies on its grid."""
SEVERAL_KERNELS: dict[str, Case] = {
    "MINIMUM of two": minimum_of_two,
    "LOG": logarithm,
    "POW 2": power(2),
    "POW 0.5": power(0.5),
    "POW -0.5": power(-0.5),
    "ADD_N": sum_of_two,
    "REDUCE_PROD": reduced("REDUCE_PROD"),
}
ALL = ONE_KERNEL | SEVERAL_KERNELS


def emitted(
    path: Path,
    *,
    scheme: Scheme = "int8-float-io",
    method: str = "minmax",
    exceptions: Exceptions = NO_EXCEPTIONS,
) -> tuple[Path, IntegerResult]:
    """Calibrate on pictures and write the integer file."""
    folder = path.parent
    (image,) = read(path).main.inputs
    stack = 2 * photos(6, *image.shape[1:])
    histograms = observe(path, feed(folder / "photos.npy", stack), progress=quiet)
    output = folder / f"{scheme}.tflite"
    chosen = ranges.choose(histograms, method)  # type: ignore[arg-type]
    return output, emit(path, output, scheme, chosen, exceptions)


def run(path: Path, image: np.ndarray, *, delegate: bool) -> list[np.ndarray]:
    """Real values of all outputs."""
    resolver = OpResolverType.AUTO if delegate else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(str(path), experimental_op_resolver_type=resolver, num_threads=1)
    interpreter.allocate_tensors()
    (given,) = interpreter.get_input_details()
    interpreter.set_tensor(given["index"], to_stored(image, given))
    interpreter.invoke()
    results = []
    for detail in interpreter.get_output_details():
        value, (scale, zero) = interpreter.get_tensor(detail["index"]), detail["quantization"]
        results.append((value.astype(np.float64) - zero) * scale if scale else value)
    return results


def to_stored(value: np.ndarray, detail: dict[str, Any]) -> np.ndarray:
    scale, zero = detail["quantization"]
    if not scale:
        return value
    limits = np.iinfo(detail["dtype"])
    return np.clip(np.rint(value / scale) + zero, limits.min, limits.max).astype(detail["dtype"])


def sqnr_db(wanted: np.ndarray, got: np.ndarray) -> float:
    noise = np.sum(np.square(wanted.astype(np.float64) - got)) + 1e-30
    return float(10 * np.log10(np.sum(np.square(wanted, dtype=np.float64)) / noise))


@pytest.mark.parametrize("name", ONE_KERNEL)
def test_between_input_and_output_it_is_exact_to_half_a_step(tmp_path: Path, name: str) -> None:
    net = Net(*SHAPE)
    path = net.save(tmp_path / "float.tflite", ONE_KERNEL[name](net, net.image))
    output, result = emitted(path, scheme="int8")
    assert summarize(output).integer_share == 1
    assert not result.left
    (given,), (made,) = read(output).main.inputs, read(output).main.outputs
    assert given.quantization is not None
    assert made.quantization is not None
    scale, zero = given.quantization.scales[0], given.quantization.zero_points[0]
    stored = np.random.default_rng(3).integers(-128, 128, SHAPE)
    image = ((stored - zero) * scale).astype(np.float32)
    (wanted,) = invoke(path, image)
    step, place = made.quantization.scales[0], made.quantization.zero_points[0]
    wanted = np.clip(wanted, (-128 - place) * step, (127 - place) * step)
    for delegate in (True, False):
        (got,) = run(output, image, delegate=delegate)
        # Slopes of PRELU have steps too; some kernels of XNNPACK round a little differently.
        assert np.abs(got - wanted).max() <= (1.0 if name == "PRELU" else 0.65) * step


@pytest.mark.parametrize("scheme", ["int8", "int8-float-io", "int8-uint8-io"])
@pytest.mark.parametrize("name", ALL)
def test_between_layers_with_two_readers(tmp_path: Path, name: str, scheme: Scheme) -> None:
    net = Net(*SHAPE)
    inside = ALL[name](net, net.conv(net.image, "first", 4, activation="NONE"))
    one = net.conv(inside, "one", 3)
    two = net.conv(net.relu(inside, "kept"), "two", 3, kernel=1)
    path = net.save(tmp_path / "float.tflite", net.add(one, two, "sum"), inside)
    output, result = emitted(path, scheme=scheme)
    assert not result.left
    assert summarize(output).integer_share == 1
    (image,) = (2 * photos(6, *SHAPE[1:]))[2][None, None]
    wanted = invoke(path, image)
    for delegate in (True, False):
        got = run(output, image, delegate=delegate)
        limits = (15, 15) if name == "REDUCE_PROD" else (24, 28)
        for mine, its, limit in zip(got, wanted, limits, strict=True):
            assert sqnr_db(its, mine) > limit


@pytest.mark.parametrize("kind", ["ARG_MAX", "ARG_MIN", "GREATER", "LESS_EQUAL"])
def test_results_that_are_no_floats(tmp_path: Path, kind: str) -> None:
    net = Net(*SHAPE)
    first = net.conv(net.image, "first", 4)
    leaky = net.operator("LEAKY_RELU", [first], "leaky", first.shape, schema.LeakyReluOptionsT())
    if kind.startswith("ARG"):
        options = getattr(schema, f"{'ArgMax' if kind == 'ARG_MAX' else 'ArgMin'}OptionsT")()
        options.outputType = schema.TensorType.INT64
        y, other = net.graph.add_tensor("y", SHAPE[:3], "int64"), ints(net, 3)
    else:
        options = {"GREATER": schema.GreaterOptionsT, "LESS_EQUAL": schema.LessEqualOptionsT}[
            kind
        ]()
        y, other = net.graph.add_tensor("y", SHAPE, "bool"), floats(net, 0.1)
    net.graph.insert_operator(2, kind, [leaky, other], [y], options=options)
    path = net.save(tmp_path / "float.tflite", y)
    output, result = emitted(path)
    assert not result.left
    assert summarize(output).integer_share == 1
    pictures = 2 * photos(6, *SHAPE[1:])
    for delegate in (True, False):
        same = [
            run(output, picture[None], delegate=delegate)[0] == invoke(path, picture[None])[0]
            for picture in pictures
        ]
        # Values closer than a step are equal in int8, and then the other one may win.
        assert np.mean(same) > 0.95


def test_several_outputs(tmp_path: Path) -> None:
    net = Net(*SHAPE)
    first = net.conv(net.image, "first", 5)
    parts = [net.graph.add_tensor(f"part{n}", (*SHAPE[:3], n), "float32") for n in (2, 3)]
    sizes, axis = ints(net, [2, 3]), ints(net, 3)
    options = schema.SplitVOptionsT(numSplits=2)
    net.graph.insert_operator(1, "SPLIT_V", [first, sizes, axis], parts, options=options)
    top = [net.graph.add_tensor("top", (*SHAPE[:3], 2), "float32")]
    top += [net.graph.add_tensor("which", (*SHAPE[:3], 2), "int32")]
    inputs = [parts[1], ints(net, 2)]
    net.graph.insert_operator(2, "TOPK_V2", inputs, top, options=schema.TopKV2OptionsT())
    path = net.save(tmp_path / "float.tflite", parts[0], top[0])
    output, _ = emitted(path, scheme="int8")
    assert summarize(output).integer_share == 1
    (image,) = (2 * photos(6, *SHAPE[1:]))[2][None, None]
    for delegate in (True, False):
        for got, wanted in zip(
            run(output, image, delegate=delegate), invoke(path, image), strict=True
        ):
            assert sqnr_db(wanted, got) > 30


def test_where_scales_differ_one_requantize_follows(tmp_path: Path) -> None:
    """A concatenation gives all its inputs one scale, which REVERSE_V2 cannot make."""
    net = Net(*SHAPE)
    first = net.conv(net.image, "first", 4)
    small = reverse(net, first)
    large = net.conv(net.image, "large", 4)
    large = net.operator("MUL", [large, floats(net, 9)], "larger", SHAPE, schema.MulOptionsT())
    options = schema.ConcatenationOptionsT(axis=3)
    both = net.operator("CONCATENATION", [small, large], "both", (*SHAPE[:3], 8), options)
    path = net.save(tmp_path / "float.tflite", both)
    output, _ = emitted(path, scheme="int8")
    operators = read(output).main.operators
    (again,) = [op for op in operators if op.name == "QUANTIZE"]
    assert again.inputs[0] is not None
    assert (again.inputs[0].name, again.inputs[0].dtype) == ("turned", "int8")
    (image,) = (2 * photos(6, *SHAPE[1:]))[2][None, None]
    for delegate in (True, False):
        assert sqnr_db(invoke(path, image)[0], run(output, image, delegate=delegate)[0]) > 30


def test_operators_that_only_move_values_need_no_requantize_with_any_ranges(tmp_path: Path) -> None:
    net = Net(*SHAPE)
    inside = reduced("REDUCE_MAX")(net, reverse(net, net.conv(net.image, "first", 4)))
    path = net.save(tmp_path / "float.tflite", net.conv(inside, "last", 3, kernel=1))
    output, _ = emitted(path, scheme="int8", method="mse")
    names = [op.name for op in read(output).main.operators]
    assert names == ["CONV_2D", "REVERSE_V2", "REDUCE_MAX", "CONV_2D"]


@pytest.mark.parametrize("name", ["ABS", "PRELU", "RELU6", "RELU_N1_TO_1"])
def test_kernels_that_are_slow_are_not_used(tmp_path: Path, name: str) -> None:
    net = Net(*SHAPE)
    path = net.save(tmp_path / "float.tflite", ALL[name](net, net.image))
    output, _ = emitted(path, scheme="int8")
    assert {op.name for op in read(output).main.operators} <= {"QUANTIZE", "MUL", "MAXIMUM"}


def test_prelu_with_a_slope_above_one_is_not_the_larger_of_two(tmp_path: Path) -> None:
    net = Net(*SHAPE)
    first = net.conv(net.image, "first", 4)
    y = net.operator("PRELU", [first, floats(net, 0.1, 0.5, 1.5, 3)], "y", SHAPE)
    path = net.save(tmp_path / "float.tflite", y)
    output, _ = emitted(path, scheme="int8")
    assert [op.name for op in read(output).main.operators] == ["CONV_2D", "PRELU"]
    (image,) = (2 * photos(6, *SHAPE[1:]))[2][None, None]
    for delegate in (True, False):
        assert sqnr_db(invoke(path, image)[0], run(output, image, delegate=delegate)[0]) > 30


def test_a_clamp_whose_output_has_a_wider_scale_still_clamps(tmp_path: Path) -> None:
    net = Net(*SHAPE)
    clamped = net.operator("RELU6", [net.conv(net.image, "first", 4)], "clamped", SHAPE)
    large = net.conv(net.image, "large", 4)
    large = net.operator("MUL", [large, floats(net, 9)], "larger", SHAPE, schema.MulOptionsT())
    options = schema.ConcatenationOptionsT(axis=3)
    both = net.operator("CONCATENATION", [clamped, large], "both", (*SHAPE[:3], 8), options)
    path = net.save(tmp_path / "float.tflite", both)
    output, _ = emitted(path, scheme="int8")
    made = read(output).main.outputs[0].quantization
    assert made is not None
    (image,) = (2 * photos(6, *SHAPE[1:]))[2][None, None]
    (wanted,) = invoke(path, image)
    assert (wanted[..., :4] == 0).any()  # the clamp has something to do
    for delegate in (True, False):
        (got,) = run(output, image, delegate=delegate)
        assert np.abs(got - wanted)[..., :4].max() <= made.scales[0]
        assert got[..., :4].min() >= 0


def test_excepted_operators_stay_in_float_and_are_named(tmp_path: Path) -> None:
    net = Net(*SHAPE)
    inside = prelu(net, net.conv(net.image, "first", 4))
    last = net.operator("ELU", [net.conv(inside, "last", 3)], "last_elu", (*SHAPE[:3], 3))
    path = net.save(tmp_path / "float.tflite", last)
    output, result = emitted(path, exceptions=Exceptions(floating=frozenset({"y"})))
    types = {op.name: op.outputs[0].dtype for op in read(output).main.operators}
    assert (types["PRELU"], types["ELU"]) == ("float32", "int8")
    assert [(left.op, left.output) for left in result.left] == [("PRELU", "y")]
    assert "accuracy" in result.left[0].reason
    only = Exceptions(only=frozenset({"last_elu"}))
    output, result = emitted(path, scheme="int8", exceptions=only)
    types = {op.name: op.outputs[0].dtype for op in read(output).main.operators}
    assert (types["PRELU"], types["ELU"]) == ("float32", "int8")
    run(output, np.zeros(SHAPE, np.float32), delegate=True)


def test_what_has_no_kernel_is_named_with_the_reason(tmp_path: Path) -> None:
    net = Net(*SHAPE)
    wave = net.operator("SIN", [net.conv(net.image, "first", 4)], "wave", SHAPE)
    inside = net.operator("ELU", [wave], "elu", SHAPE)
    path = net.save(tmp_path / "float.tflite", net.conv(inside, "last", 3))
    output, result = emitted(path, scheme="int8")
    assert [(left.op, left.output) for left in result.left] == [("SIN", "wave")]
    assert "no int8 kernel" in result.left[0].reason
    assert [change.output for change in result.changed] == ["elu"]
    (image,) = (2 * photos(6, *SHAPE[1:]))[2][None, None]
    assert sqnr_db(invoke(path, image)[0], run(output, image, delegate=True)[0]) > 30


def test_a_fixed_scale_that_would_clip_is_not_used(tmp_path: Path) -> None:
    net = Net(*SHAPE)
    large = net.operator("MUL", [net.image, floats(net, 40)], "large", SHAPE, schema.MulOptionsT())
    options = schema.LogSoftmaxOptionsT()
    path = net.save(
        tmp_path / "f.tflite", net.operator("LOG_SOFTMAX", [large], "y", SHAPE, options)
    )
    _, result = emitted(path, scheme="int8")
    (left,) = result.left
    assert left.output == "y"
    assert "-15.9" in left.reason


@pytest.mark.parametrize(
    ("scheme", "dtype"), [("int8-float-io", "float32"), ("int8-uint8-io", "uint8")]
)
def test_an_output_that_a_layer_reads_too_keeps_the_type_of_the_scheme(
    scheme: Scheme, dtype: str, tmp_path: Path
) -> None:
    """litert-quantizer alone gives such an output int8 whatever was asked for."""
    net = Net(*SHAPE)
    inside = alone("ELU")(net, net.conv(net.image, "first", 4))
    path = net.save(tmp_path / "float.tflite", inside, net.conv(inside, "last", 3))
    output, _ = emitted(path, scheme=scheme)
    assert [tensor.dtype for tensor in read(output).main.outputs] == [dtype, dtype]
    runner = Interpreter(str(output)).get_signature_runner("serving_default")
    kinds = {np.dtype(detail["dtype"]) for detail in runner.get_output_details().values()}
    assert kinds == {np.dtype(dtype)}
    (image,) = (2 * photos(6, *SHAPE[1:]))[2][None, None]
    for got, wanted in zip(run(output, image, delegate=True), invoke(path, image), strict=True):
        assert sqnr_db(wanted, got) > 28


def test_an_output_that_a_float_operator_reads_too_keeps_the_type_of_the_scheme(
    tmp_path: Path,
) -> None:
    """And here litert-quantizer alone gives float where int8 was asked for."""
    net = Net(*SHAPE)
    first = net.conv(net.image, "first", 4)
    last = net.conv(net.operator("ELU", [first], "elu", SHAPE), "last", 3)
    path = net.save(tmp_path / "float.tflite", first, last)
    output, _ = emitted(path, scheme="int8")
    assert [tensor.dtype for tensor in read(output).main.outputs] == ["int8", "int8"]
    (image,) = (2 * photos(6, *SHAPE[1:]))[2][None, None]
    for got, wanted in zip(run(output, image, delegate=True), invoke(path, image), strict=True):
        assert sqnr_db(wanted, got) > 28


def test_nothing_that_nobody_uses_stays_in_the_file(tmp_path: Path) -> None:
    net = Net(*SHAPE)
    path = net.save(tmp_path / "float.tflite", prelu(net, net.conv(net.image, "first", 4)))
    output, _ = emitted(path, scheme="int8")
    graph = read(output).main
    used = {i for op in graph.operators for i in [*op.raw.inputs, *op.raw.outputs]}
    assert used == set(range(len(graph.tensors)))
    assert not [tensor.name for tensor in graph.tensors if tensor.dtype == "float32"]


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(["SQUEEZE, EXPAND_DIMS", "CAST", "NEG", "SQUARE", "ADD_N"]),
    seed=st.integers(0, 2**16),
    spread=st.floats(1e-3, 1e3),
)
def test_a_rewrite_leaves_the_float_results_equal(
    tmp_path_factory: pytest.TempPathFactory, name: str, seed: int, spread: float
) -> None:
    assert_equal_after_rewrite(tmp_path_factory.mktemp("rewrite"), ALL[name], seed, spread, 0)


@settings(max_examples=25, deadline=None)
@given(
    exponent=st.sampled_from([2.0, 0.5, -0.5]),
    seed=st.integers(0, 2**16),
    spread=st.floats(1e-3, 1e3),
)
def test_roots_and_squares_are_powers(
    tmp_path_factory: pytest.TempPathFactory, exponent: float, seed: int, spread: float
) -> None:
    folder = tmp_path_factory.mktemp("rewrite")
    assert_equal_after_rewrite(folder, power(exponent), seed, spread, 1e-6)


def assert_equal_after_rewrite(
    folder: Path, case: Case, seed: int, spread: float, tolerance: float
) -> None:
    net = Net(*SHAPE)
    path = net.save(folder / "before.tflite", case(net, net.image))
    model = read(path)
    assert IntegerKernels()(model).changed
    write(model, folder / "after.tflite")
    values = np.random.default_rng(seed).normal(0, spread, SHAPE).astype(np.float32)
    (before,), (after,) = invoke(path, values), invoke(folder / "after.tflite", values)
    np.testing.assert_allclose(after, before, rtol=tolerance)


def test_other_powers_and_shapes_are_left_alone(tmp_path: Path) -> None:
    net = Net(*SHAPE)
    path = net.save(tmp_path / "float.tflite", power(1.7)(net, net.image))
    assert not IntegerKernels()(read(path)).changed
    _, result = emitted(path, scheme="int8")
    assert [left.op for left in result.left] == ["POW"]


def padded_pool(net: Net, x: Tensor, value: np.ndarray) -> Tensor:
    """What converters make of a 3x3 pooling with stride 2 and a padding of 1 on all sides."""
    _, height, width, channels = x.shape
    inputs = [x, ints(net, [[0, 0], [1, 1], [1, 1], [0, 0]]), net.constant("pad", value)]
    padded = net.operator("PADV2", inputs, "padded", (1, height + 2, width + 2, channels))
    options = schema.Pool2DOptionsT(
        padding=schema.Padding.VALID, strideH=2, strideW=2, filterHeight=3, filterWidth=3
    )
    shape = (1, height // 2, width // 2, channels)
    return net.operator("MAX_POOL_2D", [padded], "pooled", shape, options)


@pytest.mark.parametrize("scheme", ["int8", "int16x8"])
@pytest.mark.parametrize("shape", [(), (1,)])
@pytest.mark.parametrize("value", [-np.inf, np.finfo(np.float32).min])
def test_padding_below_everything_costs_no_steps(
    tmp_path: Path, value: float, shape: tuple[int, ...], scheme: Scheme
) -> None:
    net = Net(*SHAPE)
    pooled = padded_pool(net, net.conv(net.image, "first", 4), np.full(shape, value, np.float32))
    path = net.save(tmp_path / "float.tflite", net.conv(pooled, "last", 3))
    output, _ = emitted(path, scheme=scheme)
    assert summarize(output).integer_share == 1
    for picture in 2 * photos(6, *SHAPE[1:]):
        (wanted,) = invoke(path, picture[None])
        for delegate in (True, False):
            (got,) = run(output, picture[None], delegate=delegate)
            assert sqnr_db(wanted, got) > 30


def test_a_pad_value_that_counts_stays_what_it_is(tmp_path: Path) -> None:
    net = Net(*SHAPE)
    pooled = padded_pool(net, net.conv(net.image, "first", 4), np.array([0.7], np.float32))
    path = net.save(tmp_path / "float.tflite", pooled)
    output, _ = emitted(path, scheme="int8")
    picture = 2 * photos(6, *SHAPE[1:])[:1]
    (wanted,), (got,) = invoke(path, picture), run(output, picture, delegate=True)
    assert sqnr_db(wanted, got) > 35


@pytest.mark.parametrize("scheme", ["int8", "int16x8"])
@pytest.mark.parametrize("kind", ["SPLIT", "SPLIT_V", "UNPACK"])
def test_a_part_that_nobody_reads_has_the_type_of_the_others(
    tmp_path: Path, kind: str, scheme: Scheme
) -> None:
    net = Net(*SHAPE)
    first = net.conv(net.image, "first", 4)
    shape = SHAPE[:3] if kind == "UNPACK" else (*SHAPE[:3], 2)
    count = 4 if kind == "UNPACK" else 2
    parts = [net.graph.add_tensor(f"part{n}", shape, "float32") for n in range(count)]
    inputs, options = {
        "SPLIT": ([ints(net, 3), first], schema.SplitOptionsT(numSplits=2)),
        "SPLIT_V": ([first, ints(net, [2, 2]), ints(net, 3)], schema.SplitVOptionsT(numSplits=2)),
        "UNPACK": ([first], schema.UnpackOptionsT(num=4, axis=3)),
    }[kind]
    net.graph.insert_operator(1, kind, inputs, parts, options=options)
    twice = net.operator("MUL", [parts[0], floats(net, 2)], "twice", shape, schema.MulOptionsT())
    path = net.save(tmp_path / "float.tflite", twice)
    output, _ = emitted(path, scheme=scheme)
    if scheme == "int8":
        assert summarize(output).integer_share == 1
    picture = 2 * photos(6, *SHAPE[1:])[:1]
    (wanted,) = invoke(path, picture)
    for delegate in (True, False):
        (got,) = run(output, picture, delegate=delegate)
        assert sqnr_db(wanted, got) > 30


@pytest.mark.parametrize("scheme", ["int8", "int16x8"])
@pytest.mark.parametrize("shape", [(), (1,), (4,), (8, 1)])
@pytest.mark.parametrize("kind", ["MAXIMUM", "SELECT_V2"])
def test_constants_with_fewer_axes_than_the_output(
    tmp_path: Path, kind: str, shape: tuple[int, ...], scheme: Scheme
) -> None:
    net = Net(*SHAPE)
    first = net.conv(net.image, "first", 4)
    values = np.linspace(-0.2, 0.3, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    inputs = [first, net.constant("floor", values)]
    if kind == "SELECT_V2":
        chosen = net.graph.add_tensor("chosen", SHAPE, "bool")
        options = schema.GreaterOptionsT()
        net.graph.insert_operator(1, "GREATER", [*inputs], [chosen], options=options)
        made = net.operator(kind, [chosen, *inputs], "made", SHAPE, schema.SelectV2OptionsT())
    else:
        made = net.operator(kind, inputs, "made", SHAPE, schema.MaximumMinimumOptionsT())
    path = net.save(tmp_path / "float.tflite", net.conv(made, "last", 3))
    output, _ = emitted(path, scheme=scheme)
    picture = 2 * photos(6, *SHAPE[1:])[:1]
    (wanted,) = invoke(path, picture)
    for delegate in (True, False):
        (got,) = run(output, picture, delegate=delegate)
        assert sqnr_db(wanted, got) > 28


def test_such_a_padding_is_not_named_as_the_float_one(tmp_path: Path) -> None:
    """`edgekit explain` pairs tensors by name, and would call the other constant damaged."""
    net = Net(*SHAPE)
    pooled = padded_pool(net, net.conv(net.image, "first", 4), np.array(-np.inf, np.float32))
    path = net.save(tmp_path / "float.tflite", pooled)
    output, _ = emitted(path, scheme="int8")
    assert "padded" not in {tensor.name for tensor in read(output).main.tensors}
