"""The pages as a whole: links and anchors, the site's navigation, and messages that are quoted."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]
TROUBLESHOOTING = DOCS / "troubleshooting.md"
CODE = ("edgekit", "converters", "sources")
LEFT_OUT = "…"
"""Stands in a quoted message for what differs from case to case."""


@cache
def without_code(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def headings(path: Path) -> list[str]:
    return re.findall(r"^#{1,6} (.+?) *$", without_code(path), re.MULTILINE)


@cache
def anchors(path: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them; mkdocs.yml says the same for the site."""
    texts = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings(path))
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in texts}


def links(path: Path) -> Iterator[tuple[Path, str]]:
    """Where the relative links of a page lead: a file, and an anchor or nothing."""
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(path)):
        if not re.match(r"[a-z]+:", target):
            file, _, anchor = target.partition("#")
            yield (path.parent / file if file else path), anchor


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_anchors_lead_somewhere(document: Path) -> None:
    wrong = [
        f"{file.name}#{anchor}"
        for file, anchor in links(document)
        if not file.exists() or (anchor and anchor not in anchors(file))
    ]
    assert not wrong


@pytest.mark.parametrize("document", PAGES, ids=lambda path: path.name)
def test_headings_of_a_page_have_different_anchors(document: Path) -> None:
    """Equal ones would be numbered, by GitHub otherwise than by MkDocs."""
    assert len(anchors(document)) == len(headings(document))


class _Site(yaml.SafeLoader):
    """Reads mkdocs.yml without its extensions, which are named by tags."""


_Site.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)


def pages_of(entry: Any) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
    else:
        for one in entry.values() if isinstance(entry, dict) else entry:
            yield from pages_of(one)


def test_every_page_is_once_in_the_navigation_and_in_the_index() -> None:
    site = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), _Site)
    names = [page.name for page in PAGES]
    listed = list(pages_of(site["nav"]))
    assert not [name for name in names if listed.count(name) != 1]
    index = DOCS / "README.md"
    assert {file.name for file, _ in links(index)} >= {*names} - {index.name}


@pytest.mark.skipif(not importlib.util.find_spec("material"), reason="needs edgekit's extra docs")
def test_mkdocs_builds_the_site_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def templates() -> set[str]:
    """Every string of the code, with `LEFT_OUT` for what is filled in."""
    found = set()
    for file in [file for folder in CODE for file in sorted((ROOT / folder).rglob("*.py"))]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [
                    str(part.value) if isinstance(part, ast.Constant) else LEFT_OUT
                    for part in node.values
                ]
                found.add("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


def test_messages_that_troubleshooting_quotes_are_those_of_the_code() -> None:
    quoted = re.findall(r"^### (.+)$", TROUBLESHOOTING.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(quoted) == 20
    known = templates()
    for message in quoted:
        pattern = ".*".join(map(re.escape, message.split(LEFT_OUT)))
        assert any(re.match(pattern, one, re.DOTALL) for one in known), message
