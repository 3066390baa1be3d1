"""``edgekit.validate``, ``explain``, ``benchmark``, ``compat`` and ``record_reference``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit.api.passed import MOST_SAMPLES, Data, Model, config_of, pictures_are_stated, specs
from edgekit.arguments import AnyPath, check_arguments, is_path, listed, location, path
from edgekit.compat.clients import with_baseline
from edgekit.compat.judging import MOST_STEPS
from edgekit.compat.run import Compatibility, compatibility
from edgekit.contract import Task
from edgekit.datasets import Layout
from edgekit.errors import ConversionError, UsageError
from edgekit.objects import given
from edgekit.pipeline.explain import ExplainRequest, require_free, write_files
from edgekit.pipeline.explain import explain as run_explain
from edgekit.pipeline.record import RecordRequest, record
from edgekit.pipeline.target import open_target
from edgekit.pipeline.validation.contracts import framework_inputs
from edgekit.pipeline.validation.request import Explain, ValidationRequest
from edgekit.pipeline.validation.run import validate as run_validation
from edgekit.pipeline.validation.timing import benchmark as run_benchmark
from edgekit.pipeline.validation.timing import benchmark_on
from edgekit.runners.bundle_format import Manifest
from edgekit.runners.protocol import Device, Timing
from edgekit.tflite.metadata import read_contract
from edgekit.toolchain.workshop import Limits
from edgekit.types import Progress, SilentProgress, TensorSpec
from edgekit.validation.explain.points import Explanation
from edgekit.validation_result import ValidationResult


def validate(
    *candidates: AnyPath,
    reference: Model,
    data: Data,
    example_inputs: object = None,
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
    cluster: str | None = None,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> ValidationResult:
    """Compare `.tflite` files with their reference on your data, and judge them by gates.

    >>> edgekit.validate("net_int8.tflite", reference=net, data=test_loader)  # doctest: +SKIP

    Args:
        candidates: the files.
        reference: the model itself as `convert` takes it, an object or a path; an ``.edgeref``
            bundle, another `.tflite`, or the URL of a served model.
        data: pictures, arrays or a labelled data set; or a loader, array … as `convert` takes them.
        example_inputs: what a model object is given, where the files do not tell.
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
        cluster: the address of a Ray cluster that measures, see docs/cluster.md.
        limits: on the time and memory of each step.
        progress: told of steps, fractions and notes.

    Returns:
        The result. A failed gate is no exception: look at ``result.passed``. After Ctrl-C it is
        about what was measured so far, and ``result.complete`` is false.

    Raises:
        edgekit.errors.EdgekitError: see `edgekit.errors` for the classes.
    """
    files = tuple(Path(location(one, "candidate")) for one in candidates)
    known = [contract for one in files if one.is_file() and (contract := read_contract(one))]
    stated = specs(inputs)
    request = ValidationRequest(
        candidates=files,
        reference="",
        data=Path(),
        layout=layout,
        limit=limit,
        seed=seed,
        device=device,
        weights=path(weights, "weights"),
        trust_pickle=trust_pickle,
        inputs=stated,
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
        cluster=cluster,
        limits=limits or Limits(),
    )
    check_arguments(request)
    tells = known and example_inputs is None and not stated and is_path(data)
    with given(
        reference,
        {"data": data},
        example=example_inputs,
        inputs=framework_inputs(known[0]) if tells else stated,
        pictures=pictures_are_stated(preprocess, config_of(config))
        or any(entry.preprocess for contract in known for entry in contract.inputs),
        limits={"data": limit or MOST_SAMPLES},
        seed=seed,
        what="reference",
    ) as paths:
        assert paths.data["data"] is not None
        request = replace(
            request, reference=paths.model, data=paths.data["data"], origin=paths.origin
        )
        return run_validation(request, progress)


def record_reference(
    model: Model,
    *,
    data: Data,
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

    >>> edgekit.record_reference(net, data=loader, output="net.edgeref")  # doctest: +SKIP

    Args:
        model: as for `convert`, an object or a path; or the URL of a served model.
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
    stated = specs(inputs)
    with given(
        model,
        {"data": data},
        inputs=stated,
        pictures=pictures_are_stated(preprocess, config_of(config)),
        limits={"data": limit or MOST_SAMPLES},
        seed=seed,
    ) as paths:
        assert paths.data["data"] is not None
        request = RecordRequest(
            model=paths.model,
            data=paths.data["data"],
            output=Path(output),
            layout=layout,
            limit=limit,
            seed=seed,
            device=device,
            weights=path(weights, "weights"),
            trust_pickle=trust_pickle,
            inputs=stated,
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


def explain(
    candidate: AnyPath,
    *,
    reference: Model | None = None,
    data: Data,
    floating: AnyPath | None = None,
    samples: int = 8,
    seed: int = 0,
    weights: AnyPath | None = None,
    trust_pickle: bool = False,
    inputs: Sequence[str | TensorSpec] = (),
    preprocess: Mapping[str, Any] | None = None,
    config: AnyPath | None = None,
    address: str = "local",
    runtime: str | None = None,
    output: AnyPath | None = None,
    model_explorer: AnyPath | None = None,
    force: bool = False,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> Explanation:
    """Find the first operator of a `.tflite` that departs from its reference, and why.

    >>> edgekit.explain("net_int8.tflite", reference=net, data=loader).verdict  # doctest: +SKIP

    Args:
        candidate: the file.
        reference: a float `.tflite`, or a model as for `convert`; not needed with ``address`` or
            ``runtime``, where the same file is compared there and here.
        data: inputs that the model really sees.
        floating: the float `.tflite` between a framework's model and the candidate; converted anew
            where it is not given.
        samples, seed: at most so many samples, and which.
        weights, trust_pickle, inputs, preprocess, config: about the reference, as for `convert`.
        address, runtime: where the candidate also runs, as for `validate`.
        output: an HTML page to write; none unless stated.
        model_explorer: node data for Model Explorer to write.
        force: replace existing files.
        limits: on the time and memory of each step.
        progress: told of steps, fractions and notes.

    Raises:
        edgekit.errors.EdgekitError: see `edgekit.errors` for the classes.
    """
    if reference is None and runtime is None and address == "local":
        raise UsageError(
            "There is no reference to compare with.",
            cure="Give the float .tflite or the model itself, or the address of a device.",
        )
    page, nodes = path(output, "output"), path(model_explorer, "model_explorer")
    if page is not None:
        require_free(page, nodes, force=force)
    file, stated = Path(location(candidate, "candidate")), specs(inputs)
    with given(
        reference if reference is not None else "",
        {"data": data},
        inputs=stated,
        pictures=pictures_are_stated(preprocess, config_of(config)),
        limits={"data": samples},
        seed=seed,
        what="reference",
    ) as paths:
        assert paths.data["data"] is not None
        request = ExplainRequest(
            candidate=file,
            reference=paths.model,
            data=paths.data["data"],
            floating=path(floating, "floating"),
            samples=samples,
            seed=seed,
            inputs=stated,
            preprocess=dict(preprocess or {}),
            config=path(config, "config"),
            weights=path(weights, "weights"),
            trust_pickle=trust_pickle,
            address=address,
            runtime=runtime,
            limits=limits or Limits(),
        )
        found = run_explain(request, progress or SilentProgress())
    if page is not None:
        write_files(found, page, nodes)
    return found


def benchmark(
    *files: AnyPath,
    threads: int = 1,
    address: str = "local",
    runtime: str | None = None,
    operators: bool = True,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> dict[str, Timing]:
    """Time `.tflite` files in turn: latency, first inference, loading, memory, operators.

    >>> edgekit.benchmark("net_fp32.tflite", "net_int8.tflite", threads=2)  # doctest: +SKIP

    Args:
        files: the files.
        threads: to run on.
        address, runtime: where they run, as for `validate`.
        operators: also measure which operators take how long.
        limits: on the time and memory of each step.
        progress: told of steps, fractions and notes.

    Returns:
        A `Timing` for each file, by its name.

    Raises:
        edgekit.errors.ConversionError: a file could not be timed.
        edgekit.errors.EdgekitError: see `edgekit.errors` for the classes.
    """
    if not files:
        raise UsageError("No file was named.", cure="edgekit.benchmark('net_int8.tflite')")
    paths = tuple(Path(location(one, "file")) for one in files)
    told, most = progress or SilentProgress(), limits or Limits()
    target = open_target(address, runtime, threads=threads, limits=most, progress=told)
    if target is None:
        timings, failures = run_benchmark(
            paths, threads=threads, profile=operators, limits=most, progress=told
        )
    else:
        with target:
            timings, failures, lost = benchmark_on(target, paths, progress=told)
        if lost:
            raise lost
    if failures:
        why = "; ".join(f"{name}: {reason}" for name, reason in failures.items())
        raise ConversionError(f"Not every file was timed. {why}", cure="Leave those files out.")
    return timings


def compat(
    *files: AnyPath,
    clients: Sequence[str] = (),
    data: AnyPath | None = None,
    samples: int = 16,
    seed: int = 0,
    max_steps: float = MOST_STEPS,
    seconds: float | None = None,
    fresh: bool = False,
    progress: Progress | None = None,
) -> tuple[Compatibility, ...]:
    """Run `.tflite` files in the clients that apps use, and hold what each says against LiteRT.

    >>> found = edgekit.compat("net_int8.tflite", data="photos/")  # doctest: +SKIP
    >>> found[0].verdict(["openvino"])  # doctest: +SKIP

    Args:
        files: the files.
        clients: their names, LiteRT besides; all where none is named.
        data: pictures or arrays that the model will really see; random inputs unless stated.
        samples: at most so many.
        seed: of the random inputs.
        max_steps: how many output steps a client that agrees may be away.
        seconds: how long a client may take to open a file, and to run it.
        fresh: ask again what an earlier run has found.
        progress: told of steps, fractions and notes.

    Returns:
        For each file a row for each client; what does not run it is a row with its reason.

    Raises:
        edgekit.errors.EdgekitError: see `edgekit.errors` for the classes.
    """
    if not files:
        raise UsageError("No file was named.", cure="edgekit.compat('net_int8.tflite')")
    wanted = with_baseline(listed(clients))
    return tuple(
        compatibility(
            Path(location(one, "file")),
            wanted,
            data=path(data, "data"),
            samples=samples,
            seed=seed,
            most_steps=max_steps,
            seconds=seconds,
            fresh=fresh,
            progress=progress or SilentProgress(),
        )
        for one in files
    )
