"""A layer's matrix times its patches is what the interpreter computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from quantize_nets import Net, mixed_net, photos
from tflite_builder import invoke

from edgekit.quantize.layers import find_layers, patches, position_count
from edgekit.tflite.model import Model, read
from edgekit.tflite.model import Tensor as Made

_MAKERS: dict[str, Callable[[Net], Made]] = {
    "same": lambda net: net.conv(net.image, "out", 4),
    "valid": lambda net: net.conv(net.image, "out", 4, same=False),
    "same, stride 2": lambda net: net.conv(net.image, "out", 4, stride=2),
    "valid, stride 2": lambda net: net.conv(net.image, "out", 4, stride=2, same=False),
    "even kernel": lambda net: net.conv(net.image, "out", 4, kernel=2),
    "dilated": lambda net: net.conv(net.image, "out", 4, dilation=2),
    "dilated, valid": lambda net: net.conv(net.image, "out", 4, dilation=2, same=False),
    "1x1": lambda net: net.conv(net.image, "out", 4, kernel=1),
    "1x1, stride 2": lambda net: net.conv(net.image, "out", 4, kernel=1, stride=2),
    "depthwise": lambda net: net.depthwise(net.image, "out"),
    "depthwise 5x5": lambda net: net.depthwise(net.image, "out", kernel=5),
    "depthwise, stride 2": lambda net: net.depthwise(net.image, "out", stride=2),
    "depthwise 5x5, stride 2": lambda net: net.depthwise(net.image, "out", kernel=5, stride=2),
    "depthwise 1x1": lambda net: net.depthwise(net.image, "out", kernel=1),
    "dense": lambda net: net.dense(net.image, "out", 5),
}


@pytest.mark.parametrize("kind", _MAKERS)
def test_patches_times_matrix_is_the_layers_output(kind: str, tmp_path: Path):
    net = Net(1, 9, 8, 3)  # odd and even: SAME pads unlike
    path = net.save(tmp_path / "net.tflite", _MAKERS[kind](net))
    (layer,) = find_layers(read(path))
    image = photos(1, 9, 8, 3)
    (wanted,) = invoke(path, image)

    positions = np.random.default_rng(0).permutation(position_count(layer))
    taken = patches(layer, positions, lambda take: take(image))

    assert layer.bias is not None
    formula = "pkc,ck->pc" if layer.is_depthwise else "pk,ck->pc"
    got = np.einsum(formula, taken, layer.matrix()) + layer.bias.data()
    flat = wanted.reshape(-1, wanted.shape[-1])
    assert len(positions) == len(flat)
    np.testing.assert_allclose(got, flat[positions], atol=1e-5)


def test_outside_the_picture_is_the_real_zero(tmp_path: Path):
    net = Net(1, 4, 4, 2)
    (layer,) = find_layers(read(net.save(tmp_path / "n.tflite", net.conv(net.image, "out", 3))))
    # Stored as 50 and up, read as the stored value less 40: only padding may become 0.
    stored = np.full((1, 4, 4, 2), 50, np.int8)
    taken = patches(layer, np.arange(16), lambda take: take(stored).astype(np.float32) - 40)
    assert (taken == 0).sum() == (4 * 5 + 8 * 3) * 2
    assert set(np.unique(taken)) == {0, 10}


def test_transposed_rows_read_the_inputs_channels(tmp_path: Path):
    net = Net(1, 4, 5, 3)
    path = net.save(tmp_path / "net.tflite", net.transposed(net.image, "out", 2))
    (layer,) = find_layers(read(path))
    image = photos(1, 4, 5, 3)
    taken = patches(layer, np.arange(position_count(layer)), lambda take: take(image))
    np.testing.assert_array_equal(taken, image.reshape(20, 3))
    # What each pixel adds, scattered by hand with stride 2; SAME cuts one line off at the end.
    assert layer.bias is not None
    added = (taken @ layer.matrix().T).reshape(4, 5, 2, 3, 3)
    canvas = np.zeros((9, 11, 2))
    for row, column in np.ndindex(4, 5):
        pixel = added[row, column].transpose(1, 2, 0)
        canvas[2 * row : 2 * row + 3, 2 * column : 2 * column + 3] += pixel
    wanted = canvas[:8, :10] + layer.bias.data()
    np.testing.assert_allclose(invoke(path, image)[0][0], wanted, atol=1e-5)


def test_set_matrix_is_the_inverse_of_matrix(tmp_path: Path):
    model = read(mixed_net(tmp_path / "net.tflite"))
    layers = find_layers(model)
    assert {layer.kind for layer in layers} == {
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "FULLY_CONNECTED",
        "TRANSPOSE_CONV",
    }
    for layer in layers:
        before = layer.weights.data().copy()
        matrix = layer.matrix()
        layer.set_matrix(np.zeros_like(matrix))
        assert not layer.weights.data().any()
        layer.set_matrix(matrix)
        np.testing.assert_array_equal(layer.weights.data(), before)


def test_steps_are_those_of_output_channels(tmp_path: Path):
    axes = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0, "TRANSPOSE_CONV": 0}
    for layer in find_layers(read(mixed_net(tmp_path / "net.tflite", dead=True))):
        weights = np.moveaxis(layer.weights.data(), axes[layer.kind], 0)
        largest = np.abs(weights.reshape(len(weights), -1)).max(axis=1)
        wanted = np.where(largest > 0, largest / 127, 1)
        repeated = np.repeat(wanted, len(layer.matrix()) // len(wanted))
        np.testing.assert_allclose(layer.scales(), repeated, rtol=1e-6)


def test_the_step_of_denormal_weights_is_not_zero(tmp_path: Path):
    net = Net(1, 4, 4, 1)
    weights = net.constant("w", np.full((1, 1, 1, 1), 1e-45, np.float32))
    out = net.conv(net.image, "out", 1, kernel=1, weights=weights)
    (layer,) = find_layers(read(net.save(tmp_path / "net.tflite", out)))
    assert layer.scales() > 0


def _shared(net: Net) -> Model:
    weights, bias = net.normal("w", 3, 3, 3, 3), net.normal("b", 3)
    first = net.conv(net.image, "first", 3, weights=weights)
    second = net.conv(first, "second", 3, weights=weights)
    third = net.conv(second, "third", 3, bias=bias)
    net.conv(third, "fourth", 3, bias=bias)
    return net.model


def test_weights_that_serve_two_operators_are_left_alone():
    layers = find_layers(_shared(Net(1, 6, 6, 3)))
    assert [layer.name for layer in layers] == ["third", "fourth"]


def test_a_bias_that_serves_two_operators_is_fixed():
    layers = find_layers(_shared(Net(1, 6, 6, 3)))
    assert all(layer.bias is None and layer.fixed_bias for layer in layers)
