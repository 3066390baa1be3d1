"""Every way by which a stranger's file gets into edgekit: its code runs by none of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.e2e.fault_helpers import (
    INPUT,
    SYNTHETIC,
    TINY_TORCH,
    edgekit,
    refusal,
    save_tiny_tflite,
)

pytest.importorskip("torch")

import hostile

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder with hostile files, and the canary, which lies beside it."""
    base = tmp_path_factory.mktemp("strangers")
    folder, canary = base / "models", base / "canary"
    folder.mkdir()
    for make in (hostile.another_ending, hostile.whole_module):
        make(folder, canary)
    (folder / "net.py").write_text(TINY_TORCH)
    (folder / "edgekit.toml").write_text('[model]\nweights = "whole.pt"\n')
    save_tiny_tflite(folder).rename(folder / "candidate.tflite")
    np.savez(folder / "data.npz", image=np.zeros((2, 3, 8, 8), "float32"))
    objects = np.array([hostile.Touch(canary)] * 2, dtype=object)
    np.savez(folder / "objects.npz", image=objects)
    return folder, canary


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("convert", "other.pt", *INPUT, *SYNTHETIC), 2, "any code"),
        (("convert", "net.py:build", *INPUT, *SYNTHETIC, "--config", "edgekit.toml"), 2, "code"),
        (
            ("validate", "candidate.tflite", "--reference", "other.pt", "--data", "data.npz"),
            2,
            "any code",
        ),
        (
            ("explain", "candidate.tflite", "--reference", "other.pt", "--data", "data.npz"),
            2,
            "any code",
        ),
        (
            ("reference", "record", "other.pt", *INPUT, "--data", "data.npz", "-o", "x.edgeref"),
            2,
            "any code",
        ),
        (("convert", "candidate.tflite", "--calibration", "objects.npz"), 6, "objects.npz"),
    ],
)
def test_its_code_does_not_run(place, arguments: tuple[str, ...], code: int, says: str) -> None:
    folder, canary = place
    refusal(folder, *arguments, code=code, says=says)
    assert not canary.exists()


def test_trust_is_not_leave_to_write(place, tmp_path: Path) -> None:
    folder, canary = place
    arguments = ("convert", "whole.pt", "--trust-pickle", *INPUT, *SYNTHETIC)
    refusal(folder, *arguments, code=3, says=str(canary), cure=f"--allow-write {canary.parent}")
    assert not canary.exists()
    granted = ("--allow-write", canary.parent, "--output", tmp_path / "out")
    finished = edgekit(folder, *arguments, *granted)
    assert finished.code == 3
    assert "holds a" in finished.text, "what it made is not a model; but it was let make it"
    assert canary.exists()
    canary.unlink()
