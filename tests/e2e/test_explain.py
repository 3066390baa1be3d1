"""``edgekit explain`` as a user runs it: trained models, with faults planted into their files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.tflite.model import Model, read, write

pytestmark = pytest.mark.e2e

INPUT = ("--input", "image:1x1x8x8")


def edgekit(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgekit", *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "80"}
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def explain(folder: Path, *arguments: str | Path) -> dict[str, Any]:
    answer = edgekit(folder, "explain", *arguments, "--json", "--force")
    assert answer.returncode == 0, answer.stderr
    document: dict[str, Any] = json.loads(answer.stdout)
    return document


def faults(document: dict[str, Any]) -> list[tuple[str, str]]:
    return [(op["name"], op["cause"]) for op in document["ops"] if op["cause"] != "none"]


@pytest.fixture(scope="session")
def torch_files(
    torch_digits: Path, digits_nchw: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The float and the int8 file of the trained PyTorch digits."""
    output = tmp_path_factory.mktemp("explained") / "out"
    answer = edgekit(
        torch_digits,
        *("convert", "digits_net.py:build", "--weights", "weights.safetensors", *INPUT),
        *("--calibration", digits_nchw, "--scheme", "fp32", "--scheme", "int8", "-o", output),
    )
    assert answer.returncode == 0, answer.stderr
    return output


def corrupted(source: Path, path: Path, place: int) -> str:
    """Shuffle the weights of one operator; the name of its output."""
    model = read(source)
    operator = [op for op in model.main.operators if "CONV" in op.name][place]
    weights = operator.inputs[1]
    assert weights is not None
    shuffled = np.random.default_rng(0).permutation(weights.data().reshape(-1))
    weights.set_data(shuffled.reshape(weights.shape))
    write(model, path)
    return operator.outputs[0].name


def test_from_pytorch_over_onnx_to_int8_nothing_is_wrong(
    torch_digits: Path, torch_files: Path, digits_nchw: Path, tmp_path: Path
) -> None:
    candidate = torch_files / "digits_net_int8.tflite"
    told = ("--reference", "digits_net.py:build", "--weights", "weights.safetensors", *INPUT)
    page, nodes = tmp_path / "page.html", tmp_path / "nodes.json"
    document = explain(
        torch_digits,
        *(candidate, *told, "--data", digits_nchw, "-o", page, "--model-explorer", nodes),
    )
    assert faults(document) == []
    pairs = [(stage["reference"], stage["candidate"]) for stage in document["stages"]]
    assert pairs[:2] == [("torch", "ONNX"), ("ONNX", "float TFLite")]
    assert [stage["departs"] for stage in document["stages"]] == [None] * 3
    # Every module but the first convolution, which is folded into its batch normalisation.
    modules = {match["reference"] for match in document["stages"][0]["matches"]}
    assert modules >= {"1", "2", "3", "4", "5", "6", "8"}
    assert page.read_text(encoding="utf-8").count("<svg") == 1
    (graph,) = json.loads(nodes.read_text(encoding="utf-8")).values()
    tensors = {t.name for op in read(candidate).main.operators for t in op.outputs}
    assert set(graph["results"]) <= tensors

    again = edgekit(tmp_path, "explain", candidate, *told, "--data", digits_nchw, "-o", page)
    assert again.returncode == 2
    assert "exists already" in again.stderr


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_layer_whose_weights_are_corrupted_is_named(
    torch_files: Path, digits_nchw: Path, tmp_path: Path, place: int
) -> None:
    bad = tmp_path / "bad.tflite"
    name = corrupted(torch_files / "digits_net_int8.tflite", bad, place)
    reference = torch_files / "digits_net_fp32.tflite"
    document = explain(tmp_path, bad, "--reference", reference, "--data", digits_nchw)
    assert faults(document)[0] == (name, "weights-corrupted")
    assert document["first"] == name

    printed = edgekit(
        tmp_path, "explain", bad, "--reference", reference, "--data", digits_nchw, "--force"
    )
    assert printed.returncode == 0
    called = next(op["layer"] for op in document["ops"] if op["name"] == name)
    assert f"Verdict  The first bad operator is {called} (" in printed.stdout
    rows = printed.stdout.partition("Stages")[0].splitlines()
    assert max(map(len, rows)) <= 80


def test_a_float_file_that_departs_from_onnx_is_found_before_the_candidate(
    torch_digits: Path, torch_files: Path, digits_nchw: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad_fp32.tflite"
    name = corrupted(torch_files / "digits_net_fp32.tflite", bad, 1)
    document = explain(
        torch_digits,
        *(bad, "--reference", "digits.onnx", "--input", "image:1x1x8x8"),
        *("--float", bad, "--data", digits_nchw, "-o", tmp_path / "page.html"),
    )
    stage = document["stages"][0]
    assert (stage["reference"], stage["candidate"]) == ("ONNX", "float TFLite")
    before = [match["candidate"] for match in stage["matches"] if match["db"] > 60]
    assert name not in before
    assert len(before) >= 2
    assert stage["departs"] is not None
    assert "departs from ONNX" in document["verdict"]


def test_keras_layers_are_aligned(keras_digits: Path, digits_nhwc: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    answer = edgekit(
        keras_digits,
        *("convert", "digits.keras", "--calibration", digits_nhwc),
        *("--scheme", "fp32", "--scheme", "int8", "-o", output, "--route", "keras"),
    )
    assert answer.returncode == 0, answer.stderr
    bad = tmp_path / "bad.tflite"
    name = corrupted(output / "digits_int8.tflite", bad, 2)
    document = explain(
        keras_digits,
        *(bad, "--reference", "digits.keras", "--float", output / "digits_fp32.tflite"),
        *("--data", digits_nhwc, "-o", tmp_path / "page.html"),
    )
    assert faults(document)[0] == (name, "weights-corrupted")
    first = document["stages"][0]
    assert (first["reference"], first["departs"]) == ("keras", None)
    assert first["compared"] >= 5


def test_a_candidate_that_is_cut_short_and_a_reference_that_is_quantized(
    torch_files: Path, digits_nchw: Path, tmp_path: Path
) -> None:
    whole = torch_files / "digits_net_int8.tflite"
    (tmp_path / "cut.tflite").write_bytes(whole.read_bytes()[:2000])
    reference = torch_files / "digits_net_fp32.tflite"
    answer = edgekit(
        tmp_path, "explain", "cut.tflite", "--reference", reference, "--data", digits_nchw
    )
    assert answer.returncode == 3
    assert "damaged" in answer.stderr
    answer = edgekit(tmp_path, "explain", whole, "--reference", whole, "--data", digits_nchw)
    assert answer.returncode == 3
    assert "is quantized" in answer.stderr
    assert not list(tmp_path.glob("*.html"))


def test_a_candidate_of_another_model_is_told(
    torch_files: Path, digits_nchw: Path, tmp_path: Path
) -> None:
    def rename(model: Model) -> None:
        for tensor in model.main.tensors:
            tensor.raw.name = f"other/{tensor.name}"

    model = read(torch_files / "digits_net_int8.tflite")
    rename(model)
    write(model, tmp_path / "renamed.tflite")
    reference = torch_files / "digits_net_fp32.tflite"
    document = explain(tmp_path, "renamed.tflite", "--reference", reference, "--data", digits_nchw)
    # Without one name in common the values themselves say which tensor is which.
    assert faults(document) == []
    assert len(document["ops"]) >= 6
    assert {match["how"] for match in document["stages"][0]["matches"]} == {"measured"}
