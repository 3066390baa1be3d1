"""A file that ran here and elsewhere: which operators answer otherwise on the same inputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.tflite.model import Model, Operator
from edgekit.validation.explain.points import Cause, OpFinding, Point, Trace
from edgekit.validation.explain.relations import db

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

FAR_STEPS = 3.0
"""Kernels of the same arithmetic differ by a step, two at most; more is not a rounding."""
FAR_DB = 40.0
"""The same for operators in float: 32 bits give 100 dB and more, 16 bits 60."""
_ADVICE = (
    "Another version of the runtime on the device, or without the delegate that has these kernels. "
    "Nothing has to be done about the file."
)


@dataclass(frozen=True, kw_only=True)
class DeviceDifference:
    """How far a tensor there is from the one here.

    Attributes:
        sqnr_db: over all samples.
        steps: the largest difference in steps of the quantization; ``None`` for real numbers.
        off: the share of values that differ by more than a step; ``None`` for real numbers.
        nonfinite: how many values are NaN or infinite there only.
    """

    sqnr_db: float
    steps: float | None
    off: float | None
    nonfinite: int = 0

    @property
    def is_far(self) -> bool:
        """Whether it is more than two right kernels may differ."""
        if self.nonfinite:
            return True
        return self.sqnr_db < FAR_DB if self.steps is None else self.steps > FAR_STEPS

    @property
    def words(self) -> str:
        """By how much, for a sentence."""
        if self.nonfinite:
            return f"{self.nonfinite} values are NaN or infinite"
        if self.steps is None or self.off is None:
            return f"the same to {self.sqnr_db:.0f} dB only"
        return (
            f"up to {self.steps:.0f} steps otherwise, {self.off:.0%} of the values by more than 1"
        )


def difference(
    here: Point, there: Point, samples: int, signal: Point | None = None
) -> DeviceDifference:
    """Compare a tensor with another.

    Args:
        here, there: the tensors; of the same file, so with the same quantization.
        samples: so many.
        signal: whose energy the SQNR is relative to, where it is not ``here``.
    """
    import numpy as np

    wanted = np.stack([here.values(sample) for sample in range(samples)])
    got = np.stack([there.values(sample) for sample in range(samples)])
    nonfinite = int((np.isfinite(wanted) & ~np.isfinite(got)).sum())
    noise = np.nan_to_num(got, posinf=0, neginf=0) - np.nan_to_num(wanted, posinf=0, neginf=0)
    base = wanted
    if signal is not None:
        base = np.stack([signal.values(sample) for sample in range(samples)])
    base = np.nan_to_num(base, posinf=0, neginf=0)
    steps = np.abs(noise) / here.scale if here.scale else None
    return DeviceDifference(
        sqnr_db=db(base, base + noise),
        steps=None if steps is None else float(steps.max(initial=0)),
        off=None if steps is None else float((steps > 1.5).mean()),
        nonfinite=nonfinite,
    )


def findings(
    model: Model, here: Trace, there: Trace, stepped: Trace, place: str
) -> tuple[OpFinding, ...]:
    """What is to be said about each operator, in the order of execution.

    Args:
        model: the file.
        here, there: its tensors.
        stepped: each operator here, on the inputs that it had there.
        place: where ``there`` is, in words.
    """
    return tuple(_findings(model, here, there, stepped, place))


def _findings(
    model: Model, here: Trace, there: Trace, stepped: Trace, place: str
) -> Iterator[OpFinding]:
    mine, theirs, again = here.named(), there.named(), stepped.named()
    for number, operator in enumerate(model.main.operators):
        for tensor in operator.outputs[:1]:
            name = tensor.name
            if name not in mine or name not in theirs or name not in again:
                continue
            samples = min(here.samples, there.samples, stepped.samples)
            own = difference(again[name], theirs[name], samples, signal=mine[name])
            cause, why = _cause(own, place)
            yield OpFinding(
                name=name,
                operator=operator.name,
                place=number,
                total_db=difference(mine[name], theirs[name], samples).sqnr_db,
                inherited_db=difference(mine[name], again[name], samples).sqnr_db,
                added_db=own.sqnr_db,
                sources={"rest": 1.0},
                cause=cause,
                why=why,
                advice=_ADVICE if cause != "none" else "",
                figures={} if own.steps is None else {"kernel_steps": own.steps},
            )


def _cause(own: DeviceDifference, place: str) -> tuple[Cause, str]:
    if not own.is_far:
        return "none", ""
    cause: Cause = "nan" if own.nonfinite else "kernel"
    return cause, f"On {place} it answers {own.words}, on the same inputs as here."


def said(ops: Sequence[OpFinding], outputs: Sequence[DeviceDifference], place: str) -> str:
    """The answer in a sentence."""
    first = next((op for op in ops if op.bad), None)
    if first is not None:
        count = sum(op.bad for op in ops)
        return (
            f"{place} is at fault, not the model: {count} of {len(ops)} operators answer otherwise "
            f"there than here on the same inputs. The first is {first.name} ({first.operator})."
        )
    words = ", ".join(sorted({_close(one) for one in outputs}))
    return (
        f"{place} computes what this computer does: none of {len(ops)} operators is at fault, "
        f"outputs differ by {words}. If something is wrong, it is wrong here too."
    )


def kinds(model: Model, ops: Sequence[OpFinding]) -> str:
    """Which operators are bad, and whether in integers or in float; empty where none is."""
    bad = {op.place for op in ops if op.bad}
    if not bad:
        return ""
    judged = {op.place for op in ops}
    operators = [(n, one) for n, one in enumerate(model.main.operators) if n in judged]
    parts = []
    for integer, words in ((True, "in integers"), (False, "in float")):
        these = [(n, one) for n, one in operators if _is_integer(one) == integer]
        wrong = Counter(one.name for n, one in these if n in bad)
        named = ", ".join(f"{count} {name}" for name, count in wrong.most_common(6))
        if these:
            told = f" ({named})" if named else ""
            parts.append(f"{wrong.total()} of {len(these)} operators {words}{told}")
    return f"At fault are {' and '.join(parts)}."


def _close(one: DeviceDifference) -> str:
    if one.steps is not None:
        return f"{one.steps:.0f} steps at most"
    return "nothing" if one.sqnr_db >= 200 else f"{one.sqnr_db:.0f} dB"


def _is_integer(operator: Operator) -> bool:
    return any(tensor.quantization is not None for tensor in operator.outputs)
