"""A model that is fed wrongly does not pass, however well its file equals it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from .conftest import REPOSITORY, Digits, run_python

pytestmark = pytest.mark.e2e


def cli(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgekit", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)


@pytest.fixture(scope="module")
def pictures(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The held-out digits as PNG files in a folder for each class."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(1400, len(digits.images)):
        place = folder / str(digits.labels[number])
        place.mkdir(exist_ok=True)
        pixels = np.rint(255 * digits.images[number]).astype(np.uint8)
        cv2.imwrite(str(place / f"{number}.png"), pixels)
    return folder


def test_a_wrong_mean_fails_until_it_is_accepted(torch_digits, pictures, tmp_path):
    model, out = torch_digits / "digits.onnx", tmp_path / "out"
    wrong = ["--scale", "1/255", "--mean", "0.95", "--std", "0.05"]
    shared = ["--input", "image:1x1x8x8", "--task", "classification"]
    done = cli(
        "convert", model, *shared, *wrong, "--calibration", pictures, "--scheme", "fp32", "-o", out
    )
    assert done.returncode == 4, done.stdout + done.stderr
    assert "probably fed wrongly: with values 0…1 its accuracy is" in done.stderr
    assert "state --scale 1/255 --mean 0 --std 1" in done.stderr
    report = json.loads((out / "edgekit-report.json").read_text(encoding="utf-8"))
    found = report["probe"]["found"]
    assert found["accuracy"] > 0.85
    assert found["stated_accuracy"] <= found["accuracy"] - 0.1

    # That validate fails such files is in the battery (benchmarks/lying).
    judged = ["validate", out / "digits_fp32.tflite", "--reference", model, "--data", pictures]
    judged += ["--no-latency", "--limit", 64]
    done = cli(*judged, "--accept-contract")
    assert done.returncode == 0, done.stdout + done.stderr

    refused = cli("convert", model, *shared, "--scale", 255, "--calibration", pictures)
    assert refused.returncode == 2
    assert "contradicts itself" in refused.stderr


KERAS_NET = """
import keras

keras.utils.set_random_seed(0)
layers = keras.layers
keras.Sequential([
    keras.Input((32, 32, 3), name="image"),
    layers.Rescaling(1 / 127.5, -1),
    layers.Conv2D(8, 3, strides=2, padding="same", activation="relu"),
    layers.Flatten(), layers.Dense(4, name="scores"),
]).save("net.keras")
"""


def test_a_model_that_rescales_by_itself_is_not_to_be_scaled(tmp_path):
    run_python(KERAS_NET, tmp_path)
    shared = ["convert", tmp_path / "net.keras", "--calibration", REPOSITORY / "calibration_data"]
    shared += ["--scheme", "fp32", "--task", "regression"]
    done = cli(*shared, "--scale", "1/255", "-o", tmp_path / "wrong")
    assert done.returncode == 4, done.stdout + done.stderr
    assert "normalises its input by itself" in done.stderr
    assert "state --scale 1 " in done.stderr
    done = cli(*shared, "-o", tmp_path / "right")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "right" / "edgekit-report.json").read_text(encoding="utf-8"))
    (entry,) = report["contract"]["inputs"]
    assert entry["preprocess"]["scale"] == 1
    assert "Rescaling(scale=0.00784314, offset=-1)" in entry["origins"]["scale"]
