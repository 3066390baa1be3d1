"""Reports as pages: one HTML file that needs nothing else, made from a template.

Pages hold no script and load nothing, so they open offline, in mail and in print, and no console
can complain. Bars are boxes with a width; hover text is the browser's own. Dark mode and phones are
matters of the style sheet in ``templates/page.html.j2``, which every report extends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgekit.text import escaped


def render(template: str, *, filters: Mapping[str, Callable[..., Any]], **values: Any) -> str:
    """A page from ``edgekit/report/templates/TEMPLATE.html.j2``.

    Values are escaped: names come from files and are never read as HTML.

    Args:
        template: its name.
        filters: what the template turns values into words with.
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
    environment.filters.update(filters)
    return environment.get_template(f"{template}.html.j2").render(**values)


def _without_tricks(value: Any) -> Any:
    """Text without what steers a reader; markup of our own stays as it is."""
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return escaped(value, keep="\n\t")
    return value
