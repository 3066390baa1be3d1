"""The worker's half of the protocol. Standard library only: it runs in any Python.

edgekit starts every converter as ``python edgekit_worker.py path/to/worker.py``. The worker is a
plain module whose public functions are the *verbs*::

    def convert(request: dict, progress) -> dict:
        progress(0.5, "half way")
        return {"artifact": request["output"]}

Requests arrive as JSON lines on standard input, ``{"id": 1, "verb": "convert", ...}``, and are
answered one after the other by JSON lines on the file descriptor named in ``EDGEKIT_EVENTS_FD``
(standard output where it is not set)::

    {"id": 1, "event": "progress", "fraction": 0.5, "message": "half way"}
    {"id": 1, "event": "result", "result": {...}, "seconds": 3.2, "peak_memory": 512000000}
    {"id": 1, "event": "error", "kind": "model", "cause": "...", "cure": "...", "trace": "..."}

The module stays loaded between requests, so a model that one verb loads another can use. The
process ends when standard input does. Before the worker's module is imported the process gives up
all that it was not granted in ``EDGEKIT_BOUNDS`` (see `edgekit_containment`) and asks the kernel to
be killed with its parent.
Whatever is printed goes to the log file that edgekit connected to standard output and error.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import importlib.util
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

from edgekit_bubblewrap import start_again
from edgekit_containment import Confinement, Refused, contain, landlock_abi, refusal


class WorkerError(Exception):
    """A failure that the worker understands: told to the user without a traceback.

    Args:
        cause: what went wrong, naming the offending thing.
        cure: what the user can do.
        kind: which of edgekit's errors it becomes: ``model``, ``usage``, ``data``, ``setup`` or
            ``conversion``.
        final: the cure is right whatever was refused underneath.
    """

    def __init__(
        self, cause: str, *, cure: str = "", kind: str = "conversion", final: bool = False
    ) -> None:
        super().__init__(cause)
        self.final = final
        self.cause, self.cure, self.kind = cause, cure, kind


class Stacks:
    """For the verb ``intermediates``: one `.npy` a tensor, written a sample at a time.

    Args:
        folder: where the files go.
        count: how many samples will come.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self._folder, self._count, self._sample = folder, count, 0
        self._arrays: dict[str, Any] = {}
        self._points: dict[str, dict[str, Any]] = {}

    def keep(self, name: str, operator: str, value: Any, **more: Any) -> None:
        """Write a tensor of this sample; one of another shape than before is left out."""
        from numpy.lib.format import open_memmap

        if name not in self._arrays:
            path = self._folder / f"tensor_{len(self._arrays)}.npy"
            shape = (self._count, *value.shape)
            self._arrays[name] = open_memmap(path, mode="w+", dtype=value.dtype, shape=shape)
            point = {"name": name, "operator": operator, "path": str(path)}
            self._points[name] = {**point, "shape": list(value.shape), **more}
        if self._arrays[name].shape[1:] == value.shape:
            self._arrays[name][self._sample] = value

    def next_sample(self) -> None:
        """What comes now belongs to the sample after this one."""
        self._sample += 1

    def finish(self) -> dict[str, Any]:
        """The verb's result: ``points`` in the order in which they first came, ``samples``."""
        for array in self._arrays.values():
            array.flush()
        return {"points": list(self._points.values()), "samples": self._count}


def timed_runs(
    once: Callable[[], float], request: dict[str, Any], progress: Callable[..., None]
) -> list[float]:
    """The times that ``once`` gives, in milliseconds, after a warm-up.

    ``request`` says how often: ``warmup`` times unmeasured, then ``runs`` times, or fewer where
    ``seconds`` are over and there are five.
    """
    for _ in range(request["warmup"]):
        once()
    samples: list[float] = []
    deadline = time.perf_counter() + request["seconds"]
    for number in range(request["runs"]):
        samples.append(once())
        progress((number + 1) / request["runs"])
        if time.perf_counter() > deadline and number >= 4:
            break
    return samples


def answer_samples(
    once: Callable[[list[Any]], list[Any]], request: dict[str, Any], progress: Callable[..., None]
) -> dict[str, Any]:
    """The verb ``run`` of a client: what it says to each sample, and how long one takes.

    Args:
        once: from a sample's tensors, as the file stores them, to the outputs, likewise.
        request: ``inputs`` with a ``path`` each to a stack (N, *shape), ``folder`` for the outputs,
            and how often to time the first sample, as `timed_runs` takes it.
        progress: told how far it is.

    Returns:
        ``outputs``: the paths of stacks; ``ms``: times of the first sample.
    """
    import numpy as np

    stacks = [np.load(entry["path"], allow_pickle=False) for entry in request["inputs"]]
    rows = []
    for number in range(len(stacks[0])):
        # Copies: a runtime may hand out its own memory, which the next sample overwrites.
        rows.append([np.array(one) for one in once([stack[number] for stack in stacks])])
        progress((number + 1) / len(stacks[0]))
    paths = []
    for place, column in enumerate(zip(*rows, strict=True)):
        paths.append(str(Path(request["folder"]) / f"output_{place}.npy"))
        np.save(paths[-1], np.stack(column), allow_pickle=False)
    first = [stack[0] for stack in stacks]

    def timed() -> float:
        started = time.perf_counter()
        once(first)
        return 1e3 * (time.perf_counter() - started)

    times = timed_runs(timed, request, lambda *_: None) if request["runs"] else []
    return {"outputs": paths, "ms": times}


@contextlib.contextmanager
def in_time(seconds: float) -> Iterator[None]:
    """End this process where native code that reads a file has not come back by then.

    No exception reaches a loop in native code; edgekit knows what SIGALRM means.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def main(worker: Path) -> None:
    """Serve the verbs of ``worker`` until standard input ends."""
    bounds = Confinement.take()
    if not landlock_abi():
        start_again(bounds, worker)
    events = _take_events_pipe()
    requests = _take_standard_input()
    _die_with_parent()
    contain(bounds, worker)
    # Imported before the first request, so that a back end loads while others still work.
    module: ModuleType | BaseException
    try:
        module = _load(worker)
    except BaseException as error:  # noqa: BLE001  told when the first request comes
        module = error
    for line in requests:
        request = json.loads(line)
        started = time.perf_counter()
        try:
            if isinstance(module, BaseException):
                raise module
            answer = {
                "id": request["id"],
                "event": "result",
                "result": _call(module, request, events),
                "seconds": time.perf_counter() - started,
                "peak_memory": _peak_memory(),
            }
            _send(events, answer)  # raises TypeError for a result that is not JSON
        except BaseException as error:
            _send(events, {"id": request["id"], "event": "error", **_describe(error)})
            if not isinstance(error, Exception):
                raise


def _call(module: ModuleType, request: dict[str, Any], events: TextIO) -> dict[str, Any]:
    verb = request["verb"]
    function: Callable[..., dict[str, Any]] | None = getattr(module, verb, None)
    if verb.startswith("_") or not callable(function):
        raise WorkerError(f"the converter {module.__file__} has no verb {verb!r}")

    def progress(fraction: float, message: str = "") -> None:
        event = {"event": "progress", "fraction": fraction, "message": message}
        _send(events, {"id": request["id"], **event})

    result = function(request, progress)
    if not isinstance(result, dict):
        raise WorkerError(f"{verb} of {module.__file__} gave {result!r}, which is not a dictionary")
    return result


def _clear_the_path() -> None:
    # Workers write `from edgekit_worker import WorkerError`: that must be this very module.
    sys.modules["edgekit_worker"] = sys.modules[__name__]
    # The folders beside this file are called `torch`, `keras`, `onnx`: where such a package is not
    # installed, `import onnx` would find the folder and not fail.
    here = str(Path(__file__).resolve().parent)
    sys.path[:] = [entry for entry in sys.path if entry != here]


def _load(worker: Path) -> ModuleType:
    """Import a worker by its path; its folder becomes importable for helper modules."""
    sys.path.insert(0, str(worker.parent))
    # Not `worker`: a user's model code may well have a module of that name.
    name = f"edgekit_worker_{worker.parent.name}_{worker.stem}"
    spec = importlib.util.spec_from_file_location(name, worker)
    if spec is None or spec.loader is None:
        raise WorkerError(f"{worker} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _describe(error: BaseException) -> dict[str, str]:
    trace = "".join(traceback.format_exception(error))
    print(trace, file=sys.stderr, flush=True)  # the log has everything
    line, allowing = refusal(error) or ("", "")
    if isinstance(error, WorkerError):
        cause = f"{error.cause} {line}" if line and line not in error.cause else error.cause
        cure = error.cure if error.final else allowing or error.cure
        return {"kind": error.kind, "cause": cause, "cure": cure, "trace": trace}
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        cure = "Free some space, or choose another --output folder or TMPDIR."
        return {
            "kind": "setup",
            "cause": f"The disk is full: {error}",
            "cure": cure,
            "trace": trace,
        }
    if isinstance(error, MemoryError):
        return {"kind": "memory", "cause": "The process ran out of memory.", "trace": trace}
    cause = f"{type(error).__name__}: {str(error).strip() or 'no message'}"
    if isinstance(error, Refused):
        cause = f"{error.why[0].upper()}{error.why[1:]}."
    said = f"{cause} {line}".strip()
    return {"kind": "unexpected", "cause": said, "cure": allowing, "trace": trace}


def _send(events: TextIO, event: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):  # the parent is gone, and so shall we be
        events.write(json.dumps(event) + "\n")
        events.flush()


def _take_events_pipe() -> TextIO:
    descriptor = os.environ.pop("EDGEKIT_EVENTS_FD", "")
    if not descriptor:
        return os.fdopen(os.dup(1), "w")
    os.set_inheritable(int(descriptor), False)  # a back end's own children must not hold it open
    return os.fdopen(int(descriptor), "w", encoding="utf-8")


def _take_standard_input() -> TextIO:
    """Keep the requests to ourselves: a model's code that reads input gets an empty file."""
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return requests


def _peak_memory() -> int:
    """The highest resident size of this process or of one of its ended children, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    # Linux counts into ru_maxrss what the parent had when it started this process; not into VmHWM.
    with contextlib.suppress(OSError, ValueError, IndexError):
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        own = int(status.partition("VmHWM:")[2].split()[0])
    return max(own, children) * unit


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


if __name__ == "__main__":
    _clear_the_path()
    if sys.argv[1] == "--import":  # by edgekit, which wants the bytecode that a worker cannot write
        _load(Path(sys.argv[2]).resolve())
    else:
        main(Path(sys.argv[1]).resolve())
