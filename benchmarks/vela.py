"""Whether `edgekit inspect --target ethos-u…` predicts what Vela compiles, operator by operator.

    python benchmarks/vela.py FILE.tflite … [--targets ethos-u55-128 ethos-u85-256]

Prints one row a file and target, and every operator about which the two differ, with Vela's reason.
Exit code 1 where there is one.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edgekit.compilers.asking import ask_compiler
from edgekit.compilers.manifests import compiler_for
from edgekit.errors import ConversionError
from edgekit.files import temporary_folder
from edgekit.targets.check import check
from edgekit.targets.reading import load
from edgekit.tflite.model import read
from edgekit.toolchain.workshop import Limits
from edgekit.types import SilentProgress


def compared(file: Path, target: str) -> tuple[int, int, list[str]]:
    """Operators, those on the CPU by Vela, and those about which the prediction differs."""
    model = read(file)
    placement = check(model, load(target), size_bytes=file.stat().st_size).placement
    assert placement is not None
    predicted = {i for part in placement.parts if not part.accelerated for i in part.operators}
    with temporary_folder("vela") as folder:
        compiled = ask_compiler(
            compiler_for(target),
            file,
            target,
            {},
            folder=folder,
            limits=Limits(),
            progress=SilentProgress(),
        )
    operators = model.main.operators
    wrong = [
        f"{operators[index].name} ({operators[index].outputs[0].name}): "
        + (f"Vela: {compiled.left[index]}" if index in compiled.left else "Vela takes it")
        for index in sorted(predicted ^ compiled.left.keys())
    ]
    return len(operators), len(compiled.left), wrong


def main() -> None:
    """Print the rows, and what differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--targets", nargs="+", default=["ethos-u55-128", "ethos-u85-256"])
    arguments = parser.parse_args()
    print("| file | target | operators | on the CPU | predicted otherwise |\n|---|---|---|---|---|")
    differing: list[str] = []
    total = 0
    for file in arguments.files:
        for target in arguments.targets:
            try:
                count, left, wrong = compared(file, target)
            except ConversionError as error:
                print(f"| {file.stem} | {target} | – | – | not compiled: {error.cause} |")
                continue
            total += count
            print(f"| {file.stem} | {target} | {count} | {left} | {len(wrong)} |", flush=True)
            differing += [f"{file.stem}, {target}: {one}" for one in wrong]
    print(f"\n{total - len(differing)} of {total} operators as predicted.")
    print("\n".join(differing))
    sys.exit(1 if differing else 0)


if __name__ == "__main__":
    main()
