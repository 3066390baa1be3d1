"""Kills edgekit at many points: ``python -m tests.fuzz.kill_points [--points N]``.

A point is a time, or the number of a change that the process makes on the disk (a file opened for
writing, a move, a removal: Python's audit events tell, just before it happens). After each kill:
does what is there claim to be complete and is not? Are processes left? Does the next run end as an
undisturbed one does, leave nothing else behind and, with ``--resume``, measure only what had not
been measured?
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import hashlib
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))  # the nets of the unit tests

_CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")
_RUN = """
import os, signal, sys
last, told = int(os.environ["KILL_AT"]), os.open(os.environ["KILL_TOLD"], os.O_WRONLY | os.O_APPEND)
writing, done = os.O_WRONLY | os.O_RDWR | os.O_CREAT, [0]

def count(event, arguments):
    if event in CHANGES or (event == "open" and isinstance(arguments[2], int)
                            and arguments[2] & writing):
        done[0] += 1
        os.write(told, b"change\\n")
        if done[0] == last:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(count)
from edgekit.pipeline.validation.stream import Stream
ask = Stream._ask_worker

def asking(self, number, verb, request):
    if verb == "measure":
        os.write(told, f"chunk {request['chunk']}\\n".encode())
    return ask(self, number, verb, request)

Stream._ask_worker = asking
sys.argv[0] = "edgekit"
from edgekit.cli import main
main()
""".replace("CHANGES", repr(_CHANGES))


@dataclass(frozen=True)
class Command:
    """A command that is killed.

    Attributes:
        name: of the row in the table.
        words: of the command.
        again: what the next run is given beside them.
        older: an earlier run's files are there, and are replaced.
    """

    name: str
    words: tuple[str, ...]
    again: tuple[str, ...] = ()
    older: bool = False


_CONVERT = ("convert", "net.tflite", "--calibration", "data", "--scheme", "fp16", "--scheme",
            "int8", "--accept-few", "--output", "out")  # fmt: skip
_VALIDATE = ("validate", "near.tflite", "--reference", "net.tflite", "--data", "data",
             "--no-latency", "--accept-few")  # fmt: skip
COMMANDS = (
    Command("convert", _CONVERT, ("--force",)),
    Command("convert --force", (*_CONVERT, "--force"), older=True),
    Command("validate", _VALIDATE),
    Command("validate -o", (*_VALIDATE, "--output", "out"), ("--force",)),
    Command("validate -o, then --resume", (*_VALIDATE, "--output", "out"), ("--force", "--resume")),
    Command("sweep", ("sweep", "sweep.toml", "--output", "out")),
)
_SWEEP = """
[sweep]
schemes = ["fp16"]
[settings]
calibration = "data"
data = "data"
limit = 24
accept_few = true
[[models]]
model = "net.tflite"
"""


@dataclass
class Row:
    """What the points of one command came to."""

    times: int = 0
    changes: int = 0
    complete: int = 0
    finished: int = 0
    repeated: int = 0
    faults: list[str] = field(default_factory=list)


class Bench:
    """A folder with models and data in which one command is run again and again."""

    def __init__(self, root: Path, command: Command, pictures: int) -> None:
        import validate_nets as nets

        self.root, self.command = root, command
        self.row = Row()
        root.mkdir(parents=True, exist_ok=True)
        labels = ("ant", "bee", "cat", "dog", "elk")
        nets.classifier(root / "net.tflite", said=nets.contract(labels=labels))
        nets.classifier(root / "near.tflite", said=nets.contract(labels=labels), noise=0.02)
        nets.pictures(root / "data", pictures, labels)
        (root / "sweep.toml").write_text(_SWEEP)
        self._clear()
        run = self._start(command.words)  # once, so that bytecode is there
        run.wait()
        self._clear()
        started = time.monotonic()
        run = self._start(command.words)
        self.code = run.wait()
        self.seconds = time.monotonic() - started
        self.count = self._told().count("change")
        self.wanted = _tree(root / "out")
        self.chunks = sorted(one for one in self._told() if one.startswith("chunk"))
        if self.command.older:
            shutil.copytree(root / "out", root / "older")

    def changes(self, count: int) -> list[int]:
        """Half of them the last ones of the run, where files appear; the others all along."""
        late = min(count // 2, self.count)
        early = count - late
        spread = [1 + place * (self.count - late) // max(1, early) for place in range(early)]
        return sorted({*spread, *range(self.count - late + 1, self.count + 1)})

    def kill(self, *, after: float = 0.0, change: int = 0) -> None:
        """Kill a run at a point, look at what is left, and let the next run follow."""
        where = (
            f"{self.command.name}, change {change}"
            if change
            else f"{self.command.name}, {after:.2f} s"
        )
        self.row.times += not change
        self.row.changes += bool(change)
        self._clear()
        mark = uuid.uuid4().hex
        words = self.command.words
        run = self._start(words, change=change, mark=mark)
        if not change:
            try:
                run.wait(timeout=after)
            except subprocess.TimeoutExpired:
                os.killpg(run.pid, signal.SIGKILL)
        run.wait(timeout=300)
        faults = []
        if left := _still_running(mark):
            faults.append(f"processes are left: {left}")
        claims, lie = _claims(self.root / "out")
        self.row.complete += claims
        if lie:
            faults.append(lie)
        finished = {f"chunk {int(one.stem[6:])}" for one in self._rows()}
        done = _done(self.root / "out")
        resumed = "--resume" in self.command.again and run.returncode < 0
        again = self._start((*words, *self.command.again))
        code = again.wait(timeout=300)
        if code != self.code:
            faults.append(f"the next run ended with {code}, not {self.code}: {self._said()}")
        if (found := _tree(self.root / "out")) != self.wanted:
            faults.append(f"the next run left {sorted(found ^ self.wanted)}")
        if rest := [*_tree(self.root / "tmp"), *map(str, self._rows())]:
            faults.append(f"left behind: {rest}")
        faults += _of_jobs(self.root / "out", done)
        self.row.finished += len(done)
        measured = [one for one in self._told() if one.startswith("chunk")]
        if resumed:
            repeated = [one for one in measured if one in finished or measured.count(one) > 1]
            self.row.finished += len(finished)
            self.row.repeated += len(repeated)
            if repeated or {*measured, *finished} != {*self.chunks}:
                faults.append(f"finished {sorted(finished)}, then measured {sorted(measured)}")
        self.row.faults += [f"{where}: {one}" for one in faults]

    def _rows(self) -> list[Path]:
        return sorted((self.root / "home").glob("validations/*/chunk-*.rows"))

    def _clear(self) -> None:
        for name in ("out", "tmp", "home"):
            shutil.rmtree(self.root / name, ignore_errors=True)
        (self.root / "tmp").mkdir()
        if (self.root / "older").is_dir():
            shutil.copytree(self.root / "older", self.root / "out")

    def _start(
        self, words: Sequence[str], *, change: int = 0, mark: str = ""
    ) -> subprocess.Popen[bytes]:
        told = self.root / "told"
        told.write_bytes(b"")
        own = {"EDGEKIT_HOME": self.root / "home", "TMPDIR": self.root / "tmp", "KILL_MARK": mark}
        environment = {name: str(value) for name, value in own.items()}
        with (self.root / "said").open("wb") as said:
            return subprocess.Popen(
                [sys.executable, "-c", _RUN, *words],
                cwd=self.root,
                env={**os.environ, **environment, "KILL_AT": str(change), "KILL_TOLD": str(told)},
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def _told(self) -> list[str]:
        return (self.root / "told").read_text(encoding="ascii").splitlines()

    def _said(self) -> str:
        return (self.root / "said").read_text(encoding="utf-8", errors="replace")[-1000:]


def _tree(folder: Path) -> set[str]:
    """All paths; what is called by a digest of its content has times in it, and so other names."""
    paths = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    return {re.sub(r"artifacts/[0-9a-f]{2}(/[0-9a-f]{64})?", "artifacts", path) for path in paths}


def _done(out: Path) -> dict[str, tuple[object, ...]]:
    """The jobs of a sweep that are finished, whole: each row, by its key."""
    if not (out / "state.sqlite").exists():
        return {}
    with contextlib.closing(sqlite3.connect(out / "state.sqlite")) as base:
        try:
            rows = base.execute("SELECT * FROM jobs WHERE ending = 'done'").fetchall()
        except sqlite3.OperationalError:  # killed before the tables were there
            return {}
    return {row[0]: row for row in rows}


def _of_jobs(out: Path, before: dict[str, tuple[object, ...]]) -> list[str]:
    """What is wrong with a sweep's jobs after the run that followed a kill."""
    after = _done(out)
    faults = [f"{row[1]} was done again" for key, row in before.items() if after.get(key) != row]
    wanted = {row[7] for row in after.values()} - {""}
    there = {path.name for path in (out / "artifacts").glob("*/*")}
    if there != wanted:
        faults.append(f"artifacts without a job or jobs without theirs: {there ^ wanted}")
    return faults


def _still_running(mark: str, seconds: float = 10.0) -> list[str]:
    """The processes of a run that live on; they may take a moment to go."""
    deadline = time.monotonic() + seconds
    while left := list(_marked(mark)):
        if time.monotonic() > deadline:
            return left
        time.sleep(0.05)
    return []


def _marked(mark: str) -> Iterator[str]:
    for process in psutil.process_iter():
        try:
            if process.environ().get("KILL_MARK") == mark and process.status() != "zombie":
                yield " ".join(process.cmdline())
        except (psutil.Error, OSError):
            continue


def _claims(out: Path) -> tuple[bool, str]:
    """Whether a report or lock says that the run is complete, and what is then not as it says."""
    listed: dict[str, str] = {}
    report, lock, validation = (
        out / name for name in ("edgekit-report.json", "edgekit.lock", "report.json")
    )
    try:
        if report.exists():
            artifacts = [one["artifact"] for one in json.loads(report.read_text())["files"]]
            listed |= {Path(one["path"]).name: one["sha256"] for one in artifacts}
        if lock.exists():
            from edgekit.provenance.text import read_lock

            listed |= {one.name: one.sha256 for one in read_lock(lock).files}
        if validation.exists():
            json.loads(validation.read_text())["candidates"]
        page = out / "report.html"
        if page.exists() and not page.read_text().rstrip().endswith("</html>"):
            return True, "half a page"
    except (ValueError, KeyError) as error:
        return True, f"half a report: {error!r}"
    for name, sha256 in listed.items():
        path = out / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            return True, f"{name} is listed and is not there, or another file"
    return report.exists() or validation.exists(), ""


def main() -> int:
    """Kill all commands; print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=14, help="of each command")
    parser.add_argument("--only", default="", help="commands whose name has this in it")
    chosen = parser.parse_args()
    rows = {}
    for command in COMMANDS:
        if chosen.only not in command.name:
            continue
        with tempfile.TemporaryDirectory(prefix="kill-points-") as root:
            bench = Bench(Path(root) / "bench", command, pictures=320)
            said = f"{bench.count} changes, {bench.seconds:.1f} s, exit code {bench.code}"
            print(f"{command.name}: {said}", file=sys.stderr)
            timed = chosen.points // 3
            for number in range(timed):
                bench.kill(after=bench.seconds * (number + 0.5) / timed)
            for change in bench.changes(chosen.points - timed):
                bench.kill(change=change)
            rows[command.name] = bench.row
    return _print(rows)


def _print(rows: dict[str, Row]) -> int:
    points = sum(row.times + row.changes for row in rows.values())
    faults = [fault for row in rows.values() for fault in row.faults]
    print(f"{dt.datetime.now(dt.UTC).date()}: {points} kill points, {len(faults)} faults\n")
    print(
        "| command | killed at times | at changes | files were complete | "
        "chunks or jobs finished before | repeated | faults |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, row in rows.items():
        cells = row.times, row.changes, row.complete, row.finished, row.repeated, len(row.faults)
        print(f"| `{name}` | {' | '.join(map(str, cells))} |")
    print("\n".join(["", *faults]))
    return min(len(faults), 1)


if __name__ == "__main__":
    sys.exit(main())
