"""What ``edgekit validate`` was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgekit.contract import Task
from edgekit.datasets import Layout
from edgekit.objects import ObjectOrigin
from edgekit.runners.protocol import Device
from edgekit.toolchain.workshop import Limits
from edgekit.types import TensorSpec

Explain = Literal["auto", "always", "never"]


@dataclass(frozen=True, kw_only=True)
class ValidationRequest:
    """All options, as the user gave them.

    Attributes:
        candidates: the `.tflite` files.
        reference: what `edgekit.pipeline.references.open_reference` takes.
        data: pictures, arrays or a labelled data set.
        layout: of the data, where it cannot be seen.
        device, weights, trust_pickle, inputs: of the reference.
        timeout: seconds that a served reference may take for one answer.
        preprocess: keys of `edgekit.contract.Preprocess`; they win over the files' contracts.
        task, labels: what the first output means.
        metric: a metric of the user's own instead of the task's: ``package.module:function``.
        gates: conditions; the rest have defaults.
        strict: a default gate that was not measured fails, too.
        accept_few: judge on however few samples there are, see `edgekit.validation.evidence`.
        accept_contract: the contract is meant, whatever `edgekit.pipeline.probe` finds.
        limit: at most so many samples, ``seed`` decides which.
        jobs: how many processes measure; as many as there are cores by default.
        threads: of the runtime when latencies are taken; on a device always.
        address: of the device that the candidates run on: ``local``, ``ssh://…``, ``exec:…``.
        runtime: another runtime for them here: ``tflite-runtime==2.14.0``.
        latency: whether latencies are taken at all.
        resume: go on after a run that was killed.
        worst: how many of the worst samples are kept.
        cache_gb: how much the reference's outputs may take on the disk.
        command: what makes the same result again.
        explain: which candidates are looked into, see `edgekit.pipeline.validation.inside`.
        cluster: the address of a Ray cluster that measures.
        origin: the objects in Python that the reference or the data were written from.
    """

    candidates: tuple[Path, ...]
    reference: str
    data: Path
    layout: Layout | None = None
    device: Device = "auto"
    weights: Path | None = None
    trust_pickle: bool = False
    inputs: tuple[TensorSpec, ...] = ()
    timeout: float = 60.0
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    task: Task | None = None
    labels: Path | None = None
    metric: str | None = None
    gates: tuple[str, ...] = ()
    strict: bool = False
    accept_few: bool = False
    accept_contract: bool = False
    config: Path | None = None
    limit: int | None = None
    seed: int = 0
    jobs: int | None = None
    threads: int = 1
    address: str = "local"
    runtime: str | None = None
    latency: bool = True
    resume: bool = False
    worst: int = 8
    cache_gb: float = 4.0
    limits: Limits = field(default_factory=Limits)
    command: str = ""
    explain: Explain = "auto"
    cluster: str | None = None
    origin: ObjectOrigin | None = None

    @property
    def elsewhere(self) -> bool:
        """Whether the candidates run on a device, or here with another runtime."""
        return self.runtime is not None or self.address != "local"
