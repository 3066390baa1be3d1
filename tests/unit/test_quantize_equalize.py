"""Equalization changes the channels' ranges and not the function."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from quantize_nets import Net, feed, mixed_net, operator_named, photos
from tflite_builder import invoke

from edgekit.quantize.equalize import find_streams
from edgekit.quantize.passes import Bench, EqualizeChannels
from edgekit.quantize.twins import Watched
from edgekit.tflite.model import Tensor, read, write

_SHAPE = (8, 8, 3)


def _uneven(net: Net, *names: str) -> None:
    """Give the layers' output channels very unlike ranges."""
    for name in names:
        operator = operator_named(net, name)
        weights = operator.inputs[1]
        bias = operator.inputs[3 if operator.name == "TRANSPOSE_CONV" else 2]
        assert weights is not None
        assert bias is not None
        scale = np.geomspace(0.05, 1, operator.outputs[0].shape[-1]).astype(np.float32)
        axis = -1 if operator.name == "DEPTHWISE_CONV_2D" else 0
        weights.set_data(np.moveaxis(np.moveaxis(weights.data(), axis, -1) * scale, -1, axis))
        bias.set_data(np.abs(bias.data()) * scale)  # keeps them from dying in RELU


def _plain(net: Net) -> Tensor:
    first = net.conv(net.image, "first", 6, activation="RELU")
    return net.conv(first, "out", 4)


def _lone_relu(net: Net) -> Tensor:
    first = net.conv(net.image, "first", 6)
    return net.conv(net.relu(first, "second"), "out", 4)


def _residual(net: Net) -> Tensor:
    first = net.conv(net.image, "first", 6, activation="RELU")
    second = net.conv(first, "second", 6)
    joined = net.add(first, second, "joined", activation="RELU")
    third = net.conv(joined, "third", 6, activation="RELU")
    return net.conv(net.add(joined, third, "again"), "out", 4)


def _depthwise(net: Net) -> Tensor:
    first = net.conv(net.image, "first", 6, activation="RELU")
    second = net.depthwise(first, "second", activation="RELU")
    return net.conv(second, "out", 4, kernel=1)


def _transposed(net: Net) -> Tensor:
    first = net.conv(net.image, "first", 6, activation="RELU")
    second = net.transposed(first, "second", 5)
    return net.conv(second, "out", 4)


_NETS: dict[str, tuple[Callable[[Net], Tensor], tuple[str, ...], int]] = {
    "convolutions": (_plain, ("first",), 1),
    "a RELU of its own": (_lone_relu, ("first",), 1),
    "residual": (_residual, ("first", "second", "third"), 1),
    "depthwise": (_depthwise, ("first", "second"), 2),
    "transposed": (_transposed, ("first", "second"), 2),
}


def _equalized(net: Net, output: Tensor, tmp_path: Path) -> tuple[Path, Path, np.ndarray, str]:
    path, stack = net.save(tmp_path / "net.tflite", output), photos(6, *_SHAPE)
    bench = Bench(feeds=feed(tmp_path / "x.npy", stack))
    changed = tmp_path / "changed.tflite"
    model, done = EqualizeChannels(bench=bench, source=read(path)).prepared()
    write(model, changed)
    return path, changed, stack, done.notes[0]


def _magnitudes(path: Path, name: str, stack: np.ndarray, work: Path) -> np.ndarray:
    graph = Watched(path, [name])
    values = np.stack([graph.run([image[None]])[name] for image in stack])
    return np.abs(values).reshape(-1, values.shape[-1]).max(axis=0)


@pytest.mark.parametrize("kind", _NETS)
def test_outputs_stay_the_same(kind: str, tmp_path: Path):
    make, uneven, streams = _NETS[kind]
    net = Net(1, *_SHAPE)
    output = make(net)
    _uneven(net, *uneven)
    path, changed, _, did = _equalized(net, output, tmp_path)
    assert did.endswith(f"in {streams} streams")
    before, after = (
        np.concatenate([invoke(p, image[None])[0] for image in photos(5, *_SHAPE, seed=9)])
        for p in (path, changed)
    )
    assert np.abs(before - after).max() <= 1e-4 * np.abs(before).max()
    weights = [[layer.data() for layer in _weights(p)] for p in (path, changed)]
    assert any(not np.allclose(a, b) for a, b in zip(*weights, strict=True))


def _weights(path: Path) -> list[Tensor]:
    return [t for t in read(path).main.tensors if t.is_constant and t.name.endswith("_w")]


@pytest.mark.parametrize("kind", ["convolutions", "a RELU of its own", "depthwise"])
def test_channels_have_equal_magnitudes_afterwards(kind: str, tmp_path: Path):
    make, uneven, _ = _NETS[kind]
    net = Net(1, *_SHAPE)
    output = make(net)
    _uneven(net, *uneven)
    path, changed, stack, _ = _equalized(net, output, tmp_path)
    inner = {op.inputs[0].name for op in net.graph.operators[1:] if op.inputs[0] is not None}
    # Before a RELU of its own the negative side is larger: look behind it where there is one.
    for name in inner - {"first"} if "RELU" in kind else inner:
        before = _magnitudes(path, name, stack, tmp_path)
        after = _magnitudes(changed, name, stack, tmp_path)
        alive = before > 0
        assert alive.sum() >= 4
        before, after = before[alive], after[alive]
        assert before.min() < 0.3 * before.max()
        tolerance = 5 if "RELU" in kind else 1.001
        assert after.max() <= tolerance * after.min()
        assert after.max() == pytest.approx(before.max(), rel=0.5 if "RELU" in kind else 1e-3)


def test_what_relu6_makes_is_left_alone(tmp_path: Path):
    net = Net(1, *_SHAPE)
    first = net.conv(net.image, "first", 6, activation="RELU6")
    second = net.conv(first, "second", 6)
    third = net.conv(net.relu(second, "clipped", "RELU6"), "third", 6, activation="RELU")
    output = net.conv(third, "out", 4)
    _uneven(net, "first", "second", "third")
    path, changed, _, did = _equalized(net, output, tmp_path)
    assert did.endswith("in 1 streams")
    before, after = ({t.name: t.data() for t in _weights(p)} for p in (path, changed))
    np.testing.assert_array_equal(before["first_w"], after["first_w"])
    np.testing.assert_array_equal(before["second_w"], after["second_w"])
    assert not np.allclose(before["third_w"], after["third_w"])


def test_the_graphs_inputs_and_outputs_are_left_alone(tmp_path: Path):
    net = Net(1, *_SHAPE)
    first = net.conv(net.image, "first", 3, activation="RELU")
    joined = net.add(first, net.image, "joined")
    out = net.conv(joined, "out", 4, activation="RELU")
    other = net.conv(out, "other", 2)
    path = net.save(tmp_path / "net.tflite", out, other)
    assert find_streams(read(path)) == []
    bench = Bench(feeds=feed(tmp_path / "x.npy", photos(4, *_SHAPE)))
    _, done = EqualizeChannels(bench=bench, source=read(path)).prepared()
    assert not done.changed


def test_an_unknown_reader_keeps_a_tensor_as_it_is(tmp_path: Path):
    net = Net(1, *_SHAPE)
    first = net.conv(net.image, "first", 6, activation="RELU")
    curved = net.relu(first, "curved", "LOGISTIC")
    net.add(net.conv(first, "second", 6), curved, "out")
    path = net.save(tmp_path / "net.tflite", operator_named(net, "out").outputs[0])
    assert find_streams(read(path)) == []


def test_a_shared_bias_keeps_its_tensors_as_they_are(tmp_path: Path):
    """Scaling the weights alone would change the function."""
    net = Net(1, *_SHAPE)
    bias = net.normal("b", 6)
    first = net.conv(net.image, "first", 6, bias=bias, activation="RELU")
    second = net.conv(first, "second", 6, bias=bias, activation="RELU")
    path = net.save(tmp_path / "net.tflite", net.conv(second, "out", 2))
    assert find_streams(read(path)) == []


def test_dead_channels_give_no_nan(tmp_path: Path):
    path, stack = mixed_net(tmp_path / "net.tflite", dead=True), photos(6, *_SHAPE)
    bench = Bench(feeds=feed(tmp_path / "x.npy", stack))
    with np.errstate(all="raise"):
        model, done = EqualizeChannels(bench=bench, source=read(path)).prepared()
    assert done.changed
    write(model, tmp_path / "changed.tflite")
    before, after = (invoke(p, stack[:1])[0] for p in (path, tmp_path / "changed.tflite"))
    np.testing.assert_allclose(after, before, atol=1e-4 * np.abs(before).max())
