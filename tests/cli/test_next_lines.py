"""The last line of a command says what to type now, and that is something which works."""

from __future__ import annotations

import shlex
import webbrowser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest

from edgekit.cli import group
from edgekit.cli.boundary import run
from edgekit.report import following
from edgekit.tflite.model import write
from tests.unit.tflite_builder import random_weights, tiny_net


@pytest.fixture
def net(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write(tiny_net(random_weights()), tmp_path / "net.tflite")
    write(tiny_net(random_weights(1)), tmp_path / "other.tflite")
    return Path("net.tflite")


def last(arguments: list[str], capsys) -> str:
    assert run(group, arguments) == 0
    return capsys.readouterr().out.rstrip().splitlines()[-1]


def parsed(line: str) -> None:
    """Click takes the command: it exists, and so do its options and their values."""
    words = shlex.split(line.split("   (", maxsplit=1)[0])
    assert words.pop(0) == "edgekit"
    command: click.Command = group
    context: Any = None
    while isinstance(command, click.Group):
        context = click.Context(command, parent=context)
        if getattr(command, "commands", {}).get(words[0]) is None and command.name == "sweep":
            words.insert(0, "run")
        name = words.pop(0)
        found = command.get_command(context, name)
        assert found is not None, name
        command = found
    command.make_context(command.name, words, parent=context)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["inspect", "net.tflite"], "edgekit benchmark net.tflite"),
        (["diff", "net.tflite", "other.tflite"], "edgekit benchmark net.tflite other.tflite"),
        (["diff", "net.tflite", "net.tflite"], "edgekit inspect net.tflite"),
    ],
)
def test_printed_last(arguments, wanted, net, capsys) -> None:
    line = last(arguments, capsys)
    assert line == f"Next     {wanted}"
    parsed(wanted)


def test_nothing_follows_where_programs_read(net, capsys) -> None:
    run(group, ["inspect", "net.tflite", "--json"])
    run(group, ["diff", "net.tflite", "other.tflite", "--quiet"])
    assert "Next" not in capsys.readouterr().out


A, B, FOLDER, LOCK = map(Path, ("a.tflite", "b.tflite", "photos", "edgekit.lock"))
FOUND = SimpleNamespace(advice="")
FILE = SimpleNamespace(path="a.tflite", contract=SimpleNamespace(task="classification"))


@pytest.mark.parametrize(
    "line",
    [
        following.after_explain(FOUND, A, ["n.py:build", "--input", "x:1x3"], FOLDER),  # type: ignore[arg-type]
        following.after_explain(FOUND, A, [], FOLDER),  # type: ignore[arg-type]
        following.after_sensitivity(A, ["--calibration", FOLDER]),
        following.after_benchmark([A]),
        following.after_benchmark([A, B]),
        following.after_inspect(FILE, (), fits=True),  # type: ignore[arg-type]
        following.after_inspect(FILE, ("edge-tpu",), fits=False),  # type: ignore[arg-type]
        following.after_inspect_source("net.onnx", ["--input x:1x3x8x8"]),
        following.after_verify(A, same=True, lock=LOCK),
        following.after_verify(A, same=True, lock=Path("a.lock")),
        following.after_replay(LOCK, same=True, checked_only=True, moved=[]),
        following.after_replay(LOCK, same=False, checked_only=False, moved=[]),
        following.after_replay(LOCK, same=False, checked_only=True, moved=["model"]),
        following.after_reference(Path("ref.edgeref"), "photos"),
        following.after_runtimes(A, refused=True),
        following.after_runtimes(A, refused=False),
        following.after_device_check("ssh://pi@board", missing=False),
        following.after_device_check("ssh://pi@board", missing=True),
        following.after_doctor([]),
        *(
            following.after_sweep(
                Path("s_sweep"), complete=done, failures=bad, front=front, source=Path("s.toml")
            )
            for done, bad, front in (
                (False, False, ()), (True, True, ()), (True, False, ("a",)), (True, False, ()),
            )
        ),
    ],
)  # fmt: skip
def test_what_follows_is_a_command(line, net) -> None:
    parsed(line)


def test_a_page_opens_or_its_path_is_said(net, capsys, monkeypatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or True)
    monkeypatch.setenv("DISPLAY", ":0")
    arguments = ["diff", "net.tflite", "other.tflite", "--html", "diff.html", "--open", "--force"]
    assert run(group, arguments) == 0
    assert opened == [Path("diff.html").absolute().as_uri()]
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert run(group, arguments) == 0
    assert len(opened) == 1
    assert f"The page: {Path('diff.html').absolute()}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "cure"),
    [
        (["diff", "net.tflite", "other.tflite", "--open"], "--html diff.html"),
        (["validate", "net.tflite", "--reference", "other.tflite", "--data", ".", "--open"], "-o"),
    ],
)
def test_open_needs_a_page(arguments, cure, net, capsys) -> None:
    assert run(group, arguments) == 2
    assert cure in capsys.readouterr().err


def test_no_colour_in_errors_either(net, capsys, monkeypatch) -> None:
    # As on a terminal, where click decides by what it is told.
    monkeypatch.setattr("click.utils.should_strip_ansi", lambda _stream, color: color is False)
    run(group, ["inspect", "missing.tflite"])
    assert "\x1b" in capsys.readouterr().err
    monkeypatch.setenv("NO_COLOR", "1")
    run(group, ["inspect", "missing.tflite"])
    assert "\x1b" not in capsys.readouterr().err
