"""The table of docs/compat.md: networks × clients, in five schemes.

    python benchmarks/client_files.py FOLDER
    python benchmarks/client_files.py FOLDER --models resnet --raw
    python benchmarks/compat.py FOLDER [--samples N] > table.md

Runs `edgekit compat --json` on the files of each network, with its own samples, and prints a row a
network; a cell has the most output steps in the order of the schemes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from client_files import SCHEMES

Rows = dict[str, dict[str, Any]]
"""By client: its row."""


def answers(folder: Path, network: str, samples: int) -> dict[str, Rows]:
    """By scheme: what the command says about the file."""
    files = {scheme: folder / f"{network}_{scheme.replace('-', '_')}.tflite" for scheme in SCHEMES}
    arrays, pictures = folder / f"{network}.npz", folder / network.replace("_raw", "_pictures")
    data = arrays if arrays.exists() else pictures
    there = {scheme: file for scheme, file in files.items() if file.exists()}
    words = ["compat", *map(str, there.values()), "--data", str(data), "--samples", str(samples)]
    done = subprocess.run(
        [sys.executable, "-m", "edgekit", *words, "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    document = json.loads(done.stdout)
    if "error" in document:
        raise SystemExit(f"{network}: {document['error']['cause']}")
    return {
        scheme: {row["client"]: row for row in found["rows"]}
        for scheme, found in zip(there, document["files"], strict=True)
    }


def value(row: dict[str, Any]) -> str:
    """The most output steps, bold where they are too many; a letter where it gave none.

    Behind them *b* or *r*: it rounds as LiteRT's own kernels without XNNPACK, or its reference
    kernels.
    """
    if row["state"] not in ("agrees", "differs"):
        return {"other kind": "k", "missing": "m"}.get(row["state"], "x")
    worst = max(
        (float("inf") if one["largest"] is None else one["largest"] for one in row["outputs"]),
        default=0.0,
    )
    if worst < 0.05:
        return "0"
    steps = f"{worst:.1f}".removesuffix(".0")
    if row["state"] == "differs":
        return f"**{steps}**"
    return steps + (row["rounds_as"] and ("r" if "reference" in row["rounds_as"] else "b"))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--samples", type=int, default=16)
    arguments = parser.parse_args()
    ending = "_fp32.tflite"
    found_files = sorted(arguments.folder.glob(f"*{ending}"))
    names = [path.name.removesuffix(ending) for path in found_files]
    found = {name: answers(arguments.folder, name, arguments.samples) for name in names}
    every = [rows for schemes in found.values() for rows in schemes.values()]
    clients = [client for client in every[0] if client != "litert"]
    versions = {
        client: ", ".join(list(row["versions"].values())[:2])
        for rows in every
        for client, row in rows.items()
        if row["versions"]
    }
    print(f"{time.strftime('%d %B %Y')}, {len(every)} files, {arguments.samples} samples at most,")
    print(f"against LiteRT {versions['litert']}; schemes in the order {', '.join(SCHEMES)}:\n")
    print("| network | " + " | ".join(f"{one} {versions.get(one, '')}" for one in clients) + " |")
    print("|---" * (len(clients) + 1) + "|")
    reasons: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, schemes in found.items():
        cells = [" · ".join(value(rows[one]) for rows in schemes.values()) for one in clients]
        print(f"| {name} | " + " | ".join(cells) + " |")
        for scheme, rows in schemes.items():
            for one in clients:
                if rows[one]["state"] != "agrees":
                    reasons[one, f"{rows[one]['reason'][:200]} {rows[one]['cure']}".strip()].append(
                        f"{name} {scheme}"
                    )
    agreeing = [[rows[one]["state"] for rows in every].count("agrees") for one in clients]
    print("| agree | " + " | ".join(f"{count} of {len(every)}" for count in agreeing) + " |\n")
    for (client, reason), files in sorted(reasons.items()):
        print(f"- {client}: {reason} ({len(files)} files: {in_short(files)})")


def in_short(files: list[str]) -> str:
    """``mlp int8 int8-float-io, resnet``: each network once, alone where it is all schemes."""
    schemes: dict[str, list[str]] = defaultdict(list)
    for file in files:
        name, scheme = file.split(" ")
        schemes[name].append(scheme)
    whole = len(SCHEMES)
    return ", ".join(
        name if len(those) == whole else " ".join((name, *those)) for name, those in schemes.items()
    )


if __name__ == "__main__":
    main()
