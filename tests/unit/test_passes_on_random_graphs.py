"""Each pass over a float graph leaves the outputs equal, on graphs that nobody thought of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from quantize_nets import Net
from test_tflite_layout import Turning, one_more
from tflite_builder import invoke

from edgekit.quantize.bias_room import MakeRoom
from edgekit.quantize.integer_ops.constants import DropIdle, FoldConstants, ShareWeights
from edgekit.quantize.integer_ops.operands import ExpandConstants, OwnBuffers, OwnScalars
from edgekit.quantize.integer_ops.rewrites import IntegerKernels, Simplify
from edgekit.tflite.cleanup import ScalarAxes, ShareBuffers, clean
from edgekit.tflite.graph import Tensor
from edgekit.tflite.layout import SettleLayout
from edgekit.tflite.model import write
from edgekit.tflite.normalise import WidenHalves, WriteBothCodes
from edgekit.tflite.passes import GraphPass

SHAPE = (1, 6, 4, 8)
PASSES: dict[str, GraphPass] = {
    one.name: one
    for one in (
        WriteBothCodes(), WidenHalves(), SettleLayout(), FoldConstants(), DropIdle(),
        ShareWeights(), OwnBuffers(), OwnScalars(), ExpandConstants(), ScalarAxes(), ShareBuffers(),
    )
}  # fmt: skip
UNCOUNTED = {"settle layout", "own buffers"}
CLOSE = {
    "settle layout": 1e-5,  # means are summed up in another order
    "fold constants": 1e-6,  # by the plain kernels, where the graph has XNNPACK's
    "simplify": 1e-5,
    "integer kernels": 1e-6,
}


def something(net: Turning, source: Tensor, rng: np.random.Generator) -> list[Tensor]:
    """What one pass or another looks for, behind a tensor."""
    name, shape = net.name("made"), source.shape
    match rng.integers(10):
        case 0:  # known before it runs
            angles = net.normal(net.name("angles"), 1, 1, 1, shape[3])
            wave = net.operator("SIN", [angles], net.name("wave"), angles.shape)
            wave = net.operator("EXP", [wave], net.name("waves"), angles.shape)
            return [net.binary("ADD", source, wave)]
        case 1:  # does nothing
            kind, value = [("ADD", 0), ("MUL", 1), ("SUB", 0)][rng.integers(3)]
            return [net.binary(kind, source, net.constant(name, np.full(1, value, np.float32)))]
        case 2:  # weights that are equal to others'
            weights = np.random.default_rng(0).normal(0, 0.4, (8, 1, 1, shape[3]))
            kernel = net.constant(net.name("kernel"), weights.astype(np.float32))
            return [net.conv(source, name, 8, kernel=1, weights=kernel)]
        case 3:  # weights in float16
            half = net.constant(net.name("half"), net.rng.normal(0, 1, shape[3:]).astype("f2"))
            wide = net.operator("DEQUANTIZE", [half], net.name("wide"), half.shape)
            return [net.binary("MUL", source, wide)]
        case 4:  # an axis that is no scalar
            shape = (*shape[:3], shape[3] // 2)
            parts = [net.graph.add_tensor(net.name("part"), shape, "float32") for _ in range(2)]
            axis = net.constant(net.name("axis"), np.array([3], np.int32))
            options = schema.SplitOptionsT(numSplits=2)
            place = len(net.graph.operators)
            net.graph.insert_operator(place, "SPLIT", [axis, source], parts, options=options)
            return parts if shape[3] else [source]
        case 5:  # a constant with fewer axes, and one of rank 0
            low = net.constant(name, np.array(-0.5, np.float32))
            rows = net.normal(net.name("rows"), shape[3])
            options = schema.MaximumMinimumOptionsT()
            for other in (low, rows):
                made = net.name("most")
                source = net.operator("MAXIMUM", [source, other], made, shape, options)
            return [source]
        case _:
            return [other_thing(net, source, name, rng)]


def other_thing(net: Turning, source: Tensor, name: str, rng: np.random.Generator) -> Tensor:
    """What a pass before quantization looks for."""
    shape = source.shape
    match rng.integers(5):
        case 0:  # a scalar that several read
            half = net.constant(name, np.array(0.5, np.float32))
            return net.binary("MUL", net.binary("ADD", source, half), half)
        case 1:
            kind = str(rng.choice(["SQUARE", "NEG", "RELU", "RELU6", "RELU_N1_TO_1"]))
            return net.unary(kind, source)
        case 2:  # an activation behind what could have it
            return net.unary("RELU", net.conv(source, name, 8, kernel=1))
        case 3:  # a dense layer as a product and a sum
            matrix = net.normal(net.name("matrix"), shape[3], 8)
            options = schema.BatchMatMulOptionsT()
            product = net.operator("BATCH_MATMUL", [source, matrix], name, (*shape[:3], 8), options)
            return net.binary("ADD", product, net.normal(net.name("bias"), 8))
        case _:  # squares of a difference, of which the mean is taken
            mean = net.mean(source, 3)
            squares = net.operator(
                "SQUARED_DIFFERENCE",
                [source, mean],
                name,
                shape,
                schema.SquaredDifferenceOptionsT(),
            )
            return net.mean(squares, 3)


def random_net(path: Path, seed: int) -> tuple[Net, Path]:
    rng = np.random.default_rng(seed)
    net = Turning(*SHAPE, seed=seed)
    known = [net.conv(net.image, "first", 8)]
    for _ in range(16):
        whole = [tensor for tensor in known if tensor.shape[3] % 2 == 0]
        if rng.random() < 0.3:
            known += one_more(net, known[rng.integers(len(known))], known, rng)
        else:
            known += something(net, whole[rng.integers(len(whole))], rng)
    ends = {known[-1].index: known[-1], **{t.index: t for t in known[1:] if rng.random() < 0.15}}
    return net, net.save(path, *ends.values())


@pytest.mark.parametrize("seed", range(8))
def test_each_pass_leaves_the_outputs_equal(seed: int, tmp_path: Path) -> None:
    net, path = random_net(tmp_path / "net.tflite", seed)
    image = np.random.default_rng(99 + seed).normal(0, 1, SHAPE).astype(np.float32)
    wanted = invoke(path, image)
    ranges = {tensor.name: (-4.0, 4.0) for tensor in net.graph.tensors}
    more = (IntegerKernels(), MakeRoom(ranges, bits=8), Simplify(), clean)
    for one in (*PASSES.values(), *more):
        model = net.model.copy()
        if isinstance(one, OwnBuffers):
            ShareBuffers()(model)
        done = one(model)
        write(model, tmp_path / "changed.tflite")
        assert done.changed or model.packed() == net.model.packed() or one.name in UNCOUNTED
        for before, after in zip(wanted, invoke(tmp_path / "changed.tflite", image), strict=True):
            close = CLOSE.get(one.name, 0.0) * max(1.0, float(np.abs(before).max()))
            np.testing.assert_allclose(after, before, rtol=0, atol=close, err_msg=one.name)


def test_the_graphs_have_something_for_every_pass(tmp_path: Path) -> None:
    left = set(PASSES) - {"write both codes", "own buffers"}
    for seed in range(8):
        net, _ = random_net(tmp_path / "net.tflite", seed)
        left -= {name for name in left if PASSES[name](net.model.copy()).changed}
    assert not left
