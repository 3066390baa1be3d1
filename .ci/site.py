"""A hook of MkDocs: the pages beside ``docs/`` are pages of the site, too.

Links between them are turned to where they lie there; other files of the repository are not part of
the site, and named without a link.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
BESIDE = {
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "report-a-hole.md",
    "clients/README.md": "clients.md",
    "compilers/README.md": "compilers.md",
    "converters/README.md": "converters.md",
    "sources/README.md": "sources.md",
}
"""What each of them is called on the site."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages beside ``docs/``."""
    from mkdocs.structure.files import File

    for path, name in BESIDE.items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """A page's text with its links turned."""
    folder = Path(str(page.file.abs_src_path)).parent

    def turned(match: re.Match[str]) -> str:
        text, target, anchor = match.groups()
        path = (folder / target).resolve()
        if path.is_relative_to(ROOT / "docs"):
            return f"[{text}]({path.name}{anchor})"
        name = BESIDE.get(path.relative_to(ROOT).as_posix())
        return f"[{text}]({name}{anchor})" if name else text

    return re.sub(r"\[([^][]*)\]\((?![a-z]+:|#)([^)#\s]+)((?:#[^)\s]*)?)\)", turned, markdown)
