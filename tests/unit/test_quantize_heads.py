"""Outputs that mix ranges: found, cut into parts, and joined again, in files that run."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given, settings
from hypothesis import strategies as st
from quantize_nets import Net, feed, photos, quiet

from edgekit.quantize import heads, ranges
from edgekit.quantize.emit import emit
from edgekit.quantize.engine import quantize
from edgekit.quantize.observe import observe
from edgekit.quantize.slices import Slicer, boundaries
from edgekit.tflite.model import Tensor, read, write
from edgekit.tflite.summary import summarize


def _constant(net: Net, name: str, values: list[int]) -> Tensor:
    return net.constant(name, np.array(values, np.int32))


def _concat(net: Net, tensors: list[Tensor], name: str, axis: int) -> Tensor:
    shape = list(tensors[0].shape)
    shape[axis] = sum(tensor.shape[axis] for tensor in tensors)
    return net.operator(
        "CONCATENATION", tensors, name, shape, schema.ConcatenationOptionsT(axis=axis)
    )


def _flat(net: Net, source: Tensor, name: str) -> Tensor:
    """NHWC to (1, channels, positions), as converters write PyTorch's ``flatten(2)``."""
    _, height, width, channels = source.shape
    order = _constant(net, f"{name}_order", [0, 3, 1, 2])
    turned = net.operator(
        "TRANSPOSE", [source, order], f"{name}_nchw", (1, channels, height, width)
    )
    shape = [1, channels, height * width]
    return net.operator("RESHAPE", [turned, _constant(net, f"{name}_shape", shape)], name, shape)


def _scaled(net: Net, source: Tensor, name: str, factor: float) -> Tensor:
    value = net.constant(f"{name}_factor", np.array([factor], np.float32))
    return net.operator("MUL", [source, value], name, source.shape, schema.MulOptionsT())


def detector(path: Path, *, box: float = 300.0) -> Path:
    """Two levels, each with boxes beside scores; joined, taken apart, decoded, joined again."""
    net = Net(1, 8, 8, 3)
    maps = [net.conv(net.image, "level0", 6), net.conv(net.image, "level1", 6, stride=2)]
    flat = []
    for number, level in enumerate(maps):
        boxes = net.conv(level, f"boxes{number}", 4, kernel=1)
        scores = _scaled(
            net, net.conv(level, f"scores{number}", 3, kernel=1), f"logits{number}", 20
        )
        flat.append(_flat(net, _concat(net, [boxes, scores], f"joined{number}", 3), f"f{number}"))
    levels = _concat(net, flat, "levels", 2)
    parts = []
    for name, start, size in (("box", 0, 4), ("score", 4, 3)):
        begin = _constant(net, f"{name}_begin", [0, start, 0])
        sizes = _constant(net, f"{name}_size", [1, size, levels.shape[2]])
        shape = (1, size, levels.shape[2])
        parts.append(net.operator("SLICE", [levels, begin, sizes], name, shape))
    boxes = _scaled(net, parts[0], "pixels", box)
    sigmoid = net.operator("LOGISTIC", [parts[1]], "sigmoid", parts[1].shape)
    return net.save(path, _concat(net, [boxes, sigmoid], "output", 1))


def _run(path: Path | bytes, stack: np.ndarray) -> list[np.ndarray]:
    """Real values of all outputs, by the interpreter."""
    data = path if isinstance(path, bytes) else path.read_bytes()
    interpreter = Interpreter(model_content=data)
    interpreter.allocate_tensors()
    (given,), wanted = interpreter.get_input_details(), interpreter.get_output_details()
    runs: list[list[np.ndarray]] = [[] for _ in wanted]
    for value in stack:
        scale, zero = given["quantization"]
        stored = np.clip(np.rint(value / scale) + zero, -128, 127) if scale else value
        interpreter.set_tensor(given["index"], stored[None].astype(given["dtype"]))
        interpreter.invoke()
        for run, detail in zip(runs, wanted, strict=True):
            result = interpreter.get_tensor(detail["index"]).astype(np.float64)
            scale, zero = detail["quantization"]
            run.append((result - zero) * scale if scale else result)
    return [np.concatenate(run) for run in runs]


def _db(wanted: np.ndarray, got: np.ndarray) -> float:
    return float(10 * np.log10(np.sum(wanted**2) / np.sum((wanted - got) ** 2)))


@pytest.fixture
def made(tmp_path: Path) -> SimpleNamespace:
    stack = photos(8, 8, 8, 3)
    path = detector(tmp_path / "float.tflite")
    feeds = feed(tmp_path / "photos.npy", stack)
    return SimpleNamespace(path=path, stack=stack, feeds=feeds, work=tmp_path)


def test_boxes_beside_scores_are_found_with_their_ranges(made: SimpleNamespace) -> None:
    found = {one.tensor: one for one in heads.find(read(made.path), made.feeds)}
    assert set(found) == {"output", "levels"}
    output = found["output"]
    (wanted,) = _run(made.path, made.stack)
    assert (output.output, output.axis) == (0, 1)
    assert [(part.start, part.size) for part in output.parts] == [(0, 4), (4, 3)]
    for part, values in zip(output.parts, (wanted[:, :4], wanted[:, 4:]), strict=True):
        assert (part.low, part.high) == pytest.approx((values.min(), values.max()), rel=1e-5)
    # The oracle for the scores with the boxes' scale: quantize by hand.
    step = (wanted.max() - wanted.min()) / 255
    scores = wanted[:, 4:]
    assert output.parts[1].shared_db == pytest.approx(
        _db(scores, np.rint(scores / step) * step) if np.rint(scores / step).any() else 0, abs=0.1
    )
    assert output.parts[1].own_db > output.parts[1].shared_db + 30
    assert output.parts[0].own_db == pytest.approx(output.parts[0].shared_db, abs=1)
    assert found["levels"].output is None


def test_outputs_of_one_magnitude_are_left_alone(made: SimpleNamespace) -> None:
    alike = detector(made.work / "alike.tflite", box=1 / 4)
    found = heads.find(read(alike), made.feeds)
    assert "output" not in {one.tensor for one in found}


def test_the_cut_model_computes_the_same_bit_for_bit(made: SimpleNamespace) -> None:
    cut = heads.cut(read(made.path), made.feeds, mend=True)
    assert {one.tensor: one.did for one in cut.mixed} == {
        "output": "cut into 2 parts",
        "levels": "2 slices moved to the parts",
    }
    (wanted,) = _run(made.path, made.stack)
    parts = _run(cut.model.packed(), made.stack)
    assert [part.shape[1] for part in parts] == [4, 3]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), wanted)
    kinds = [op.name for op in cut.model.main.operators]
    assert "SLICE" not in kinds
    names = [entry.name for entry in cut.model.raw.signatureDefs[0].outputs]
    assert names == ["output/0", "output/1"]

    whole = made.work / "whole.tflite"
    write(heads.join(cut.model, cut), whole)
    (joined,) = _run(whole, made.stack)
    np.testing.assert_array_equal(joined, wanted)
    assert [e.name for e in read(whole).raw.signatureDefs[0].outputs] == [b"output"]


def test_integer_files_keep_their_scores(made: SimpleNamespace) -> None:
    (wanted,) = _run(made.path, made.stack)
    stock = made.work / "stock.tflite"
    histograms = observe(made.path, made.feeds, progress=quiet)
    emit(made.path, stock, "int8", ranges.choose(histograms, "minmax"))
    (plain,) = _run(stock, made.stack)
    outputs = {name: made.work / f"{name}.tflite" for name in ("int8", "int8-float-io", "int16x8")}
    outcome = quantize(
        made.path, outputs, feeds=made.feeds, work=made.work, effort="fast", progress=quiet
    )
    assert outcome.failures == {}
    assert outcome.cut == ("int8",)
    assert set(outcome.joined) == {"int8-float-io"}
    boxes, scores = _run(outputs["int8"], made.stack)
    (floating,) = _run(outputs["int8-float-io"], made.stack)
    (sixteen,) = _run(outputs["int16x8"], made.stack)
    assert _db(wanted[:, 4:], plain[:, 4:]) < 10
    assert _db(wanted[:, 4:], scores) > 25
    assert _db(wanted[:, :4], boxes) > _db(wanted[:, :4], plain[:, :4]) - 1
    assert _db(wanted[:, 4:], floating[:, 4:]) > 25
    assert sixteen.shape == wanted.shape
    graph = read(outputs["int8-float-io"]).main
    assert [t.dtype for t in (*graph.inputs, *graph.outputs)] == ["float32", "float32"]
    graph = read(outputs["int8"]).main
    assert {t.dtype for t in (*graph.inputs, *graph.outputs)} == {"int8"}


def test_effort_none_only_tells(made: SimpleNamespace) -> None:
    outputs = {"int8": made.work / "int8.tflite"}
    outcome = quantize(
        made.path, outputs, feeds=made.feeds, work=made.work, effort="none", progress=quiet
    )
    assert len(_run(outputs["int8"], made.stack)) == 1
    assert {one.did for one in outcome.mixed} == {"nothing: found only"}
    assert outcome.cut == ()


def test_the_prepared_model_has_its_whole_output(made: SimpleNamespace) -> None:
    kept = made.work / "kept.tflite"
    quantize(
        made.path,
        {"int8": made.work / "int8.tflite"},
        feeds=made.feeds,
        work=made.work,
        effort="fast",
        keep_prepared=kept,
        progress=quiet,
    )
    (wanted,), (got,) = _run(made.path, made.stack), _run(kept, made.stack)
    assert got.shape == wanted.shape
    assert _db(wanted, got) > 20


def test_arithmetic_after_the_joining_is_done_part_by_part(tmp_path: Path) -> None:
    """Boxes and scores joined, and then multiplied by strides, one for each channel."""
    net = Net(1, 4, 4, 3)
    both = _concat(net, [net.conv(net.image, n, 2) for n in ("box", "score")], "both", 3)
    strides = net.constant("strides", np.array([500, 500, 1, 1], np.float32))
    shifted = net.operator("ADD", [both, both], "twice", both.shape, schema.AddOptionsT())
    output = net.operator("MUL", [shifted, strides], "out", both.shape, schema.MulOptionsT())
    path = net.save(tmp_path / "float.tflite", output)
    stack = photos(4, 4, 4, 3)
    cut = heads.cut(read(path), feed(tmp_path / "photos.npy", stack), mend=True)
    assert [len(names) for names in cut.joins.values()] == [2]
    (whole,), parts = _run(path, stack), _run(cut.model.packed(), stack)
    np.testing.assert_array_equal(np.concatenate(parts, axis=-1), whole)


@pytest.mark.parametrize("kind", ["MUL", "DIV"])
def test_a_factor_that_makes_ranges_differ_is_cut_too(tmp_path: Path, kind: str) -> None:
    """Nothing is joined: of one tensor the factor makes four pixels and three shares of 1."""
    net = Net(1, 4, 4, 3)
    shares = net.operator("LOGISTIC", [net.conv(net.image, "conv", 7)], "shares", (1, 4, 4, 7))
    factor = np.array([320] * 4 + [1] * 3, np.float32)
    gains = net.constant("gains", factor if kind == "MUL" else 1 / factor)
    options = {"MUL": schema.MulOptionsT, "DIV": schema.DivOptionsT}[kind]()
    path = net.save(
        tmp_path / "float.tflite",
        net.operator(kind, [shares, gains], "out", shares.shape, options),
    )
    stack = photos(16, 4, 4, 3)
    feeds = feed(tmp_path / "photos.npy", stack)
    cut = heads.cut(read(path), feeds, mend=True)
    (whole,), parts = _run(path, stack), _run(cut.model.packed(), stack)
    assert [part.shape[-1] for part in parts] == [4, 3]
    np.testing.assert_array_equal(np.concatenate(parts, axis=-1), whole)

    output = tmp_path / "int8.tflite"
    quantize(path, {"int8": output}, feeds=feeds, work=tmp_path, progress=quiet)
    assert summarize(output).integer_share == 1
    for wanted, got in zip(parts, _run(output, stack), strict=True):
        assert _db(wanted, got) > 30


def test_a_gain_for_each_channel_joins_nothing(tmp_path: Path) -> None:
    net = Net(1, 4, 4, 3)
    gains = net.constant("gains", np.array([1, 9, 1, 9, 1, 9], np.float32))
    made = net.conv(net.image, "conv", 6)
    output = net.operator("MUL", [made, gains], "out", made.shape, schema.MulOptionsT())
    path = net.save(tmp_path / "float.tflite", output)
    feeds = feed(tmp_path / "photos.npy", photos(4, 4, 4, 3))
    assert heads.cut(read(path), feeds, mend=True).mixed == ()


def test_packed_outputs_are_cut(tmp_path: Path) -> None:
    net = Net(1, 4, 4, 3)
    big = _scaled(net, net.conv(net.image, "big", 2), "bigger", 500)
    rows = [big, net.conv(net.image, "small", 2)]
    options = schema.PackOptionsT(axis=1, valuesCount=2)
    packed = net.operator("PACK", rows, "packed", (1, 2, 4, 4, 2), options)
    path = net.save(tmp_path / "float.tflite", packed)
    stack = photos(4, 4, 4, 3)
    cut = heads.cut(read(path), feed(tmp_path / "photos.npy", stack), mend=True)
    (whole,), parts = _run(path, stack), _run(cut.model.packed(), stack)
    assert [part.shape[1:] for part in parts] == [(1, 4, 4, 2)] * 2
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


@pytest.mark.parametrize("kind", ["STRIDED_SLICE", "SPLIT", "SPLIT_V"])
def test_whatever_takes_a_mixed_tensor_apart_reads_its_parts(tmp_path: Path, kind: str) -> None:
    net = Net(1, 4, 4, 3)
    big = _scaled(net, net.conv(net.image, "big", 2), "bigger", 500)
    both = _concat(net, [big, net.conv(net.image, "small", 2)], "both", 3)
    halves = [net.graph.add_tensor(name, (1, 4, 4, 2), "float32") for name in ("one", "two")]
    if kind == "STRIDED_SLICE":
        for half, begin in zip(halves, ([0, 0, 0, 9], [0, 0, 0, -2]), strict=True):
            last = begin[3] < 0
            inputs = [
                both,
                _constant(net, f"{half.name}_begin", begin),
                _constant(net, f"{half.name}_end", [1, 4, 4, 0 if last else 2]),
                _constant(net, f"{half.name}_step", [1, 1, 1, 1]),
            ]
            options = schema.StridedSliceOptionsT(beginMask=0 if last else 8, endMask=8 * last)
            net.graph.insert_operator(99, kind, inputs, [half], options=options)
    elif kind == "SPLIT":
        inputs = [net.constant("axis", np.array(3, np.int32)), both]
        options = schema.SplitOptionsT(numSplits=2)
        net.graph.insert_operator(99, kind, inputs, halves, options=options)
    else:
        axis = net.constant("axis", np.array(3, np.int32))
        inputs = [both, _constant(net, "sizes", [2, 2]), axis]
        options = schema.SplitVOptionsT(numSplits=2)
        net.graph.insert_operator(99, kind, inputs, halves, options=options)
    outputs = [net.conv(half, f"out{number}", 2) for number, half in enumerate(halves)]
    path = net.save(tmp_path / "float.tflite", *outputs)
    stack = photos(4, 4, 4, 3)
    cut = heads.cut(read(path), feed(tmp_path / "photos.npy", stack), mend=True)
    assert [one.did for one in cut.mixed] == ["2 slices moved to the parts"]
    assert "CONCATENATION" not in {op.name for op in cut.model.main.operators}
    for wanted, got in zip(_run(path, stack), _run(cut.model.packed(), stack), strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_an_output_that_others_read_is_told_and_left_whole(tmp_path: Path) -> None:
    net = Net(1, 4, 4, 3)
    big = _scaled(net, net.conv(net.image, "big", 2), "bigger", 500)
    both = _concat(net, [big, net.conv(net.image, "small", 2)], "both", 3)
    path = net.save(tmp_path / "float.tflite", both, net.conv(both, "more", 2))
    feeds = feed(tmp_path / "photos.npy", photos(4, 4, 4, 3))
    cut = heads.cut(read(path), feeds, mend=True)
    assert [one.did for one in cut.mixed] == ["nothing: cannot be cut"]
    assert cut.joins == {}
    np.testing.assert_array_equal(
        _run(cut.model.packed(), photos(4, 4, 4, 3))[0], _run(path, photos(4, 4, 4, 3))[0]
    )


def test_an_open_batch_stays_open(made: SimpleNamespace) -> None:
    model = read(made.path)
    for tensor in model.main.tensors:
        if not tensor.is_constant and tensor.shape:
            tensor.raw.shapeSignature = [-1, *tensor.shape[1:]]
        if tensor.name in ("f0_shape", "f1_shape", "box_size", "score_size"):
            tensor.set_data(np.array([-1, *tensor.data()[1:]], np.int32))
    write(model, made.path)
    cut = heads.cut(read(made.path), made.feeds, mend=True)
    interpreter = Interpreter(model_content=cut.model.packed())
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], (2, 8, 8, 3))
    interpreter.allocate_tensors()
    shapes = [interpreter.get_tensor(d["index"]).shape for d in interpreter.get_output_details()]
    assert shapes == [(2, 4, 80), (2, 3, 80)]
    signatures = [tensor.shape_signature for tensor in cut.model.main.outputs]
    assert signatures == [(None, 4, 80), (None, 3, 80)]


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_slice_that_was_moved_up_has_the_values_of_the_slice(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Nested CONCATENATIONs on any axes below TRANSPOSE and RESHAPE; NumPy slices the result."""
    folder = tmp_path_factory.mktemp("slices")
    net = Net(1, 2, 3, 2)
    leaf = [net.conv(net.image, f"leaf{number}", 2, kernel=1) for number in range(4)]
    axes = [data.draw(st.integers(1, 3)) for _ in range(2)]
    pairs = [_concat(net, leaf[n : n + 2], f"pair{n}", axes[0]) for n in (0, 2)]
    both = _concat(net, pairs, "both", axes[1])
    if data.draw(st.booleans()):
        both = _scaled(net, both, "scaled", 3)
    result = _flat(net, both, "flat") if data.draw(st.booleans()) else both
    cuts = {axis: boundaries(result, axis) for axis in range(len(result.shape))}
    joined = [axis for axis, places in cuts.items() if len(places) > 2]
    if not joined:  # height or width alone, which RESHAPE has merged with the other
        assert result.name == "flat"
        return
    axis = data.draw(st.sampled_from(joined))
    start, end = data.draw(
        st.sampled_from([p for p in combinations(cuts[axis], 2) if p != (0, cuts[axis][-1])])
    )
    size = end - start
    plain = net.save(folder / "plain.tflite", result)
    taken = Slicer(net.model).take(result, axis, start, size)
    assert taken is not None
    assert taken.shape[axis] == size
    sliced = net.save(folder / "sliced.tflite", taken)
    stack = photos(1, 2, 3, 2)
    (wanted,), (got,) = _run(plain, stack), _run(sliced, stack)
    np.testing.assert_array_equal(got, np.take(wanted, range(start, start + size), axis=axis))
