"""What a device costs beside its own work: transport over ssh, the first result, and the clock.

    python benchmarks/devices.py efficientnet_lite0_int8.tflite PICTURES [--device ADDRESS]

Without an address a real OpenSSH server is started on loopback, with the Python that runs this.

Transport: 500 samples through a runner; what is not the runtime's own time, by the device's clock,
is overhead. First result: a new process that imports edgekit, connects to a device that has the
agent already, sends the model and has one sample's outputs. Clock: the median inference by the
agent and by the same interpreter called directly, in two processes that take turns, so that other
work on the machine meets both; each turn gives a ratio, the figure is the median over all turns of
several pairs of processes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from edgekit.calibration.samples import stack_shape
from edgekit.devices.matrix import inputs_for
from edgekit.devices.target import open_device

Clock = Callable[[int], list[float]]
SAMPLES = 500
MOST_OVERHEAD = 0.10
MOST_SECONDS = 5.0
MOST_DEVIATION = 0.03

_FIRST = """
import sys, time
from pathlib import Path
import numpy as np
from edgekit.devices.target import open_device
with open_device(sys.argv[1]) as device, device.runner(Path(sys.argv[2])) as runner:
    specs = runner.describe().inputs
    runner.run([np.zeros((1, *one.shape[1:]), np.float32) for one in specs])
    print(time.time())
"""
_DIRECT = """
import json, sys, time
import numpy as np
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
for detail, path in zip(interpreter.get_input_details(), sys.argv[2:]):
    interpreter.set_tensor(detail["index"], np.load(path))
interpreter.invoke()
for line in sys.stdin:
    times = []
    for _ in range(int(line)):
        started = time.perf_counter()
        interpreter.invoke()
        times.append(1e3 * (time.perf_counter() - started))
    print(json.dumps(times), flush=True)
"""


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    name: str
    found: str
    limit: str
    holds: bool


def transport(model: Path, address: str, pictures: Path) -> list[Figure]:
    """Wall time of many samples beside the device's own."""
    import numpy as np

    with open_device(address) as device, device.runner(model) as runner:
        stacks, _ = inputs_for(model, runner.describe(), data=pictures, samples=64, seed=0)
        many = [np.resize(stack, (SAMPLES, *stack.shape[1:])) for stack in stacks]
        runner.run([stack[:8] for stack in many])
        busy = runner.busy_seconds
        started = time.perf_counter()
        runner.run(many)
        wall = time.perf_counter() - started
        busy = runner.busy_seconds - busy
    share = (wall - busy) / wall
    words = f"{share:.1%} of {wall:.1f} s for {SAMPLES} samples"
    return [
        Figure("overhead of the transport", words, f"{MOST_OVERHEAD:.0%}", share <= MOST_OVERHEAD)
    ]


def first_result(model: Path, address: str, rounds: int = 5) -> Figure:
    """From the start of a command to its first outputs; the agent is there already."""
    found = []
    for _ in range(rounds):
        started = time.time()
        answer = subprocess.run(
            [sys.executable, "-c", _FIRST, address, str(model)],
            capture_output=True,
            text=True,
            check=True,
        )
        found.append(float(answer.stdout) - started)
    words = f"{statistics.median(found):.2f} s, {max(found):.2f} s at worst"
    return Figure("first result", words, f"{MOST_SECONDS:g} s", max(found) <= MOST_SECONDS)


def clock(model: Path, address: str, pairs: int, turns: int, runs: int) -> Figure:
    """The agent's median against that of the interpreter called directly."""
    ratios, agents, directs = [], [], []
    for _ in range(pairs):
        with agent(model, address) as one, direct(model) as other:
            for time_them in (one, other):
                time_them(5)  # warm
            for turn in range(turns):
                # Whoever comes second may find the machine as the first has left it.
                order = (one, other) if turn % 2 else (other, one)
                times = {time_them: time_them(runs) for time_them in order}
                ratios.append(statistics.median(times[one]) / statistics.median(times[other]))
                agents += times[one]
                directs += times[other]
    ratio = statistics.median(ratios)
    low, high = quartiles(ratios)
    words = (
        f"{ratio - 1:+.1%} (half of the turns {low - 1:+.1%} … {high - 1:+.1%}), "
        f"{statistics.median(agents):.2f} and {statistics.median(directs):.2f} ms"
    )
    return Figure("p50 by the agent", words, "±3%", abs(ratio - 1) <= MOST_DEVIATION)


def quartiles(values: list[float]) -> tuple[float, float]:
    """Between which half of the values lie."""
    low, _, high = statistics.quantiles(values, n=4)
    return low, high


@contextmanager
def agent(model: Path, address: str) -> Iterator[Clock]:
    """Times so many inferences by an agent, in milliseconds."""
    import numpy as np

    with open_device(address) as device, device.runner(model) as runner:
        specs = runner.describe().inputs
        zeros = [np.zeros(stack_shape(one, 1), np.float32) for one in specs]

        def times(runs: int) -> list[float]:
            device.session().used = False  # the same agent again, though its memory is not asked
            return list(runner.benchmark(zeros, runs=runs, warmup=0).latency.samples_ms)

        yield times


@contextmanager
def direct(model: Path) -> Iterator[Clock]:
    """The same by the interpreter in a process of its own."""
    with _folder() as folder:
        command = [sys.executable, "-c", _DIRECT, str(model), *stored_zeros(model, folder)]
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            sink, source = process.stdin, process.stdout
            assert sink is not None
            assert source is not None

            def times(runs: int) -> list[float]:
                print(runs, file=sink, flush=True)
                found: list[float] = json.loads(source.readline())
                return found

            yield times
            sink.close()


def stored_zeros(model: Path, folder: Path) -> list[str]:
    """Inputs of zeros as the file stores them: what the agent is given too."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    paths = []
    for number, detail in enumerate(Interpreter(str(model)).get_input_details()):
        path = folder / f"{number}.npy"
        np.save(path, np.full(detail["shape"], detail["quantization"][1], detail["dtype"]))
        paths.append(str(path))
    return paths


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        yield Path(folder)


@contextmanager
def loopback() -> Iterator[str]:
    """The address of an OpenSSH server on loopback, with an agent that finds this Python."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.e2e.ssh_server import MISSING, SSHD, SshServer

    if SSHD is None:
        raise SystemExit(MISSING)
    with _folder() as folder:
        server = SshServer(folder)
        agent = server.cache / "edgekit-agent"
        agent.mkdir(mode=0o700, parents=True)
        (agent / "venv").symlink_to(sys.prefix)
        os.environ["EDGEKIT_SSH_CONFIG"] = str(server.config)
        os.environ["EDGEKIT_HOME"] = str(folder / "home")
        try:
            yield server.address
        finally:
            server.stop()


def figures(arguments: argparse.Namespace, address: str) -> Iterator[Figure]:
    """One after the other, so that they are seen as they come."""
    yield from transport(arguments.model, address, arguments.pictures)
    yield first_result(arguments.model, address)
    yield clock(arguments.model, address, arguments.pairs, arguments.turns, arguments.runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--device", help="an ssh device in place of the server on loopback")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--runs", type=int, default=10)
    arguments = parser.parse_args()
    table = Table("figure", "found", "at most", "", box=None, padding=(0, 2, 0, 0))
    busy = os.getloadavg()[0]
    with loopback() if arguments.device is None else _given(arguments.device) as address:
        for figure in figures(arguments, address):
            mark = "holds" if figure.holds else "does not hold"
            table.add_row(figure.name, figure.found, figure.limit, mark)
    console = Console()
    console.print(table)
    console.print(f"Load of the machine before: {busy:.1f} on {os.cpu_count()} cores")


@contextmanager
def _given(address: str) -> Iterator[str]:
    yield address


if __name__ == "__main__":
    main()
