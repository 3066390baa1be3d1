"""Taking layers out of 8 bits: the planted bad one comes first, and gets its weights back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from quantize_nets import Net, feed, operator_named, photos, quiet
from tflite_builder import invoke

from edgekit.errors import UsageError
from edgekit.quantize.allocation import Compute, CostModel, PrecisionCost, SharedValue
from edgekit.quantize.emit import Exceptions
from edgekit.quantize.engine import Engine
from edgekit.quantize.layer_costs import restore
from edgekit.quantize.mixed_precision import Mix, corrected, excepting, knee, not_beaten
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


def test_the_front_takes_out_the_layer_that_int8_hurts_most(tmp_path: Path) -> None:
    path = _net_with_a_bad_layer(tmp_path)
    engine = Engine(path, feed(tmp_path / "x.npy", photos(16, 8, 8, 3)), work=tmp_path)
    front = engine.front(effort="fast", method="minmax", scheme="int8-mixed", progress=quiet)
    assert front == sorted(front, key=lambda mix: mix.slowdown)
    assert [mix.db for mix in front] == sorted(mix.db for mix in front)
    best = front[-1]
    bad = next(one for one in best.layers if "bad" in one.members)
    assert bad.precision == "float"
    assert 0 < bad.gain <= 1

    plain, mended = tmp_path / "plain.tflite", tmp_path / "mended.tflite"
    engine.write({"int8-mixed": plain}, effort="fast", method="minmax", progress=quiet)
    engine.write(
        {"int8-mixed": mended},
        effort="fast",
        method="minmax",
        exceptions=excepting((one.members, one.precision) for one in best.layers),
        progress=quiet,
    )
    assert _noise(path, mended) < 0.5 * _noise(path, plain)


def _mix(db: float, slowdown: float) -> Mix:
    return Mix(layers=(), db=db, slowdown=slowdown, predicted_db=db, predicted_slowdown=slowdown)


def test_what_another_mix_beats_is_no_part_of_the_front() -> None:
    mixes = [
        _mix(24, 1.0),
        _mix(23, 1.1),
        _mix(30, 1.3),
        _mix(29, 1.3),
        _mix(27, 1.2),
        _mix(30, 1.5),
    ]
    assert [(mix.db, mix.slowdown) for mix in not_beaten(mixes)] == [(24, 1), (27, 1.2), (30, 1.3)]


def test_the_knee_is_where_noise_stops_falling_fast() -> None:
    front = [_mix(20, 1.0), _mix(23, 1.05), _mix(29, 1.2), _mix(30, 1.6), _mix(40, 2.0)]
    assert knee(front).db == 29
    assert knee(front[:1]) == front[0]
    assert knee(front[:2]) == front[1]


def test_times_of_pieces_are_corrected_by_whole_files() -> None:
    """Files in which layers take half as much longer as alone, and conversions as long."""
    options: dict[Compute, PrecisionCost] = {
        "int8": PrecisionCost(seconds=1.0, noise=(1.0,)),
        "float": PrecisionCost(seconds=3.0, noise=(0.0,)),
    }
    value = SharedValue(layers=(0, 1), noise=(0.0,), seconds=0.5)
    costs = CostModel(layers=[options, options], values=[value])
    slowdowns: dict[tuple[Compute, ...], float] = {
        ("int8", "int8"): 1.0,
        ("float", "int8"): (2.0 + 0.5 * 2 + 0.5) / 2,
        ("float", "float"): (2.0 + 2 * 0.5 * 2) / 2,
    }
    right = corrected(costs, slowdowns)
    for choice, slowdown in slowdowns.items():
        assert right.seconds(choice) == pytest.approx(slowdown * 2.0)


def _noise(path: Path, quantized: Path) -> float:
    """The energy of what int8 changes, on pictures that nothing has seen."""
    graph = read(quantized).main
    assert {tensor.dtype for tensor in (*graph.inputs, *graph.outputs)} == {"float32"}
    return sum(
        float(np.square(invoke(quantized, image[None])[0] - invoke(path, image[None])[0]).sum())
        for image in photos(6, 8, 8, 3, seed=9)
    )


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
    mended = restore(read(rounded), read(original), exceptions).main

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
