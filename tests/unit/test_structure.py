"""No import circles, and one meaning for each class name: what keeps the code easy to read."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[2]


def test_no_import_leads_back_to_itself() -> None:
    """Those for type checkers count too: a reader has to follow them all the same."""
    graph = grimp.build_graph("edgekit", cache_dir=None)
    imports = {one: graph.find_modules_directly_imported_by(one) for one in graph.modules}
    TopologicalSorter(imports).prepare()  # raises CycleError, which names the circle


def test_no_two_classes_share_a_name() -> None:
    places = defaultdict(list)
    for folder in ("edgekit", "converters"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef):
                    places[node.name].append(str(path.relative_to(ROOT)))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_nothing_knows_a_back_end_by_its_name() -> None:
    """A converter is a folder: what the rest needs of it stands in its manifest or its answers."""
    back_ends = {
        path.parent.name
        for path in (ROOT / "converters").glob("*/converter.toml")
        if "[[converts]]" in path.read_text(encoding="utf-8")
    } - {"torch", "keras"}  # which are also kinds of models
    knowing = {
        f"{path.relative_to(ROOT)}: {node.value}"
        for path in (ROOT / "edgekit").rglob("*.py")
        if path.parent.name != "cli"  # examples in help texts
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for name in back_ends
        if re.fullmatch(rf".*\b{name}\b.*", node.value) and "\n" not in node.value
    }
    assert not knowing
