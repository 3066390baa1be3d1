"""Whether a runtime loads a file: operators with their versions, tensor types, custom operators."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from edgekit.targets import versions
from edgekit.targets.finding import Finding
from edgekit.targets.profile import ProfileRuntime, Refusal
from edgekit.targets.reading import load, names
from edgekit.tflite.graph import Operator, Tensor
from edgekit.tflite.model import Model

_FLEX_PREFIX = "Flex"


def check_loading(model: Model, runtime: ProfileRuntime) -> Iterator[Finding]:
    """Everything that keeps the runtime from loading the file, and what is not known about it.

    What its kernels do with the tensors they get is known only where the profile says so: a file
    that passes here has operators that are all there, in versions that are all there.
    """
    operators = [op for graph in model.subgraphs for op in graph.operators]
    yield from _custom([op for op in operators if op.is_custom], runtime)
    builtin = [op for op in operators if not op.is_custom]
    by_version: dict[tuple[str, int], list[Operator]] = {}
    for op in builtin:
        by_version.setdefault((op.name, op.version), []).append(op)
    if runtime.operators is None and runtime.tensorflow_lite is None:
        if by_version:
            yield Finding(
                kind="unknown",
                severity="note",
                message=f"Which operators {runtime.name} has, and in which versions, is not known.",
                cure="State tensorflow_lite = … under [runtime] in a profile that extends this.",
            )
    else:
        for (name, version), those in sorted(by_version.items()):
            yield from _version(name, version, runtime, those)
    yield from _types(model, runtime)
    for refusal in runtime.refuses:
        yield from _refused(builtin, refusal, runtime)


def first_outputs(operators: list[Operator]) -> tuple[str, ...]:
    """The names by which people find operators."""
    return tuple(next((out.name for out in op.outputs), "") for op in operators)


def _custom(operators: list[Operator], runtime: ProfileRuntime) -> Iterator[Finding]:
    for name in sorted({op.name for op in operators}):
        those = first_outputs([op for op in operators if op.name == name])
        if name.startswith(_FLEX_PREFIX):
            if not runtime.flex:
                yield Finding(
                    kind="flex",
                    severity="violation",
                    message=f"{name} is TensorFlow's own operator; {runtime.name} does not have "
                    "those.",
                    cure="Replace the operation in the model by others, or link TensorFlow Select "
                    "into the app and state flex = true in a profile.",
                    operators=those,
                )
        elif name not in runtime.custom:
            yield Finding(
                kind="custom",
                severity="violation",
                message=f"{name} is a custom operator that {runtime.name} does not have.",
                cure="Replace it in the model, or register its code in the app and state "
                f'custom = ["{name}"] in a profile.',
                operators=those,
            )


def _version(
    name: str, version: int, runtime: ProfileRuntime, those: list[Operator]
) -> Iterator[Finding]:
    """At most one finding about an operator in one version."""
    release = versions.first_release(name, version)
    if runtime.operators is not None:
        known = runtime.operators.get(name)
        if known and (runtime.any_version or known[0] <= version <= known[1]):
            return
        has = f"versions {known[0]} to {known[1]}" if known else "it in no version"
        message = f"{name} version {version}: {runtime.name} has {has}."
    else:
        assert runtime.tensorflow_lite is not None
        if release is None:
            yield Finding(
                kind="unknown",
                severity="note",
                message=f"Whether {runtime.name} has {name} version {version} is not known: the "
                f"table of versions ends at {versions.highest_known(name)}.",
                operators=first_outputs(those),
            )
            return
        if not versions.is_older(runtime.tensorflow_lite, release):
            return
        message = f"{name} version {version} is newer than {runtime.name}."
    yield Finding(
        kind="load",
        severity="violation",
        message=message + (f" TensorFlow Lite has it since {release}." if release else ""),
        cure=_newer(name, version),
        operators=first_outputs(those),
    )


def _newer(name: str, version: int) -> str:
    having = [one for one, table in _measured().items() if _has(table, name, version)]
    if not having:
        return f"Replace {name} in the model by other operators."
    return (
        f"Ship a newer runtime (it is in: {', '.join(having)}), or replace {name} by other "
        "operators."
    )


def _has(table: dict[str, tuple[int, int]], name: str, version: int) -> bool:
    first, last = table.get(name, (1, 0))
    return first <= version <= last


@cache
def _measured() -> dict[str, dict[str, tuple[int, int]]]:
    """Runtimes that look at versions and whose operators are known, from the shipped profiles."""
    runtimes = {name: load(name).runtime for name in names()}
    return {
        name: dict(runtime.operators)
        for name, runtime in runtimes.items()
        if runtime and runtime.operators and not runtime.any_version
    }


def _types(model: Model, runtime: ProfileRuntime) -> Iterator[Finding]:
    if runtime.types is None:
        return
    tensors = [tensor for graph in model.subgraphs for tensor in graph.tensors]
    for dtype in sorted({tensor.dtype for tensor in tensors} - runtime.types):
        yield Finding(
            kind="load",
            severity="violation",
            message=f"{runtime.name} does not know tensors of type {dtype}.",
            cure="Ship a newer runtime, or choose another scheme.",
            operators=tuple(tensor.name for tensor in tensors if tensor.dtype == dtype),
        )


def _refused(
    operators: list[Operator], refusal: Refusal, runtime: ProfileRuntime
) -> Iterator[Finding]:
    those = [op for op in operators if op.name == refusal.op and _meets(op, refusal)]
    if those:
        verb = "computes" if refusal.wrong else "refuses"
        yield Finding(
            kind="wrong" if refusal.wrong else "load",
            severity="violation",
            message=f"{runtime.name} {verb} {_signature(those[0])}"
            + (" wrongly" if refusal.wrong else "")
            + (f": {refusal.says}." if refusal.says else "."),
            cure="Ship a newer runtime, or choose another scheme.",
            operators=first_outputs(those),
        )


def _meets(op: Operator, refusal: Refusal) -> bool:
    """Whether everything that a refusal states holds for an operator."""
    computed = [tensor for tensor in op.inputs if tensor and not tensor.is_constant]
    constants = [tensor for tensor in op.inputs if tensor and tensor.is_constant]
    weights = [
        tensor
        for tensor in constants
        if tensor.dtype in refusal.weights
        and (not refusal.per_channel or _per_channel(tensor))
        and (not refusal.blockwise or _blockwise(tensor))
    ]
    return (
        _type_in(computed, refusal.inputs)
        and _type_in(op.outputs, refusal.outputs)
        and (bool(weights) or not refusal.weights)
    )


def _per_channel(tensor: Tensor) -> bool:
    return tensor.quantization is not None and len(tensor.quantization.scales) > 1


def _blockwise(tensor: Tensor) -> bool:
    quantization = tensor.raw.quantization
    return quantization is not None and bool(getattr(quantization.details, "blockSize", 0))


def _signature(op: Operator) -> str:
    """``FULLY_CONNECTED (float32, int8 → float32)``, with the types of its tensors."""
    read = ", ".join(tensor.dtype for tensor in op.inputs if tensor)
    written = ", ".join(tensor.dtype for tensor in op.outputs)
    return f"{op.name} ({read} → {written})"


def _type_in(tensors: list[Tensor], wanted: frozenset[str]) -> bool:
    return not wanted or (bool(tensors) and tensors[0].dtype in wanted)
