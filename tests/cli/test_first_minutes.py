"""What a newcomer types wrong, and what they read then: each in the words that are printed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from edgekit.cli import group
from edgekit.cli.boundary import run
from edgekit.toolchain.doctor import EXTRAS

ROOT = Path(__file__).parents[2]
NET = "import torch\n\ndef build():\n    raise SystemExit('the module was run')\n"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with photographs (so to speak) and a model's code."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "net.py").write_text(NET, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(arguments: list[str], capsys) -> tuple[int, str]:
    code = run(group, arguments)
    streams = capsys.readouterr()
    return code, " ".join((streams.out + streams.err).split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["convrt", "net.onnx"], "Did you mean 'convert'?"),
        (["quantise"], "Did you mean 'quantize'?"),
        (["convert", "net.py:biuld"], "net.py has no 'biuld'. Cure: Did you mean 'build'?"),
        (["convert", "net.py:build", "--calibration", "photos"], "--input image:1x3x224x224"),
        (["convert", "net.py:build", "--gate", "top1_agrement >= 95%"], "'top1_agreement'"),
        (["convert", "net.py:build", "--gate", "int9:size_mb <= 6"], "Did you mean 'int8'?"),
        (
            ["convert", "net.py:build", "--gate", "top1_agreement >= 95"],
            "Did you mean 'top1_agreement >= 95%'?",
        ),
        (["convert", "net.py:build", "--target", "ethos-u5"], "Did you mean 'ethos-u"),
    ],
)
def test_the_nearest_right_word_is_named(arguments, words, here, capsys):
    if arguments[0] == "convert" and "--calibration" not in arguments:
        arguments = [*arguments, "--calibration", "photos", "--input", "x:1x3x8x8"]
    code, text = said(arguments, capsys)
    assert code == 2
    assert words in text
    assert "torch" not in sys.modules or "the module was run" not in text


def test_names_that_only_running_tells_are_left_to_it(here, capsys):
    (here / "star.py").write_text("from net import *\n", encoding="utf-8")
    (here / "made.py").write_text("globals()['build'] = 1\n", encoding="utf-8")
    for name in ("star", "made"):
        _, text = said(["convert", f"{name}.py:build", "--calibration", "photos"], capsys)
        assert "--input" in text


def test_the_nearest_configuration_is_found_from_below(here, capsys, monkeypatch):
    (here / "edgekit.toml").write_text(
        '[model]\nsource = "gone.onnx"\n[calibration]\ndata = "photos"\n', encoding="utf-8"
    )
    below = here / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert "gone.onnx" in said(["convert", "--dry-run"], capsys)[1]
    # With a model of its own, a command is about that one.
    assert "other.onnx" in said(["convert", "other.onnx", "--dry-run"], capsys)[1]
    (below / "edgekit.toml").write_text("[calibration]\ndata = 'photos'\n", encoding="utf-8")
    assert "has no source" in said(["convert"], capsys)[1]


def test_without_a_configuration_the_command_is_shown(here, capsys):
    code, text = said(["convert"], capsys)
    assert code == 2
    assert "no edgekit.toml" in text
    assert "edgekit convert MODEL" in text


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["convert", "x.onnx", "--task", "clasification"], "Did you mean 'classification'?"),
        (["convert", "x.onnx", "--scheme", "in8"], "Did you mean 'int8'?"),
        (["quantize", "x.tflite", "--interpolation", "bicubik"], "Did you mean 'bicubic'?"),
    ],
)
def test_a_choice_that_is_none_names_the_nearest(arguments, meant, here, capsys):
    code, text = said(arguments, capsys)
    assert code == 2
    assert meant in " ".join(text.split())


def test_a_choice_that_is_like_none_is_only_refused(here, capsys):
    code, text = said(["convert", "x.onnx", "--task", "zzz"], capsys)
    assert code == 2
    assert "is not one of" in text
    assert "Did you mean" not in text


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_of_a_shell_is_what_the_reference_says(shell, monkeypatch):
    line = f"_EDGEKIT_COMPLETE={shell}_source edgekit"
    assert line in (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "edgekit"],
        env={**os.environ, "_EDGEKIT_COMPLETE": f"{shell}_source"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "edgekit" in done.stdout
    assert done.returncode == 0


def test_version_in_short(capsys):
    assert said(["-V"], capsys) == said(["--version"], capsys)


def test_doctor_lists_every_extra_with_its_packages(capsys, monkeypatch):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    declared = project["project"]["optional-dependencies"]
    assert set(EXTRAS) == set(declared) - {"dev", "demo", "docs", "zoo"}
    for name, (_, packages) in EXTRAS.items():
        assert [re.match(r"[\w-]+", one)[0] for one in declared[name]] == list(packages)
    run(group, ["doctor", "--json"])
    found = {check["name"] for check in json.loads(capsys.readouterr().out)}
    assert {f"[{name}]" for name in EXTRAS} <= found
    monkeypatch.setenv("NO_COLOR", "1")
    run(group, ["doctor"])
    assert "\x1b" not in capsys.readouterr().out
