"""The table of docs/compat.md: files × clients.

    python benchmarks/compat.py --data calibration_data FILE.tflite … > table.md

Runs `edgekit compat --json` on each file, and prints one row a file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def answers(file: Path, data: str, samples: int) -> dict[str, Any]:
    """What the command says about one file."""
    inputs = ["--data", data] if data else ["--synthetic"]
    words = ["compat", str(file), *inputs, "--samples", str(samples), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "edgekit", *words], capture_output=True, text=True, check=False
    )
    document = json.loads(done.stdout)
    if "error" in document:
        raise SystemExit(f"{file}: {document['error']['cause']}")
    found: dict[str, Any] = document["files"][0]
    return found


def cell(row: dict[str, Any]) -> str:
    """``1 (100%)``: the most output steps, and the same decisions; or why not."""
    if row["state"] == "baseline":
        return "reference"
    if row["state"] not in ("agrees", "differs"):
        return str(row["state"])
    worst = max((one["largest"] for one in row["outputs"]), default=None)
    shares = [one["same_decisions"] for one in row["outputs"] if one["same_decisions"] is not None]
    same = f", {min(shares):.0%} same" if shares else ""
    steps = "infinite" if worst is None else f"{worst:.2g}"
    mark = "**" if row["state"] == "differs" else ""
    return f"{mark}{steps}{same}{mark}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--data", default="")
    parser.add_argument("--samples", type=int, default=16)
    arguments = parser.parse_args()
    found = {file: answers(file, arguments.data, arguments.samples) for file in arguments.files}
    clients = list(dict.fromkeys(r["client"] for one in found.values() for r in one["rows"]))
    versions = {
        r["client"]: ", ".join(r["versions"].values())
        for one in found.values()
        for r in one["rows"]
        if r["versions"]
    }
    shown = [client for client in clients if client != "litert"]
    print(f"{time.strftime('%d %B %Y')}, {len(found)} files, {arguments.samples} samples at most.")
    print("Most output steps from LiteRT, and the share of the same decisions:\n")
    print("| file | " + " | ".join(f"{name} {versions.get(name, '')}" for name in shown) + " |")
    print("|---" * (len(shown) + 1) + "|")
    reasons = []
    for file, one in found.items():
        rows = {row["client"]: row for row in one["rows"]}
        print(f"| {file.stem} | " + " | ".join(cell(rows[name]) for name in shown) + " |")
        reasons += [
            f"- {file.stem}, {name}: {rows[name]['reason']}"
            for name in shown
            if rows[name]["state"] not in ("agrees", "differs")
        ]
    print("\nWhy not:\n\n" + "\n".join(reasons) if reasons else "")


if __name__ == "__main__":
    main()
