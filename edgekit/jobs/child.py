"""The child's half of a job process: runs jobs one after the other, tells what became of each.

Started by `edgekit.jobs.process` as ``python -P child.py SETUP``, where SETUP is JSON: ``events``,
the descriptor that answers go to, ``path``, where modules are looked for, ``mark``, by which
whatever descends from this process is found, and ``folder``, which goes with it. A job comes as a
line of JSON on standard input, its answer is a line of JSON. What is printed goes to a log. When
standard input ends, nobody waits for an answer, and the process ends with all that it started.
"""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import importlib
import json
import os
import queue
import shutil
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

MARK = "EDGEKIT_JOB_PROCESS"
"""The environment variable that descendants have in common."""
_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE)


def main(setup: dict[str, Any]) -> None:
    """Run the jobs that come on standard input."""
    faulthandler.enable()  # a crash in native code leaves its Python lines in the log
    sys.path[:] = setup["path"]
    events = os.fdopen(setup["events"], "w", encoding="utf-8")
    os.set_inheritable(setup["events"], False)
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)  # a job that reads input gets an empty file
    os.close(null)
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(
        target=_listen, args=(requests, waiting, setup), daemon=True, name="listener"
    ).start()
    while True:
        answer = _run(json.loads(waiting.get()))
        events.write(json.dumps(answer) + "\n")
        events.flush()


def _listen(requests: Any, waiting: queue.SimpleQueue[str], setup: dict[str, Any]) -> None:
    for line in requests:
        waiting.put(line)
    end_marked(setup["mark"])
    shutil.rmtree(setup["folder"], ignore_errors=True)
    os.kill(os.getpid(), signal.SIGKILL)


def _run(request: dict[str, Any]) -> dict[str, Any]:
    """Call the job's function; an error becomes an ending with its words."""
    _log(f"== {request['name']} ({request['key']})")
    inputs = {key: Path(path) for key, path in request["inputs"].items()}
    started = time.perf_counter()
    try:
        module, _, name = request["function"].partition(":")
        function = getattr(importlib.import_module(module), name)
        value = function(request["arguments"], inputs, Path(request["folder"]))
        json.dumps(value)  # raises TypeError for what is not a plain data
        answer = {"ending": "done", "value": value}
    except BaseException as error:  # noqa: BLE001  told to whoever started the job
        trace = "".join(traceback.format_exception(error))
        _log(trace)
        answer = _describe(error) | {"trace": trace}
    sys.stdout.flush()
    return answer | {"seconds": time.perf_counter() - started}


def _log(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _describe(error: BaseException) -> dict[str, Any]:
    """How a job that raised this has ended, in what words, and with which exit code."""
    from edgekit import errors

    known = {
        (errors.StepCrashed, errors.StepTimeout, errors.StepOutOfMemory): "crashed",
        (errors.DeviceUnreachable, errors.DeviceBusy, errors.DeviceLost): "lost",
    }
    if isinstance(error, MemoryError):
        error = errors.StepOutOfMemory("The job ran out of memory.", step="job")
    if isinstance(error, OSError) and error.errno in _MACHINE:
        where = f" ({error.filename})" if error.filename else ""
        error = errors.SetupError(f"{error.strerror}{where}.", cure="Free some space there.")
    if not isinstance(error, errors.EdgekitError) or type(error) is errors.EdgekitError:
        reason = f"edgekit itself failed: {type(error).__name__}: {error}."
        return {"ending": "bug", "reason": reason, "exit_code": 1}
    ending = next((word for kinds, word in known.items() if isinstance(error, kinds)), "")
    reason = " ".join(filter(None, (error.cause, error.cure)))
    if error.log:
        reason += f" Log: {error.log}"
    return {"ending": ending or "wrong-input", "reason": reason, "exit_code": error.exit_code}


def end_marked(mark: str) -> None:
    """Kill every process but this one that has inherited the mark, also those of killed parents."""
    import psutil

    for _ in range(5):  # one that was being killed may have started another
        found = False
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.pid != os.getpid() and process.environ().get(MARK) == mark:
                    process.kill()
                    found = True
        if not found:
            return
        time.sleep(0.01)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
