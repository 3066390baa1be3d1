"""What is said about one client and one file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from edgekit.compat.judging import ClientDifference

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
        reason: why it did not run, or in what it differs.
        cure: what to do about that.
        outputs: how far each output is from LiteRT's.
        p50_ms: the median time of one inference, where its times mean something here.
        versions: of what ran.
        facts: whole numbers that the client tells of the file, such as ``arena_bytes``.
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
