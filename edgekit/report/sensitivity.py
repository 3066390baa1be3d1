"""What ``edgekit sensitivity`` found, as JSON and as a page with bars."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from edgekit.closeness import EQUAL_DB
from edgekit.quantize.judge import Judgement
from edgekit.quantize.sensitivity import LayerSensitivity, Mode, most_damaging
from edgekit.report.json import plain
from edgekit.report.pages import render
from edgekit.types import Effort
from edgekit.version import __version__

SCHEMA = "edgekit-sensitivity"
SCHEMA_VERSION = 1
_FULL_DB = 60.0
"""Bars of SQNR are full from here on: int8 does no harm that anybody sees."""


@dataclass(frozen=True, kw_only=True)
class SensitivityReport:
    """What int8 does to a model, layer by layer.

    Attributes:
        model: the name of the file.
        whole: with every layer in int8, as ``edgekit quantize`` writes it.
        samples: compared on so many.
        layers: in the order of execution.
    """

    model: str
    mode: Mode
    effort: Effort
    ranges: str
    data: str
    synthetic: bool
    calibration_samples: int
    samples: int
    whole: Judgement
    layers: tuple[LayerSensitivity, ...]
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


def to_json(report: SensitivityReport) -> str:
    """The report as strict JSON; each judgement also has the figure of its worst output."""
    document = plain(report)
    document["whole"] = _judgement_json(report.whole)
    for table, layer in zip(document["layers"], report.layers, strict=True):
        table["each"] = _judgement_json(layer.each)
        table["prefix"] = _judgement_json(layer.prefix)
    head = {"schema": SCHEMA, "schema_version": SCHEMA_VERSION, "edgekit": __version__}
    return json.dumps({**head, **document}, indent=2, allow_nan=False) + "\n"


def to_html(report: SensitivityReport) -> str:
    """The report as one HTML file that loads nothing."""
    macs = sum(layer.macs for layer in report.layers) or 1
    return render(
        "sensitivity",
        filters={
            "judgement": judgement_text,
            "db": db_text,
            "share_text": _share_text,
            "change": _change_text,
            "full_share": lambda judged: min(1.0, max(0.0, judged.worst_db / _FULL_DB)),
            "below": lambda layer: _below(layer, macs),
            "hover": _hover,
        },
        report=report,
        full_db=_FULL_DB,
        damaging=most_damaging(report.layers),
        prefixes=[layer for layer in report.layers if layer.prefix is not None],
    )


def db_text(judged: Judgement | None) -> str:
    """The SQNR of the worst output in words that fit a table."""
    if judged is None:
        return "–"
    return "exact" if judged.worst_db >= EQUAL_DB else f"{judged.worst_db:.1f} dB"


def change_text(layer: LayerSensitivity) -> str:
    """What the layer does to the SQNR of the prefix, in decibels; less is worse."""
    if layer.prefix_drop_db is None:
        return "–"
    change = round(-layer.prefix_drop_db, 1)
    return f"{change:+.1f}" if change else "0.0"


def judgement_text(judged: Judgement) -> str:
    """The SQNR and, for a classifier, how often the largest value stays at its place."""
    agreement = judged.top1_agreement
    return db_text(judged) + (f", same top-1 {agreement:.1%}" if agreement is not None else "")


def _judgement_json(judged: Judgement | None) -> Any:
    return None if judged is None else {"worst_db": plain(judged.worst_db), **plain(judged)}


def _share_text(layer: LayerSensitivity) -> str:
    return f"{layer.noise_share or 0.0:.1%}"


def _change_text(layer: LayerSensitivity) -> str:
    return "" if layer.prefix_drop_db is None else f" ({change_text(layer)})"


def _below(layer: LayerSensitivity, macs: int) -> str:
    work = f", {layer.macs / macs:.1%} of the multiplications" if layer.macs else ""
    return f"{layer.place}: {layer.operator}{work}"


def _hover(layer: LayerSensitivity) -> str:
    lines = [f"{layer.operator}, operator {layer.index} of the graph", f"tensor {layer.tensor}"]
    for title, judged in (("alone", layer.each), ("up to here", layer.prefix)):
        if judged is not None:
            lines.append(f"{title}: {judgement_text(judged)}")
            if len(judged.output_db) > 1:
                lines += [f"  {name}: {db:.1f} dB" for name, db in judged.output_db.items()]
    return "\n".join(lines)
