"""Every scheme and every type of inputs and outputs, for a classifier that was really trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import edgekit
from edgekit.results import ConversionResult
from edgekit.tflite.metadata import read_contract
from edgekit.tflite.summary import summarize
from edgekit.types import SCHEMES, IoDtype, Scheme

from .conftest import Digits, tflite_outputs

pytestmark = pytest.mark.e2e

BORDERS: dict[Scheme, str] = {
    "int8": "int8",
    "int8-uint8-io": "uint8",
    "int8-float-io": "float32",
    "int16x8": "int16",
}


@pytest.fixture(scope="module")
def made(
    torch_digits: Path, digits_nchw: Path, tmp_path_factory: pytest.TempPathFactory
) -> ConversionResult:
    return edgekit.convert(
        f"{torch_digits}/digits_net.py:build",
        weights=torch_digits / "weights.pt",
        inputs=["image:1x1x8x8"],
        preprocess={"scale": 1 / 255, "color": "GRAY"},
        calibration=digits_nchw,
        task="classification",
        schemes=SCHEMES,
        output=tmp_path_factory.mktemp("schemes") / "out",
    )


def accuracy(path: Path, digits: Digits) -> float:
    """Top-1 on all held-out digits, independent of edgekit's own figures."""
    scores = tflite_outputs(path, digits.images[digits.test][..., None])
    return float(np.mean(scores.argmax(1) == digits.labels[digits.test]))


def test_every_scheme_is_made_and_keeps_its_accuracy(
    made: ConversionResult, digits: Digits
) -> None:
    reached = {file.scheme: accuracy(file.artifact.path, digits) for file in made.files}
    assert set(reached) == set(SCHEMES)
    assert reached["fp32"] > 0.85  # the training worked
    for scheme, value in reached.items():
        assert value >= reached["fp32"] - (0.06 if "int4" in scheme else 0.03), scheme


@pytest.mark.parametrize("scheme", SCHEMES)
def test_ends_and_contract_have_the_type_of_the_scheme(
    made: ConversionResult, scheme: Scheme
) -> None:
    (path,) = (file.artifact.path for file in made.files if file.scheme == scheme)
    wanted, summary, contract = BORDERS.get(scheme, "float32"), summarize(path), read_contract(path)
    assert contract is not None
    ports = [*summary.inputs, *summary.outputs]
    assert {port.tensor.dtype for port in ports} == {wanted}
    assert {entry.tensor.dtype for entry in (*contract.inputs, *contract.outputs)} == {wanted}
    assert all((port.scale is None) == (wanted == "float32") for port in ports)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "float32"])
def test_io_dtype_names_the_border_and_gates_for_int8_hold(
    made: ConversionResult, dtype: IoDtype, digits_nhwc: Path, digits: Digits, tmp_path: Path
) -> None:
    floating = next(file for file in made.files if file.scheme == "fp32")
    result = edgekit.convert(
        floating.artifact.path,
        calibration=digits_nhwc,
        schemes=["int8"],
        io_dtype=dtype,
        gates=["int8:size_mb <= 0.000001"],
        output=tmp_path / "out",
    )
    (file,) = result.files
    assert summarize(file.artifact.path).inputs[0].tensor.dtype == dtype
    assert accuracy(file.artifact.path, digits) > 0.82
    failed = [gate.gate.metric for gate in file.verdict.gates if gate.state == "fail"]
    assert failed == ["size_mb"]
