"""Odd calibration data through the command line: named, in the terminal and in the report."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from .fault_helpers import Finished, edgekit, save_tiny_tflite

pytestmark = pytest.mark.e2e


def _report(folder: Path) -> dict:
    return json.loads((folder / "out" / "edgekit-report.json").read_text(encoding="utf-8"))


def _advice(folder: Path) -> dict[str, dict]:
    return {one["code"]: one for one in _report(folder)["advice"]}


def test_ten_black_pictures_end_in_a_named_warning(
    torch_digits: Path, digits_nchw: Path, tmp_path: Path
) -> None:
    black = tmp_path / "black"
    black.mkdir()
    for number in range(10):
        cv2.imwrite(str(black / f"{number}.png"), np.zeros((8, 8), np.uint8))
    model = f"{torch_digits}/digits_net.py:build"
    stated = ("--weights", torch_digits / "weights.pt", "--input", "image:1x1x8x8")
    stated += ("--scale", "1/255", "--color", "GRAY", "--calibration", black)
    arguments = ("convert", model, *stated, "--scheme", "int8", "--output", "out")
    finished = edgekit(tmp_path, *arguments, "--parity", digits_nchw)
    assert finished.code in (0, 4, 8), (
        finished.text
    )  # not about the verdict  # a file was made; the gates judge it
    assert "calibration-constant" in finished.text
    assert "0.png" in finished.text
    found = _advice(tmp_path)["calibration-constant"]
    assert found["warning"]
    assert found["samples"] == ["0.png"]  # the other nine are exact copies, which are dropped
    assert any("calibration-constant" in note for note in _report(tmp_path)["notes"])
    # With nothing else to compare on there is nothing to judge by, and that is an error.
    alone = edgekit(tmp_path, *arguments, "--force")
    assert alone.code == 6
    assert "copies" in alone.text


def _quantize(folder: Path, calibration: np.ndarray, *more: str) -> Finished:
    save_tiny_tflite(folder)
    np.savez(folder / "calibration.npz", image=calibration)
    np.savez(folder / "parity.npz", image=_pictures(8, seed=9))
    data = ("--calibration", "calibration.npz", "--parity", "parity.npz", "--output", "out")
    finished = edgekit(folder, "quantize", "tiny.tflite", *data, "--effort", "fast", *more)
    assert finished.code in (0, 4, 8), finished.text  # a file was made
    return finished


def _pictures(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 8, 8, 3), dtype=np.float32)


def test_the_odd_picture_is_named_by_its_id(tmp_path: Path) -> None:
    stack = _pictures(33)
    stack[7] *= 2.4  # more would be refused as not normalised
    finished = _quantize(tmp_path, stack)
    assert "calibration-outlier: calibration.npz[7] stands out" in finished.text
    found = _advice(tmp_path)["calibration-outlier"]
    assert found["samples"] == ["calibration.npz[7]"]
    assert found["data"]["factors"][0] > 2


def test_enough_pictures_are_said_to_be_enough(tmp_path: Path) -> None:
    finished = _quantize(tmp_path, _pictures(32))
    (found,) = _report(tmp_path)["advice"]
    assert found["code"] == "calibration-settled"
    assert not found["warning"]
    assert found["message"] in finished.text
    assert set(found["data"]["range_share"]) == {"4", "8", "16", "32"}


def test_random_inputs_get_no_advice(tmp_path: Path) -> None:
    save_tiny_tflite(tmp_path)
    finished = edgekit(tmp_path, "quantize", "tiny.tflite", "--synthetic", "--output", "out")
    assert finished.code in (0, 4, 8), finished.text  # a file was made
    assert _report(tmp_path)["advice"] == []


def test_pictures_that_were_not_normalised_are_refused(tmp_path: Path) -> None:
    """0…255 where the contract in the file says 0…1."""
    save_tiny_tflite(tmp_path)
    np.savez(tmp_path / "raw.npz", image=np.round(_pictures(12) * 255))
    scaled = ("--scale", "1/255", "--calibration", "raw.npz", "--output", "out")
    finished = edgekit(tmp_path, "quantize", "tiny.tflite", *scaled)
    assert finished.code == 6
    assert "255" in finished.text
