"""The float file with its normalisation folded in, and the same samples as raw pixels.

Comes between the proven float file and everything that is made from it. The model's outputs stay
what they are compared with; only what the files are fed changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from edgekit.calibration import Dataset, SampleSet
from edgekit.contract import Color, Contract, InputContract, image_axes
from edgekit.errors import ConversionError, UsageError
from edgekit.pipeline import candidates
from edgekit.pipeline.floats import FloatFile, require_equal
from edgekit.pipeline.plan import Plan
from edgekit.pipeline.reference import Reference
from edgekit.raw_pixels.fold import Folded, fold
from edgekit.raw_pixels.normalization import WHITE, Normalization, raw
from edgekit.results import Attempt
from edgekit.tflite.metadata import read_contract
from edgekit.tflite.model import read, write
from edgekit.toolchain.workshop import Workshop
from edgekit.types import EIGHT_BIT_SCHEMES, Binding, Progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


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
    fed = plan.request.feed_color
    wanted = _normalizations(reference.contract, fed)
    if not wanted:
        raise UsageError(
            "There is no preprocessing to fold: no float input is a picture whose preprocessing "
            "is known.",
            cure="State it with --scale, --mean and --std, and give pictures as samples; or leave "
            "--fold-preprocess away.",
        )
    return _folded(plan, floating, attempts, reference, fed, wanted, workshop, work)


def fold_for_int8(
    plan: Plan,
    floating: FloatFile,
    attempts: Sequence[Attempt],
    reference: Reference,
    workshop: Workshop,
    work: Path,
) -> tuple[FloatFile, tuple[Attempt, ...], Reference] | None:
    """What int8 files are made from where nothing was said: raw pixels, in the model's own colours.

    Only where the preprocessing is not a guess, and the samples are pixels before it. Arguments and
    result are as for `fold_preprocess`; ``None`` where the files keep the model's own input.
    """
    schemes = [scheme for scheme in plan.schemes if scheme in EIGHT_BIT_SCHEMES]
    if plan.request.fold_preprocess is not None or not schemes:
        return None
    wanted = stated_pictures(reference)
    if not wanted:
        return None
    try:
        made = _folded(plan, floating, attempts, reference, None, wanted, workshop, work)
    except ConversionError as error:
        workshop.progress.note(f"{schemes[0]} keeps the model's own input: {error.cause}")
        return None
    workshop.progress.note(
        f"{' and '.join(schemes)}: the app feeds raw pixels 0…255 and normalises nothing "
        "(--no-fold-preprocess keeps the model's own input)."
    )
    return made


def stated_pictures(reference: Reference) -> Wanted:
    """The inputs that int8 files take as raw pixels by default, see `fold_for_int8`."""
    sets = (reference.data.calibration, reference.data.parity)
    guessed = {entry.tensor.name for entry in reference.contract.inputs if entry.assumed}
    return {
        name: (normalization, axis)
        for name, (normalization, axis) in _normalizations(reference.contract, None).items()
        if name not in guessed
        and all(
            name in samples.pictures
            or samples.synthetic
            or _were_pixels(Path(samples.files[name]), normalization, axis)
            for samples in sets
        )
    }


def write_folded(
    floating: Path, bindings: Sequence[Binding], wanted: Wanted, output: Path
) -> tuple[Folded, ...]:
    """Write a float file with the normalisation of the wanted inputs in the graph.

    Args:
        floating: the float file.
        bindings: of its inputs, in the file's order.
        wanted: by the name of the input.
        output: the file to write.
    """
    model = read(floating)
    done = []
    for number, binding in enumerate(bindings):
        if binding.reference in wanted:
            normalization, axis = wanted[binding.reference]
            done.append(fold(model, number, normalization, binding.permutation.index(axis)))
    write(model, output)
    return tuple(done)


def own_order(contract: Contract) -> tuple[Binding, ...]:
    """The bindings of a file whose inputs are those of its contract, as they are."""
    specs = [entry.tensor for entry in contract.inputs]
    return tuple(
        Binding(reference=one.name, candidate=one.name, permutation=tuple(range(len(one.shape))))
        for one in specs
    )


def _folded(
    plan: Plan,
    floating: FloatFile,
    attempts: Sequence[Attempt],
    reference: Reference,
    fed: Color | None,
    wanted: Wanted,
    workshop: Workshop,
    work: Path,
) -> tuple[FloatFile, tuple[Attempt, ...], Reference]:
    folder = work / "raw-pixels"
    folder.mkdir()
    workshop.progress.step("Folding the preprocessing in")
    path = folder / floating.path.name
    for done in write_folded(floating.path, floating.bindings, wanted, path):
        workshop.progress.note(str(done))
    turned = on_raw_pixels(reference, fed, wanted, folder, workshop.progress)
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


Wanted: TypeAlias = dict[str, tuple[Normalization, int]]
"""By input: what is done with its pixels, and the axis of the channels in the framework."""


def _normalizations(contract: Contract, fed: Color | None) -> Wanted:
    wanted = {}
    for entry in contract.inputs:
        axes = image_axes(entry.tensor)
        if entry.preprocess is None or axes is None or not entry.tensor.dtype.startswith("float"):
            continue
        channels = entry.tensor.shape[axes[2]] or 0
        wanted[entry.tensor.name] = Normalization.of(entry.preprocess, channels, fed), axes[2]
    return wanted


def on_raw_pixels(
    reference: Reference, fed: Color | None, wanted: Wanted, folder: Path, progress: Progress
) -> Reference:
    """The reference's outputs, with the samples and the contract of files that take raw pixels."""
    sizes = []
    for number, there in enumerate(reference.sizes):
        aside = folder / f"size-{number}"
        aside.mkdir()
        parity = _raw_samples(there.data.parity, wanted, aside, "parity")
        contract = _raw_contract(there.contract, fed, wanted)
        sizes.append(replace(there, contract=contract, data=replace(there.data, parity=parity)))
    return replace(
        reference,
        contract=_raw_contract(reference.contract, fed, wanted),
        data=_raw_data(reference.data, wanted, folder, progress),
        sizes=tuple(sizes),
    )


def _raw_contract(contract: Contract, fed: Color | None, wanted: Wanted) -> Contract:
    return replace(
        contract,
        inputs=tuple(
            raw_input(entry, fed) if entry.tensor.name in wanted else entry
            for entry in contract.inputs
        ),
    )


def raw_input(entry: InputContract, fed: Color | None) -> InputContract:
    """A picture's contract after its normalisation was folded in, for an app that feeds ``fed``.

    ``None`` means the model's own colours.
    """
    assert entry.preprocess is not None
    own = entry.preprocess.color
    color = own if own == "GRAY" or fed is None else fed
    # A model that takes raw pixels already may itself be one whose preprocessing was folded.
    original = entry.folded or entry.preprocess
    return replace(entry, preprocess=raw(entry.preprocess, color), folded=original)


def _raw_data(data: Dataset, wanted: Wanted, folder: Path, progress: Progress) -> Dataset:
    calibration = _raw_samples(data.calibration, wanted, folder, "calibration")
    parity = _raw_samples(data.parity, wanted, folder, "parity")
    if not parity.synthetic:
        for name in wanted:
            if not all(_are_pixels(one.files[name]) for one in (calibration, parity)):
                progress.note(
                    f"The samples of input {name} are not whole grey levels 0…255 before their "
                    "normalisation; files with 8-bit inputs round them."
                )
    return replace(data, calibration=calibration, parity=parity)


def _raw_samples(samples: SampleSet, wanted: Wanted, folder: Path, role: str) -> SampleSet:
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
    pixels = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=stack.shape)
    for row, sample in enumerate(stack):
        pixels[row] = _pixels(sample, normalization, axis)
    pixels.flush()


def _pixels(sample: Array, normalization: Normalization, axis: int) -> Array:
    # A stack of samples without a batch axis of their own has the samples' axis in its place.
    return normalization.pixels(sample, sample.ndim + axis - 4)


def _were_pixels(values: Path, normalization: Normalization, axis: int) -> bool:
    """Whether all samples were whole grey levels before they were normalised."""
    import numpy as np

    stack = np.load(values, mmap_mode="r")
    return all(_whole(_pixels(sample, normalization, axis)) for sample in stack)


def _are_pixels(path: Path) -> bool:
    import numpy as np

    return all(map(_whole, np.load(path, mmap_mode="r")))


def _whole(pixels: Array) -> bool:
    import numpy as np

    return bool(np.all((pixels == np.rint(pixels)) & (pixels >= 0) & (pixels <= WHITE)))
