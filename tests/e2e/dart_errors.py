"""Run in an environment with tree-sitter: syntax errors in a folder's Dart files, as JSON."""

import json
import sys
from pathlib import Path

import tree_sitter
import tree_sitter_dart

PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_dart.language()))


def errors(node, path):
    wrong = node.type == "ERROR" or node.is_missing
    found = [f"{path}:{node.start_point[0] + 1}: {node.text[:60]!r}"] if wrong else []
    return found + [one for child in node.children for one in errors(child, path)]


FILES = sorted(Path(sys.argv[1]).rglob("*.dart"))
FOUND = [one for path in FILES for one in errors(PARSER.parse(path.read_bytes()).root_node, path)]
print(json.dumps({"files": len(FILES), "errors": FOUND}))
