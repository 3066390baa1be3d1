"""``edgekit.inspect``, ``sensitivity``, ``diff``, ``compile``, ``verify`` and more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from edgekit.api.passed import MOST_SAMPLES, Data, Model, config_of, pictures_are_stated, specs
from edgekit.arguments import AnyPath, check_arguments, location, path
from edgekit.contract import Color, Task
from edgekit.diff.findings import Diff
from edgekit.embed import EmbedRequest, EmbedResult, Stated
from edgekit.embed import embed as run_embed
from edgekit.embed.spec import Delegate
from edgekit.errors import UsageError
from edgekit.objects import given
from edgekit.pipeline.compilation import Compilation, CompilationRequest, compile_to_file
from edgekit.pipeline.diff import DiffRequest, compare_files
from edgekit.pipeline.inspection import SourceSummary, inspect_source
from edgekit.pipeline.plan import DEFAULT_SAMPLES
from edgekit.pipeline.publish import disk_errors, write_whole
from edgekit.pipeline.replay import Replay, ReplayRequest
from edgekit.pipeline.replay import replay as run_replay
from edgekit.pipeline.request import ConversionRequest
from edgekit.pipeline.sensitivity import analyse
from edgekit.provenance.text import read_lock
from edgekit.provenance.verify import Verified, lock_beside, verify_file
from edgekit.report.diff import to_html
from edgekit.report.sensitivity import SensitivityReport
from edgekit.tflite.summary import Summary, summarize
from edgekit.toolchain.workshop import Limits
from edgekit.types import Effort, Progress, SilentProgress, TensorSpec


def inspect(
    model: Model,
    *,
    inputs: Sequence[str | TensorSpec] = (),
    weights: AnyPath | None = None,
    trust_pickle: bool = False,
    signature: str | None = None,
) -> Summary | SourceSummary:
    """Tell what is inside a `.tflite` file, or what a model needs before it is converted.

    >>> edgekit.inspect("net_int8.tflite").integer_share  # doctest: +SKIP

    Args:
        model: a `.tflite`, which is read and not run; or a model as for `convert`, which is loaded.
        inputs, weights, trust_pickle, signature: of a model, as for `convert`.

    Raises:
        edgekit.errors.EdgekitError: see `edgekit.errors` for the classes.
    """
    with given(model, {}, inputs=specs(inputs), limits={}) as files:
        if files.model.lower().endswith(".tflite"):
            return summarize(Path(files.model))
        return inspect_source(
            files.model,
            weights=path(weights, "weights"),
            inputs=() if files.origin else specs(inputs),
            trust_pickle=trust_pickle,
            signature=signature,
        )


def sensitivity(
    file: AnyPath,
    *,
    calibration: Data | None = None,
    parity: Data | None = None,
    samples: int | None = None,
    parity_samples: int = 16,
    seed: int = 0,
    synthetic: bool = False,
    preprocess: Mapping[str, Any] | None = None,
    mode: Literal["both", "each", "prefix"] = "both",
    effort: Effort = "none",
    ranges: str = "auto",
    output: AnyPath | None = None,
    config: AnyPath | None = None,
    force: bool = False,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> SensitivityReport:
    """Measure which layers of a float `.tflite` cost accuracy in int8, and how much.

    >>> edgekit.sensitivity("net_fp32.tflite", calibration="photos/").layers[0]  # doctest: +SKIP

    Args:
        file: a float `.tflite`.
        calibration, parity, samples, parity_samples, seed, synthetic, preprocess, config: data, as
            for `convert`.
        mode: each layer alone in int8, growing prefixes of the graph, or both.
        effort, ranges: how the model is prepared first, as for `convert`.
        output: the HTML page, ``NAME_sensitivity.html`` by default.
        force: replace an existing page.
        limits: on the time and memory of each step.
        progress: told of steps, fractions and notes.

    Raises:
        edgekit.errors.EdgekitError: see `edgekit.errors` for the classes.
    """
    source = Path(location(file, "file"))
    if source.suffix.lower() != ".tflite":
        raise UsageError(
            f"{source} is not a .tflite file.", cure="Convert it first: edgekit.convert"
        )
    settings = config_of(config)
    count = (samples or settings.samples or DEFAULT_SAMPLES) + parity_samples
    with given(
        file,
        {"calibration": calibration, "parity": parity},
        pictures=pictures_are_stated(preprocess, settings),
        limits={"calibration": count, "parity": parity_samples},
        seed=seed,
    ) as files:
        request = ConversionRequest(
            model=files.model,
            calibration=files.data["calibration"],
            parity=files.data["parity"],
            samples=samples,
            parity_samples=parity_samples,
            seed=seed,
            synthetic=synthetic,
            preprocess=dict(preprocess or {}),
            effort=effort,
            ranges=ranges,
            config=path(config, "config"),
            force=force,
            limits=limits or Limits(),
            origin=files.origin,
        )
        page = path(output, "output") or Path(f"{source.stem}_sensitivity.html")
        return analyse(request, mode=mode, page=page, progress=progress or SilentProgress())


def diff(
    before: AnyPath,
    after: AnyPath,
    *,
    data: Data | None = None,
    limit: int | None = None,
    seed: int = 0,
    threads: int = 1,
    preprocess: Mapping[str, Any] | None = None,
    html: AnyPath | None = None,
    force: bool = False,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> Diff:
    """Tell what changed between two `.tflite` files.

    >>> edgekit.diff("old_int8.tflite", "new_int8.tflite").same_bytes  # doctest: +SKIP

    Args:
        before, after: the files.
        data: real inputs: outputs and latencies are compared, too.
        limit, seed: at most so many samples, and which.
        threads: for latencies.
        preprocess: keys of `edgekit.contract.Preprocess`, where the files have no contract.
        html: a page to write.
        force: replace an existing page.
        limits: on the time and memory of each step.
        progress: told of steps, fractions and notes.

    Raises:
        edgekit.errors.EdgekitError: see `edgekit.errors` for the classes.
    """
    page = path(html, "html")
    if page is not None and page.exists() and not force:
        raise UsageError(f"{page} exists already.", cure="Choose another page, or force=True.")
    with given(
        location(before, "file"),
        {"data": data},
        pictures=pictures_are_stated(preprocess, config_of(None)),
        limits={"data": limit or MOST_SAMPLES},
        seed=seed,
    ) as files:
        request = DiffRequest(
            before=Path(location(before, "file")),
            after=Path(location(after, "file")),
            data=files.data["data"],
            limit=limit,
            seed=seed,
            threads=threads,
            preprocess=dict(preprocess or {}),
            limits=limits or Limits(),
        )
        check_arguments(request)
        found = compare_files(request, progress)
    if page is not None:
        with disk_errors(page.parent):
            page.parent.mkdir(parents=True, exist_ok=True)
        write_whole(page, to_html(found))
    return found


def compile(  # noqa: A001  the command's name
    file: AnyPath,
    *,
    target: str,
    output: AnyPath | None = None,
    options: Mapping[str, str] | None = None,
    force: bool = False,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> Compilation:
    """Compile a `.tflite` for an accelerator, by the accelerator's own compiler.

    >>> made = edgekit.compile("net_int8.tflite", target="ethos-u55-128")  # doctest: +SKIP
    >>> made.compiled.artifact, made.compiled.figures.sram_bytes  # doctest: +SKIP

    Args:
        file: a `.tflite`.
        target: what for: ``ethos-u55-128``.
        output: the compiled file; ``NAME_TARGET.tflite`` beside the source unless stated. Its lock
            lies beside it.
        options: handed on to the compiler, such as ``{"optimise": "Size"}``.
        force: replace an existing file.
        limits: on the compiler's time and memory.
        progress: told of steps, fractions and notes.

    Raises:
        edgekit.errors.EdgekitError: see `edgekit.errors` for the classes.
    """
    request = CompilationRequest(
        file=Path(location(file, "file")),
        target=target,
        output=path(output, "output"),
        options=dict(options or {}),
        force=force,
        limits=limits or Limits(),
    )
    return compile_to_file(request, progress)


def verify(*files: AnyPath, lock: AnyPath | None = None) -> tuple[Verified, ...]:
    """Hold `.tflite` files against an ``edgekit.lock``: content, size, contract.

    >>> [one.state for one in edgekit.verify("net_tflite/net_int8.tflite")]  # doctest: +SKIP

    Args:
        files: the files.
        lock: the one beside each file unless stated.

    Returns:
        For each file what the lock says of it; ``state`` is ``same`` where it is one of the lock's.

    Raises:
        edgekit.errors.EdgekitError: see `edgekit.errors` for the classes.
    """
    known = path(lock, "lock")
    paths = [Path(location(one, "file")) for one in files]
    return tuple(verify_file(one, read_lock(known or lock_beside(one))) for one in paths)


def replay(
    lock: AnyPath,
    *,
    output: AnyPath | None = None,
    moved: Mapping[str, AnyPath] | None = None,
    dry_run: bool = False,
    force: bool = False,
    trust_pickle: bool = False,
    allow_network: bool = False,
    allow_write: Sequence[AnyPath] = (),
    progress: Progress | None = None,
) -> Replay:
    """Make the files of an ``edgekit.lock`` again, and compare them with it byte for byte.

    >>> edgekit.replay("net_tflite/edgekit.lock").same  # doctest: +SKIP

    Args:
        lock: the file.
        output: where the files stay; compared and thrown away unless stated.
        moved: where inputs are now, by role: ``{"calibration": "/data/photos"}``.
        dry_run: hold the inputs against the lock and make nothing.
        force: replace existing outputs.
        trust_pickle, allow_network, allow_write: what the lock may ask for and only you can grant.
        progress: told of steps, fractions and notes.

    Raises:
        edgekit.errors.EdgekitError: see `edgekit.errors` for the classes.
    """
    request = ReplayRequest(
        lock=Path(location(lock, "lock")),
        output=path(output, "output"),
        moved={role: Path(location(one, role)) for role, one in (moved or {}).items()},
        force=force,
        trust_pickle=trust_pickle,
        allow_network=allow_network,
        allow_write=tuple(Path(location(one, "folder")) for one in allow_write),
        check_only=dry_run,
    )
    check_arguments(request)
    return run_replay(request, progress or SilentProgress())


def embed(
    file: AnyPath,
    *,
    target: str,
    output: AnyPath,
    name: str | None = None,
    samples: AnyPath | None = None,
    golden: int = 3,
    delegate: Delegate = "cpu",
    threads: int = 1,
    top_k: int = 5,
    preprocess: Mapping[str, Any] | None = None,
    task: Task | None = None,
    labels: AnyPath | None = None,
    config: AnyPath | None = None,
    fold_preprocess: bool = False,
    app: bool = False,
    feed_color: Color = "RGB",
    force: bool = False,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> EmbedResult:
    """Write a module for an app: the file, pre- and postprocessing, golden vectors and their test.

    >>> edgekit.embed("net_int8.tflite", target="android", output="app/net")  # doctest: +SKIP

    Args:
        file: a `.tflite` with a contract in it.
        target: what to write it for; see `edgekit.embed.target_names`.
        output: the module's folder.
        name: of the module; the file's name unless stated.
        samples: pictures for the golden vectors; the calibration data where it is known.
        golden: how many golden samples.
        delegate: what the wrapper asks for first; the CPU takes over where it is not there.
        threads: of the CPU.
        top_k: how many classes a classifier returns.
        preprocess: keys of `edgekit.contract.Preprocess`; they win over the contract.
        task: what the first output means.
        labels: a file with class names, one a line.
        config: an ``edgekit.toml``; arguments win over it.
        fold_preprocess: the module gets a copy of the file that normalises by itself.
        app: a whole app around the module: ``android``, ``ios``, ``web``.
        feed_color: with it: the colours that the copy takes.
        force: replace an earlier module in the folder, never other files.
        limits: on the runtime's time and memory.
        progress: told of steps, fractions and notes.

    Raises:
        edgekit.errors.EdgekitError: see `edgekit.errors` for the classes.
    """
    stated = Stated(
        config=path(config, "config"),
        preprocess=dict(preprocess or {}),
        task=task,
        labels=path(labels, "labels"),
    )
    request = EmbedRequest(
        file=Path(file),
        target=target,
        output=Path(output),
        name=name,
        stated=stated,
        samples=path(samples, "samples"),
        golden=golden,
        delegate=delegate,
        threads=threads,
        top_k=top_k,
        fold_preprocess=fold_preprocess,
        app=app,
        feed_color=feed_color,
        force=force,
        limits=limits or Limits(),
    )
    return run_embed(request, progress or SilentProgress())
