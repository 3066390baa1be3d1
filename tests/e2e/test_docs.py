"""The code blocks of the documentation, run in order as a reader would type them.

A comment on the line before a block says what else to do with it::

    <!-- not run: reason -->    leave it out
    <!-- file: NAME -->         write it to that file
    <!-- exit: 4 -->            expect this exit code
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = {"bash": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}
SHOWN = {"text", "toml", "json"}
"""Languages of blocks that are read and not run."""

_BLOCK = re.compile(
    r"(?:^<!-- (?P<verb>not run|file|exit): (?P<argument>.+?) -->\n)?"
    r"^```(?P<language>\w*)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block with what its comment says."""

    place: str
    language: str
    code: str
    verb: str | None
    argument: str

    @property
    def is_run(self) -> bool:
        return self.language in PROGRAMS and self.verb not in ("not run", "file")


def blocks(document: Path) -> Iterator[Block]:
    text = document.read_text(encoding="utf-8")
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("code"))
        yield Block(
            place=f"{document.name}:{line}",
            language=match["language"],
            code=match["code"],
            verb=match["verb"],
            argument=match["argument"] or "",
        )


def all_blocks() -> list[Block]:
    return [block for document in DOCUMENTS for block in blocks(document)]


def test_every_fence_is_understood() -> None:
    for document in DOCUMENTS:
        fences = re.findall(r"^```", document.read_text(encoding="utf-8"), re.MULTILINE)
        assert len(fences) == 2 * len(list(blocks(document))), document
    unknown = [b.place for b in all_blocks() if b.language not in {*PROGRAMS, *SHOWN}]
    assert not unknown


def test_every_comment_belongs_to_a_block() -> None:
    for document in DOCUMENTS:
        comments = re.findall(r"^<!-- (?:not run|file|exit)\b", document.read_text(), re.MULTILINE)
        assert len(comments) == sum(block.verb is not None for block in blocks(document)), document


def test_the_programs_in_the_readme_are_the_examples() -> None:
    shown = {block.argument: block.code for block in all_blocks() if block.verb == "file"}
    programs = {name: code for name, code in shown.items() if name.endswith(".py")}
    assert programs
    for name, code in programs.items():
        assert code == (ROOT / "examples" / name).read_text(encoding="utf-8")


@pytest.mark.e2e
@pytest.mark.parametrize(
    "document",
    [d for d in DOCUMENTS if any(block.is_run for block in blocks(d))],
    ids=lambda document: document.name,
)
def test_blocks_run(document: Path, tmp_path: Path) -> None:
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": programs, "COLUMNS": "100"}
    for block in blocks(document):
        if block.verb == "file":
            (tmp_path / block.argument).write_text(block.code, encoding="utf-8")
        if not block.is_run:
            continue
        expected = int(block.argument) if block.verb == "exit" else 0
        done = subprocess.run(
            [*PROGRAMS[block.language], block.code],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        story = f"{block.place} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == expected, story
        assert "Traceback" not in done.stderr, story
        assert " abandoned: " not in done.stderr, story  # the preferred route does work
