"""The Python API, the commands without the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.arguments import AnyPath, listed, location, path
from edgekit.config import parse_input_flag
from edgekit.contract import Color, Task
from edgekit.datasets import Layout
from edgekit.embed import EmbedRequest, EmbedResult, Stated, embed
from edgekit.embed.spec import Delegate
from edgekit.pipeline import ConversionRequest, plan, run
from edgekit.pipeline.record import RecordRequest, record
from edgekit.pipeline.validation import ValidationRequest
from edgekit.pipeline.validation import validate as run_validation
from edgekit.pipeline.validation.request import Explain
from edgekit.results import ConversionResult
from edgekit.runners.bundle_format import Manifest
from edgekit.runners.protocol import Device
from edgekit.toolchain.workshop import Limits
from edgekit.types import Effort, IoDtype, Pass, Progress, Scheme, SilentProgress, TensorSpec
from edgekit.validation_result import ValidationResult


def convert(
    model: AnyPath,
    *,
    calibration: AnyPath | None = None,
    parity: AnyPath | None = None,
    inputs: Sequence[str | TensorSpec] = (),
    preprocess: Mapping[str, Any] | None = None,
    fold_preprocess: bool = False,
    feed_color: Color = "RGB",
    schemes: Sequence[Scheme] = (),
    weights: AnyPath | None = None,
    trust_pickle: bool = False,
    signature: str | None = None,
    task: Task | None = None,
    labels: AnyPath | None = None,
    gates: Sequence[str] = (),
    io_dtype: IoDtype | None = None,
    effort: Effort = "balanced",
    ranges: str = "auto",
    without: Sequence[Pass] = (),
    standard_metadata: bool = True,
    keep_prepared: bool = False,
    keep_float: Sequence[str] = (),
    keep_int16: Sequence[str] = (),
    max_drop: float | None = None,
    min_sqnr: float | None = None,
    min_agreement: float | None = None,
    allow_float_ops: bool = False,
    targets: Sequence[str] = (),
    route: str | None = None,
    output: AnyPath | None = None,
    config: AnyPath | None = None,
    samples: int | None = None,
    parity_samples: int = 64,
    accept_few: bool = False,
    accept_contract: bool = False,
    seed: int = 0,
    synthetic: bool = False,
    force: bool = False,
    threads: int = 1,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> ConversionResult:
    """Turn a trained model into `.tflite` files, each with proof that it does the model's job.

    Args:
        model: ``package.module:factory``, ``file.py:factory``, or a model file or folder.
        calibration: a folder of images, ``.npy``, ``.npz`` or a video.
        parity: separate data to compare on; by default a part of ``calibration``.
        inputs: shapes that the model does not tell, as ``NAME:SHAPE[:DTYPE][:LAYOUT]`` or specs.
        preprocess: keys of `edgekit.contract.Preprocess`.
        fold_preprocess: normalise inside the files, so that the app feeds raw pixels 0…255.
        feed_color: the order of the colours that it feeds then.
        schemes: which files to make; fp32, fp16 and int8 by default.
        weights: a state dict for a PyTorch factory.
        trust_pickle: open a pickle, which can run any code.
        signature: which function of a SavedModel to convert, ``serving_default`` by default.
        task: what the first output means; decides the default gates.
        labels: a file with class names, one a line.
        gates: conditions such as ``int8:top1_agreement >= 95%``.
        io_dtype: the type of inputs and outputs of ``int8``: int8 (the default), uint8, float32.
        effort: how carefully the model is prepared for int8, see `edgekit.types.Effort`.
        ranges: of activations: auto, minmax, mse, entropy or percentile:99.99.
        without: passes to leave out of the preparation for int8, see `edgekit.types.Pass`.
        standard_metadata: also write what MediaPipe and ML Kit read.
        keep_prepared: also write the prepared float model.
        keep_float, keep_int16: operators of int8, by their first outputs' names, that compute in
            float, or with 16-bit activations.
        max_drop, min_sqnr, min_agreement: the accuracy budget of int8: which share of top-1 may be
            lost, how many dB there must be, which share of decisions must stay. Settings are tried
            from the cheapest up until it holds; see the report's ``ladder``.
        allow_float_ops: do not fail an int8 file with operators that compute in float.
        targets: names or paths of profiles that every file must fit; see ``edgekit target list``.
        route: force one route.
        output: the folder for the files, ``NAME_tflite`` by default.
        config: an ``edgekit.toml``; arguments win over it.
        samples: at most so many calibration samples (128 by default).
        parity_samples: at most so many to compare on.
        accept_few: judge on however few samples there are; they prove less than PASS says.
        accept_contract: inputs are really made as stated, though the model does better with others.
        seed: decides which samples are used.
        synthetic: use random inputs; the report says so.
        force: replace existing outputs.
        threads: for measuring latency.
        limits: on the time and memory of each step.
        progress: told of steps, fractions and notes.

    Returns:
        The result. A failed gate is no exception: look at ``result.passed``.

    Raises:
        edgekit.errors.EdgekitError: see `edgekit.errors` for the classes.
    """
    request = ConversionRequest(
        model=location(model, "model"),
        weights=path(weights, "weights"),
        trust_pickle=trust_pickle,
        signature=signature,
        inputs=_specs(inputs),
        preprocess=dict(preprocess or {}),
        fold_preprocess=fold_preprocess,
        feed_color=feed_color,
        task=task,
        labels=path(labels, "labels"),
        calibration=path(calibration, "calibration"),
        parity=path(parity, "parity"),
        samples=samples,
        parity_samples=parity_samples,
        accept_few=accept_few,
        accept_contract=accept_contract,
        seed=seed,
        synthetic=synthetic,
        schemes=listed(schemes),
        io_dtype=io_dtype,
        effort=effort,
        ranges=ranges,
        without=listed(without),
        no_standard_metadata=not standard_metadata,
        keep_prepared=keep_prepared,
        keep_float=listed(keep_float),
        keep_int16=listed(keep_int16),
        max_drop=max_drop,
        min_sqnr=min_sqnr,
        min_agreement=min_agreement,
        allow_float_ops=allow_float_ops,
        targets=listed(targets),
        route=route,
        output=path(output, "output"),
        config=path(config, "config"),
        gates=listed(gates),
        force=force,
        threads=threads,
        limits=limits or Limits(),
    )
    return run(plan(request), progress)


def validate(
    *candidates: AnyPath,
    reference: AnyPath,
    data: AnyPath,
    layout: Layout | None = None,
    limit: int | None = None,
    seed: int = 0,
    device: Device = "auto",
    weights: AnyPath | None = None,
    trust_pickle: bool = False,
    inputs: Sequence[str | TensorSpec] = (),
    timeout: float = 60.0,
    preprocess: Mapping[str, Any] | None = None,
    task: Task | None = None,
    labels: AnyPath | None = None,
    metric: str | None = None,
    gates: Sequence[str] = (),
    strict: bool = False,
    accept_few: bool = False,
    accept_contract: bool = False,
    config: AnyPath | None = None,
    jobs: int | None = None,
    threads: int = 1,
    latency: bool = True,
    resume: bool = False,
    worst: int = 8,
    explain: Explain = "auto",
    address: str = "local",
    runtime: str | None = None,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> ValidationResult:
    """Compare `.tflite` files with their reference on your data, and judge them by gates.

    Args:
        candidates: the files.
        reference: the model itself as `convert` takes it, an ``.edgeref`` bundle, another
            `.tflite`, or the URL of a served model.
        data: pictures, arrays or a labelled data set.
        layout: of the data, where it cannot be seen.
        limit: at most so many samples; ``seed`` decides which.
        device: where a PyTorch reference runs: auto, cuda or cpu.
        weights, trust_pickle, inputs: of the reference, as for `convert`.
        timeout: seconds that a served reference may take for one answer.
        preprocess: keys of `edgekit.contract.Preprocess`; they win over the files' contracts.
        task: what the first output means; decides the metric and the default gates.
        labels: a file with class names, one a line.
        metric: your own in place of the task's, ``package.module:function``.
        gates: conditions such as ``top1_drop <= 1% (upper)``.
        strict: a default gate that was not measured fails, too.
        accept_few: judge on however few samples there are; they prove less than PASS says.
        accept_contract: inputs are really made as stated, though the model does better with others.
        config: an ``edgekit.toml``; arguments win over it.
        jobs: how many processes measure; as many as there are cores by default.
        threads: of the runtime when latencies are taken.
        latency: whether latencies are taken.
        resume: go on after a run that was killed.
        worst: how many of the worst samples are kept.
        explain: of which candidates layer and cause are looked for: always, never, or auto, which
            is those that a gate stopped.
        address: of the device that the candidates run on, such as ``ssh://pi@board``.
        runtime: another runtime for them on this computer, such as ``tflite-runtime==2.14.0``.
        limits: on the time and memory of each step.
        progress: told of steps, fractions and notes.

    Returns:
        The result. A failed gate is no exception: look at ``result.passed``. After Ctrl-C it is
        about what was measured so far, and ``result.complete`` is false.

    Raises:
        edgekit.errors.EdgekitError: see `edgekit.errors` for the classes.
    """
    return run_validation(
        ValidationRequest(
            candidates=tuple(Path(location(one, "candidate")) for one in candidates),
            reference=location(reference, "reference"),
            data=Path(location(data, "data")),
            layout=layout,
            limit=limit,
            seed=seed,
            device=device,
            weights=path(weights, "weights"),
            trust_pickle=trust_pickle,
            inputs=_specs(inputs),
            timeout=timeout,
            preprocess=dict(preprocess or {}),
            task=task,
            labels=path(labels, "labels"),
            metric=metric,
            gates=listed(gates),
            strict=strict,
            accept_few=accept_few,
            accept_contract=accept_contract,
            config=path(config, "config"),
            jobs=jobs,
            threads=threads,
            latency=latency,
            resume=resume,
            worst=worst,
            explain=explain,
            address=address,
            runtime=runtime,
            limits=limits or Limits(),
        ),
        progress,
    )


def record_reference(
    model: AnyPath,
    *,
    data: AnyPath,
    output: AnyPath,
    layout: Layout | None = None,
    limit: int | None = None,
    seed: int = 0,
    device: Device = "auto",
    weights: AnyPath | None = None,
    trust_pickle: bool = False,
    inputs: Sequence[str | TensorSpec] = (),
    preprocess: Mapping[str, Any] | None = None,
    task: Task | None = None,
    labels: AnyPath | None = None,
    config: AnyPath | None = None,
    runs: int = 50,
    timeout: float = 60.0,
    force: bool = False,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Run a model on data and keep its outputs in one file, for `validate` on another machine.

    Args:
        model: as for `convert`, or the URL of a served model.
        data, layout, limit, seed: as for `validate`: the same choose the same samples.
        output: the file, ``NAME.edgeref``.
        device, weights, trust_pickle, inputs: of the model, as for `validate`.
        preprocess: keys of `edgekit.contract.Preprocess`; kept in the file.
        task, labels, config: what the first output means, as for `convert`; kept in the file.
        runs: how many inferences are timed; 0 for none.
        timeout: seconds that a server may take for one answer.
        force: replace an existing file.
        limits: on the time and memory of each step.
        progress: told of steps, fractions and notes.

    Raises:
        edgekit.errors.EdgekitError: see `edgekit.errors` for the classes.
    """
    request = RecordRequest(
        model=location(model, "model"),
        data=Path(location(data, "data")),
        output=Path(output),
        layout=layout,
        limit=limit,
        seed=seed,
        device=device,
        weights=path(weights, "weights"),
        trust_pickle=trust_pickle,
        inputs=_specs(inputs),
        preprocess=dict(preprocess or {}),
        task=task,
        labels=path(labels, "labels"),
        config=path(config, "config"),
        runs=runs,
        timeout=timeout,
        force=force,
        limits=limits or Limits(),
    )
    return record(request, progress or SilentProgress())


def make_module(
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
    feed_color: Color = "RGB",
    force: bool = False,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> EmbedResult:
    """Write a module for an app: the file, pre- and postprocessing, golden vectors and their test.

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
        feed_color=feed_color,
        force=force,
        limits=limits or Limits(),
    )
    return embed(request, progress or SilentProgress())


def _specs(inputs: Sequence[str | TensorSpec]) -> tuple[TensorSpec, ...]:
    given: Sequence[str | TensorSpec] = [inputs] if isinstance(inputs, str) else inputs
    return tuple(one if isinstance(one, TensorSpec) else parse_input_flag(one) for one in given)
