"""What is said about one client and one file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Literal, TypeAlias

from edgekit.compat.asking import ClientAnswer
from edgekit.compat.clients import BASELINE
from edgekit.compat.judging import ClientDifference, differences
from edgekit.devices.tensors import DeviceTensor

State: TypeAlias = Literal[
    "baseline", "agrees", "differs", "ran", "stopped", "refused", "other kind", "missing"
]
"""``agrees`` and ``differs`` are about LiteRT; ``ran``: there was nothing to compare it with;
``stopped``: it opened the file and gave nothing; ``refused``: it did not open it;
``other kind``: it is for other files; ``missing``: it could not be had here."""


@dataclass(frozen=True, kw_only=True)
class ClientRow:
    """One client and one file.

    Attributes:
        client: its name.
        state: what became of it.
        opens, runs: ``None`` where it was not tried.
        reason: why it did not run, in what it differs, or whose rounding it has.
        cure: what to do about that.
        outputs: how far each output is from LiteRT's.
        p50_ms: the median time of one inference, where its times mean something here.
        versions: of what ran.
        facts: whole numbers that the client tells of the file, such as ``arena_bytes``.
        rounds_as: the first other kernels of LiteRT that it is near to; empty where it is near to
            those that LiteRT chooses, or to none.
        cached: whether this was known from an earlier run.
    """

    client: str
    state: State
    opens: bool | None
    runs: bool | None
    reason: str = ""
    cure: str = ""
    outputs: tuple[ClientDifference, ...] = ()
    p50_ms: float | None = None
    versions: dict[str, str] = field(default_factory=dict)
    facts: dict[str, int] = field(default_factory=dict)
    rounds_as: str = ""
    cached: bool = False

    @property
    def worst(self) -> ClientDifference | None:
        """The output with the largest difference."""
        return max(self.outputs, key=lambda one: one.largest, default=None)

    @property
    def same_decisions(self) -> float | None:
        """The least share of samples with the same decision, over the outputs that decide."""
        shares = [one.same_decisions for one in self.outputs if one.same_decisions is not None]
        return min(shares, default=None)


@dataclass(frozen=True)
class ClientJudge:
    """From answers to rows.

    Attributes:
        outputs: the file's, see `edgekit.compat.judging.differences`.
        wanted: LiteRT's answer.
        most_steps: how far from it a client that agrees may be, in output steps.
    """

    outputs: tuple[DeviceTensor, ...]
    wanted: ClientAnswer
    most_steps: float

    def row(self, client: str, answer: ClientAnswer) -> ClientRow:
        """What is said about a client by its answer."""
        tried = answer.stage not in ("missing", "other kind")
        row = ClientRow(
            client=client,
            state="ran",
            opens=answer.stage in ("stopped", "ran") if tried else None,
            runs=answer.stage == "ran" if tried else None,
            reason=answer.reason,
            p50_ms=median(answer.ms) if answer.ms else None,
            versions=answer.versions,
            facts=answer.facts,
        )
        if answer.stage != "ran":
            return replace(row, state=answer.stage, cure=answer.cure)
        if client == BASELINE:
            return replace(row, state="baseline")
        if self.wanted.stage != "ran":
            return row
        for tensor, mine, theirs in zip(
            self.outputs, self.wanted.outputs, answer.outputs, strict=True
        ):
            if mine.shape != theirs.shape:
                shapes = f"{list(theirs.shape[1:])}, LiteRT's {list(mine.shape[1:])}"
                return replace(row, state="differs", reason=f"{tensor.name} has the shape {shapes}")
        found = differences(self.outputs, self.wanted.outputs, answer.outputs)
        far = [one for one in found if one.largest > self.most_steps]
        reason = "; ".join(
            f"{one.output} is up to {one.largest:.4g} steps away, {one.share:.1%} of its values by "
            "more than half a step"
            for one in far
        )
        if far:
            return replace(row, state="differs", reason=reason, cure=answer.cure, outputs=found)
        return replace(row, state="agrees", outputs=found)

    def near(
        self, row: ClientRow, answer: ClientAnswer, other: ClientAnswer, kernels: str
    ) -> ClientRow:
        """The row of a client that differs, which agrees where it is near to other kernels.

        Args:
            row: its row.
            answer: what it said.
            other: what LiteRT says with the other kernels.
            kernels: what these are called.
        """
        if other.stage != "ran" or not row.outputs:
            return row
        apart = max(one.largest for one in differences(self.outputs, other.outputs, answer.outputs))
        if apart > self.most_steps:
            return row
        assert row.worst is not None
        reason = f"{row.worst.largest:.3g} steps from XNNPACK's kernels, {apart:.3g} from {kernels}"
        return replace(row, state="agrees", reason=reason, cure="", rounds_as=kernels)

    def explained(
        self, row: ClientRow, again: ClientAnswer, others: Sequence[ClientAnswer], kernels: str
    ) -> ClientRow:
        """The row of a client that differs, with what it says by kernels of its own choosing.

        Args:
            row: its row.
            again: what it said by these.
            others: what LiteRT says by each of its kernels.
            kernels: what the client calls these.
        """
        if again.stage != "ran" or not row.outputs:
            return row
        apart = min(
            max(one.largest for one in differences(self.outputs, other.outputs, again.outputs))
            for other in others
            if other.stage == "ran"
        )
        return replace(row, cure=f"{row.cure} With {kernels} it is {apart:.3g} steps away.")
