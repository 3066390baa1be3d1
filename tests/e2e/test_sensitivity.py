"""``edgekit sensitivity`` as a user runs it, in its worker processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "unit"))

from quantize_nets import mixed_net, photos
from tflite_builder import quantized_bytes

pytestmark = pytest.mark.e2e


def edgekit(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgekit", "sensitivity", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    np.save(tmp_path / "photos.npy", photos(24, 8, 8, 3))
    return tmp_path / "photos.npy"


def test_from_file_to_page(tmp_path: Path, data: Path) -> None:
    model, page = mixed_net(tmp_path / "net.tflite"), tmp_path / "page.html"
    answer = edgekit(model, "--calibration", data, "-o", page, "--json")
    assert answer.returncode == 0, answer.stderr
    document = json.loads(answer.stdout)
    names = [layer["name"] for layer in document["layers"]]
    assert names == ["first", "deep", "point", "joined", "small", "large", "scores"]
    assert not [layer["problem"] for layer in document["layers"] if layer["problem"]]
    # The last prefix is the whole int8 file, but for float borders, which do no more harm.
    last = document["layers"][-1]["prefix"]["worst_db"]
    assert last == pytest.approx(document["whole"]["worst_db"], abs=0.01)
    text = page.read_text(encoding="utf-8")
    assert all(text.count(f">{name}<") == 2 for name in names)
    assert [path.name for path in tmp_path.glob(".edgekit*")] == []

    again = edgekit(model, "--calibration", data, "-o", page)
    assert (again.returncode, page.read_text(encoding="utf-8")) == (2, text)
    forced = edgekit(
        model, "--calibration", data, "-o", page, "--force", "--mode", "each", "--effort", "fast"
    )
    assert forced.returncode == 0, forced.stderr
    assert "scores" in forced.stdout
    assert "The first layers in int8" not in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("recipe", ["static_wi8_ai8", "dynamic_wi8_afp32", "weight_only_wi8_afp32"])
def test_a_quantized_file_is_refused(tmp_path: Path, data: Path, recipe: str) -> None:
    model = tmp_path / "int8.tflite"
    model.write_bytes(quantized_bytes(recipe))
    answer = edgekit(model, "--calibration", data, "-o", tmp_path / "page.html")
    assert answer.returncode == 3
    assert "quantized already" in answer.stderr
    assert not (tmp_path / "page.html").exists()
