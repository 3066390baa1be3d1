"""A finished conversion as a lock."""

from __future__ import annotations

import os
import platform
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from edgekit.errors import ConversionError
from edgekit.objects import ObjectOrigin
from edgekit.pipeline.plan import Plan
from edgekit.pipeline.reference import Reference
from edgekit.pipeline.replay_request import NOT_IN_TABLE, as_command
from edgekit.provenance import kernels
from edgekit.provenance.code import (
    ModelCode,
    find_module,
    installed_code,
    model_code,
    search_folders,
)
from edgekit.provenance.inputs import lock_data, lock_input, written
from edgekit.provenance.lock import DataRole, Lock, LockedData, LockedFile, LockedInput
from edgekit.provenance.verify import lock_file
from edgekit.results import ConversionResult, FileResult
from edgekit.sources import digest
from edgekit.toolchain.machine import cpu_name
from edgekit.toolchain.workshop import versions
from edgekit.types import TensorSpec
from edgekit.version import __version__

PREPARED = "prepared"
"""What stands in the place of a scheme for the prepared float model."""
_HOST = (
    "edgekit-tflite",
    "numpy",
    "opencv-python-headless",
    "pillow",
    "litert-quantizer",
    "ai-edge-litert",
)


def make_lock(
    plan: Plan,
    reference: Reference,
    result: ConversionResult,
    files: Sequence[FileResult],
    prepared: Path | None,
) -> Lock:
    """What a finished conversion was made from.

    Args:
        plan: what was carried out.
        reference: what the files were compared with, and on which data.
        result: how it was done.
        files: where they lie before they are put in place.
        prepared: the prepared float model, where it is kept.

    Raises:
        ConversionError: an input went away while it was converted.
    """
    try:
        return _make_lock(plan, reference, result, files, prepared)
    except OSError as error:
        raise ConversionError(
            f"{error.filename} cannot be read any more: {error.strerror or error}.",
            cure="Leave the inputs alone while they are converted, and convert again.",
        ) from error


def _make_lock(
    plan: Plan,
    reference: Reference,
    result: ConversionResult,
    files: Sequence[FileResult],
    prepared: Path | None,
) -> Lock:
    code = _code(plan)
    tools = {step.tool: step.versions for step in result.steps if step.versions}
    if code.versions:
        tools["model"] = code.versions
    origin = plan.request.origin or ObjectOrigin()
    named = dict(origin.data) | ({"model": origin.what} if origin.what else {})
    if plan.parity is None and "calibration" in named:
        named["parity"] = named["calibration"]
    return Lock(
        edgekit=__version__,
        command=as_command(plan),
        request=_request(plan),
        settled=_settled(plan, result),
        inputs=tuple(
            replace(one, path=named.get(one.role, one.path)) for one in _inputs(plan, code)
        ),
        data=tuple(
            replace(one, path=named.get(one.role, one.path)) for one in _data(plan, reference)
        ),
        tools={"host": {"python": platform.python_version(), **versions(_HOST)}, **tools},
        environments=_environments(plan, tools),
        machine=machine(),
        files=tuple(_files(plan, files, prepared)),
    )


def input_digests(plan: Plan) -> dict[str, str]:
    """What a conversion would be made from, without its data: digests of files, versions of code.

    Raises:
        ConversionError: a file cannot be read.
    """
    code = _code(plan)
    try:
        found = {one.role: one.sha256 for one in _inputs(plan, code)}
    except OSError as error:
        why = error.strerror or error
        raise ConversionError(f"{error.filename} cannot be read: {why}.") from error
    return {**found, **{f"version/{name}": version for name, version in code.versions.items()}}


def machine() -> dict[str, str]:
    """Where this runs, in the words of a lock."""
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "processor": cpu_name(),
        "vectors": " ".join(kernels.vectors()),
        "blas": kernels.in_use(),
        "cores": str(os.cpu_count() or 0),
    }


def _request(plan: Plan) -> dict[str, Any]:
    """All options that are not paths; what is ``None`` is left out, as TOML has no such value."""
    source = plan.source
    table: dict[str, Any] = {}
    if source.path is None:
        table["model"] = source.location
    elif source.named is not None:
        prefix, _, name = source.location.partition(":")
        entry = "" if Path(name) == source.path else f"/{Path(name).name}"
        table["source"] = f"{prefix}:{entry}"
    elif source.kind == "torch":
        table["factory"] = source.location.rpartition(":")[2]
    if plan.parity is not None:
        table["parity_apart"] = True
    for field in fields(plan.request):
        value = getattr(plan.request, field.name)
        if field.name not in NOT_IN_TABLE and value is not None:
            table[field.name] = _plain(value)
    return {**table, "samples": plan.samples}


def _plain(value: Any) -> Any:
    """A value in TOML's words; an open dimension is ``?``."""
    if isinstance(value, TensorSpec):
        table = {**vars(value), "shape": ["?" if n is None else n for n in value.shape]}
        return _plain(table)
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(vars(value))
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items() if part is not None}
    if isinstance(value, bool) or not isinstance(value, Real):
        return value
    return int(value) if isinstance(value, Integral) else float(value)  # NumPy's, through the API


def _settled(plan: Plan, result: ConversionResult) -> dict[str, Any]:
    """What the clock had a part in: which route was the fastest, which rung's layers were kept."""
    table: dict[str, Any] = {}
    if plan.routes:
        table["route"] = next(one.route for one in result.attempts if one.state == "used")
    metrics: dict[str, dict[str, float]] = {f.scheme: f.metrics for f in result.files}
    for rung in result.ladder:  # latencies are among the metrics, so no two rungs have the same
        if rung.metrics.items() <= metrics.items():
            kept = [
                {"members": list(layer.members), "precision": layer.precision}
                for layer in rung.kept
            ]
            table["rung"] = {"effort": rung.effort, "ranges": rung.ranges, "kept": kept}
    if result.front and not result.ladder:
        request = plan.request
        kept = [
            {"members": list(layer.members), "precision": layer.precision}
            for point in result.front
            if point.chosen
            for layer in point.layers
        ]
        table["rung"] = {"effort": request.effort, "ranges": request.ranges, "kept": kept}
    return table


def _code(plan: Plan) -> ModelCode:
    """The Python files of the model's own code, none where the model is not code."""
    source = plan.source
    if source.named is not None:
        return installed_code(source.named["package"])
    if source.kind != "torch":
        return ModelCode(files=(), versions={})
    folders = search_folders(source.path)
    module = source.location.rpartition(":")[0]
    start = source.path or find_module(module, folders)
    if start is None:  # installed: its distribution's version says which one
        return installed_code(module)
    return model_code(start, folders, module="" if source.path else module)


def _inputs(plan: Plan, code: ModelCode) -> Iterator[LockedInput]:
    request, source, folder = plan.request, plan.source, plan.output
    model = source.path or next(iter(code.files), None)
    named = {
        "model": model,
        "weights": source.weights,
        "config": request.config,
        "labels": request.labels,
        **{f"code/{written(file, folder)}": file for file in code.files if file != model},
        **{f"model/{file.name}": file for file in _beside(plan)},
        **{f"target/{Path(name).name}": Path(name) for name in _profiles(plan)},
    }
    for name, table in plan.config.outputs.items():
        if isinstance(table.get("labels"), str):
            named[f"labels/{name}"] = Path(table["labels"])
        if anchors := table.get("decoder", {}).get("anchors"):
            named[f"anchors/{name}"] = Path(anchors)
    for role, path in named.items():
        if path is not None:
            yield lock_input(role, path, folder)


def _beside(plan: Plan) -> Iterator[Path]:
    """Where an ONNX file's large tensors are, by the names that exporters give such files."""
    if plan.source.kind == "onnx":
        path = Path(plan.source.location)
        names = dict.fromkeys(
            f"{start}{end}" for start in (path.name, path.stem) for end in (".data", "_data")
        )
        yield from (path.with_name(name) for name in names if path.with_name(name).is_file())


def _profiles(plan: Plan) -> Iterator[str]:
    """Targets that the user wrote; edgekit's own go with its version."""
    for name in (*plan.config.targets, *plan.request.targets):
        if Path(name).is_file():
            yield name


def _data(plan: Plan, reference: Reference) -> Iterator[LockedData]:
    if plan.calibration is None:
        return  # random inputs: the seed is all there is to know
    sets: dict[DataRole, tuple[Path, Any]] = {
        "calibration": (plan.calibration, reference.data.calibration),
        "parity": (plan.parity or plan.calibration, reference.data.parity),
    }
    for role, (path, used) in sets.items():
        yield lock_data(role, path, used.ids, used.digest, plan.output)


def _environments(plan: Plan, used: Collection[str]) -> dict[str, str]:
    """The digests of the locks of those converters' environments that took part."""
    return {
        name: digest(converter.requirements)
        for name, converter in sorted(plan.converters.items())
        if name in used and converter.requirements is not None
    }


def _files(plan: Plan, files: Sequence[FileResult], prepared: Path | None) -> Iterator[LockedFile]:
    for file in files:
        if not file.error:
            yield lock_file(file.artifact.path, plan.file(file.scheme).name, file.scheme)
    if prepared is not None:
        yield lock_file(prepared, plan.prepared.name, PREPARED)
