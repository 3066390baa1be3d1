"""Masks of attention: what they leave out stays out, and they cost the scores no steps.

The oracle is the float file itself, run by the interpreter: SOFTMAX makes the same zeros of minus
infinity as of any value far enough below the scores.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from quantize_nets import Net, feed, quiet
from test_quantize_integer_ops import run, sqnr_db
from test_quantize_transformer_ops import TOKENS
from tflite_builder import invoke

from edgekit.quantize import ranges
from edgekit.quantize.emit import emit
from edgekit.quantize.integer_ops.masks import Masks, find_masks
from edgekit.quantize.integer_ops.rewrites import before_passes
from edgekit.quantize.observe import observe
from edgekit.tflite.model import Tensor, read
from edgekit.tflite.summary import summarize
from edgekit.types import Scheme

COUNT = TOKENS[1]
LATER = np.triu(np.ones((COUNT, COUNT), bool), 1)
"""What comes later than the token itself is masked."""
LOWEST = float(np.finfo(np.float32).min)

Masking = Callable[[Net, Tensor], Tensor]


def added(value: float) -> Masking:
    def mask(net: Net, scores: Tensor) -> Tensor:
        constant = net.constant("mask", np.where(LATER, np.float32(value), np.float32(0)))
        return net.add(scores, constant, "masked")

    return mask


def selected(value: float, *, mask_first: bool) -> Masking:
    def mask(net: Net, scores: Tensor) -> Tensor:
        chosen = net.constant("chosen", LATER if mask_first else ~LATER)
        constant = net.constant("mask", np.array(value, np.float32))
        operands = [constant, scores] if mask_first else [scores, constant]
        options = schema.SelectV2OptionsT()
        return net.operator("SELECT_V2", [chosen, *operands], "masked", scores.shape, options)

    return mask


def written_as_selection(net: Net, scores: Tensor) -> Tensor:
    """As litert-torch writes a causal mask: chosen from two constants, then added."""
    operands = [net.constant("chosen", ~LATER), net.constant("zero", np.array(0, np.float32))]
    operands.append(net.constant("low", np.array(-np.inf, np.float32)))
    mask = net.operator("SELECT_V2", operands, "mask", LATER.shape, schema.SelectV2OptionsT())
    return net.add(scores, mask, "masked")


def made(value: float) -> Masking:
    """As language models make it of an input: (1 - mask) · value, here of what is above a limit."""

    def mask(net: Net, scores: Tensor) -> Tensor:
        marks = as_float(net, above_limit(net), "marks")
        return net.add(scores, times(net, marks, value, "low"), "masked")

    return mask


def above_limit(net: Net) -> Tensor:
    """Truth values of an input, of shape (1, 1, tokens): what is above a limit."""
    first = net.operator(
        "SLICE",
        [
            net.image,
            *(
                net.constant(f"s{n}", np.array(v, np.int32))
                for n, v in enumerate(([0, 0, 0], [1, COUNT, 1]))
            ),
        ],
        "first",
        (1, COUNT, 1),
        schema.SliceOptionsT(),
    )
    row = net.operator(
        "RESHAPE",
        [first, net.constant("row_shape", np.array([1, 1, COUNT], np.int32))],
        "row",
        (1, 1, COUNT),
        schema.ReshapeOptionsT(newShape=[1, 1, COUNT]),
    )
    above = net.graph.add_tensor("above", row.shape, "bool")
    limit = net.constant("limit", np.array([0.7], np.float32))
    place = len(net.graph.operators)
    net.graph.insert_operator(
        place, "GREATER", [row, limit], [above], options=schema.GreaterOptionsT()
    )
    return above


def matmul(net: Net, one: Tensor, other: Tensor, name: str, *, adj_y: bool = False) -> Tensor:
    shape = (1, one.shape[1], other.shape[1 if adj_y else 2])
    options = schema.BatchMatMulOptionsT(adjY=adj_y)
    return net.operator("BATCH_MATMUL", [one, other], name, shape, options)


def attention(net: Net, masking: Masking, *, reshaped: bool = False) -> Tensor:
    """softmax(mask(x · xᵀ)) · x, with as much weight on the scores as attention has."""
    scores = matmul(net, net.image, net.image, "scores", adj_y=True)
    masked = masking(net, scores)
    if reshaped:
        shape = net.constant("as_heads", np.array([1, 1, COUNT, COUNT], np.int32))
        options = schema.ReshapeOptionsT(newShape=[1, 1, COUNT, COUNT])
        masked = net.operator("RESHAPE", [masked, shape], "heads", (1, 1, COUNT, COUNT), options)
        shape = net.constant("as_scores", np.array([1, COUNT, COUNT], np.int32))
        shares = net.operator(
            "SOFTMAX", [masked], "shares4", masked.shape, schema.SoftmaxOptionsT(beta=1.0)
        )
        options = schema.ReshapeOptionsT(newShape=[1, COUNT, COUNT])
        shares = net.operator("RESHAPE", [shares, shape], "shares", scores.shape, options)
    else:
        shares = net.operator(
            "SOFTMAX", [masked], "shares", masked.shape, schema.SoftmaxOptionsT(beta=1.0)
        )
    return matmul(net, shares, net.image, "read")


def sequences(count: int) -> np.ndarray:
    return np.random.default_rng(3).normal(0, 0.8, (count, *TOKENS[1:])).astype(np.float32)


def written(path: Path, scheme: Scheme) -> Path:
    """As the engine does it: groups first, then ranges, then the file."""
    folder = path.parent
    path = before_passes(path, folder)
    feeds = feed(folder / "sequences.npy", sequences(16))
    histograms = observe(path, feeds, progress=quiet)
    output = folder / f"{scheme}.tflite"
    emit(path, output, scheme, ranges.choose(histograms, "minmax"))
    return output


def found_in(path: Path) -> Masks:
    feeds = feed(path.parent / "sequences.npy", sequences(16))
    histograms = observe(path, feeds, progress=quiet)
    return find_masks(read(path), ranges.choose(histograms, "minmax"))


def truths(net: Net) -> Tensor:
    """Which tokens may be seen, as truth values of shape (1, 1, tokens).

    The first always may: of a row without any, each way to write masks makes something else.
    """
    above = above_limit(net)
    seen = net.graph.add_tensor("seen", above.shape, "bool")
    place = len(net.graph.operators)
    net.graph.insert_operator(place, "LOGICAL_NOT", [above], [seen])
    first = net.constant("always", np.arange(COUNT).reshape(above.shape) == 0)
    some = net.graph.add_tensor("some_seen", above.shape, "bool")
    net.graph.insert_operator(place + 1, "LOGICAL_OR", [seen, first], [some])
    return some


def as_float(net: Net, truth: Tensor, name: str) -> Tensor:
    options = schema.CastOptionsT(
        inDataType=schema.TensorType.BOOL, outDataType=schema.TensorType.FLOAT32
    )
    return net.operator("CAST", [truth], name, truth.shape, options)


def minus(net: Net, one: Tensor, name: str) -> Tensor:
    first = net.constant(f"{name}_one", np.array([1], np.float32))
    return net.operator("SUB", [first, one], name, one.shape, schema.SubOptionsT())


def times(net: Net, one: Tensor, other: Tensor | float, name: str) -> Tensor:
    if isinstance(other, float):
        other = net.constant(f"{name}_factor", np.array([other], np.float32))
    shape = np.broadcast_shapes(one.shape, other.shape)
    return net.operator("MUL", [one, other], name, shape, schema.MulOptionsT())


def chosen_by_products(value: float) -> Masking:
    """``where(seen, scores, value)`` as onnx2tf writes it: hidden · value + seen · scores."""

    def mask(net: Net, scores: Tensor) -> Tensor:
        seen = as_float(net, truths(net), "seen_as_float")
        low = times(net, minus(net, seen, "hidden"), value, "hidden_low")
        return net.add(low, times(net, seen, scores, "kept"), "masked")

    return mask


def made_by_products(value: float) -> Masking:
    """A mask of zeros and ``value`` made so, broadcast by ones, and added: PyTorch's attention."""

    def mask(net: Net, scores: Tensor) -> Tensor:
        seen = as_float(net, truths(net), "seen_as_float")
        zeros = net.constant("zeros", np.zeros(seen.shape, np.float32))
        low = times(net, minus(net, seen, "hidden"), value, "hidden_low")
        bias = net.add(times(net, seen, zeros, "nothing"), low, "bias")
        ones = net.constant("ones", np.ones((1, COUNT, COUNT), np.float32))
        return net.add(scores, times(net, bias, ones, "heads"), "masked")

    return mask


def both(first: Masking, second: float) -> Masking:
    """A padding mask and a causal one, added one after the other."""

    def mask(net: Net, scores: Tensor) -> Tensor:
        once = first(net, scores)
        constant = net.constant("causal", np.where(LATER, np.float32(second), np.float32(0)))
        return net.add(once, constant, "masked_twice")

    return mask


def window(value: float) -> Masking:
    """A relative position bias in which what lies outside the window is masked."""

    def mask(net: Net, scores: Tensor) -> Tensor:
        distance = np.abs(np.subtract.outer(np.arange(COUNT), np.arange(COUNT)))
        bias = np.where(distance > 3, np.float32(value), -0.2 * distance.astype(np.float32))
        return net.add(scores, net.constant("bias", bias.astype(np.float32)), "masked")

    return mask


ALL: dict[str, Masking] = {
    "chosen-by-products": chosen_by_products(LOWEST),
    "made-by-products": made_by_products(LOWEST),
    "made-by-products-thousand": made_by_products(-1e3),
    "two": both(chosen_by_products(LOWEST), -1e9),
    "two-made": both(made_by_products(-1e4), -np.inf),
    "window": window(-100.0),
    "window-infinity": window(-np.inf),
    "infinity": added(-np.inf),
    "lowest": added(LOWEST),
    "billion": added(-1e9),
    "hundred": added(-100.0),
    "selected": selected(-np.inf, mask_first=True),
    "selected-else": selected(LOWEST, mask_first=False),
    "written-as-selection": written_as_selection,
    "made-lowest": made(LOWEST),
    "made-ten-thousand": made(-1e4),
}


@pytest.mark.parametrize("scheme", ["int8", "int16x8"])
@pytest.mark.parametrize("name", ALL)
def test_scores_keep_their_steps(tmp_path: Path, name: str, scheme: Scheme) -> None:
    net = Net(*TOKENS)
    path = net.save(tmp_path / "float.tflite", attention(net, ALL[name]))
    output = written(path, scheme)
    for sequence in sequences(20)[16:]:  # other ones than the ranges are from
        (wanted,) = invoke(path, sequence[None])
        for delegate in (True, False):
            (got,) = run(output, sequence[None], delegate=delegate)
            assert sqnr_db(wanted, got) > (28 if scheme == "int8" else 45)


def test_through_a_reshape(tmp_path: Path) -> None:
    net = Net(*TOKENS)
    path = net.save(tmp_path / "float.tflite", attention(net, added(-np.inf), reshaped=True))
    output = written(path, "int8")
    assert summarize(output).integer_share == 1
    sequence = sequences(1)
    (wanted,), (got,) = invoke(path, sequence), run(output, sequence, delegate=True)
    assert sqnr_db(wanted, got) > 28


def test_a_mask_that_two_layers_share(tmp_path: Path) -> None:
    """The scores of the second are ten times as large: one mask has to be low enough for both."""
    net = Net(*TOKENS)
    factor = net.constant("ten", np.array([10], np.float32))
    scores = matmul(net, net.image, net.image, "scores", adj_y=True)
    larger = net.operator("MUL", [scores, factor], "larger", scores.shape, schema.MulOptionsT())
    masked = made(LOWEST)(net, scores)
    low = next(tensor for tensor in net.graph.tensors if tensor.name == "low")
    options = schema.SoftmaxOptionsT(beta=1.0)
    parts = []
    for number, one in enumerate((masked, net.add(larger, low, "masked_larger"))):
        shares = net.operator("SOFTMAX", [one], f"shares{number}", one.shape, options)
        parts.append(matmul(net, shares, net.image, f"read{number}"))
    path = net.save(tmp_path / "float.tflite", *parts)
    assert len(found_in(path).constants) == 2
    output = written(path, "int8")
    sequence = sequences(1)
    for wanted, got in zip(
        invoke(path, sequence), run(output, sequence, delegate=True), strict=True
    ):
        assert sqnr_db(wanted, got) > 20


def test_a_selection_between_constants_is_a_constant(tmp_path: Path) -> None:
    net = Net(*TOKENS)
    path = net.save(tmp_path / "float.tflite", attention(net, written_as_selection))
    folded = before_passes(path, tmp_path)
    assert "SELECT_V2" not in {operator.name for operator in read(folded).main.operators}
    sequence = sequences(1)
    np.testing.assert_array_equal(invoke(path, sequence)[0], invoke(folded, sequence)[0])


def test_what_is_masked_is_not_named_as_in_the_float_file(tmp_path: Path) -> None:
    """`edgekit explain` pairs tensors by name, and would call the sum wrong."""
    net = Net(*TOKENS)
    path = net.save(tmp_path / "float.tflite", attention(net, added(-1e9)))
    assert "masked" not in {tensor.name for tensor in read(written(path, "int8")).main.tensors}


@pytest.mark.parametrize("read_too", [True, False])
def test_what_is_no_mask_is_left_alone(tmp_path: Path, read_too: bool) -> None:
    """Positions as a bias, and a sum that is an output of the model."""
    net = Net(*TOKENS)
    masking = added(-100.0) if read_too else added(-5.0)
    outputs = [attention(net, masking)]
    if read_too:
        outputs += [tensor for tensor in net.graph.tensors if tensor.name == "masked"]
    path = net.save(tmp_path / "float.tflite", *outputs)
    assert not found_in(path).limits


def test_a_made_mask_that_is_an_output_stays_as_it_is(tmp_path: Path) -> None:
    net = Net(*TOKENS)
    read_out = attention(net, made(-1e4))
    low = next(tensor for tensor in net.graph.tensors if tensor.name == "low")
    path = net.save(tmp_path / "float.tflite", read_out, low)
    assert not found_in(path).limits


@pytest.mark.parametrize("bias", [-60.0, -250.0])
def test_a_strong_bias_of_a_class_is_no_mask(tmp_path: Path, bias: float) -> None:
    """Its scores reach high enough to win: as a mask it would be gone."""
    net = Net(1, 16)
    weights = 12 * net.rng.normal(0, 1, (5, 16)).astype(np.float32)
    weights[3] *= -bias / 60
    zeros = net.constant("zeros", np.zeros(5, np.float32))
    options = schema.FullyConnectedOptionsT()
    dense = net.constant("dense", weights)
    scores = net.operator("FULLY_CONNECTED", [net.image, dense, zeros], "scores", (1, 5), options)
    values = np.array([0, 1, -1, bias, 2], np.float32)
    shifted = net.add(scores, net.constant("bias", values), "shifted")
    shares = net.operator("SOFTMAX", [shifted], "shares", (1, 5), schema.SoftmaxOptionsT(beta=1.0))
    path = net.save(tmp_path / "float.tflite", shares)
    rng = np.random.default_rng(5)
    rows = rng.normal(0, 1, (200, 16)).astype(np.float32)
    feeds = feed(tmp_path / "rows.npy", rows[:64])
    chosen = ranges.choose(observe(path, feeds, progress=quiet), "minmax")
    assert not find_masks(read(path), chosen).limits
    output = tmp_path / "int8.tflite"
    emit(path, output, "int8", chosen)
    same = [
        invoke(path, row[None])[0].argmax() == run(output, row[None], delegate=True)[0].argmax()
        for row in rows[64:]
    ]
    assert 3 in {int(invoke(path, row[None])[0].argmax()) for row in rows[64:]}
    assert np.mean(same) > 0.93


def test_a_row_that_is_masked_as_a_whole_is_no_mask(tmp_path: Path) -> None:
    """All classes have low biases: which of them wins is decided between these."""
    net = Net(*TOKENS)
    scores = matmul(net, net.image, net.image, "scores", adj_y=True)
    low = net.constant("low", np.linspace(-900, -800, COUNT, dtype=np.float32))
    options = schema.SoftmaxOptionsT(beta=1.0)
    masked = net.add(scores, low, "shifted")
    shares = net.operator("SOFTMAX", [masked], "shares", scores.shape, options)
    path = net.save(tmp_path / "float.tflite", shares)
    assert not found_in(path).limits
