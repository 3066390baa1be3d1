"""May this file ship, and if not, why? Answered by the page alone, for PyTorch and for Keras."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit.tflite.layer_names import layer_name
from edgekit.tflite.model import read, write

from .conftest import Digits

pytestmark = pytest.mark.e2e

MODELS = {
    "torch": (
        "digits_net.py:build",
        ("--weights", "weights.safetensors", "--input", "image:1x1x8x8"),
        "digits_net",
    ),
    "keras": ("digits.keras", (), "digits"),
}


def edgekit(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgekit", *map(str, arguments)]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=600
    )


def corrupted(source: Path, path: Path) -> str:
    """Shuffle the weights of the last convolution; what people call it."""
    model = read(source)
    operator = [one for one in model.main.operators if one.name == "CONV_2D"][-1]
    weights = operator.inputs[1]
    assert weights is not None
    shuffled = np.random.default_rng(0).permutation(weights.data().reshape(-1))
    weights.set_data(shuffled.reshape(weights.shape))
    write(model, path)
    return layer_name(operator)


def spoken(page: Path) -> str:
    """What a person reads before the first table."""
    header = page.read_text(encoding="utf-8").split("<header>")[1].split("</header>")[0]
    text = html.unescape(re.sub("<[^>]+>", " ", header)).replace("\N{NO-BREAK SPACE}", " ")
    return " ".join(text.split())


@pytest.mark.parametrize("kind", MODELS)
def test_the_page_says_what_may_ship_and_why_the_rest_may_not(
    kind: str, request: pytest.FixtureRequest, digits: Digits, tmp_path: Path
) -> None:
    folder: Path = request.getfixturevalue(f"{kind}_digits")
    model, told, stem = MODELS[kind]
    channel = 1 if kind == "torch" else 3
    held_out = slice(1400, 1520)
    images = np.expand_dims(digits.images[held_out], channel)
    np.savez(tmp_path / "held_out.npz", image=images, labels=digits.labels[held_out])
    out = tmp_path / "out"
    done = edgekit(
        folder,
        *("convert", model, *told, "--calibration", request.getfixturevalue(_LAYOUT[kind])),
        *("--task", "classification", "--scheme", "fp32", "--scheme", "int8", "-o", out),
    )
    assert done.returncode == 0, done.stderr
    good, bad = out / f"{stem}_int8.tflite", tmp_path / "bad_int8.tflite"
    name = corrupted(good, bad)

    judged = edgekit(
        folder,
        *("validate", good, bad, "--reference", model, *told),
        *("--data", tmp_path / "held_out.npz", "--gate", "top1_drop <= 3%", "--jobs", "1"),
        *("--no-latency", "-o", tmp_path / "report"),
    )

    assert judged.returncode == 4, judged.stderr
    text = spoken(tmp_path / "report" / "report.html")
    first, second = text.split(f"{bad.stem} m")
    assert f"{good.stem} may ship: top-1 " in first
    assert "within the 3 % asked for" in first
    assert "Why:" not in first
    assert second.startswith("ust not ship: top-1 drops ")
    assert f"Why: The first bad operator is {name} (CONV_2D): weights-corrupted" in second
    assert "Try: Convert again" in second
    assert "on 120 samples" in text
    assert "120 of them with labels" in text


_LAYOUT = {"torch": "digits_nchw", "keras": "digits_nhwc"}
