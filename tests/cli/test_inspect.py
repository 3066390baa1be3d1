"""``edgekit inspect``: the table for people, the JSON for programs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

sys.path.append(str(Path(__file__).parents[1] / "unit"))

import tflite_builder as tiny

from edgekit.cli.inspect import command
from edgekit.errors import UsageError
from edgekit.tflite.model import read, write


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "net.tflite"
    path.write_bytes(tiny.quantized_bytes("static_wi8_ai8"))
    return path


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_table(path: Path) -> None:
    output = run(path)
    for text in ("image", "1×8×8×3", "int8", "CONV_2D", "2 of 2 (100.0%)", "weights"):
        assert text in output
    assert "Still computed in float" not in output


def test_it_fits_80_columns_however_long_the_names(path: Path) -> None:
    model = read(path)
    for tensor in model.main.tensors:
        tensor.raw.name = f"a/very/[bold]long[/bold]/name/{tensor.name}/" * 6
    model.raw.description = "[/red] " * 40
    write(model, path)
    output, following = run(path).rsplit("Next     ", 1)
    assert max(len(line) for line in output.splitlines()) <= 80
    assert following.count("\n") == 1  # whole, however long: it is copied
    assert "[bold]" in output.replace("\n", "")


def test_float_operators_left_are_listed(path: Path) -> None:
    model = read(path)
    graph = model.main
    scores = graph.outputs[0]
    inner = graph.add_tensor("inner", scores.shape, "float32")
    outer = graph.add_tensor("outer", scores.shape, "float32")
    graph.insert_operator(2, "DEQUANTIZE", [scores], [inner])
    graph.insert_operator(3, "ABS", [inner], [outer])
    graph.raw.outputs = [outer.index]
    write(model, path)
    output = run(path)
    assert "Still computed in float" in output
    assert "2 of 4 (50.0%)" in output
    assert "ABS" in output


def test_json(path: Path) -> None:
    data = json.loads(run(path, "--json"))
    assert data["integer_share"] == 1
    assert data["size_bytes"] == path.stat().st_size
    assert data["inputs"][0]["tensor"]["name"] == "image"


def test_errors_are_left_to_the_boundary(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no file"):
        run(tmp_path / "missing.tflite")


def test_the_help_has_an_example() -> None:
    assert "edgekit inspect mobilenet_int8.tflite --json" in run("--help")
