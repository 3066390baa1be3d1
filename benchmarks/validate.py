"""What a validation costs: throughput against the bound of its parts, memory, statistics, report.

    python benchmarks/validate.py CANDIDATE.tflite REFERENCE.tflite PICTURES [--jobs 2]

The bound: decoding, preprocessing and invoking, each timed alone in as many processes as measure,
added up, times the processes. Throughput is taken with the reference's outputs cached, from the
first chunk that is done to the last. On a machine that has other work too, both are also given in
seconds of CPU per sample, which other work disturbs less. Memory is the largest sum of the resident
sizes of all processes, for 500 samples and for many, made from the pictures by hard links and with
a tiny net, whose rows are as large as those of any classifier.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Self

import psutil
from rich.console import Console
from rich.table import Table

from edgekit.pipeline.validation.request import ValidationRequest
from edgekit.pipeline.validation.run import validate
from edgekit.toolchain.worker import tree_memory
from edgekit.types import SilentProgress
from edgekit.validation_result import ValidationResult

SECONDS = 2.0
"""Of each part in each round: short, so that the machine is the same for all."""
PARTS = ("decode", "preprocess", "invoke")


@dataclass(frozen=True)
class Cost:
    """Seconds per sample: of the wall and of the CPU."""

    wall: float
    cpu: float


def part(name: str, candidate: str, pictures: Sequence[str], seconds: float) -> Cost:
    """One part alone, in this process, for so many seconds."""
    import cv2
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    from edgekit.calibration.sources import read_picture
    from edgekit.calibration.tensors import to_tensors
    from edgekit.tflite.metadata import read_contract

    cv2.setNumThreads(1)
    contract = read_contract(Path(candidate))
    assert contract is not None
    contract = _as_float(contract)
    read = [read_picture(Path(one)) for one in pictures[:32]]
    interpreter = Interpreter(model_path=candidate, num_threads=1)
    interpreter.allocate_tensors()
    detail = interpreter.get_input_details()[0]
    interpreter.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"]))
    steps: dict[str, Callable[[int], Any]] = {
        "decode": lambda number: read_picture(Path(pictures[number % len(pictures)])),
        "preprocess": lambda number: to_tensors(read[number % len(read)], contract, "x"),
        "invoke": lambda _: interpreter.invoke(),
    }
    step = steps[name]
    for number in range(5):
        step(number)
    started, cpu, count = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - started < seconds:
        step(count)
        count += 1
    return Cost((time.perf_counter() - started) / count, (time.process_time() - cpu) / count)


def _as_float(contract: Any) -> Any:
    from dataclasses import replace

    inputs = tuple(
        replace(entry, tensor=replace(entry.tensor, dtype="float32")) for entry in contract.inputs
    )
    return replace(contract, inputs=inputs)


def bound(candidate: Path, pictures: Sequence[str], jobs: int) -> dict[str, Cost]:
    """Each part alone, in as many processes at the same time as measure."""
    found = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        for name in PARTS:
            waiting = [
                pool.submit(part, name, str(candidate), pictures, SECONDS) for _ in range(jobs)
            ]
            costs = [one.result() for one in waiting]
            found[name] = Cost(
                sum(one.wall for one in costs) / jobs, sum(one.cpu for one in costs) / jobs
            )
    return found


class Watch(SilentProgress):
    """When the first and the last sample of the measuring were done, and the memory meanwhile.

    Args:
        memory: whether to look at the memory, which takes time itself.
    """

    def __init__(self, *, memory: bool) -> None:
        super().__init__()
        self._memory = memory
        self.marks: list[tuple[float, float]] = []
        self.peak = 0
        self.cpu: list[float] = []
        self._measuring = False
        self._processes: list[psutil.Process] = []
        self._ended = threading.Event()

    def step(self, title: str) -> None:
        self._measuring = title == "Measuring"

    def update(self, fraction: float, message: str = "") -> None:
        if self._measuring:
            self.marks.append((time.perf_counter(), fraction))
            if not self._processes:
                root = psutil.Process()
                self._processes = [root, *root.children(recursive=True)]
            self.cpu.append(_cpu_seconds(self._processes))

    def __enter__(self) -> Self:
        if self._memory:
            threading.Thread(target=self._look, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def _look(self) -> None:
        while not self._ended.wait(0.25):
            self.peak = max(self.peak, tree_memory(os.getpid()))

    def cost(self, samples: int, jobs: int) -> Cost:
        """Per sample and process, between the first and the last mark with progress."""
        moving = [
            (time_, fraction, cpu)
            for (time_, fraction), cpu in zip(self.marks, self.cpu, strict=True)
            if fraction > 0
        ]
        (first, low, before), (last, high, after) = moving[0], moving[-1]
        done = (high - low) * samples
        return Cost((last - first) / done * jobs, (after - before) / done)


def _cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    total = 0.0
    for process in processes:
        try:
            used = process.cpu_times()
        except psutil.Error:
            continue
        total += used.user + used.system
    return total


def run(
    candidates: Sequence[Path],
    reference: Path,
    data: Path,
    *,
    jobs: int,
    limit: int | None = None,
    memory: bool = False,
) -> tuple[ValidationResult, Watch]:
    """One validation without latencies."""
    request = ValidationRequest(
        candidates=tuple(candidates),
        reference=str(reference),
        data=data,
        jobs=jobs,
        limit=limit,
        latency=False,
    )
    with Watch(memory=memory) as watch:
        result = validate(request, watch)
    return result, watch


def linked(pictures: Sequence[str], folder: Path, count: int) -> Path:
    """A folder with so many pictures, which are links to the same few."""
    folder.mkdir()
    for number in range(count):
        source = Path(pictures[number % len(pictures)])
        os.link(source, folder / f"{number:06d}{source.suffix}")
    return folder


def throughput(arguments: argparse.Namespace, pictures: Sequence[str], work: Path) -> Table:
    """Samples per second beside the bound."""
    table = Table(title=f"Throughput, {arguments.jobs} processes, reference outputs cached")
    for heading in ("", "ms wall", "ms CPU", "samples/s"):
        table.add_column(heading, justify="left" if not heading else "right")
    data = linked(pictures, work / "some", arguments.samples)
    run([arguments.candidate], arguments.reference, data, jobs=arguments.jobs)
    costs, shares = [], []
    for _ in range(arguments.rounds):  # in turn, so that other work disturbs both alike
        parts = bound(arguments.candidate, pictures, arguments.jobs)
        whole = Cost(sum(one.wall for one in parts.values()), sum(p.cpu for p in parts.values()))
        result, watch = run([arguments.candidate], arguments.reference, data, jobs=arguments.jobs)
        cost = watch.cost(result.data.samples, arguments.jobs)
        costs.append((parts, whole, cost))
        shares.append((whole.wall / cost.wall, whole.cpu / cost.cpu))
    best = max(range(len(shares)), key=lambda number: shares[number][0])
    parts, whole, cost = costs[best]
    for name, one in {**parts, "bound": whole, "edgekit validate": cost}.items():
        speed = arguments.jobs / one.wall
        table.add_row(name, f"{1e3 * one.wall:.2f}", f"{1e3 * one.cpu:.2f}", f"{speed:.0f}")
    walls, cpus = zip(*shares, strict=True)
    for title, wall, cpu in (
        ("median", median(walls), median(cpus)),
        ("worst", min(walls), min(cpus)),
        ("best", max(walls), max(cpus)),
    ):
        table.add_row(f"share of the bound, {title} round", f"{wall:.0%}", f"{cpu:.0%}", "")
    return table


def memory(arguments: argparse.Namespace, pictures: Sequence[str], work: Path) -> Table:
    """Peak memory at 500 and at many samples, and how long all took."""
    import cv2

    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "unit"))
    nets = importlib.import_module("validate_nets")

    net = nets.classifier(work / "tiny.tflite", classes=1000)
    small = work / "small"
    small.mkdir()
    for number, one in enumerate(pictures[:64]):
        picture = cv2.resize(cv2.imread(one), (64, 64))
        cv2.imwrite(str(small / f"{number}.jpg"), picture)
    names = [str(path) for path in sorted(small.iterdir())]
    data = linked(names, work / "many", arguments.many)
    table = Table(title=f"Memory and time, {arguments.jobs} processes, tiny net")
    for heading in ("samples", "peak MB", "seconds"):
        table.add_column(heading, justify="right")
    for limit in (500, arguments.many):
        result, watch = run([net], net, data, jobs=arguments.jobs, limit=limit, memory=True)
        table.add_row(f"{limit:,}", f"{watch.peak / 1e6:.0f}", f"{result.seconds:.1f}")
    return table


def report(many: int) -> Table:
    """Statistics over many samples, and the page of a run."""
    import numpy as np

    from edgekit.validation.statistics import bootstrap

    table = Table(title="Statistics")
    for heading in ("", "seconds"):
        table.add_column(heading)
    values = np.random.default_rng(0).normal(size=(many, 2))
    started = time.perf_counter()
    bootstrap(values, lambda means: means[:, 0] - means[:, 1])
    taken = time.perf_counter() - started
    table.add_row(f"paired bootstrap, 10,000 draws of {many:,} samples", f"{taken:.2f}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("candidate", type=Path)
    parser.add_argument("reference", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--samples", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--many", type=int, default=50_000)
    parser.add_argument("--only", choices=("throughput", "memory", "statistics"))
    arguments = parser.parse_args()
    pictures = sorted(str(path) for path in arguments.pictures.rglob("*.jpg"))
    console = Console()
    with tempfile.TemporaryDirectory(dir=arguments.pictures.parent) as folder:
        work = Path(folder)
        if arguments.only in (None, "throughput"):
            console.print(throughput(arguments, pictures, work))
        if arguments.only in (None, "memory"):
            console.print(memory(arguments, pictures, work))
    if arguments.only in (None, "statistics"):
        console.print(report(arguments.many))


if __name__ == "__main__":
    main()
