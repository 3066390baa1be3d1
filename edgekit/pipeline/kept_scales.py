"""An int8 file that keeps the scales of a source that is quantized already.

What that means is in `edgekit.quantize.kept_scales`; here the source's worker and the quantizer are
asked, and the file is held against the quantized model itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekit.pipeline import candidates
from edgekit.pipeline.floats import FloatFile
from edgekit.pipeline.plan import Plan
from edgekit.pipeline.reference import Reference, spec_tables
from edgekit.toolchain.converters import Converter
from edgekit.toolchain.workshop import Workshop
from edgekit.types import INT8_SCHEMES


@dataclass(frozen=True, kw_only=True)
class KeptScales:
    """A float file that states what its source was quantized with.

    Attributes:
        path: that file.
        said: a stack for each output of the source, as the quantized model itself gives it on the
            parity samples.
    """

    path: Path
    said: tuple[Path, ...]


def keep_scales(
    plan: Plan,
    floating: FloatFile,
    reference: Reference,
    workshop: Workshop,
    work: Path,
    quantizer: Converter,
) -> KeptScales | None:
    """State the source's scales in a copy of the float file.

    Nothing comes of it where the source is not quantized or its activations are not, where the user
    wants other scales, and where an accuracy budget looks for the best ones.
    """
    request = plan.request
    wanted = set(INT8_SCHEMES.values()) & set(plan.schemes)
    if not (reference.quantized and request.keep_scales and wanted):
        return None
    if plan.seeks_layers:
        return None
    if request.fold_preprocess or request.synthetic:
        return None
    folder = work / "scales"
    folder.mkdir()
    inputs = {name: str(path) for name, path in reference.data.parity.files.items()}
    stored, _ = workshop.call(
        plan.runner,
        "scales",
        {
            "inputs": inputs,
            "specs": spec_tables(reference.inputs),
            "outputs_folder": str(folder),
        },
        title="Reading the scales of the quantized model",
    )
    if not stored["tensors"]:
        return None
    stating = folder / "stating.tflite"
    found, _ = workshop.call(
        quantizer,
        "keep_scales",
        {
            "artifact": str(floating.path),
            "output": str(stating),
            "stored": stored,
            "feeds": candidates.feeds(reference, floating.bindings, "parity"),
            "work": str(folder),
        },
        title="Finding its tensors in the float file",
    )
    if not found["activations"]:
        return None
    workshop.progress.note(
        f"int8 keeps the scales that the model came with, of {found['activations']} of "
        f"{found['of_activations']} activations and {found['weights']} of {found['of_weights']} "
        "weights, and is not prepared otherwise. --no-keep-scales chooses new ones"
    )
    return KeptScales(path=stating, said=tuple(map(Path, stored["outputs"])))


def within_one_step(
    artifact: Path, itself: Reference, workshop: Workshop, work: Path
) -> float | None:
    """The share of output values that are at most one step from those of the quantized model.

    Of the outputs that have a step; nothing where none has.
    """
    import numpy as np

    got, steps = candidates.answers(artifact, itself, workshop, work=work)
    wanted = itself.outputs_of(slice(None))
    near = [
        np.abs(got[place].astype(np.float64) - wanted[place]).ravel() <= 1.001 * step
        for place, step in steps.items()
    ]
    return float(np.mean(np.concatenate(near))) if near else None
