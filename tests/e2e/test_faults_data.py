"""Data that cannot be used, and verdicts that fail: the right code, and nothing half-done."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.e2e.fault_helpers import (
    SYNTHETIC,
    TINY_SHAPE,
    Finished,
    edgekit,
    json_on_stdout,
    leftovers,
    refusal,
    save_pictures,
    save_tiny_tflite,
)

pytestmark = pytest.mark.e2e


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The model, and data with everything that can be wrong with it."""
    save_tiny_tflite(tmp_path)
    for name in ("empty", "texts"):
        (tmp_path / name).mkdir()
    (tmp_path / "texts" / "readme.txt").write_text("no picture")
    save_pictures(tmp_path / "fifth", 20, broken=4)
    save_pictures(tmp_path / "all", 4, broken=4)
    # The converted file takes NHWC.
    shape = (8, *TINY_SHAPE[1:], TINY_SHAPE[0])
    good = np.random.default_rng(0).random(shape, dtype=np.float32)
    bad = good.copy()
    bad[2, 0, 0, 0] = np.nan
    np.savez(tmp_path / "good.npz", image=good)
    np.savez(tmp_path / "other.npz", picture=good, mask=good)
    np.savez(tmp_path / "nan.npz", image=bad)
    np.savez(tmp_path / "shape.npz", image=good[:, :5])
    np.savez(tmp_path / "objects.npz", image=np.array([{}, {}], dtype=object))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "good.npz").read_bytes()[:500])
    return tmp_path


@pytest.mark.parametrize(
    ("data", "says", "cure"),
    [
        ("nowhere", "nowhere", ""),
        ("empty", "empty", "folder of pictures"),
        ("texts", "texts", "folder of pictures"),
        ("tiny.tflite", "tiny.tflite", "folder of pictures"),
        ("fifth", ("4 of 20", "00.png", "01.png", "02.png", "03.png"), "Replace"),
        ("all", "00.png", "Replace"),
        ("other.npz", ("input image", "picture"), "image"),
        ("nan.npz", ("nan.npz[2]", "image", "NaN"), "Remove"),
        ("shape.npz", ("shape.npz[", "(1, 8, 8, 3)", "(5, 8, 3)"), "shape"),
        ("objects.npz", "objects.npz", "pickled objects are never loaded"),
        ("cut.npz", "cut.npz", "np.savez"),
    ],
)
def test_data_that_cannot_be_used(folder: Path, data: str, says: str, cure: str) -> None:
    arguments = ("convert", "tiny.tflite", "--calibration", data, "--scheme", "int8")
    finished = refusal(folder, *arguments, code=6, says=says, cure=cure)
    assert "WARN" not in finished.err, "OpenCV speaks to the user"


def test_broken_data_to_compare_on(folder: Path) -> None:
    arguments = ("convert", "tiny.tflite", "--calibration", "good.npz", "--parity", "nan.npz")
    refusal(folder, *arguments, code=6, says="nan.npz[2]")


def convert(folder: Path, *arguments: str) -> Finished:
    command = ("convert", "tiny.tflite", *SYNTHETIC, "--output", "out", *arguments)
    return edgekit(folder, *command)


def test_a_gate_that_fails_leaves_the_files_and_says_so(folder: Path) -> None:
    finished = convert(folder, "--gate", "size_mb <= 0.000001")
    assert finished.code == 4, finished.text
    assert "FAIL" in finished.out
    assert "fails size_mb <= 1e-06" in finished.text
    assert "Traceback" not in finished.text
    assert {path.name for path in (folder / "out").iterdir()} == {
        "tiny_fp32.tflite",
        "edgekit-report.html",
        "edgekit-report.json",
        "edgekit.lock",
    }


def test_with_json_standard_output_is_the_report_and_nothing_else(folder: Path) -> None:
    finished = convert(folder, "--json", "--verbose")
    assert finished.code == 0, finished.text
    assert json_on_stdout(finished)["passed"] is True
    failed = convert(folder, "--json", "--force", "--gate", "size_mb <= 0.000001")
    assert failed.code == 4, failed.text
    assert json_on_stdout(failed)["passed"] is False
    assert not leftovers(folder)


def test_with_json_a_failure_is_one_object_too(folder: Path) -> None:
    finished = edgekit(folder, "convert", "tiny.tflite", "--calibration", "nan.npz", "--json")
    assert finished.code == 6
    error = json_on_stdout(finished)["error"]
    assert (error["kind"], error["exit_code"]) == ("data", 6)
    assert "nan.npz[2]" in error["cause"]
    assert error["cure"]


def test_a_real_run_does_not_replace_outputs_without_force(folder: Path) -> None:
    assert convert(folder).code == 0
    arguments = ("convert", "tiny.tflite", *SYNTHETIC, "--output", "out")
    refusal(folder, *arguments, code=2, says="tiny_fp32.tflite exists already", cure="--force")
    (folder / "out" / "mine.tflite").write_bytes(b"not of edgekit")
    assert convert(folder, "--force").code == 0
    assert (folder / "out" / "mine.tflite").read_bytes() == b"not of edgekit"
