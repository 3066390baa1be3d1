"""Environments with one package each, so that profiles can be held against the real thing."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import gettempdir

import numpy as np
import pytest

from edgekit.toolchain.interpreters import uv

_TRY = """
import json, sys
try:
    from tflite_runtime.interpreter import Interpreter
except ImportError:
    from ai_edge_litert.interpreter import Interpreter

answers = []
for path in sys.argv[1:]:
    try:
        interpreter = Interpreter(path)
        interpreter.allocate_tensors()
        names = [op["op_name"] for op in interpreter._get_ops_details()]
        answers.append([True, names.count("DELEGATE"), ""])
    except (ValueError, RuntimeError) as error:
        answers.append([False, 0, str(error)])
print(json.dumps(answers))
"""

_RUN = """
import sys
import numpy as np
try:
    from tflite_runtime.interpreter import Interpreter
except ImportError:
    from ai_edge_litert.interpreter import Interpreter

found = {}
for path in sys.argv[2:]:
    try:
        interpreter = Interpreter(path)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError):
        continue
    put, got = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    rows = []
    for picture in np.load("photos.npy")[:8]:
        value = picture[None]
        if put["dtype"] != np.float32:
            (scale, zero), limits = put["quantization"], np.iinfo(put["dtype"])
            value = np.clip(np.round(value / scale) + zero, limits.min, limits.max)
        interpreter.set_tensor(put["index"], value.astype(put["dtype"]))
        interpreter.invoke()
        result = interpreter.get_tensor(got["index"]).astype(np.float64)
        if got["dtype"] != np.float32:
            scale, zero = got["quantization"]
            result = (result - zero) * scale
        rows.append(result.ravel())
    found[path] = np.array(rows)
np.savez(sys.argv[1], **found)
"""


@cache
def environment(*packages: str, python: str = sys.executable) -> Path:
    """The folder with the programs of an environment; the test is skipped where it cannot be built.

    It is kept between runs: these are pinned packages.
    """
    other = [] if python == sys.executable else [python.replace("/", "_")]
    name = "-".join((*packages, *other)).translate({ord(sign): "_" for sign in "<>=."})
    folder = Path(gettempdir()) / "edgekit-test-runtimes" / name
    ready = folder / "ready"
    folder.parent.mkdir(exist_ok=True)
    with folder.with_name(f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            for words in (
                ["venv", "--clear", "--python", python, str(folder)],
                ["pip", "install", "--python", str(folder / "bin" / "python"), *packages],
            ):
                done = subprocess.run([uv(), *words], capture_output=True, text=True)
                if done.returncode:
                    why = done.stderr.strip()[-300:]
                    pytest.skip(f"{packages[0]} cannot be installed here: {why}")
            ready.touch()
    return folder / "bin"


def runtime(target: str) -> str:
    """The Python whose runtime a profile describes."""
    package, _, version = target.rpartition("-")
    if target == "ai-edge-litert-2.3.0":
        return sys.executable
    return str(environment(f"{package}=={version}", "numpy<2") / "python")


def loaded(python: str, *files: Path) -> list[tuple[bool, int, str]]:
    """For each file: whether it loads, how many parts XNNPACK computes, and the error."""
    done = subprocess.run(
        [python, "-c", _TRY, *map(str, files)], capture_output=True, text=True, check=True
    )
    return [tuple(answer) for answer in json.loads(done.stdout.splitlines()[-1])]


def outputs(python: str, files: list[Path], folder: Path) -> dict[str, np.ndarray]:
    """The real results on the first of ``photos.npy`` in the folder; of files that load."""
    words = [python, "-c", _RUN, "found.npz", *map(str, files)]
    subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True)
    return dict(np.load(folder / "found.npz"))
