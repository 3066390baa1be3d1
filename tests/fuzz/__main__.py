"""``python -m tests.fuzz [--cases N] [--seed S] [--only PATTERN]``: the long run, and its table."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import models
from .formats import FORMATS, Format
from .oracle import judge

BATCH = 100
ALL = (*FORMATS, *models.DECIDED, *models.LOADED)
FOUND = Path(__file__).with_name("found")


def main() -> int:
    """Run batches in processes of their own; print a row for each format."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=400, help="of each format")
    parser.add_argument("--seed", type=int, default=0, help="the first")
    parser.add_argument("--only", default="", help="formats in whose name this pattern is found")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--batch", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.batch:
        return _batch(chosen.batch, chosen.seed, chosen.cases)
    forms = [form for form in ALL if re.search(chosen.only, form.name)]
    starts = range(chosen.seed, chosen.seed + chosen.cases, BATCH)
    jobs = [
        (form, start, min(BATCH, chosen.seed + chosen.cases - start))
        for form in forms
        for start in starts
    ]
    with ThreadPoolExecutor(chosen.jobs) as pool:
        answers = list(pool.map(lambda job: _in_process(*job), jobs))
    rows = {form.name: (Counter(), []) for form in forms}
    for (form, _, _), answer in zip(jobs, answers, strict=True):
        rows[form.name][0].update({int(code): count for code, count in answer["codes"].items()})
        rows[form.name][1].extend(answer["failures"])
    return _print(rows, chosen.seed)


def _print(rows: dict[str, tuple[Counter[int], list[str]]], seed: int) -> int:
    total = sum(sum(codes.values()) + len(bad) for codes, bad in rows.values())
    faults = sum(len(bad) for _, bad in rows.values())
    today = dt.datetime.now(dt.UTC).date()
    print(f"{today}: {total} cases, seeds from {seed}, {faults} faults\n")
    print("| format | cases | read | refused: 2 | 3 | 4 | 5 | 6 | faults |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for name, (codes, bad) in rows.items():
        cells = [sum(codes.values()) + len(bad), *(codes[code] for code in (0, 2, 3, 4, 5, 6))]
        print(f"| {name} | {' | '.join(map(str, cells))} | {len(bad)} |")
    for name, (_, bad) in rows.items():
        for one in bad[:5]:
            print(f"\n{name}: {one}")
    return min(faults, 1)


def _in_process(form: Format, start: int, count: int) -> dict[str, object]:
    words = ["--batch", form.name, "--seed", str(start), "--cases", str(count)]
    with tempfile.TemporaryDirectory(prefix="fuzz-home-") as home:
        done = subprocess.run(
            [sys.executable, "-m", "tests.fuzz", *words],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=3000,
            env={**os.environ, "EDGEKIT_HOME": home, "XDG_CACHE_HOME": home},
        )
    try:
        answer: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        last = f"the process ended with {done.returncode}: {done.stderr[-500:]}"
        return {"codes": {}, "failures": [f"{form.name} {start}+{count}: {last}"]}
    return answer


def _batch(name: str, start: int, count: int) -> int:
    form = next(one for one in ALL if one.name == name)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as root:
        try:
            tally = judge(form, range(start, start + count), Path(root))
        finally:
            models.close()
    failures = []
    for title, data, problem in tally.failures:
        place = Path(tempfile.gettempdir(), f"fuzz-{re.sub(r'[^a-z0-9]+', '-', title.lower())}")
        place.write_bytes(data)
        failures.append(f"{title} ({len(data)} bytes, kept as {place})\n{problem[-3000:]}")
    print(json.dumps({"codes": tally.codes, "failures": failures, "slowest": tally.slowest}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
