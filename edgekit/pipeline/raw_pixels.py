"""The float file with its normalisation folded in, and the same samples as raw pixels.

Comes between the proven float file and everything that is made from it. The model's outputs stay
what they are compared with; only what the files are fed changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgekit.calibration import Dataset, SampleSet
from edgekit.contract import Color, Contract, InputContract, image_axes
from edgekit.errors import UsageError
from edgekit.pipeline import candidates
from edgekit.pipeline.floats import FloatFile, require_equal
from edgekit.pipeline.plan import Plan
from edgekit.pipeline.reference import Reference
from edgekit.raw_pixels.fold import fold
from edgekit.raw_pixels.normalization import WHITE, Normalization, raw
from edgekit.results import Attempt
from edgekit.tflite.metadata import read_contract
from edgekit.tflite.model import read, write
from edgekit.toolchain.workshop import Workshop


def fold_preprocess(
    plan: Plan,
    floating: FloatFile,
    attempts: Sequence[Attempt],
    reference: Reference,
    workshop: Workshop,
    work: Path,
) -> tuple[FloatFile, tuple[Attempt, ...], Reference]:
    """Let every picture input of the float file take raw pixels, and prove that nothing changed.

    Args:
        plan: says which colours the app feeds.
        floating: equals the framework.
        attempts: one of them is that of ``floating``.
        reference: has the samples as the framework takes them.
        workshop: has the runner; told what was done.
        work: a folder for the new file and samples.

    Returns:
        The new file, the attempts with its comparison among the stages, and the reference with the
        new file's samples and contract.

    Raises:
        UsageError: no input is a picture with a known preprocessing.
        ConversionError: the new file does not equal the framework.
    """
    folder = work / "raw-pixels"
    folder.mkdir()
    fed = plan.request.feed_color
    workshop.progress.step("Folding the preprocessing in")
    wanted = _normalizations(reference.contract, fed)
    model = read(floating.path)
    for number, binding in enumerate(floating.bindings):
        if binding.reference not in wanted:
            continue
        normalization, axis = wanted[binding.reference]
        done = fold(model, number, normalization, binding.permutation.index(axis))
        workshop.progress.note(str(done))
    path = folder / floating.path.name
    write(model, path)
    turned = _on_raw_pixels(reference, fed, wanted, folder, workshop)
    workshop.progress.update(1.0)
    measured = candidates.measure(
        path,
        turned,
        workshop,
        name="float TFLite on raw pixels",
        work=folder / "outputs",
        told=[
            {"source": binding.reference, "permutation": binding.permutation}
            for binding in floating.bindings
        ],
    )
    attempt = replace(floating.attempt, stages=(*floating.attempt.stages, measured.parity))
    require_equal(plan, attempt.stages)
    folded = replace(
        floating,
        path=path,
        parity=measured.parity,
        bindings=measured.bindings,
        attempt=attempt,
        latency=None,
    )
    others = tuple(attempt if one is floating.attempt else one for one in attempts)
    return folded, others, turned


def takes_raw_pixels(file: Path) -> bool:
    """Whether a `.tflite` normalises by itself, as its contract says.

    Raises:
        ModelError: it cannot be read.
    """
    contract = read_contract(file)
    return contract is not None and any(entry.folded for entry in contract.inputs)


_Wanted = dict[str, tuple[Normalization, int]]
"""By input: what is done with its pixels, and the axis of the channels in the framework."""


def _normalizations(contract: Contract, fed: Color) -> _Wanted:
    wanted = {}
    for entry in contract.inputs:
        axes = image_axes(entry.tensor)
        if entry.preprocess is None or axes is None or not entry.tensor.dtype.startswith("float"):
            continue
        channels = entry.tensor.shape[axes[2]] or 0
        wanted[entry.tensor.name] = Normalization.of(entry.preprocess, channels, fed), axes[2]
    if not wanted:
        raise UsageError(
            "There is no preprocessing to fold: no float input is a picture whose preprocessing "
            "is known.",
            cure="State it with --scale, --mean and --std, and give pictures as samples; or leave "
            "--fold-preprocess away.",
        )
    return wanted


def _on_raw_pixels(
    reference: Reference, fed: Color, wanted: _Wanted, folder: Path, workshop: Workshop
) -> Reference:
    """The reference's outputs, with the samples and the contract of files that take raw pixels."""
    return replace(
        reference,
        contract=_raw_contract(reference.contract, fed, wanted),
        data=_raw_data(reference.data, wanted, folder, workshop),
    )


def _raw_contract(contract: Contract, fed: Color, wanted: _Wanted) -> Contract:
    return replace(
        contract,
        inputs=tuple(
            raw_input(entry, fed) if entry.tensor.name in wanted else entry
            for entry in contract.inputs
        ),
    )


def raw_input(entry: InputContract, fed: Color) -> InputContract:
    """A picture's contract after its normalisation was folded in, for an app that feeds ``fed``."""
    assert entry.preprocess is not None
    color = entry.preprocess.color if entry.preprocess.color == "GRAY" else fed
    # A model that takes raw pixels already may itself be one whose preprocessing was folded.
    original = entry.folded or entry.preprocess
    return replace(entry, preprocess=raw(entry.preprocess, color), folded=original)


def _raw_data(data: Dataset, wanted: _Wanted, folder: Path, workshop: Workshop) -> Dataset:
    calibration = _raw_samples(data.calibration, wanted, folder, "calibration")
    parity = _raw_samples(data.parity, wanted, folder, "parity")
    if not parity.synthetic:
        for name in wanted:
            if not all(_are_pixels(one.files[name]) for one in (calibration, parity)):
                workshop.progress.note(
                    f"The samples of input {name} are no whole grey levels 0…255 before their "
                    "normalisation; files with 8-bit inputs round them."
                )
    return replace(data, calibration=calibration, parity=parity)


def _raw_samples(samples: SampleSet, wanted: _Wanted, folder: Path, role: str) -> SampleSet:
    files = dict(samples.files)
    for place, (name, (normalization, axis)) in enumerate(wanted.items()):
        path = folder / f"{role}-{place}.npy"
        _write_pixels(Path(files[name]), path, normalization, axis)
        files[name] = path
    return replace(samples, files=files)


def _write_pixels(values: Path, path: Path, normalization: Normalization, axis: int) -> None:
    """One sample after the other: stacks may be larger than the memory."""
    import numpy as np

    stack = np.load(values, mmap_mode="r")
    # A stack of samples without a batch axis of their own has the samples' axis in its place.
    from_last = axis - 4
    pixels = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=stack.shape)
    for row, sample in enumerate(stack):
        pixels[row] = normalization.pixels(sample, sample.ndim + from_last)
    pixels.flush()


def _are_pixels(path: Path) -> bool:
    import numpy as np

    return all(
        bool(np.all((sample == np.rint(sample)) & (sample >= 0) & (sample <= WHITE)))
        for sample in np.load(path, mmap_mode="r")
    )
