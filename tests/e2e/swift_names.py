"""Run in an environment with tree-sitter: what is wrong with Swift files, and names of nobody's.

Prints for each folder given its syntax errors, and the names that are used but declared in none of
its files, as JSON.
"""

import json
import sys
from pathlib import Path

import tree_sitter
import tree_sitter_swift

PARSER = tree_sitter.Parser(tree_sitter.Language(tree_sitter_swift.language()))
IDENTIFIERS = ("simple_identifier", "type_identifier")
NAMED = (
    *("function_declaration", "class_declaration", "protocol_declaration", "enum_entry"),
    *("protocol_function_declaration", "parameter", "lambda_parameter", "type_parameter"),
)


class Names:
    def __init__(self):
        self.errors, self.used, self.declared = [], set(), set()

    def add(self, path):
        tree = PARSER.parse(path.read_bytes())
        self._walk(tree.root_node, path)

    def _walk(self, node, path):
        if node.type == "ERROR" or node.is_missing:
            self.errors.append(f"{path}:{node.start_point[0] + 1}: {node.text[:60]!r}")
        if node.type in IDENTIFIERS:
            self.used.add(node.text.decode())
        if node.type in ("for_statement", "type_parameter"):
            self._declare_all(node.children[1] if node.type == "for_statement" else node)
        for number, child in enumerate(node.children):
            field = node.field_name_for_child(number)
            names = field in ("name", "external_name") and node.type in NAMED
            if field == "bound_identifier" or (names and child.type in IDENTIFIERS):
                self.declared.add(child.text.decode())
            self._walk(child, path)

    def _declare_all(self, pattern):
        if pattern.type in IDENTIFIERS:
            self.declared.add(pattern.text.decode())
        for child in pattern.children:
            self._declare_all(child)


found = {}
for folder in sys.argv[1:]:
    names = Names()
    for file in sorted(Path(folder).rglob("*.swift")):
        if file.name == "Package.swift":
            manifest = Names()
            manifest.add(file)
            names.errors += manifest.errors
        else:
            names.add(file)
    found[folder] = {"errors": names.errors, "unknown": sorted(names.used - names.declared)}
print(json.dumps(found))
