"""Axes that are turned to and fro: left out, and the outputs are what they were."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from quantize_nets import Net
from tflite_builder import invoke

from edgekit.pipeline.explain.stages import _as_quantized
from edgekit.tflite.graph import Tensor
from edgekit.tflite.layout import SettleLayout
from edgekit.tflite.model import read, write
from edgekit.tflite.normalise import CLEANED_ENTRY, normalise, normalised
from edgekit.tflite.summary import summarize

_NCHW, _NHWC = (0, 3, 1, 2), (0, 2, 3, 1)


class Turning(Net):
    """Nets in which axes are turned."""

    def turned(self, source: Tensor, turn: tuple[int, ...]) -> Tensor:
        axes = self.constant(self.name("axes"), np.array(turn, np.int32))
        shape = [source.shape[axis] for axis in turn]
        return self.operator(
            "TRANSPOSE", [source, axes], self.name("turned"), shape, schema.TransposeOptionsT()
        )

    def shaped(self, source: Tensor, *shape: int) -> Tensor:
        sizes = self.constant(self.name("shape"), np.array(shape, np.int32))
        options = schema.ReshapeOptionsT(newShape=list(shape))
        return self.operator("RESHAPE", [source, sizes], self.name("shaped"), shape, options)

    def unary(self, kind: str, source: Tensor) -> Tensor:
        return self.operator(kind, [source], self.name(kind), source.shape)

    def binary(self, kind: str, one: Tensor, other: Tensor) -> Tensor:
        shape = np.broadcast_shapes(one.shape, other.shape)
        options = {"ADD": schema.AddOptionsT, "MUL": schema.MulOptionsT, "SUB": schema.SubOptionsT}
        return self.operator(kind, [one, other], self.name(kind), shape, options[kind]())

    def mean(self, source: Tensor, *axes: int, keep: bool = True) -> Tensor:
        numbers = self.constant(self.name("axes"), np.array(axes, np.int32))
        sizes = [1 if at in axes else n for at, n in enumerate(source.shape)]
        shape = sizes if keep else [n for at, n in enumerate(source.shape) if at not in axes]
        options = schema.ReducerOptionsT(keepDims=keep)
        return self.operator("MEAN", [source, numbers], self.name("mean"), shape, options)

    def joined(self, axis: int, *parts: Tensor) -> Tensor:
        shape = list(parts[0].shape)
        shape[axis] = sum(part.shape[axis] for part in parts)
        options = schema.ConcatenationOptionsT(axis=axis)
        return self.operator("CONCATENATION", parts, self.name("joined"), shape, options)

    def padded(self, source: Tensor, rows: list[list[int]]) -> Tensor:
        numbers = self.constant(self.name("rows"), np.array(rows, np.int32))
        shape = [n + sum(row) for n, row in zip(source.shape, rows, strict=True)]
        return self.operator(
            "PAD", [source, numbers], self.name("padded"), shape, schema.PadOptionsT()
        )

    def cut(self, source: Tensor, axis: int) -> Tensor:
        """Every second entry along an axis."""
        begins = [int(at == axis) for at in range(4)]
        strides = [1 + int(at == axis) for at in range(4)]
        shape = [-((begins[at] - n) // strides[at]) for at, n in enumerate(source.shape)]
        constants = [
            self.constant(self.name("row"), np.array(row, np.int32))
            for row in (begins, [0] * 4, strides)
        ]
        options = schema.StridedSliceOptionsT(endMask=15)
        return self.operator(
            "STRIDED_SLICE", [source, *constants], self.name("cut"), shape, options
        )

    def halves(self, source: Tensor, axis: int) -> list[Tensor]:
        shape = list(source.shape)
        shape[axis] //= 2
        parts = [self.graph.add_tensor(self.name("half"), shape, "float32") for _ in range(2)]
        number = self.constant(self.name("axis"), np.array(axis, np.int32))
        self.graph.insert_operator(
            len(self.graph.operators), "SPLIT", [number, source], parts,
            options=schema.SplitOptionsT(numSplits=2),
        )  # fmt: skip
        return parts

    def name(self, what: str) -> str:
        return f"{what.lower()}{len(self.graph.raw.tensors)}"


def squeeze_excite(net: Turning, source: Tensor, pointwise: bool) -> Tensor:
    """As onnx2tf leaves it: NCHW between two TRANSPOSE, RESHAPE around the 1×1 convolutions."""
    channels = source.shape[3]
    inner = net.unary("HARD_SWISH", net.turned(source, _NCHW))
    pooled = net.mean(inner, 3, 2)
    if pointwise:
        narrow = net.conv(net.shaped(pooled, 1, 1, 1, channels), net.name("conv"), 4, kernel=1)
        scores = net.shaped(net.conv(narrow, net.name("conv"), channels, kernel=1), *pooled.shape)
    else:
        scores = pooled
    sixth = net.constant(net.name("sixth"), np.array([1 / 6], np.float32))
    gate = net.unary("LOGISTIC", net.binary("MUL", scores, sixth))
    return net.turned(net.binary("MUL", gate, inner), _NHWC)


def counts(path: Path) -> Counter[str]:
    return Counter(operator.name for operator in read(path).main.operators)


def the_same(net: Turning, tmp_path: Path, *outputs: Tensor) -> tuple[Counter[str], Counter[str]]:
    """Settle the net, compare it with what it was; its operators before and after."""
    path, settled = net.save(tmp_path / "net.tflite", *outputs), tmp_path / "settled.tflite"
    model = read(path)
    SettleLayout()(model)
    write(model, settled)
    image = np.random.default_rng(7).normal(0, 1, net.image.shape).astype(np.float32)
    for one, other in zip(invoke(path, image), invoke(settled, image), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-5)
    names = [[tensor.name for tensor in read(one).main.outputs] for one in (path, settled)]
    assert names[0] == names[1]
    return counts(path), counts(settled)


@pytest.mark.parametrize("pointwise", [True, False])
def test_squeeze_excite_in_nchw_turns_nothing(tmp_path: Path, pointwise: bool) -> None:
    net = Turning(1, 8, 6, 8)
    last = net.conv(net.image, "first", 8)
    for number in range(3):
        last = net.conv(squeeze_excite(net, last, pointwise), f"conv{number}", 8)
    before, after = the_same(net, tmp_path, last)
    assert before["TRANSPOSE"] == 6
    assert after["TRANSPOSE"] == after["RESHAPE"] == 0
    model = read(tmp_path / "settled.tflite")
    means = [operator for operator in model.main.operators if operator.name == "MEAN"]
    assert [mean.inputs[1].data().tolist() for mean in means if mean.inputs[1]] == [[1, 2]] * 3
    read_by_nobody = [
        t for t in model.main.tensors if t.is_constant and not model.main.consumers(t)
    ]
    assert not read_by_nobody


def test_what_gains_nothing_stays(tmp_path: Path) -> None:
    """A network in NCHW with its own turn at the end, as attention has it."""
    net = Turning(1, 4, 6, 8)
    last = net.shaped(net.turned(net.unary("TANH", net.image), (0, 2, 1, 3)), 6, 32)
    before, after = the_same(net, tmp_path, last)
    assert before == after


def test_an_output_keeps_its_name_and_its_axes(tmp_path: Path) -> None:
    net = Turning(1, 4, 6, 8)
    inner = net.unary("RELU", net.turned(net.conv(net.image, "conv", 8), _NCHW))
    again = net.unary("TANH", net.turned(inner, _NHWC))
    _, after = the_same(net, tmp_path, inner, again)
    assert after["TRANSPOSE"] == 1


def test_two_outputs_of_one_tensor_stay_two(tmp_path: Path) -> None:
    net = Turning(1, 4, 6, 8)
    inner = net.unary("RELU", net.turned(net.image, _NCHW))
    the_same(net, tmp_path, net.turned(inner, _NHWC), net.turned(inner, _NHWC))


@pytest.mark.parametrize("seed", range(40))
def test_random_graphs_compute_the_same(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    net = Turning(1, 6, 4, 8, seed=seed)
    known = [net.conv(net.image, "first", 8)]
    for _ in range(14):
        source = known[rng.integers(len(known))]
        known += one_more(net, source, known, rng)
    ends = {known[-1].index: known[-1], **{t.index: t for t in known[1:] if rng.random() < 0.2}}
    before, after = the_same(net, tmp_path, *ends.values())
    moved = [counted["TRANSPOSE"] + counted["RESHAPE"] for counted in (before, after)]
    assert moved[1] <= moved[0]


def one_more(
    net: Turning, source: Tensor, known: list[Tensor], rng: np.random.Generator
) -> list[Tensor]:
    """Another operator behind one of the tensors."""
    axis = int(rng.integers(1, 4))
    match rng.integers(12):
        case 0 | 1 | 2:
            return [net.turned(source, _NCHW if rng.random() < 0.5 else _NHWC)]
        case 3:
            return [net.unary(str(rng.choice(["TANH", "RELU", "LOGISTIC"])), source)]
        case 4:
            like = [t for t in known if t.shape == source.shape]
            return [net.binary("ADD", source, like[rng.integers(len(like))])]
        case 5:
            vector = net.normal(net.name("vector"), *source.shape[4 - axis :])
            return [net.binary("MUL", source, vector)]
        case 6:
            pooled = net.mean(source, *sorted({axis, 1 + axis % 3}))
            return [net.binary("SUB", source, pooled)]
        case 7:
            return [net.joined(axis, source, net.unary("TANH", source))]
        case 8:
            return [net.padded(source, rng.integers(0, 2, (4, 2)).tolist())]
        case 9 if source.shape[axis] > 2:
            return [net.cut(source, axis)]
        case 10 if source.shape[axis] % 2 == 0:
            return net.halves(source, axis)
        case _:
            pooled = net.mean(source, 1, 2) if axis == 1 else source
            order = [n for n in pooled.shape if n != 1]
            shape = (*order, *(1,) * (4 - len(order)))
            return [net.binary("MUL", net.shaped(pooled, *shape), net.shaped(pooled, *shape))]


def test_it_is_told_in_the_file(tmp_path: Path) -> None:
    net = Turning(1, 8, 6, 8)
    path = net.save(tmp_path / "net.tflite", squeeze_excite(net, net.image, pointwise=True))
    copy = normalised(path, tmp_path / "copy.tflite")
    assert summarize(copy).cleaned == "2 RESHAPE, 2 TRANSPOSE left out"
    assert not normalise(read(copy))
    assert CLEANED_ENTRY not in read(path).metadata
    assert summarize(path).cleaned == ""


def test_a_long_chain_takes_no_time_that_grows_with_its_square(tmp_path: Path) -> None:
    """Counted, not timed: how often the index of the graph is asked."""
    asked: list[int] = []
    for length in (100, 400):
        net = Turning(1, 2, 2, 4)
        last = net.turned(net.image, _NCHW)
        for _ in range(length):
            last = net.unary("TANH", last)
            last = net.turned(net.turned(last, _NHWC), _NCHW)
        model = read(net.save(tmp_path / "net.tflite", net.turned(last, _NHWC)))
        uses = model.main.uses
        asked.append(0)
        readers = uses.readers

        def counting(tensor: int, readers: Any = readers) -> list[Any]:
            asked[-1] += 1
            return list(readers(tensor))

        uses.readers = counting  # type: ignore[method-assign]
        SettleLayout()(model)
        assert Counter(op.name for op in model.main.operators) == {"TANH": length}
    assert asked[1] < 6 * asked[0]


def test_explain_compares_a_cleaned_file_with_the_cleaned_source(tmp_path: Path) -> None:
    net = Turning(1, 8, 6, 8)
    source = net.save(tmp_path / "net.tflite", squeeze_excite(net, net.image, pointwise=True))
    cleaned = normalised(source, tmp_path / "cleaned.tflite")
    (tmp_path / "work").mkdir()
    for candidate in (source, cleaned):
        assert counts(_as_quantized(source, candidate, tmp_path / "work")) == counts(candidate)
