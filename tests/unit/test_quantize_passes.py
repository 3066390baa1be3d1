"""The passes that change weights and biases, down to the emitted file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quantize_nets import Net, feed, mixed_net, operator_named, photos, quiet
from tflite_builder import invoke

from edgekit.quantize.emit import emit
from edgekit.quantize.layers import find_layers
from edgekit.quantize.observe import observe
from edgekit.quantize.passes import Bench, CorrectBias, CorrectDrift, RoundWeights
from edgekit.quantize.ranges import choose
from edgekit.quantize.twins import Watched
from edgekit.tflite.model import Tensor, read, write
from edgekit.types import Ranges

_SHAPE = (8, 8, 3)
_CHANNEL_AXIS = {"DEPTHWISE_CONV_2D": 3}


def _bench(path: Path, tmp_path: Path, stack: np.ndarray[Any, Any]) -> tuple[Bench, Ranges]:
    feeds = feed(tmp_path / "x.npy", stack)
    limits = choose(observe(path, feeds, progress=quiet), "minmax")
    return Bench(feeds=feeds), limits


def _prepared(
    kind: Any, path: Path, output: Path, bench: Bench, limits: Ranges, **more: Any
) -> str:
    """Write what a pass makes of a file; what it says of it."""
    model, done = kind(bench=bench, source=read(path), ranges=limits, **more).prepared()
    assert not done.failures
    write(model, output)
    return "".join(done.notes)


def _emitted_weights(path: Path) -> dict[str, Tensor]:
    """By the name of the weights' tensor, which the quantizer keeps."""
    return {t.name: t for t in read(path).main.tensors if t.dtype == "int8" and t.is_constant}


@pytest.mark.parametrize("dead", [False, True])
@pytest.mark.parametrize("function", [RoundWeights, CorrectBias])
def test_prepared_weights_survive_emission_bit_for_bit(function: Any, dead: bool, tmp_path: Path):
    path = mixed_net(tmp_path / "net.tflite", dead=dead)
    bench, limits = _bench(path, tmp_path, photos(8, *_SHAPE))
    prepared, quantized = tmp_path / "prepared.tflite", tmp_path / "int8.tflite"
    assert _prepared(function, path, prepared, bench, limits)
    emit(prepared, quantized, "int8", limits)

    stored = _emitted_weights(quantized)
    checked = 0
    for layer in find_layers(read(prepared)):
        if function is CorrectBias and layer.kind == "TRANSPOSE_CONV":
            continue  # its mean error varies over the picture; it is left to the quantizer
        axis = _CHANNEL_AXIS.get(layer.kind, 0)
        floats = np.moveaxis(layer.weights.data().astype(np.float64), axis, 0)
        floats = floats.reshape(len(floats), -1)
        largest = np.abs(floats).max(axis=1, keepdims=True)
        index = np.divide(127 * floats, largest, out=np.zeros_like(floats), where=largest > 0)
        assert np.abs(index - np.rint(index)).max() < 1e-3, layer.name

        emitted = stored[layer.weights.name]
        integers = np.moveaxis(emitted.data(), axis, 0).reshape(floats.shape)
        np.testing.assert_array_equal(integers, np.rint(index), err_msg=layer.name)
        assert emitted.quantization is not None
        scales = np.array(emitted.quantization.scales)[:, None]
        assert not any(emitted.quantization.zero_points)
        np.testing.assert_allclose(integers * scales, floats, rtol=1e-6, atol=1e-12)
        checked += 1
    assert checked == (6 if function is RoundWeights else 5)


def test_rounded_weights_stay_within_few_steps_of_the_float_ones(tmp_path: Path):
    """Also where a transposed convolution has several rows to a step."""
    path = mixed_net(tmp_path / "net.tflite")
    bench, limits = _bench(path, tmp_path, photos(8, *_SHAPE))
    _prepared(RoundWeights, path, tmp_path / "out.tflite", bench, limits)
    pairs = zip(find_layers(read(path)), find_layers(read(tmp_path / "out.tflite")), strict=True)
    for before, after in pairs:
        moved = np.abs(before.matrix() - after.matrix()) / before.scales()[:, None]
        assert moved.max() > 0
        assert np.median(moved) < 1
        assert moved.max() < 30, before.name


def test_rounding_leaves_less_error_than_nearest(tmp_path: Path):
    """At the layer itself, on float inputs that no pass has seen."""
    net = Net(1, *_SHAPE)
    path = net.save(tmp_path / "net.tflite", net.conv(net.image, "out", 16))
    bench, limits = _bench(path, tmp_path, photos(16, *_SHAPE))
    rounded, nearest = tmp_path / "rounded.tflite", tmp_path / "nearest.tflite"
    _prepared(RoundWeights, path, rounded, bench, limits)
    _prepared(CorrectBias, path, nearest, bench, limits)
    unseen = photos(8, *_SHAPE, seed=77)

    def error(other: Path) -> float:
        lost = [invoke(path, x[None])[0] - invoke(other, x[None])[0] for x in unseen]
        return float(np.mean(np.square(lost)))

    assert error(rounded) < 0.5 * error(nearest)


@pytest.mark.parametrize("kind", ["conv", "depthwise", "dense"])
@pytest.mark.parametrize("function", [RoundWeights, CorrectBias])
def test_the_mean_error_of_every_channel_is_taken_back(kind: str, function: Any, tmp_path: Path):
    net = Net(1, 4, 4, 3)  # 16 positions at most: every pass looks at all of them
    make = {
        "conv": lambda: net.conv(net.image, "out", 5),
        "depthwise": lambda: net.depthwise(net.image, "out"),
        "dense": lambda: net.dense(net.image, "out", 5),
    }[kind]
    path = net.save(tmp_path / "net.tflite", make())
    stack = np.random.default_rng(0).uniform(0.2, 1, (10, 4, 4, 3)).astype(np.float32)
    bench, limits = _bench(path, tmp_path, stack)
    output = tmp_path / "out.tflite"
    _prepared(function, path, output, bench, limits)

    # The layers read the image as int8 has it.
    low, high = limits["image"]
    step = (high - min(low, 0)) / 255
    read_images = (np.rint(stack / step) * step).astype(np.float32)

    def means(weights: Path) -> np.ndarray[Any, Any]:
        runs = np.stack([invoke(weights, x[None])[0] for x in read_images]).astype(np.float64)
        return runs.reshape(-1, runs.shape[-1]).mean(axis=0)

    corrected = np.abs(means(path) - means(output)).max()
    model = read(output)  # the same weights with the biases of before
    for before, after in zip(find_layers(read(path)), find_layers(model), strict=True):
        assert after.bias is not None
        assert before.bias is not None
        after.bias.set_data(before.bias.data())
    write(model, tmp_path / "uncorrected.tflite")
    uncorrected = np.abs(means(path) - means(tmp_path / "uncorrected.tflite")).max()
    assert uncorrected > 1e-4
    assert corrected < 0.02 * uncorrected


def test_drift_is_taken_back_where_it_is_certain(tmp_path: Path):
    net = Net(1, 4, 4, 3)
    original = net.save(tmp_path / "original.tflite", net.dense(net.image, "out", 3))
    bias = operator_named(net, "out").inputs[2]
    assert bias is not None
    shift = np.array([0.5, -0.25, 0], np.float32)
    bias.set_data(bias.data() + shift)
    shifted = net.save(tmp_path / "shifted.tflite", operator_named(net, "out").outputs[0])
    bench, limits = _bench(shifted, tmp_path, photos(12, 4, 4, 3))
    output = tmp_path / "out.tflite"
    more = {"original": read(original)}
    assert _prepared(CorrectDrift, shifted, output, bench, limits, **more) == "1 outputs"
    after = find_layers(read(output))[0].bias
    assert after is not None
    np.testing.assert_allclose(after.data(), bias.data() - shift, atol=0.02)


def test_drift_leaves_outputs_behind_an_activation_alone(tmp_path: Path):
    net = Net(1, 4, 4, 3)
    path = net.save(tmp_path / "net.tflite", net.conv(net.image, "out", 3, activation="RELU"))
    bench, limits = _bench(path, tmp_path, photos(4, 4, 4, 3))
    more = {"original": read(path)}
    assert _prepared(CorrectDrift, path, tmp_path / "out.tflite", bench, limits, **more) == ""


def test_shared_weights_stay_shared_and_unchanged(tmp_path: Path):
    net = Net(1, 4, 4, 3)
    weights = net.normal("shared", 3, 3, 3, 3)
    first = net.conv(net.image, "first", 3, weights=weights, activation="RELU")
    second = net.conv(first, "second", 3, weights=weights)
    path = net.save(tmp_path / "net.tflite", net.conv(second, "out", 2))
    bench, limits = _bench(path, tmp_path, photos(6, 4, 4, 3))
    said = _prepared(RoundWeights, path, tmp_path / "out.tflite", bench, limits)
    assert said == "1 of 1 layers"
    after = next(t for t in read(tmp_path / "out.tflite").main.tensors if t.name == "shared")
    np.testing.assert_array_equal(after.data(), weights.data())


def test_watched_tensors_are_those_of_the_whole_graph(tmp_path: Path):
    path, stack = mixed_net(tmp_path / "net.tflite"), photos(2, *_SHAPE)
    part = Watched(path, ["image", "first", "point"]).run([stack[:1]])
    assert set(part) == {"image", "first", "point"}
    np.testing.assert_array_equal(part["image"], stack[:1])
    whole = Watched(path, ["scores", "point"]).run([stack[:1]])
    np.testing.assert_array_equal(part["point"], whole["point"])
    np.testing.assert_array_equal(whole["scores"], invoke(path, stack[:1])[0])
