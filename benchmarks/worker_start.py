"""What containment adds to the start of a worker: ``python benchmarks/worker_start.py [RUNS]``.

Each run is a process of its own, as a worker is: it imports what a worker imports, then
`edgekit_containment`, and lets itself be contained by the bounds of a conversion. Printed are
milliseconds; the whole start of a worker, up to its first answer, stands beside them.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from edgekit.toolchain.bounds import Bounds
from edgekit.toolchain.converters import builtin_folder
from edgekit.toolchain.worker import Worker

_CONTAIN = """
import contextlib, ctypes, errno, importlib.util, json, os, resource, signal, sys, time, traceback
import collections.abc, pathlib, types, typing
sys.path.insert(0, sys.argv[1])
started, worked = time.perf_counter(), time.process_time()
from edgekit_containment import Confinement, contain
imported = time.perf_counter()
worked = time.process_time() - worked
before = time.process_time()
contain(Confinement(write=(sys.argv[2],), read=(), code=False, scratch=sys.argv[2]),
        pathlib.Path(sys.argv[3]))
print(1e3 * (imported - started), 1e3 * (time.perf_counter() - imported),
      1e3 * (time.process_time() - before + worked))
"""
_MOST_MS = 20.0


def main(runs: int) -> None:
    """Measure and print; exit code 1 where the median of both together is over 20 ms."""
    with TemporaryDirectory() as folder:
        program = Path(folder, "worker.py")
        program.write_text("def nothing(request, progress): return {}\n", encoding="utf-8")
        found = [_contain(folder, program) for _ in range(runs)]
        starts = [_start(Path(folder), program) for _ in range(runs)]
    rows = {
        "importing": [one[0] for one in found],
        "containing": [one[1] for one in found],
        "both": [one[0] + one[1] for one in found],
        "both, CPU": [one[2] for one in found],
        "whole start": starts,
    }
    for name, times in rows.items():
        print(f"{name:12} median {statistics.median(times):7.2f} ms, worst {max(times):7.2f} ms")
    sys.exit(statistics.median(rows["both"]) > _MOST_MS)


def _contain(folder: str, program: Path) -> tuple[float, ...]:
    command = [sys.executable, "-c", _CONTAIN, str(builtin_folder()), folder, str(program)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    return tuple(map(float, answer.stdout.split()))


def _start(folder: Path, program: Path) -> float:
    started = time.perf_counter()
    bounds = Bounds(write=(folder,), read=(), code=False, scratch=folder)
    with Worker(
        program, python=sys.executable, log=folder / "log", name="nothing", bounds=bounds
    ) as worker:
        worker.call("nothing", {})
    return 1e3 * (time.perf_counter() - started)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
