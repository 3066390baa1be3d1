"""``edgekit embed``: from a `.tflite` to a module for an app."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from edgekit.contract import Color, Contract
from edgekit.embed import inference
from edgekit.embed.completion import Stated, complete
from edgekit.embed.describe import describe
from edgekit.embed.golden import golden_files
from edgekit.embed.module import require_free, write_module
from edgekit.embed.names import one_line
from edgekit.embed.raw_pixels import fold_file, require_equal
from edgekit.embed.render import (
    AppTarget,
    app_of,
    filled,
    load_target,
    render,
    require_types,
    wrapper_lines,
)
from edgekit.embed.resize_cost import ResizeCost, resize_costs
from edgekit.embed.samples import choose, find_folder, read_pictures
from edgekit.embed.spec import Delegate, Embedding
from edgekit.embed.stages import Stages, located, resized, result_of, tensor_of
from edgekit.files import temporary_folder
from edgekit.pipeline.publish import held
from edgekit.tflite.model import read
from edgekit.tflite.summary import summarize
from edgekit.toolchain.workshop import Limits, Workshop
from edgekit.types import Progress
from edgekit.version import __version__

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]

_COST_SAMPLES = 16


@dataclass(frozen=True, kw_only=True)
class EmbedRequest:
    """What is asked for.

    Attributes:
        file: the `.tflite`.
        target: the name of a folder in ``edgekit/embed/targets``.
        output: the module's folder.
        name: of the module; the file's unless stated.
        stated: what the user says about the file.
        samples: pictures for golden vectors; see `edgekit.embed.samples.find_folder`.
        golden: how many golden samples.
        delegate: what the wrapper asks for first.
        threads: of the CPU.
        top_k: how many classes a classifier returns.
        fold_preprocess: the module gets a copy of the file that normalises by itself.
        feed_color: with it: the colours that the copy takes.
        app: a whole app around the module, not only the module.
        force: replace an earlier module in the folder.
        limits: of the runtime's process.
    """

    file: Path
    target: str
    output: Path
    name: str | None = None
    stated: Stated = field(default_factory=Stated)
    samples: Path | None = None
    golden: int = 3
    delegate: Delegate = "cpu"
    threads: int = 1
    top_k: int = 5
    fold_preprocess: bool = False
    feed_color: Color = "RGB"
    app: bool = False
    force: bool = False
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, kw_only=True)
class _Subject:
    """A file with its contract, described; what was done to it, in words."""

    path: Path
    contract: Contract
    spec: Embedding
    done: str = ""


@dataclass(frozen=True, kw_only=True)
class EmbedResult:
    """What was made.

    Attributes:
        target: for what.
        output: the module's folder.
        manifest: the list of its files, with their digests.
        files: their paths in it.
        wrapper_lines: lines of the wrapper, without tests and golden vectors.
        spec: what the wrapper does.
        samples: the names of the golden samples.
        samples_from: where they come from.
        costs: of other resizes.
        notes: what the user should know.
    """

    target: str
    output: Path
    manifest: Path
    files: tuple[str, ...]
    wrapper_lines: int
    spec: Embedding
    samples: tuple[str, ...]
    samples_from: str
    costs: tuple[ResizeCost, ...]
    notes: tuple[str, ...]


def embed(request: EmbedRequest, progress: Progress) -> EmbedResult:
    """Write the module.

    Raises:
        UsageError: the contract lacks something, labels do not match, the target's runtime does not
            take the file's types, a normalisation cannot be folded in, or the folder is not free.
        ModelError: the file is not a `.tflite`.
        DataError: the samples are not pictures that the model takes.
        ConversionError: the runtime refuses the file, or the copy does not compute the same.
        SetupError: the folder cannot be written.
    """
    target = load_target(request.target)
    target = app_of(target) if request.app else target
    original = _described(request, request.file, complete(summarize(request.file), request.stated))
    require_free(request.output, force=request.force)
    with held(request.output), temporary_folder("embed") as folder:
        subject = _folded(request, original, Path(folder)) if request.fold_preprocess else original
        require_types(target, subject.spec)
        return _write(request, target, original, subject, progress)


def _described(request: EmbedRequest, path: Path, contract: Contract) -> _Subject:
    spec = describe(
        path,
        read(path),
        summarize(path),
        contract,
        name=request.name,
        delegate=request.delegate,
        threads=request.threads,
        top_k=request.top_k,
    )
    return _Subject(path=path, contract=contract, spec=spec)


def _folded(request: EmbedRequest, original: _Subject, folder: Path) -> _Subject:
    """A copy that takes raw pixels."""
    path, contract, done = fold_file(request.file, original.contract, request.feed_color, folder)
    return replace(_described(request, path, contract), done=done)


def _write(
    request: EmbedRequest,
    target: AppTarget,
    original: _Subject,
    subject: _Subject,
    progress: Progress,
) -> EmbedResult:
    spec, entry = subject.spec, subject.contract.inputs[0]
    folder, said_by = find_folder(request.file, request.samples)
    pictures = read_pictures(folder, max(_COST_SAMPLES, request.golden), entry=entry)
    with Workshop(
        name=spec.names.snake,
        progress=progress,
        limits=request.limits,
        read=(original.path, subject.path),
    ) as workshop:
        if subject.done:
            notes = (*spec.notes, subject.done, _prove(original, subject, pictures, workshop))
            spec = replace(spec, notes=notes)

        def run(tensors: Sequence[Array]) -> list[tuple[Array, ...]]:
            return inference.run(subject.path, spec, tensors, workshop)

        samples = _stages(spec, subject.contract, choose(pictures, request.golden), run)
        costs = resize_costs(spec, entry, [p for _, p in pictures], run)
    origin = one_line(f"{folder.name} ({said_by})")
    texts = render(
        target,
        spec,
        subject.path,
        costs=costs,
        samples=len(samples),
        samples_from=origin,
        version=__version__,
    )
    files: dict[str, bytes | Path] = {path: text.encode() for path, text in texts.items()}
    if target.model is not None:
        files[_below(filled(target.model, spec), spec.model_file)] = subject.path
    if target.golden is not None:
        golden = golden_files(spec, samples)
        place = filled(target.golden, spec)
        files |= {_below(place, name): data for name, data in golden.items()}
    progress.step(f"Writing {request.output}")
    facts = {
        "edgekit": __version__,
        "target": target.name,
        "model_sha256": spec.sha256,
        "samples": [sample.name for sample in samples],
        "resize_costs": [asdict(cost) for cost in costs],
        "notes": list(spec.notes),
    }
    manifest = write_module(request.output, files, facts, force=request.force)
    return EmbedResult(
        target=target.name,
        output=request.output,
        manifest=manifest,
        files=tuple(sorted(files)),
        wrapper_lines=wrapper_lines(target, spec, texts),
        spec=spec,
        samples=tuple(sample.name for sample in samples),
        samples_from=origin,
        costs=costs,
        notes=spec.notes,
    )


def _prove(
    original: _Subject,
    copy: _Subject,
    pictures: Sequence[tuple[str, Array]],
    workshop: Workshop,
) -> str:
    """Hold the copy against the file that it was made of, on the same pictures."""
    outputs = []
    for one in (original, copy):
        entry, given = one.contract.inputs[0], one.spec.input
        tensors = [
            tensor_of(resized(picture, given, entry), given, entry) for _, picture in pictures
        ]
        outputs.append(inference.run(one.path, one.spec, tensors, workshop))
    return require_equal(original.path, *outputs)


def _below(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _stages(
    spec: Embedding,
    contract: Contract,
    pictures: Sequence[tuple[str, Array]],
    run: Callable[[Sequence[Array]], list[tuple[Array, ...]]],
) -> list[Stages]:
    """The golden samples at every stage."""
    entry = contract.inputs[0]
    pixels = [resized(picture, spec.input, entry) for _, picture in pictures]
    tensors = [tensor_of(one, spec.input, entry) for one in pixels]
    found = []
    for place, outputs in enumerate(run(tensors)):
        name, picture = pictures[place]
        result = result_of(spec, contract, outputs)
        boxes = spec.decode.kind == "detection"
        found.append(
            Stages(
                name=name,
                picture=picture,
                resized=pixels[place],
                tensor=tensors[place],
                outputs=outputs,
                result=result,
                located=located(result, picture.shape[:2], spec.input, entry) if boxes else None,
            )
        )
    return found
