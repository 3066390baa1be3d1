"""Trained classifiers with labels, from PyTorch, Keras and ONNX, checked by their accuracy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import edgekit
from edgekit.results import ConversionResult
from edgekit.tflite.metadata import read_contract

from .conftest import Digits, tflite_outputs

pytestmark = pytest.mark.e2e


def accuracy(path: Path, digits: Digits) -> float:
    """Top-1 on all held-out digits, independent of edgekit's own figures."""
    scores = tflite_outputs(path, digits.images[digits.test][..., None])
    return float(np.mean(scores.argmax(1) == digits.labels[digits.test]))


@pytest.fixture(scope="module")
def from_torch(torch_digits: Path, digits_nchw: Path) -> ConversionResult:
    return edgekit.convert(
        f"{torch_digits}/digits_net.py:build",
        weights=torch_digits / "weights.pt",
        inputs=["image:1x1x8x8"],
        preprocess={"scale": 1 / 255, "color": "GRAY"},
        calibration=digits_nchw,
        task="classification",
        schemes=["fp32", "fp16", "dynamic-int8", "int8", "int8-float-io", "int16x8"],
        output=torch_digits / "out",
    )


def test_every_scheme_of_a_trained_torch_model_keeps_its_accuracy(
    from_torch: ConversionResult, digits: Digits
) -> None:
    assert from_torch.passed
    reached = {f.scheme: accuracy(f.artifact.path, digits) for f in from_torch.files}
    assert reached["fp32"] > 0.85  # the training worked
    for scheme, value in reached.items():
        assert value >= reached["fp32"] - 0.03, scheme


def test_reported_accuracy_is_that_of_the_labels(
    from_torch: ConversionResult, digits: Digits
) -> None:
    report = json.loads(from_torch.report.read_text(encoding="utf-8"))
    assert report["schema"] == "edgekit-report"
    int8 = next(entry for entry in report["files"] if entry["scheme"] == "int8")
    # The samples are named archive[index]: judge the very same ones with the interpreter alone.
    chosen = [int(name.partition("[")[2][:-1]) for name in report["data"]["parity_ids"]]
    assert len(chosen) == int8["parity"]["samples"] == 64
    path = next(f.artifact.path for f in from_torch.files if f.scheme == "int8")
    scores = tflite_outputs(path, digits.images[digits.test][chosen][..., None])
    hits = scores.argmax(1) == digits.labels[digits.test][chosen]
    assert int8["parity"]["accuracy"] == pytest.approx(float(np.mean(hits)), abs=1e-5)
    assert int8["metrics"]["top1_drop"] == pytest.approx(
        int8["parity"]["reference_accuracy"] - int8["parity"]["accuracy"], abs=1e-5
    )


def test_int8_is_integer_throughout(from_torch: ConversionResult) -> None:
    int8 = next(file for file in from_torch.files if file.scheme == "int8")
    assert int8.integer_share == 1.0
    assert not int8.float_ops


def test_contract_travels_in_the_file(from_torch: ConversionResult) -> None:
    int8 = next(file for file in from_torch.files if file.scheme == "int8")
    contract = read_contract(int8.artifact.path)
    assert contract is not None
    (entry,) = contract.inputs
    assert entry.tensor.name == "image"
    assert entry.tensor.shape == (1, 8, 8, 1)
    assert (entry.tensor.layout, entry.tensor.dtype) == ("NHWC", "int8")
    assert entry.preprocess is not None
    assert entry.preprocess.scale == pytest.approx(1 / 255)
    assert contract.task == "classification"


def test_lineage_names_tools_data_and_costs(from_torch: ConversionResult) -> None:
    lineage = from_torch.files[0].artifact.lineage
    names = [step.name for step in lineage]
    assert names.index("torch convert") < names.index("onnx2tf convert")
    export = lineage[names.index("torch convert")]
    assert export.versions["torch"]
    assert export.seconds > 0
    assert (export.peak_memory_mb or 0) > 50
    assert from_torch.data.parity_digest != from_torch.data.calibration_digest


def test_a_second_run_makes_the_same_bytes(
    from_torch: ConversionResult, torch_digits: Path, digits_nchw: Path
) -> None:
    again = edgekit.convert(
        f"{torch_digits}/digits_net.py:build",
        weights=torch_digits / "weights.safetensors",
        inputs=["image:1x1x8x8"],
        preprocess={"scale": 1 / 255, "color": "GRAY"},
        calibration=digits_nchw,
        task="classification",
        schemes=["int8"],
        output=torch_digits / "again",
    )
    first = next(file for file in from_torch.files if file.scheme == "int8")
    assert again.files[0].artifact.sha256 == first.artifact.sha256


@pytest.mark.parametrize("name", ["program.pt2", "script.pt", "digits.onnx"])
def test_other_forms_of_the_same_torch_model(
    name: str, torch_digits: Path, digits_nchw: Path, digits: Digits, tmp_path: Path
) -> None:
    inputs = ["image:1x1x8x8"] if name == "script.pt" else []
    result = edgekit.convert(
        torch_digits / name,
        inputs=inputs,
        preprocess={"scale": 1 / 255, "color": "GRAY"},
        calibration=digits_nchw,
        schemes=["fp32"],
        output=tmp_path / "out",
    )
    assert result.passed
    assert accuracy(result.files[0].artifact.path, digits) > 0.85


def test_keras_makes_both_routes_and_keeps_the_faster_right_one(
    keras_digits: Path, digits_nhwc: Path, digits: Digits, tmp_path: Path
) -> None:
    result = edgekit.convert(
        keras_digits / "digits.keras",
        preprocess={"scale": 1 / 255, "color": "GRAY"},
        calibration=digits_nhwc,
        task="classification",
        schemes=["fp32", "int8"],
        output=tmp_path / "out",
    )
    assert result.passed
    by_state = {attempt.state: attempt for attempt in result.attempts}
    assert set(by_state) == {"used", "right, but slower"}
    assert {attempt.route for attempt in result.attempts} == {"keras", "onnx2tf"}
    used, slower = by_state["used"].latency, by_state["right, but slower"].latency
    assert used is not None
    assert slower is not None
    assert used.percentile(50) <= 1.03 * slower.percentile(50)  # 3 % is the clock's noise
    reached = {f.scheme: accuracy(f.artifact.path, digits) for f in result.files}
    assert reached["fp32"] > 0.85
    assert reached["int8"] >= reached["fp32"] - 0.03


@pytest.mark.parametrize(("name", "route"), [("digits.h5", "keras"), ("digits_saved", "onnx2tf")])
def test_other_forms_of_the_keras_model(
    name: str, route: str, keras_digits: Path, digits_nhwc: Path, digits: Digits, tmp_path: Path
) -> None:
    result = edgekit.convert(
        keras_digits / name,
        preprocess={"scale": 1 / 255, "color": "GRAY"},
        calibration=digits_nhwc,
        schemes=["fp32"],
        route=route,
        output=tmp_path / "out",
    )
    assert result.passed
    assert [attempt.route for attempt in result.attempts] == [route]
    assert accuracy(result.files[0].artifact.path, digits) > 0.85


def test_an_onnx_file_with_nhwc_input_keeps_it(
    keras_digits: Path, digits_nhwc: Path, digits: Digits, tmp_path: Path
) -> None:
    result = edgekit.convert(
        keras_digits / "digits_nhwc.onnx",
        preprocess={"scale": 1 / 255, "color": "GRAY"},
        calibration=digits_nhwc,
        schemes=["fp32"],
        output=tmp_path / "out",
    )
    assert result.passed
    contract = read_contract(result.files[0].artifact.path)
    assert contract is not None
    assert contract.inputs[0].tensor.shape == (1, 8, 8, 1)
    assert contract.inputs[0].tensor.layout == "NHWC"
    assert accuracy(result.files[0].artifact.path, digits) > 0.85


def test_a_float_tflite_goes_straight_to_quantization(
    from_torch: ConversionResult, digits_nhwc: Path, digits: Digits, tmp_path: Path
) -> None:
    floating = next(file for file in from_torch.files if file.scheme == "fp32")
    before = floating.artifact.path.read_bytes()
    result = edgekit.convert(
        floating.artifact.path,
        calibration=digits_nhwc,
        schemes=["int8", "weight-only-int8"],
        output=tmp_path / "out",
    )
    assert result.passed
    assert floating.artifact.path.read_bytes() == before
    # The contract inside the file told the preprocessing and the task.
    assert result.contract.task == "classification"
    for file in result.files:
        assert accuracy(file.artifact.path, digits) > 0.82
