"""What LiteRT's ``benchmark_model`` prints: latency, memory, and which delegate took what.

The lines are those of the tool's sources (``tools/benchmark/benchmark_model.cc`` and
``benchmark_tflite_model.cc``; the delegates' lines are the runtime's), with and without the
percentiles that came later. It tells no raw samples, so these are the tool's own figures.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NUMBER = r"([0-9]{1,15}(?:\.[0-9]{0,9})?(?:e[+-]?[0-9]{1,2})?)(?![0-9.])"
_RUNS = re.compile(rf"\bcount=([0-9]{{1,9}})((?: [a-z0-9]+={_NUMBER})+)")
_ENTRY = re.compile(rf" ([a-z0-9]+)={_NUMBER}")
_INIT = re.compile(rf"Inference timings in us: Init: {_NUMBER}, First inference: {_NUMBER}")
_DELTA = re.compile(rf"[Mm]emory footprint[^:\n]*\(MB\): init={_NUMBER} overall={_NUMBER}")
_PEAK = re.compile(rf"Overall peak memory footprint \(MB\) via periodic monitoring: {_NUMBER}")
_REPLACED = re.compile(
    r"Replacing ([0-9]{1,9}) out of ([0-9]{1,9}) node\(s\) with delegate \(([^)\n]{1,80})\) node, "
    r"yielding ([0-9]{1,9}) partitions"
)
_APPLIED = re.compile(
    r"Explicitly applied (\S{1,40}) delegate, and the model graph will be "
    r"(completely|partially) executed"
)
_REFUSED = re.compile(r"will not be executed by the delegate")
_MIB = 1.048576
"""The tool's MB are 2^20 bytes, edgekit's 10^6."""


@dataclass(frozen=True, kw_only=True)
class DelegateShare:
    """What a delegate took: so many of the graph's nodes, which then has so many parts.

    The counts are ``None`` where the tool only says whether it took all of them (``whole``).
    """

    delegate: str
    whole: bool
    nodes: int | None = None
    all_nodes: int | None = None
    partitions: int | None = None


@dataclass(frozen=True, kw_only=True)
class NativeTiming:
    """A run of ``benchmark_model``; times in milliseconds, memory in units of 1,000,000 bytes.

    Attributes:
        runs: how many inferences were timed, after the warm-up.
        mean_ms, std_ms, min_ms, max_ms: of those.
        p50_ms, p5_ms, p95_ms: of those; ``None`` from a tool that does not tell them.
        first_ms: the very first inference.
        load_ms: loading and preparing the model.
        memory_mb: by how much the process has grown since its start.
        peak_memory_mb: the whole process's peak; ``None`` from a tool that does not tell it.
        placement: what each delegate took; empty where all ran in the runtime's own kernels.
        refused: whether a delegate that was asked for took nothing.
    """

    runs: int
    mean_ms: float
    std_ms: float
    min_ms: float
    max_ms: float
    p50_ms: float | None
    p5_ms: float | None
    p95_ms: float | None
    first_ms: float
    load_ms: float
    memory_mb: float | None
    peak_memory_mb: float | None
    placement: tuple[DelegateShare, ...]
    refused: bool


def parse_benchmark(text: str) -> NativeTiming | None:
    """The figures in the tool's output; ``None`` if it did not get as far as the timed runs."""
    begun = _INIT.search(text)
    rounds = _RUNS.findall(text)
    if begun is None or not rounds:
        return None
    count, entries = rounds[-1][:2]  # the rounds before are the warm-up
    told = {name: _ms(value) for name, value in _ENTRY.findall(entries)}
    if "avg" not in told and "curr" in told:  # a single run has nothing else
        told |= dict.fromkeys(("avg", "min", "max"), told["curr"]) | {"std": 0.0}
    if not told.keys() >= {"avg", "std", "min", "max"}:
        return None
    delta, peak = _DELTA.search(text), _PEAK.search(text)
    return NativeTiming(
        runs=int(count),
        mean_ms=told["avg"],
        std_ms=told["std"],
        min_ms=told["min"],
        max_ms=told["max"],
        p50_ms=told.get("median"),
        p5_ms=told.get("p5"),
        p95_ms=told.get("p95"),
        first_ms=_ms(begun[2]),
        load_ms=_ms(begun[1]),
        memory_mb=_mb(delta[2]) if delta else None,
        peak_memory_mb=_mb(peak[1]) if peak else None,
        placement=_placement(text),
        refused=_REFUSED.search(text) is not None,
    )


def _placement(text: str) -> tuple[DelegateShare, ...]:
    found = tuple(
        DelegateShare(
            delegate=name,
            whole=nodes == all_nodes,
            nodes=int(nodes),
            all_nodes=int(all_nodes),
            partitions=int(partitions),
        )
        for nodes, all_nodes, name, partitions in _REPLACED.findall(text)
    )
    if found:
        return found
    return tuple(
        DelegateShare(delegate=name, whole=how == "completely")
        for name, how in _APPLIED.findall(text)
    )


def _ms(microseconds: str) -> float:
    return float(microseconds) / 1e3


def _mb(mebibytes: str) -> float:
    return round(float(mebibytes) * _MIB, 1)
