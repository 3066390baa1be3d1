"""Operators that are excepted from 8 bits, in files that the runtime runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from ai_edge_litert.interpreter import Interpreter
from quantize_nets import Net, feed, photos, quiet

from edgekit.quantize import ranges
from edgekit.quantize.emit import Exceptions, emit
from edgekit.quantize.observe import observe
from edgekit.tflite.model import read
from edgekit.types import Scheme


def _three_layers(tmp_path: Path) -> Path:
    net = Net(1, 8, 8, 3)
    first = net.conv(net.image, "first", 4, activation="RELU")
    # The name of one is the beginning of another's, and holds signs with a meaning in patterns.
    second = net.conv(first, "block(1).conv+", 4, activation="RELU")
    return net.save(tmp_path / "float.tflite", net.conv(second, "block(1).conv+2", 4))


def _emitted(tmp_path: Path, scheme: Scheme, exceptions: Exceptions) -> Path:
    path, output = _three_layers(tmp_path), tmp_path / "quantized.tflite"
    feeds = feed(tmp_path / "photos.npy", photos(4, 8, 8, 3))
    histograms = observe(path, feeds, progress=quiet)
    emit(path, output, scheme, ranges.choose(histograms, "minmax"), exceptions)
    interpreter = Interpreter(str(output))
    interpreter.allocate_tensors()
    interpreter.invoke()
    return output


def _types(path: Path) -> dict[str, str]:
    """What type each convolution computes, by the number of its place."""
    convolutions = [op for op in read(path).main.operators if op.name == "CONV_2D"]
    return {str(place): op.outputs[0].dtype for place, op in enumerate(convolutions)}


@pytest.mark.parametrize("name", ["first", "block(1).conv+", "block(1).conv+2"])
def test_a_layer_left_in_float_is_the_only_one_and_the_borders_stay_integer(
    tmp_path: Path, name: str
) -> None:
    path = _emitted(tmp_path, "int8", Exceptions(floating=frozenset({name})))
    place = ["first", "block(1).conv+", "block(1).conv+2"].index(name)
    wanted = {"0": "int8", "1": "int8", "2": "int8"} | {str(place): "float32"}
    assert _types(path) == wanted
    graph = read(path).main
    assert [graph.inputs[0].dtype, graph.outputs[0].dtype] == ["int8", "int8"]


def test_float_borders_stay_float(tmp_path: Path) -> None:
    path = _emitted(tmp_path, "int8-float-io", Exceptions(floating=frozenset({"first"})))
    graph = read(path).main
    assert [graph.inputs[0].dtype, graph.outputs[0].dtype] == ["float32", "float32"]


def test_a_layer_with_16_bits_among_8(tmp_path: Path) -> None:
    path = _emitted(tmp_path, "int8", Exceptions(sixteen=frozenset({"block(1).conv+"})))
    assert _types(path) == {"0": "int8", "1": "int16", "2": "int8"}


def test_only_one_layer_is_quantized(tmp_path: Path) -> None:
    path = _emitted(tmp_path, "int8", Exceptions(only=frozenset({"block(1).conv+"})))
    assert _types(path) == {"0": "float32", "1": "int8", "2": "float32"}
