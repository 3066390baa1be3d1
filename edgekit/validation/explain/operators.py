"""Every operator of a candidate against the reference's: the split of its error, and the cause."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgekit.tflite.model import Model, Operator, Tensor
from edgekit.validation.explain import causes, structure
from edgekit.validation.explain.points import OpFinding, Point, Trace
from edgekit.validation.explain.split import ErrorSplit
from edgekit.validation.explain.stepping import constants

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

_LOOKED_AT = 4
"""So many samples are laid side by side where a cause is looked for."""


@dataclass(frozen=True, kw_only=True)
class ComparedOperator:
    """A candidate, a reference, and the traces of both under the reference's names.

    Attributes:
        model, candidate: the graphs; `names` has the candidate's tensor of the reference's.
        reference, observed: the traces.
        stepped: the reference's operators on the candidate's tensors.
        weighted: the same with the candidate's constants.
        factors: of channels that were scaled on purpose.
    """

    model: Model
    candidate: Model
    names: Mapping[str, str]
    reference: Trace
    observed: Mapping[str, Point]
    stepped: Mapping[str, Point]
    weighted: Mapping[str, Point]
    factors: Mapping[str, Array] = field(default_factory=dict)


def findings(
    compared: ComparedOperator, kernel_steps: Callable[[], Mapping[str, float]]
) -> tuple[OpFinding, ...]:
    """What is to be said about each operator that both files have, in the order of execution.

    Args:
        compared: everything that was measured.
        kernel_steps: the largest difference of each of the candidate's tensors to the plain C
            kernels, in steps; asked for only where it may matter.
    """
    mine, theirs = constants(compared.model), constants(compared.candidate)
    makers = {t.name: op for op in compared.candidate.main.operators for t in op.outputs}
    found = []
    reference = compared.reference.named()
    for place, operator in enumerate(compared.model.main.operators):
        for tensor in operator.outputs[:1]:
            name = tensor.name
            if name not in compared.stepped or name not in reference:
                continue
            evidence = _evidence(
                compared,
                name,
                weights=_weights(compared, operator, mine, theirs),
                maker=makers.get(compared.names[name]),
            )
            if causes.wants_kernels(evidence.split):
                evidence.structure = _structure(compared, tensor, makers)
                evidence.kernel_steps = kernel_steps().get(compared.names[name])
            cause, why = causes.diagnose(evidence)
            split = evidence.split
            found.append(
                OpFinding(
                    name=compared.names[name],
                    operator=operator.name,
                    place=place,
                    total_db=split.total_db,
                    inherited_db=split.inherited_db,
                    added_db=split.added_db,
                    sources=split.shares(),
                    cause=cause,
                    why=why,
                    advice=causes.advice(cause),
                    figures=_figures(evidence),
                )
            )
    return tuple(found)


def _structure(compared: ComparedOperator, tensor: Tensor, makers: Mapping[str, Operator]) -> str:
    """How what makes a tensor differs in the two files, in words; empty where it does not."""
    other = makers.get(compared.names[tensor.name])
    if other is None:
        return ""
    known = {mine: theirs for mine, theirs in compared.names.items() if mine != tensor.name}
    ours = structure.region(compared.model, tensor, known)
    them = structure.region(compared.candidate, other.outputs[0], set(known.values()))
    return structure.differences(ours, them) or structure.rewired(
        {known[name] for name in structure.sources(ours, known)},
        structure.sources(them, set(known.values())),
    )


def _evidence(
    compared: ComparedOperator,
    name: str,
    *,
    weights: float | None,
    maker: Operator | None,
) -> causes.Symptoms:
    import numpy as np

    reference = compared.reference.named()[name]
    point, stepped = compared.observed[name], compared.stepped[name]
    weighted = compared.weighted[name]
    factors = compared.factors.get(name)
    split = ErrorSplit()
    rows: list[list[Array]] = [[], [], []]
    for sample in range(compared.reference.samples):
        before, after = stepped.values(sample), weighted.values(sample)
        got = point.values(sample)
        split.add(reference.values(sample), before, after, got, point=point, factors=factors)
        if sample < _LOOKED_AT:
            scaled = before if factors is None else before * factors
            for row, value in zip(rows, (scaled, after, got), strict=True):
                row.append(np.nan_to_num(value))
    stacks = [_joined(row) for row in rows]
    return causes.Symptoms(
        split=split,
        point=point,
        stepped=stacks[0],
        weighted=stacks[1],
        candidate=stacks[2],
        weights_db=weights,
        full_biases=structure.full_biases(maker) if maker else 0,
    )


def _joined(values: list[Array]) -> Array:
    """Samples on axis 0: a batch axis of one takes the place."""
    import numpy as np

    return np.concatenate(values) if values[0].shape[:1] == (1,) else np.stack(values)


def _weights(
    compared: ComparedOperator,
    operator: Operator,
    mine: Mapping[str, list[Array | None]],
    theirs: Mapping[str, list[Array | None]],
) -> float | None:
    """SQNR of an operator's weights, factors of channels taken out; ``None`` without weights."""
    name = operator.outputs[0].name
    other = theirs.get(compared.names.get(name, ""), [])
    pairs = [
        (one, two)
        for one, two in zip(mine[name], other, strict=False)
        if one is not None and two is not None and one.size == two.size and one.size > 1
    ]
    if not pairs:
        return None
    one, two = max(pairs, key=lambda pair: pair[0].ndim)
    return causes.weights_db(_rescaled(compared, operator, one), two.reshape(one.shape))


def _rescaled(compared: ComparedOperator, operator: Operator, weights: Array) -> Array:
    """The reference's weights as the candidate would have them with its channel factors."""
    import numpy as np

    behind = compared.factors.get(operator.outputs[0].name)
    source = next((t for t in operator.inputs if t is not None and not t.is_constant), None)
    before = compared.factors.get(source.name) if source is not None else None
    if operator.name == "DEPTHWISE_CONV_2D":
        before = None if before is None or before.size != weights.shape[-1] else before
        return np.asarray(
            weights * (1 if behind is None else behind) / (1 if before is None else before)
        )
    if weights.ndim < 2 or operator.name not in {"CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"}:
        return weights
    if behind is not None and behind.size == weights.shape[0]:
        weights = weights * behind.reshape(-1, *[1] * (weights.ndim - 1))
    if before is not None and weights.shape[-1] % before.size == 0:
        weights = weights / np.tile(before, weights.shape[-1] // before.size)
    return weights


def _figures(evidence: causes.Symptoms) -> dict[str, float]:
    figures = {"clipped": evidence.split.clipped, "rest_steps": evidence.split.steps}
    if evidence.weights_db is not None:
        figures["weights_db"] = evidence.weights_db
    if evidence.kernel_steps is not None:
        figures["kernel_steps"] = evidence.kernel_steps
    return figures
