"""``--help`` of every command imports nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from edgekit.cli import COMMANDS

HEAVY = {
    "ai_edge_litert", "cv2", "h5py", "hypothesis", "keras", "litert_quantizer", "numpy", "onnx",
    "onnxruntime", "psutil", "rich", "scipy", "sklearn", "tensorflow", "torch", "uv",
}  # fmt: skip

CODE = """
import json, sys
from edgekit.cli import main
sys.argv = ["edgekit", *{arguments!r}]
try:
    main()
except SystemExit as error:
    sys.stdout.flush()
    sys.stderr.write("MODULES" + json.dumps([error.code, sorted(sys.modules)]))
"""


def start(*arguments: str) -> tuple[int, str, set[str]]:
    """Exit code, printed text and top-level modules of a command."""
    answer = subprocess.run(
        [sys.executable, "-c", CODE.format(arguments=arguments)],
        capture_output=True,
        text=True,
        check=True,
    )
    code, modules = json.loads(answer.stderr.rpartition("MODULES")[2])
    return code or 0, answer.stdout, {name.partition(".")[0] for name in modules}


SUBCOMMANDS = [
    *(("toolchain", name) for name in ("list", "install", "remove")),
    *(("device", name) for name in ("check", "list")),
]


@pytest.mark.parametrize(
    "arguments",
    [(), *((name,) for name in COMMANDS), *SUBCOMMANDS],
    ids=lambda arguments: " ".join(arguments) or "edgekit",
)
def test_help_is_light(arguments):
    code, text, modules = start(*arguments, "--help")
    assert code == 0
    assert "Usage:" in text
    assert not HEAVY & modules
    assert "click" in modules, "the test looks at the right process"


def test_the_version_is_light():
    code, text, modules = start("--version")
    assert code == 0
    assert "edgekit" in text
    assert not HEAVY & modules


def test_the_library_is_light():
    code = "import json, sys, edgekit; print(json.dumps(sorted(sys.modules)))"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    modules = {name.partition(".")[0] for name in json.loads(answer.stdout)}
    assert not (HEAVY | {"click"}) & modules


def test_the_table_of_commands_is_true():
    """The group's help comes from a table, not from imports: each name leads to a command."""
    import importlib

    for name, (module, summary) in COMMANDS.items():
        command = importlib.import_module(module).command
        assert command.name == name
        assert summary.endswith(".")
        assert command.help
