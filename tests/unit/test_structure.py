"""No import circles, and one meaning for each class name: what keeps the code easy to read."""

from __future__ import annotations

import ast
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
