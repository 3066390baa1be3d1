"""The Python API: every command, with the options of the command line."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import click
import pytest

import edgekit
from edgekit.cli import COMMANDS
from edgekit.cli.options import _PREPROCESS
from edgekit.errors import UsageError

NOT_IN_PYTHON = {
    "init",
    "reference",
    "target",
    "device",
    "runtimes",
    "toolchain",
    "doctor",
}
"""Commands about the machine and its files; `edgekit reference record` is `record_reference`."""
ONLY_THERE = {"as_json", "quiet", "verbose", "exit_code", "no_pictures", "junit", "markdown"}
ONLY_THERE |= {
    "tensorboard",
    "runner_binary",
    "runner_arg",
    "targets_of_inspect",
    "help",
    "listing",
    "open_page",
}
"""What a terminal needs; results have `to_dict`."""
OTHERWISE = {
    "step_timeout": "limits",
    "step_memory": "limits",
    "allow_network": "limits",
    "allow_write": "limits",
    "no_standard_metadata": "standard_metadata",
    "no_latency": "latency",
    "no_operators": "operators",
    "device": "address",
    "handed_on": "options",
    "names": "clients",
    "timeout": "seconds",
    "file": "model",
    "files": "candidates",
    **{option.name: "preprocess" for option in _PREPROCESS},
}
"""An option of the command line, and what Python has in its place."""
COMMANDS_HERE = sorted(set(COMMANDS) - NOT_IN_PYTHON)


@pytest.mark.parametrize("name", COMMANDS_HERE)
def test_every_option_of_a_command_is_one_in_python(name):
    command: click.Command = importlib.import_module(COMMANDS[name][0]).command
    takes = set(inspect.signature(getattr(edgekit, name)).parameters)
    missing = {
        option.name
        for option in command.params
        if option.name not in takes
        and OTHERWISE.get(option.name) not in takes
        and option.name not in ONLY_THERE
    }
    known = {
        "convert": {"dry_run"},
        "quantize": {"dry_run"},
        "validate": {"output", "force"},
        "inspect": {"targets"},
        "compat": {"gates", "html", "force", "synthetic"},  # `verdict` takes names, a page has them
    }
    assert missing == known.get(name, set())


@pytest.mark.parametrize("name", [*COMMANDS_HERE, "record_reference"])
def test_every_function_has_an_example_and_says_what_it_takes(name):
    function = getattr(importlib.import_module("edgekit.api"), name)
    said = function.__doc__
    assert ">>> " in said
    assert "edgekit." + name in said
    assert "Raises:" in said
    for parameter in inspect.signature(function, follow_wrapped=True).parameters:
        assert parameter in said or name == "quantize", parameter


def test_only_what_is_meant_for_users_is_shown():
    assert dir(edgekit) == sorted(edgekit.__all__)
    assert set(COMMANDS_HERE) < set(dir(edgekit))
    for name in edgekit.__all__:
        assert getattr(edgekit, name) is not None
    with pytest.raises(AttributeError, match="'convrt'"):
        edgekit.convrt  # noqa: B018


def test_packages_of_the_same_name_are_the_commands_all_the_same():
    import edgekit.diff.compare
    import edgekit.embed.spec
    import edgekit.quantize.engine

    for name in ("diff", "embed", "quantize"):
        assert callable(getattr(edgekit, name))
        assert inspect.signature(getattr(edgekit, name)).parameters
    with pytest.raises(UsageError, match=r"is not a \.tflite"):
        edgekit.quantize("net.onnx", calibration="photos/")
    with pytest.raises(TypeError, match="colour"):
        edgekit.diff("a.tflite", "b.tflite", colour="red")


def test_importing_edgekit_imports_nothing_heavy():
    code = (
        "import sys, edgekit; dir(edgekit); "
        "print([m for m in ('numpy', 'click', 'cv2', 'torch', 'edgekit.api') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_cure_is_shown_where_an_error_ends_a_cell():
    with pytest.raises(edgekit.EdgekitError) as caught:
        edgekit.convert("missing.onnx", calibration="photos/")
    assert caught.value.cure in "".join(caught.value.__notes__)


def test_a_result_shows_itself():
    from validation_results import detector

    shown = detector()
    assert repr(shown).startswith("<ValidationResult: ")
    assert "<table>" in shown._repr_html_()
    assert set(shown.to_dict()) > {"candidates", "reference", "data"}
    assert list(shown.rows()) == [one.name for one in shown.candidates]
