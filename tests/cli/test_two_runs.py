"""Whatever a command writes, a second run that would write the same is refused before it works."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "unit"))

from validate_nets import classifier, contract, pictures

from edgekit.cli import group
from edgekit.cli.boundary import run
from edgekit.errors import SetupError
from edgekit.pipeline.publish import held

COMMANDS = {
    "convert": ("out", "convert m.tflite --calibration data --scheme fp16 -o out"),
    "quantize": ("out", "quantize m.tflite --calibration data -o out"),
    "validate": ("out", "validate m.tflite --reference m.tflite --data data -o out"),
    "validate --junit": ("j.xml", "validate m.tflite --reference m.tflite --data data --junit"),
    "validate --markdown": (
        "j.md",
        "validate m.tflite --reference m.tflite --data data --markdown",
    ),
    "validate --tensorboard": (
        "out",
        "validate m.tflite --reference m.tflite --data data --tensorboard out",
    ),
    "embed": ("out", "embed m.tflite --target cpp --samples data -o out"),
    "sensitivity": ("p.html", "sensitivity m.tflite --calibration data -o"),
    "explain": ("p.html", "explain m.tflite --reference m.tflite --data data -o"),
    "explain --model-explorer": (
        "p.json",
        "explain m.tflite --reference m.tflite --data data --model-explorer",
    ),
    "reference record": ("r.edgeref", "reference record m.tflite --data data -o"),
    "diff": ("p.html", "diff m.tflite m.tflite --html"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_second_run_is_refused(command, tmp_path, monkeypatch, capsys):
    classifier(tmp_path / "m.tflite", said=contract())
    pictures(tmp_path / "data", 4, size=20)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("edgekit.toolchain.worker.Worker.__init__", None)  # none may start
    target, words = COMMANDS[command]
    file = target != "out"
    place = (tmp_path, target) if file else (tmp_path / target, "")
    with held(*place):
        before = sorted(tmp_path.rglob("*"))
        code = run(group, [*words.split(), *([target] if file else [])])
        assert sorted(tmp_path.rglob("*")) == before
    told = "".join(capsys.readouterr().err.split())
    assert code == SetupError.exit_code, told
    assert f"process{os.getpid()}" in told
    assert str(tmp_path / target) in told or target in told
