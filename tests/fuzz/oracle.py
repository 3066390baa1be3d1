"""Runs cases and judges them: what may come out of a malformed input, and what may not.

Cases run in this process, so that thousands are cheap; `tests.fuzz.__main__` gives each batch a
process of its own, so that a crash costs one batch.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import resource
import shutil
import signal
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import psutil

from . import models
from .formats import Format

ALLOWED = frozenset((0, 2, 3, 4, 5, 6, 7))
"""The documented exit codes without 1, which is for bugs."""
MOST_SECONDS = 20
MOST_BYTES = 4 << 30


@dataclass
class Tally:
    """What a format's cases ended with."""

    codes: Counter[int] = field(default_factory=Counter)
    failures: list[tuple[str, bytes, str]] = field(default_factory=list)
    slowest: float = 0.0

    @property
    def cases(self) -> int:
        """How many there were."""
        return sum(self.codes.values()) + len(self.failures)


class _Slow(BaseException):
    pass


def judge(form: Format, seeds: range, root: Path) -> Tally:
    """Run a case for each seed below ``root`` and judge it."""
    tally = Tally()
    canary = _canary(root)
    for seed in seeds:
        draw = random.Random(f"{form.name} {seed}")
        folder = root / "case"
        folder.mkdir()
        file = form.make(folder)
        data = form.change(file.read_bytes(), draw)
        file.write_bytes(data)
        started = time.monotonic()
        problem, code = _one(form, folder, file, draw, root)
        tally.slowest = max(tally.slowest, time.monotonic() - started)
        if not problem and _state(root / "canary") != canary:
            problem = "the canary folder was touched"
            canary = _canary(root)
        if problem:
            tally.failures.append((f"{form.name} {seed}", data, problem))
        else:
            tally.codes[code] += 1
        shutil.rmtree(folder)
    return tally


def judge_file(form: Format, data: bytes, root: Path, seed: int = 0) -> str:
    """What is wrong with a kept case; empty where nothing is."""
    folder = root / "case"
    folder.mkdir()
    file = form.make(folder)
    file.write_bytes(data)
    problem, _ = _one(form, folder, file, random.Random(seed), root)
    return problem


def _one(
    form: Format, folder: Path, file: Path, draw: random.Random, root: Path
) -> tuple[str, int]:
    temporary = root / "tmp"
    temporary.mkdir(exist_ok=True)
    before, running = _state(folder), psutil.Process().children()
    code, problem = 0, ""
    with _inside(folder, temporary), _limits(worker=form.worker):
        try:
            code = form.read(folder, file, draw)
            if code not in ALLOWED:
                problem = f"exit {code}: {_last_log()}"
        except _Slow:
            problem = "took too long"
        except BaseException as error:  # noqa: BLE001  that is what is looked for
            problem = "".join(traceback.format_exception(error))
    left = [path.name for path in temporary.iterdir()]
    after = _state(folder)
    if not problem and left:
        problem = f"left in the temporary folder: {left}"
    if not problem and {key: after.get(key) for key in before} != before:
        problem = "an input was changed"
    if not problem and (new := [one for one in after if one not in before and _foreign(one)]):
        problem = f"files were made: {new}"
    now = [one for one in psutil.Process().children() if one.pid not in models.processes()]
    if not problem and (more := [one for one in now if one not in running]):
        problem = f"processes are left: {more}"
    shutil.rmtree(temporary)
    return problem, code


def _foreign(name: str) -> bool:
    """Whether a new file is none of the harness's own."""
    return not name.startswith(("work", "more", "sound.tflite"))


def _last_log() -> str:
    from edgekit.toolchain import home

    logs = sorted(home.logs().glob("*-internal/traceback.log"))
    return logs[-1].read_text() if logs else "no log"


@contextlib.contextmanager
def _inside(folder: Path, temporary: Path) -> Iterator[None]:
    before, temp = Path.cwd(), tempfile.tempdir
    os.chdir(folder)
    tempfile.tempdir = str(temporary)
    try:
        yield
    finally:
        os.chdir(before)
        tempfile.tempdir = temp


@contextlib.contextmanager
def _limits(*, worker: bool) -> Iterator[None]:
    """Of time and memory; a worker keeps its own, and its start and a crash may come on top."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise _Slow

    handler = signal.signal(signal.SIGALRM, stop)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if not worker:
        size = psutil.Process().memory_info().vms + MOST_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (size, hard))
    signal.alarm(5 * models.MOST_SECONDS if worker else MOST_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGALRM, handler)


def _canary(root: Path) -> dict[str, str]:
    """A folder that nothing has any business in."""
    shutil.rmtree(root / "canary", ignore_errors=True)
    (root / "canary").mkdir()
    (root / "canary/passwd").write_text("root:x:0:0")
    return _state(root / "canary")


def _state(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
