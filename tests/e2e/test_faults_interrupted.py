"""Runs that are stopped in the middle: no process, no half file, no old file lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.e2e.fault_helpers import (
    SYNTHETIC,
    add_converter,
    edgekit,
    leftovers,
    save_tiny_onnx,
    save_tiny_tflite,
    snapshot,
    started,
    wait_for,
)

pytestmark = pytest.mark.e2e

SLOW = """
import os, pathlib, subprocess, sys, time

child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
mark = pathlib.Path(os.environ["FAULT_MARK"])
mark.with_suffix(".part").write_text(f"{os.getpid()} {child.pid}")
mark.with_suffix(".part").replace(mark)
time.sleep(120)
"""
"""A back end in the middle of its work, with a helper process, as onnx2tf has onnxsim."""


@dataclass(frozen=True, kw_only=True)
class Running:
    """A conversion that is in its slow converter, and every process that belongs to it."""

    process: subprocess.Popen[str]
    workers: list[psutil.Process]
    helper: psutil.Process


@contextmanager
def converting(folder: Path, *options: str) -> Iterator[Running]:
    """Start a conversion into ``out`` and wait until it is in the middle of a back end."""
    beside = folder.with_name(f"{folder.name}-beside")
    env = add_converter(beside / "converters", "slow", SLOW)
    mark = beside / "mark"
    command = ("convert", "tiny.onnx", *SYNTHETIC, "--route", "slow", "--output", "out", *options)
    command += ("--allow-write", str(beside))  # for the mark
    with started(folder, *command, env={**env, "FAULT_MARK": mark}) as process:
        wait_for(
            lambda: mark.exists() or process.poll() is not None,
            seconds=60,
            what="the slow converter starts",
        )
        assert process.poll() is None, process.communicate()
        converter, helper = map(int, mark.read_text().split())
        everyone = psutil.Process(process.pid).children(recursive=True)
        assert {converter, helper} <= {one.pid for one in everyone}
        helping = psutil.Process(helper)
        try:
            yield Running(
                process=process,
                workers=[one for one in everyone if one.pid != helper],
                helper=helping,
            )
        finally:
            if helping.is_running():
                helping.kill()


def is_gone(process: psutil.Process) -> bool:
    """Whether it has ended; in a container nobody may collect the dead."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model, and the outputs of an earlier run."""
    folder = tmp_path / "work"
    (folder / "out").mkdir(parents=True)
    save_tiny_onnx(folder / "tiny.onnx")
    (folder / "out" / "tiny_fp32.tflite").write_bytes(b"of an earlier run")
    report = {"files": [{"artifact": {"path": "tiny_fp32.tflite"}}]}
    (folder / "out" / "edgekit-report.json").write_text(json.dumps(report))
    return folder


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "kill"])
def test_an_interrupted_run_leaves_nothing_behind(folder: Path, number: signal.Signals) -> None:
    before = snapshot(folder)
    with converting(folder, "--force") as run:
        assert leftovers(folder)
        run.process.send_signal(number)
        out, err = run.process.communicate(timeout=20)
        assert run.process.returncode == 130
        wait_for(
            lambda: all(map(is_gone, [*run.workers, run.helper])),
            seconds=5,
            what="all workers and their helpers end",
        )
    assert "Interrupted" in err
    assert "Traceback" not in out + err
    assert snapshot(folder) == before


def test_an_interrupted_run_says_so_in_json(folder: Path) -> None:
    with converting(folder, "--force", "--json") as run:
        run.process.send_signal(signal.SIGINT)
        out, _ = run.process.communicate(timeout=20)
    assert run.process.returncode == 130
    assert json.loads(out)["error"]["exit_code"] == 130


def test_a_killed_run_takes_its_workers_along_and_the_next_one_cleans_up(folder: Path) -> None:
    before = snapshot(folder)
    with converting(folder, "--force") as run:
        run.process.kill()
        run.process.wait(timeout=20)
        wait_for(lambda: all(map(is_gone, run.workers)), seconds=5, what="the orphaned workers end")
    assert leftovers(folder), "nobody could have removed it"
    kept = {
        name: digest
        for name, digest in snapshot(folder).items()
        if ".edgekit-work" not in name and ".edgekit-lock" not in name
    }
    assert kept == before
    save_tiny_tflite(folder)
    command = ("convert", "tiny.tflite", *SYNTHETIC, "--output", "out", "--force")
    finished = edgekit(folder, *command)
    assert finished.code == 0, finished.text
    assert not leftovers(folder)


def test_a_run_beside_another_one_is_refused_and_leaves_its_work_alone(folder: Path) -> None:
    save_tiny_tflite(folder)
    with converting(folder, "--force") as run:
        work = leftovers(folder)
        command = ("convert", "tiny.tflite", *SYNTHETIC, "--output", "out", "--force")
        refused = edgekit(folder, *command)
        assert refused.code == 5
        assert f"process {run.process.pid}, edgekit convert" in refused.text
        assert leftovers(folder) == work
        os.kill(run.process.pid, signal.SIGINT)
        run.process.wait(timeout=20)
    assert not leftovers(folder)
