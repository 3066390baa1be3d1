"""Reports as pages: one HTML file that needs nothing else, made from a template.

Pages load nothing, so they open offline, in mail and in print, and no console can complain. Bars
are boxes with a width; hover text is the browser's own. Dark mode and phones are matters of the one
style sheet in ``templates/page.html.j2``, which every page extends; ``templates/parts.html.j2`` has
the parts that they are made of. The only script is the search of a graph, which a page does not
need (`edgekit.report.graph`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

from edgekit.report import charts, words
from edgekit.text import escaped
from edgekit.version import __version__

SIGNS = "●■◆▲▼✚"
"""What a candidate is marked with beside its colour, by its place."""


def render(
    template: str, *, filters: Mapping[str, Callable[..., Any]] | None = None, **values: Any
) -> str:
    """A page from ``edgekit/report/templates/TEMPLATE.html.j2``.

    Values are escaped: names come from files and are never read as HTML.

    Args:
        template: its name.
        filters: what only this template turns values into words with.
        values: what the template shows.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("edgekit.report"),
        autoescape=True,
        finalize=_without_tricks,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(_FILTERS)
    environment.filters.update(filters or {})
    environment.globals.update(
        version=__version__,
        chart_size=(charts.WIDTH, charts.HEIGHT),
        chart_frame=charts.FRAME,
    )
    page = environment.get_template(f"{template}.html.j2").render(**values)
    # Halves of surrogate pairs, which a path that is not UTF-8 brings along, cannot be written.
    return page.encode("utf-8", "replace").decode("utf-8")


def _without_tricks(value: Any) -> Any:
    """Text without what steers a reader; markup of our own stays as it is."""
    if isinstance(value, str | PurePath) and not hasattr(value, "__html__"):
        return escaped(str(value), keep="\n\t")
    return value


def _tight(text: str) -> str:
    """A number and its unit stay on one line."""
    for unit in ("%", "dB", "ms", "MB"):
        text = text.replace(f" {unit}", f"\N{NO-BREAK SPACE}{unit}")
    return text.replace(" ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}")


_FILTERS: Mapping[str, Callable[..., Any]] = {
    "words": _tight,
    "sign": lambda place: SIGNS[place % len(SIGNS)],
    "series": lambda place: place % charts.SERIES + 1,
    "figure": words.number,
    "short": lambda text, most=60: words.clean(str(text), most),
}
