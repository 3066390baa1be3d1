"""What the tests of jobs call, in processes that import this module."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from edgekit.errors import DataError, DeviceBusy, StepTimeout


def add(arguments, inputs, folder):
    total = sum(arguments["numbers"])
    total += sum(int((path / "sum.txt").read_text()) for path in inputs.values())
    (folder / "sum.txt").write_text(str(total))
    return {"sum": total, "pid": os.getpid()}


def wrong(arguments, inputs, folder):
    (folder / "half.txt").write_text("half")
    raise DataError("photos/ is empty.", cure="Give a folder of pictures.")


def busy(arguments, inputs, folder):
    raise DeviceBusy("Another run uses it.")


def too_slow(arguments, inputs, folder):
    raise StepTimeout("onnx2tf took longer than 9 s.", step="onnx2tf convert")


def bug(arguments, inputs, folder):
    return {}["missing"]


def no_plain_data(arguments, inputs, folder):
    return {"path": folder}


def die(arguments, inputs, folder):
    (folder / "half.txt").write_text("half")
    os.kill(os.getpid(), getattr(signal, arguments["signal"]))


def fill(arguments, inputs, folder):
    kept = []
    for _ in range(arguments["megabytes"]):
        kept.append(b"x" * (1 << 20))
        time.sleep(0.002)
    time.sleep(60)


def wait(arguments, inputs, folder):
    """Starts a process that starts another in a session of its own, and waits."""
    inner = f"import time; open({str(folder.parent / 'inner')!r}, 'a').close(); time.sleep(600)"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    child = subprocess.Popen([sys.executable, "-c", outer], start_new_session=True)
    Path(arguments["tell"]).write_text(str(child.pid))
    while "until" not in arguments or not Path(arguments["until"]).exists():
        time.sleep(0.01)


def cards(arguments, inputs, folder):
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def environment_of(arguments, inputs, folder):
    return os.environ.get(arguments["name"])
