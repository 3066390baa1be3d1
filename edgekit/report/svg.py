"""Matplotlib's figures as SVG that lives in a page.

What Matplotlib writes is fitted to the page: its colours become variables of the style sheet, so
that dark mode needs no second picture; identifiers that nothing refers to go, since several plots
share one page; marks get titles, which browsers show under the pointer.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from edgekit.report.words import clean

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, QUIET, LINE, GROUND = "#1c2733", "#5b6876", "#d9dfe5", "#ffffff"
SERIES = ("#1d6fb8", "#c2410c", "#0f766e", "#7c3aed", "#92610a", "#be185d")
"""Colours of candidates, in their order; ``--s1`` … in the style sheet."""
_VARIABLES = {
    INK: "--ink",
    QUIET: "--quiet",
    LINE: "--line",
    GROUND: "--ground",
    **{color: f"--s{place + 1}" for place, color in enumerate(SERIES)},
}
_SVG = "http://www.w3.org/2000/svg"
_LINK = "{http://www.w3.org/1999/xlink}href"


def to_svg(figure: Figure, title: str, tips: Mapping[str, str]) -> str:
    """The figure as an SVG element for a page.

    Args:
        figure: drawn in the colours above; others stay as they are.
        title: what it shows, in words, for those who do not see it.
        tips: by the identifier of a mark what the pointer finds out.
    """
    import matplotlib as mpl

    out = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": clean(title)}):  # the same page from the same data
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    root = ET.fromstring(out.getvalue())  # noqa: S314 - Matplotlib wrote it just now
    unwanted = {f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"}  # its style would be the whole page's
    for parent in root.iter():
        for child in [child for child in parent if child.tag in unwanted]:
            parent.remove(child)
    for element in root.iter():
        if tip := tips.get(element.get("id", "")):
            words = ET.Element(f"{{{_SVG}}}title")
            words.text = "\n".join(map(clean, tip.splitlines()))
            element.insert(0, words)
    _tidy(root)
    for gone in ("width", "height", "version"):
        root.attrib.pop(gone, None)
    root.set("role", "img")
    root.set("aria-label", clean(title))
    ET.register_namespace("", _SVG)
    return ET.tostring(root, encoding="unicode")


def _tidy(root: ET.Element) -> None:
    """The page's colours and font, shorter numbers, no identifier that nothing refers to."""
    wanted: set[str] = set()
    for element in root.iter():
        wanted.update(re.findall(r"url\(#([^)]+)\)", " ".join(element.attrib.values())))
        if (link := element.attrib.pop(_LINK, None)) is not None:
            wanted.add(link.removeprefix("#"))
            element.set("href", link)
    for element in root.iter():
        if element.get("id") not in wanted:
            element.attrib.pop("id", None)
        if style := element.get("style"):
            style = re.sub(r"font-family: [^;]*(; |$)", "", style)
            element.set("style", re.sub(r"#[0-9a-f]{6}\b", _variable, style))
        for key in {"d", "x", "y", "transform"} & element.attrib.keys():
            element.set(key, re.sub(r"(\.\d\d)\d+", r"\1", element.attrib[key]).strip())
        for key in ("text", "tail"):
            if not (getattr(element, key) or "").strip():
                setattr(element, key, None)


def _variable(match: re.Match[str]) -> str:
    known = _VARIABLES.get(match[0])
    return f"var({known})" if known else match[0]
