"""What a Ray worker does for a job: it has a job process of its own, and hands the job on.

So a crash of the job is told from the loss of the worker or its machine, limits are kept as they
are locally, and what the job leaves in memory is not in Ray's processes.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgekit.jobs.local import MOST_JOBS
from edgekit.jobs.machine import code_digest, this_machine
from edgekit.jobs.process import JobAnswer, JobProcess
from edgekit.jobs.protocol import Ending, Job
from edgekit.jobs.shipping import Files, pack, unpack
from edgekit.toolchain import home

_LOOKED_SECONDS = 0.2
_processes: list[JobProcess] = []
"""The one of this Ray worker, between jobs."""


def run_job(
    job: Mapping[str, Any], settings: Mapping[str, Any], *inputs: Files
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run a job in this worker's process.

    Args:
        job: ``key``, ``name``, ``function``, ``arguments``, ``needs`` and ``memory``.
        settings: ``code``, the digest of edgekit where the job comes from, ``cwd``, ``threads`` and
            ``seconds``.
        inputs: the files of each of its needs.

    Returns:
        The answer with the machine, and the job's files.
    """
    if settings["code"] != code_digest():
        why = f"{this_machine()['host']} has another edgekit than the machine that asks."
        lost = JobAnswer(ending=Ending.LOST, reason=why, exit_code=5)
        return {**asdict(lost), "machine": this_machine()}, {}
    # Ray cancels by it, and not at all where the node was started with it ignored, as by `… &`.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = _process(settings)
    work = Path(tempfile.mkdtemp(prefix="job-", dir=process.folder))
    folder = work / "files"
    folder.mkdir()
    paths = {}
    for number, key in enumerate(job["needs"]):
        paths[key] = work / f"input-{number}"
        unpack(inputs[number], paths[key])
    called = Job(
        key=job["key"], name=job["name"], function=job["function"], arguments=job["arguments"]
    )
    try:
        answer = _wait(process, called, paths, folder, settings["seconds"], job["memory"])
    except BaseException:  # cancelled
        process.close()
        raise
    files = pack(folder) if answer.ending == Ending.DONE else {}
    shutil.rmtree(work, ignore_errors=True)
    return {**asdict(answer), "machine": this_machine()}, files


def _wait(
    process: JobProcess,
    job: Job,
    inputs: Mapping[str, Path],
    folder: Path,
    seconds: float,
    memory: int,
) -> JobAnswer:
    started = time.monotonic()
    process.start(job, inputs, folder)
    while True:
        if answer := process.answer(_LOOKED_SECONDS):
            return answer
        if answer := process.over_limits(time.monotonic() - started, seconds, memory):
            return answer


def _process(settings: Mapping[str, Any]) -> JobProcess:
    """The process of this worker, or a new one."""
    environment = {
        "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES"),  # Ray sets it for each job
        "OMP_NUM_THREADS": settings["threads"],  # Ray's own choice would change results
    }
    while _processes:
        process = _processes[0]
        if process.alive and process.served < MOST_JOBS and process.environment == environment:
            return process
        _processes.pop().close()
    cwd = Path(settings["cwd"])
    process = JobProcess(
        None,
        log=home.new_logs("jobs") / "process.log",
        environment=environment,
        cwd=cwd if cwd.is_dir() else None,
    )
    _processes.append(process)
    return process
