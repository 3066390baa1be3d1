"""A converter from outside the repository, made of the very files that the README shows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.errors import StepError, UsageError
from edgekit.routes import find_routes
from edgekit.toolchain import environments
from edgekit.toolchain.converters import builtin_folder, discover
from edgekit.toolchain.workshop import Workshop
from edgekit.types import SilentProgress

MY_TOOL = """
from pathlib import Path

def convert(source, target):
    content = Path(source).read_bytes()
    if b"unknown operator" in content:
        raise ValueError("Op Frobnicate is unknown")
    Path(target).write_bytes(b"\\x1c\\x00\\x00\\x00TFL3" + content)
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch) -> Path:
    """The folder to add to ``EDGEKIT_CONVERTERS``, with the README's two files below it."""
    readme = (builtin_folder() / "README.md").read_text(encoding="utf-8")
    files = re.findall(r"^`(my_tool/\S+)`\n```\w+\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    assert [name for name, _ in files] == ["my_tool/converter.toml", "my_tool/worker.py"]
    lines = [line for _, text in files for line in text.splitlines() if line.strip()]
    assert len(lines) <= 35, "the README says: in 30 lines"
    root = tmp_path / "converters of others"
    for name, text in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    modules = tmp_path / "site"
    modules.mkdir()
    (modules / "my_tool.py").write_text(MY_TOOL)
    monkeypatch.setenv("PYTHONPATH", str(modules))
    monkeypatch.syspath_prepend(str(modules))
    monkeypatch.setenv("EDGEKIT_CONVERTERS", str(root))
    return root


def test_it_is_found_and_preferred(plugin):
    converters = discover()
    assert environments.is_ready(converters["my_tool"])
    names = [route.name for route in find_routes("onnx", converters)]
    assert names == ["my_tool", "onnx2tf"]
    (forced,) = find_routes("onnx", converters, "my-tool")
    assert forced.name == "my_tool"
    assert str(forced) == "onnx → tflite (by my_tool)"
    with_torch = [str(route) for route in find_routes("torch", converters)]
    assert with_torch[0] == "torch → onnx → tflite (by torch, my_tool)"


def test_it_converts(plugin, tmp_path):
    source, output = tmp_path / "m.onnx", tmp_path / "m.tflite"
    source.write_bytes(b"a model")
    with Workshop(name="m", progress=SilentProgress(), work=tmp_path, read=(source,)) as shop:
        result, step = shop.call(
            discover()["my_tool"],
            "convert",
            {"artifact": str(source), "from": "onnx", "to": "tflite", "output": str(output)},
            title="Converting",
        )
    assert result == {"artifact": str(output)}
    assert output.read_bytes()[4:] == b"TFL3a model"
    assert step.tool == "my_tool"


def test_its_error_is_told_with_its_cure(plugin, tmp_path):
    source = tmp_path / "m.onnx"
    source.write_bytes(b"unknown operator")
    request = {"artifact": str(source), "output": str(tmp_path / "m.tflite")}
    with (
        Workshop(name="m", progress=SilentProgress(), work=tmp_path) as shop,
        pytest.raises(StepError, match="Op Frobnicate is unknown") as caught,
    ):
        shop.call(discover()["my_tool"], "convert", request, title="Converting")
    assert caught.value.cure == "Try opset 18."


def test_without_the_tool_it_says_what_to_install(plugin, monkeypatch):
    (plugin.parent / "site" / "my_tool.py").unlink()
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if Path(entry).name != "site"])
    assert not environments.is_ready(discover()["my_tool"])
    assert discover()["my_tool"].install == "pip install my_tool"


def test_the_command_lists_it(plugin):
    answer = subprocess.run(
        [sys.executable, "-m", "edgekit", "toolchain", "list", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    (row,) = [row for row in json.loads(answer.stdout) if row["name"] == "my_tool"]
    assert row["ready"] is True
    assert row["converts"] == ["onnx → tflite"]
    assert row["folder"] == str(plugin / "my_tool")


def test_without_it_the_route_is_unknown():
    with pytest.raises(UsageError, match="my_tool") as caught:
        find_routes("onnx", discover(), "my_tool")
    assert "onnx2tf" in caught.value.cure
