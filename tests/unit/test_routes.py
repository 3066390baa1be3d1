"""From manifests to routes."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.errors import UsageError
from edgekit.routes import find_routes, source_converter
from edgekit.toolchain.converters import Conversion, Converter, discover


def converter(name: str, *conversions: tuple, runs: tuple = ()) -> Converter:
    return Converter(
        name=name,
        summary="",
        program=Path("worker.py"),
        environment="host",
        converts=tuple(
            Conversion(source=source, target=target, priority=priority)
            for source, target, priority in conversions
        ),
        runs=runs,
    )


def routes(kind: str, *converters: Converter, only: str | None = None) -> list[str]:
    named = {one.name: one for one in converters}
    return [str(route) for route in find_routes(kind, named, only)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("torch", ["onnx2tf", "litert_torch"]),
        ("torchscript", ["onnx2tf", "litert_torch"]),
        ("exported_program", ["onnx2tf", "litert_torch"]),
        ("keras", ["onnx2tf", "keras"]),
        ("saved_model", ["onnx2tf", "keras"]),
        ("onnx", ["onnx2tf"]),
    ],
)
def test_the_built_in_routes(kind, names):
    assert [route.name for route in find_routes(kind, discover())] == names


def test_a_route_is_told_as_a_chain():
    (first, second) = find_routes("torch", discover())
    assert str(first) == "torch → onnx → tflite (by torch, onnx2tf)"
    assert str(second) == "torch → exported_program → tflite (by torch, litert_torch)"


def test_priority_then_length_then_name():
    direct = converter("direct", ("keras", "tflite", 20))
    late = converter("late", ("onnx", "tflite", 20))
    early = converter("early", ("onnx", "tflite", 10))
    also = converter("also", ("keras", "tflite", 20))
    export = converter("export", ("keras", "onnx", 1))
    assert routes("keras", late, direct, early, also, export) == [
        "keras → onnx → tflite (by export, early)",
        "keras → tflite (by also)",
        "keras → tflite (by direct)",
        "keras → onnx → tflite (by export, late)",
    ]


def test_of_two_ways_to_a_converter_the_preferred_one_is_kept_in_its_place():
    tool = converter("tool", ("onnx", "tflite", 5), ("exported_program", "tflite", 30))
    other = converter("other", ("onnx", "tflite", 10))
    torch = converter("torch", ("torch", "onnx", 50), ("torch", "exported_program", 50))
    assert routes("torch", torch, other, tool) == [
        "torch → onnx → tflite (by torch, tool)",
        "torch → onnx → tflite (by torch, other)",
    ]


def test_circles_end():
    there = converter("there", ("onnx", "keras", 1))
    back = converter("back", ("keras", "onnx", 1))
    itself = converter("itself", ("onnx", "onnx", 1))
    last = converter("last", ("keras", "tflite", 1))
    assert routes("onnx", there, back, itself, last) == ["onnx → keras → tflite (by there, last)"]


def test_one_route_by_name():
    mine, other = (converter(name, ("onnx", "tflite", 1)) for name in ("my-tool", "other"))
    for name in ("my-tool", "my_tool"):
        assert routes("onnx", mine, other, only=name) == ["onnx → tflite (by my-tool)"]
    with pytest.raises(UsageError, match="nothing") as caught:
        routes("onnx", mine, other, only="nothing")
    assert caught.value.cure == "Routes for this model: my-tool, other"


def test_no_route():
    with pytest.raises(UsageError, match="from torch to tflite"):
        routes("torch", converter("x", ("onnx", "tflite", 1)))


def test_who_runs_a_model():
    runner = converter("runner", runs=("onnx",))
    assert source_converter("onnx", {"runner": runner}) is runner
    with pytest.raises(UsageError, match="torch"):
        source_converter("torch", {"runner": runner})
