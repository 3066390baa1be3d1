"""Taking layers out of 8 bits: the planted bad one comes first, and gets its weights back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from quantize_nets import Net, feed, operator_named, photos, quiet
from tflite_builder import invoke

from edgekit.errors import UsageError
from edgekit.quantize.emit import Exceptions
from edgekit.quantize.engine import Engine
from edgekit.quantize.mixed_precision import excepting, restore
from edgekit.tflite.model import read


def _net_with_a_bad_layer(tmp_path: Path) -> Path:
    """Huge weights on a channel that is always zero leave no steps for the other weights."""
    net = Net(1, 8, 8, 3)
    bias = np.array([-100, *[0.1] * 7], np.float32)
    first = net.conv(net.image, "first", 8, activation="RELU", bias=net.constant("b", bias))
    weights = net.rng.normal(0, 0.3, (8, 1, 1, 8)).astype(np.float32)
    weights[..., 0] = 20
    bad = net.conv(first, "bad", 8, kernel=1, weights=net.constant("bad_w", weights))
    return net.save(tmp_path / "net.tflite", net.conv(bad, "mix", 4, kernel=1))


def test_the_layer_that_int8_hurts_most_is_the_best_bargain(tmp_path: Path) -> None:
    path = _net_with_a_bad_layer(tmp_path)
    engine = Engine(path, feed(tmp_path / "x.npy", photos(16, 8, 8, 3)), work=tmp_path)
    ranked = engine.rank(effort="fast", method="minmax", progress=quiet)
    best = max(ranked, key=lambda relief: relief.gain)
    assert "bad" in best.members
    assert 0 < best.gain <= 1
    assert len({relief.members for relief in ranked}) == len(ranked)  # one precision per layer

    plain, mended = tmp_path / "plain.tflite", tmp_path / "mended.tflite"
    engine.write({"int8": plain}, effort="fast", method="minmax", progress=quiet)
    engine.write(
        {"int8": mended},
        effort="fast",
        method="minmax",
        exceptions=excepting([(best.members, best.precision)]),
        progress=quiet,
    )
    assert _noise(path, mended) < 0.7 * _noise(path, plain)


def _noise(path: Path, quantized: Path) -> float:
    """The energy of what int8 changes, on pictures that nothing has seen."""
    graph = read(quantized).main
    scales = [tensor.quantization for tensor in (graph.inputs[0], graph.outputs[0])]
    assert scales[0] is not None
    assert scales[1] is not None
    noise = 0.0
    for image in photos(6, 8, 8, 3, seed=9):
        stored = np.rint(image / scales[0].scales[0]) + scales[0].zero_points[0]
        given = invoke(quantized, np.clip(stored, -128, 127).astype(np.int8)[None])[0]
        real = (given.astype(np.float64) - scales[1].zero_points[0]) * scales[1].scales[0]
        noise += float(np.square(real - invoke(path, image[None])[0]).sum())
    return noise


def test_what_computes_in_float_has_its_original_weights(tmp_path: Path) -> None:
    net = Net(1, 8, 8, 3)
    one = net.conv(net.image, "one", 4)
    original = net.save(tmp_path / "original.tflite", net.conv(one, "two", 4))
    for name in ("one", "two"):
        weights = operator_named(net, name).inputs[1]
        assert weights is not None
        weights.set_data(np.round(weights.data(), 1))
    rounded = net.save(tmp_path / "rounded.tflite", net.graph.outputs[0])
    exceptions = Exceptions(floating=frozenset({"two"}))
    mended = read(restore(rounded, original, exceptions, tmp_path / "mended.tflite")).main

    def weights_of(path: Path, name: str) -> np.ndarray:
        return next(t for t in read(path).main.tensors if t.name == f"{name}_w").data()

    found = {t.name: t.data() for t in mended.tensors if t.name.endswith("_w")}
    np.testing.assert_array_equal(found["two_w"], weights_of(original, "two"))
    np.testing.assert_array_equal(found["one_w"], weights_of(rounded, "one"))


def test_an_unknown_layer_is_an_error_that_names_the_nearest(tmp_path: Path) -> None:
    path = _net_with_a_bad_layer(tmp_path)
    engine = Engine(path, feed(tmp_path / "x.npy", photos(8, 8, 8, 3)), work=tmp_path)
    with pytest.raises(UsageError, match="Did you mean 'first'"):
        engine.write(
            {"int8": tmp_path / "q.tflite"},
            effort="none",
            exceptions=Exceptions(floating=frozenset({"frist"})),
            progress=quiet,
        )
