"""What folded preprocessing costs: the latency of a raw-pixel file beside that of the plain one.

    python benchmarks/raw_pixels.py PLAIN.tflite RAW.tflite [--rounds 1000]

Both run in turn with one thread, so that other work on the machine meets both; each round gives a
ratio.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from rich.console import Console
from rich.table import Table

WARMUP = 20


def inference(path: Path) -> Callable[[], float]:
    """One inference of a file on random inputs; returns its milliseconds."""
    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    rng = np.random.default_rng(0)
    for detail in interpreter.get_input_details():
        values = rng.integers(0, 127, detail["shape"]).astype(detail["dtype"])
        interpreter.set_tensor(detail["index"], values)

    def run() -> float:
        started = time.perf_counter()
        interpreter.invoke()
        return 1e3 * (time.perf_counter() - started)

    return run


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("plain", type=Path)
    parser.add_argument("raw", type=Path)
    parser.add_argument("--rounds", type=int, default=1000)
    options = parser.parse_args()
    plain, raw = inference(options.plain), inference(options.raw)
    for _ in range(WARMUP):
        plain(), raw()
    times = [(plain(), raw()) for _ in range(options.rounds)]
    ratios = [after / before for before, after in times]
    low, middle, high = quantiles(ratios, n=4)
    table = Table(title=f"Latency of raw pixels, {options.rounds} rounds in turn, one thread")
    for heading in ("file", "p50 ms", "against plain", "half of the rounds"):
        table.add_column(heading)
    table.add_row(options.plain.name, f"{median(t[0] for t in times):.3f}", "", "")
    table.add_row(
        options.raw.name,
        f"{median(t[1] for t in times):.3f}",
        f"{middle - 1:+.2%}",
        f"{low - 1:+.2%} … {high - 1:+.2%}",
    )
    Console().print(table)


if __name__ == "__main__":
    main()
