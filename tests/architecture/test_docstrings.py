"""Every public module, class, function and method says what it is."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted([*(ROOT / "edgekit").rglob("*.py"), *(ROOT / "converters").rglob("*.py")])


def undocumented(tree: ast.AST, prefix: str = "") -> list[str]:
    found = []
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if node.name.startswith("_"):
            continue
        decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
        if ast.get_docstring(node) is None and "overload" not in decorators:
            found.append(prefix + node.name)
        if isinstance(node, ast.ClassDef):
            found += undocumented(node, f"{prefix}{node.name}.")
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_everything_public_has_a_docstring(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if any(path.parts[-2:] == (folder, "__main__.py") for folder in ("edgekit",)):
        return
    assert ast.get_docstring(tree), "the module has none"
    assert undocumented(tree) == []


def test_the_test_sees_the_package():
    assert len(MODULES) > 50
    assert undocumented(ast.parse("def f(): pass\nclass A:\n  'x'\n  def m(self): pass")) == [
        "f",
        "A.m",
    ]
