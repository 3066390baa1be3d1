"""``edgekit sensitivity``: from a float file and data to a report of what each layer costs."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit.errors import SetupError, UsageError
from edgekit.files import temporary_folder
from edgekit.pipeline.plan import Plan, plan
from edgekit.pipeline.publish import held, write_whole
from edgekit.pipeline.quantized import QUANTIZER
from edgekit.pipeline.raw_pixels import (
    on_raw_pixels,
    own_order,
    stated_pictures,
    write_folded,
)
from edgekit.pipeline.reference import Reference, make_reference
from edgekit.pipeline.request import ConversionRequest
from edgekit.quantize.judge import Judgement
from edgekit.quantize.sensitivity import LayerSensitivity, Mode
from edgekit.report.sensitivity import SensitivityReport, to_html
from edgekit.runners.litert import LITERT
from edgekit.tflite.normalise import normalised
from edgekit.toolchain.workshop import Workshop
from edgekit.types import Progress


def analyse(
    request: ConversionRequest, *, mode: Mode, page: Path, progress: Progress
) -> SensitivityReport:
    """Measure every layer of a float `.tflite` and write the page.

    Args:
        request: ``model``, data, preprocessing, ``effort``, ``ranges``, ``force`` and limits count.
        mode: layers one at a time, as prefixes, or both.
        page: the HTML file to write.
        progress: told what happens.

    Raises:
        UsageError: the page exists and ``force`` is not set, or an option makes no sense.
        ModelError: the file is quantized already, or no `.tflite`.
        ConversionError: int8 is impossible for the model, or changes nothing in it.
        DataError, SetupError: see the classes.
    """
    _require_free(page, force=request.force)
    with held(page.parent, page.name):
        report = _measured(request, mode, progress)
        write_whole(page, to_html(report))
    return report


def _measured(request: ConversionRequest, mode: Mode, progress: Progress) -> SensitivityReport:
    planned = plan(replace(request, schemes=("int8",)))
    # Random inputs must not steer anything: their statistics are nobody's.
    effort = "none" if request.synthetic else request.effort
    notes = _KeptNotes(progress)
    started = time.monotonic()
    with (
        temporary_folder("sensitivity") as folder,
        Workshop(
            name=planned.source.name,
            progress=notes,
            limits=request.limits,
            work=Path(folder),
            source=planned.source,
        ) as workshop,
    ):
        work = Path(folder)
        workshop.warm([LITERT, QUANTIZER])
        reference = make_reference(planned, workshop, work)
        workshop.release(LITERT)
        source, reference = _as_int8_takes_it(planned, reference, work, notes)
        result, _ = workshop.call(
            QUANTIZER,
            "sensitivity",
            {
                "artifact": str(source),
                "feeds": _feeds(reference, reference.data.calibration.files),
                "judged": _feeds(reference, reference.data.parity.files),
                "work": str(folder),
                "effort": effort,
                "ranges": request.ranges,
                "mode": mode,
            },
            title="Quantizing layer by layer",
        )
    return SensitivityReport(
        model=Path(planned.source.location).name,
        mode=mode,
        effort=effort,
        ranges=request.ranges,
        data="synthetic" if request.synthetic else str(planned.calibration),
        synthetic=request.synthetic,
        calibration_samples=reference.data.calibration.count,
        samples=reference.data.parity.count,
        whole=Judgement(**result["whole"]),
        layers=tuple(map(_layer, result["layers"])),
        notes=tuple(notes.kept),
        seconds=round(time.monotonic() - started, 1),
    )


def _as_int8_takes_it(
    planned: Plan, reference: Reference, work: Path, progress: Progress
) -> tuple[Path, Reference]:
    """The float file that an int8 one is made from by default, and the samples it takes."""
    source = normalised(Path(planned.source.location), work / "source.tflite")
    wanted = stated_pictures(reference)
    if not wanted:
        return source, reference
    folder = work / "raw-pixels"
    folder.mkdir()
    bindings = own_order(reference.contract)
    for done in write_folded(source, bindings, wanted, folder / "source.tflite"):
        progress.note(str(done))
    return folder / "source.tflite", on_raw_pixels(reference, None, wanted, folder, progress)


class _KeptNotes:
    """Passes progress on and keeps the notes for the report."""

    def __init__(self, inner: Progress) -> None:
        self.step, self.update, self._inner = inner.step, inner.update, inner
        self.kept: list[str] = []

    def note(self, message: str) -> None:
        self.kept.append(message)
        self._inner.note(message)


def _feeds(reference: Reference, files: Any) -> list[dict[str, Any]]:
    """One feed per input; the samples lie as the file wants them."""
    return [
        {
            "path": str(files[spec.name]),
            "shape": spec.shape,
            "permutation": list(range(len(spec.shape))),
        }
        for spec in reference.inputs
    ]


def _layer(table: dict[str, Any]) -> LayerSensitivity:
    judged = {name: Judgement(**table[name]) for name in ("each", "prefix") if table[name]}
    return LayerSensitivity(**{**table, **judged, "members": tuple(table["members"])})


def _require_free(page: Path, *, force: bool) -> None:
    if page.is_dir():
        raise UsageError(f"{page} is a folder.", cure="Name a file: --output FILE.html")
    if page.exists() and not force:
        raise UsageError(
            f"{page} exists already.",
            cure="Choose another --output file, or replace it with --force.",
        )
    if not page.parent.is_dir():
        raise SetupError(f"There is no folder {page.parent}.", cure="Make it, or check the path.")
