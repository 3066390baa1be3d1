"""How results look where Python shows them: a short line, a table in a notebook, plain data."""

from __future__ import annotations

import html
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

COLUMNS = ("size_mb", "centred_sqnr_db", "top1_agreement", "top1_accuracy", "latency_p50_ms")
"""The figures of a table in a notebook, where they were measured."""


class Shown:
    """A result that is a dataclass; ``rows`` has its files by name: a verdict and figures."""

    def rows(self) -> dict[str, tuple[str, dict[str, float]]]:
        """The verdict on each file, and its figures."""
        raise NotImplementedError

    def __repr__(self) -> str:
        states = ", ".join(f"{name} {state.upper()}" for name, (state, _) in self.rows().items())
        return f"<{type(self).__name__}: {states}>"

    def _repr_html_(self) -> str:
        """A table, which Jupyter shows; names come from files and are escaped."""
        rows = self.rows()
        known = [one for one in COLUMNS if any(one in figures for _, figures in rows.values())]
        head = "".join(f"<th>{one}</th>" for one in ("file", "verdict", *known))
        body = ""
        for name, (state, figures) in rows.items():
            cells = [html.escape(name), state.upper()]
            cells += [f"{figures[one]:.4g}" if one in figures else "–" for one in known]
            body += f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain containers; paths stay paths."""
        return asdict(cast("DataclassInstance", self))

    def to_frame(self) -> Any:
        """A pandas data frame: a row for each file, its verdict and all of its figures.

        Raises:
            ImportError: pandas is not installed.
        """
        import pandas as pd

        return pd.DataFrame.from_dict(
            {name: {"verdict": state, **figures} for name, (state, figures) in self.rows().items()},
            orient="index",
        )
